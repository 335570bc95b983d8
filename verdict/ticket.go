// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Types of our tokens (RFC 8725 §3.11).
const (
	// TicketType is the typ of a ticket.
	TicketType = "assay-verdict+jwt"
	// StatusType is the typ of a status.
	StatusType = "assay-status+jwt"
	// TicketProfile is the eat_profile of a ticket (RFC 9711 §4.3.2).
	TicketProfile = "tag:github.com,2026:assayd/assay/verdict/v1"
)

// A Ticket is a verdict for one node: the claims of a JWS.
type Ticket struct {
	// Aud is the SPIFFE ID of exactly one node.
	Aud string `json:"aud"`
	// By is the thumbprint of the verdict key that signed the core; absent
	// without a core.
	By string `json:"by,omitempty"`
	// Cluster is that of the node's SVID.
	Cluster string `json:"cluster"`
	// Code is the first reason; absent on pass.
	Code Code `json:"code,omitempty"`
	// Core is the digest of the verdict core; absent without one.
	Core Digest `json:"core,omitempty"`
	// Deny is the [DenyDigest] of the deny documents applied.
	Deny string        `json:"deny"`
	Dig  TicketDigests `json:"dig"`
	// EATProfile is TicketProfile.
	EATProfile string `json:"eat_profile"`
	// Exp, Iat and Nbf are Unix seconds.
	Exp int64 `json:"exp"`
	// Head is the counter of the head that the verdict was reached under.
	Head uint64 `json:"head"`
	Iat  int64  `json:"iat"`
	// Iss is the daemon's SPIFFE ID.
	Iss string `json:"iss"`
	// Jti is 128 random bits in hex.
	Jti string `json:"jti"`
	// Log is where the verdict was written down; absent without a core.
	Log    *TicketLog `json:"log,omitempty"`
	Nbf    int64      `json:"nbf"`
	Policy Digest     `json:"policy"`
	Repo   string     `json:"repo"`
	// Res maps namespace patterns to outcomes. "*" holds the rules that need no
	// namespace; the most specific entry counts; none is deny.
	Res map[string]Outcome `json:"res"`
	// Stmt is the digest of the issuer statement whose ticket key signs.
	Stmt Digest `json:"stmt"`
	// Sub is the digest that was asked for.
	Sub Digest `json:"sub"`
}

// TicketDigests name the image of the node's platform.
type TicketDigests struct {
	// Config is the image configuration, only where it has as many
	// rootfs.diff_ids as the manifest has layers.
	Config Digest `json:"config,omitempty"`
	// Index is the index, absent where a manifest was asked for.
	Index Digest `json:"index,omitempty"`
	// Manifest is the platform's manifest.
	Manifest Digest `json:"manifest,omitempty"`
}

// A TicketLog is a place in a log.
type TicketLog struct {
	Index  uint64 `json:"index"`
	Origin string `json:"origin"`
}

// Outcome returns what the ticket says for a namespace, and the pattern that
// says it: an exact name beats a pattern, a longer pattern a shorter one. The
// empty namespace is that of a pull.
func (t Ticket) Outcome(namespace string) (outcome Outcome, pattern string) {
	if strings.Contains(namespace, "*") {
		return OutcomeFail, "" // no namespace is named so; it would meet a pattern as an exact name
	}
	if o, ok := t.Res[namespace]; ok && namespace != "" {
		return o, namespace
	}
	best := -1
	outcome = OutcomeFail
	for p, o := range t.Res {
		if strings.HasSuffix(p, "*") && MatchNamespace(p, namespace) && len(p) > best {
			best, outcome, pattern = len(p), o, p
		}
	}
	return outcome, pattern
}

// Names tells whether d is what the ticket is about: the digest asked for, or
// the index, manifest or configuration of the node's platform.
func (t Ticket) Names(d Digest) bool {
	return d != "" && (d == t.Sub || d == t.Dig.Index || d == t.Dig.Manifest || d == t.Dig.Config)
}

// letsNothing tells whether every outcome is fail.
func (t Ticket) letsNothing() bool {
	for _, o := range t.Res {
		if o != OutcomeFail {
			return false
		}
	}
	return true
}

func (t Ticket) check() error {
	if t.EATProfile != TicketProfile {
		return fmt.Errorf("eat_profile is %s, want %q", quote(t.EATProfile), TicketProfile)
	}
	if err := first(CheckSPIFFEID(t.Iss), CheckSPIFFEID(t.Aud), CheckRepository(t.Repo), checkSHA256("stmt", t.Stmt), checkSHA256("policy", t.Policy),
		checkText("cluster", t.Cluster, 128), checkHex("jti", t.Jti, 16), checkHex("deny", t.Deny, 32)); err != nil {
		return err
	}
	if _, err := ParseDigest(string(t.Sub)); err != nil {
		return err
	}
	for _, d := range []Digest{t.Dig.Config, t.Dig.Index, t.Dig.Manifest} {
		if d == "" {
			continue
		}
		if _, err := ParseDigest(string(d)); err != nil {
			return err
		}
	}
	if t.Head == 0 {
		return errors.New("head is 0, want at least 1")
	}
	if t.Iat <= 0 || t.Nbf <= 0 || t.Exp <= 0 {
		return errors.New("iat, nbf or exp is missing")
	}
	if err := checkCode(t.Code); err != nil {
		return err
	}
	if len(t.Res) == 0 {
		return errors.New("res is empty")
	}
	if err := checkOutcomes(t.Res); err != nil {
		return err
	}
	decided := false // some outcome that only a core can have
	for _, o := range t.Res {
		decided = decided || o == OutcomePass || o == OutcomeFail
	}
	switch {
	case t.Core == "" && t.By == "" && t.Log == nil:
		if decided {
			return errors.New("a pass or fail without a core")
		}
	case t.Core != "" && t.By != "" && t.Log != nil:
		if err := first(checkSHA256("core", t.Core), checkText("by", t.By, 64), checkOrigin(t.Log.Origin)); err != nil {
			return err
		}
	default:
		return errors.New("core, by and log are not all there or all absent")
	}
	return nil
}

// checkCode refuses what has not the form of a code: a ticket's ends up in logs
// and metrics. A newer daemon may have codes that this build has not.
func checkCode(c Code) error {
	if len(c) > 64 || strings.Trim(string(c), "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		return fmt.Errorf("code %s is not of lower-case letters, digits, dots and hyphens", quote(string(c)))
	}
	return nil
}

// checkLife refuses a ticket that is meant to live too long.
func (t Ticket) checkLife() error {
	most := MaxTicketLife
	if t.letsNothing() || (t.Core == "" && t.hasAuditFail()) {
		most = MaxDenialLife
	}
	if life := t.Exp - t.Iat; life <= 0 || time.Duration(life) > most/time.Second {
		return fmt.Errorf("it lives %s, want 1s to %s", span(life), span(int64(most/time.Second)))
	}
	if t.Nbf >= t.Exp {
		return errors.New("nbf is not before exp")
	}
	return nil
}

func (t Ticket) hasAuditFail() bool {
	for _, o := range t.Res {
		if o == OutcomeAuditFail {
			return true
		}
	}
	return false
}

// SignTicket signs t with a ticket key.
func SignTicket(t Ticket, key *Key) (string, error) {
	t.EATProfile = TicketProfile
	if err := first(t.check(), t.checkLife()); err != nil {
		return "", fmt.Errorf("signing ticket: %w", err)
	}
	payload, err := encode(t)
	if err != nil {
		return "", err
	}
	return signJWS(TicketType, payload, key, MaxTicket)
}

// An Issuer is an issuer statement that the relying party has accepted.
type Issuer struct {
	// Digest is the SHA-256 of the statement's bytes.
	Digest Digest `json:"digest"`
	// Statement is what was accepted.
	Statement Statement `json:"statement"`
	// Kind is the TEE's kind, Measurement its launch measurement in hex or
	// empty, both from the appraisal.
	Kind        string `json:"kind"`
	Measurement string `json:"measurement,omitempty"`
	// Chip names the processor or TPM that vouches, in lower-case hex: CHIP_ID of
	// SEV-SNP, PPID of TDX, or the SHA-256 of a TPM's endorsement key. Empty where the evidence
	// does not say.
	Chip string `json:"chip,omitempty"`
	// Registers are TDXRegisters of a TD, or the PCRs of a VM of Azure or with an SVSM, in hex by name,
	// also those that no entry pinned: MRTD, or the paravisor's measurement, says
	// nothing about what was started. Absent for other kinds, where Measurement does.
	Registers map[string]string `json:"registers,omitempty"`
}

// OpenTicket turns a compact ticket into checked facts: it is well-formed and
// signed by the ticket key of the accepted statement that it names. Nothing
// else is decided here. The error is a *[Refusal]: ticket.malformed,
// ticket.algorithm, ticket.statement or ticket.signature, in the order in which
// they are found; a forged ticket is never told as an expired one.
func OpenTicket(token string, issuers []Issuer) (Ticket, Issuer, error) {
	p, err := parseJWS(token, TicketType, MaxTicket)
	if err != nil {
		code := TicketMalformed
		if errors.Is(err, errAlgorithm) {
			code = TicketAlgorithm
		}
		return Ticket{}, Issuer{}, Refuse(code, "opening ticket: %w", err)
	}
	t, err := decode[Ticket](p.payload, MaxTicket)
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return Ticket{}, Issuer{}, Refuse(TicketMalformed, "opening ticket: %w", err)
	}
	for _, i := range issuers {
		if i.Digest != t.Stmt {
			continue
		}
		jwk, ok := i.Statement.Key(p.kid, UseTicket)
		if !ok {
			return Ticket{}, Issuer{}, Refuse(TicketStatement, "opening ticket: statement %s lists no ticket key %s", t.Stmt.Short(), quote(p.kid))
		}
		pub, err := jwk.PublicKey(UseTicket)
		if err != nil {
			return Ticket{}, Issuer{}, Refuse(TicketStatement, "opening ticket: %w", err)
		}
		if err := p.verify(pub); err != nil {
			return Ticket{}, Issuer{}, Refuse(TicketSignature, "opening ticket: %w", err)
		}
		if t.Iss != i.Statement.Issuer {
			return Ticket{}, Issuer{}, Refuse(TicketStatement, "opening ticket: issuer is %s, the statement is of %s", quote(t.Iss), quote(i.Statement.Issuer))
		}
		return t, i, nil
	}
	return Ticket{}, Issuer{}, Refuse(TicketStatement, "opening ticket: statement %s is not accepted here", t.Stmt.Short())
}

// A TicketCheck is what a node knows when it checks a ticket. The zero value
// refuses every ticket.
type TicketCheck struct {
	// At is the node's time.
	At time.Time
	// Node and Cluster are the node's own, from its configuration.
	Node, Cluster string
	// Digest and Repository are what is about to be pulled or started.
	Digest     Digest
	Repository string
	// Namespace is the pod's, or empty for a pull.
	Namespace string
	// Issuers are the accepted statements.
	Issuers []Issuer
	// Head is the node's head, HeadSince when the node first held it.
	Head      CheckedHead
	HeadSince time.Time
	// AllowOffline leaves out exp and the head, for an image that this node let
	// through before (design.md §4.4). Whoever sets it bounds the time since the
	// last fresh status.
	AllowOffline bool
}

// CheckTicket decides whether a ticket lets c.Digest through: signature,
// audience, subject, repository, times, head, deny list, outcome, in this
// order. On refusal the error is a *[Refusal] of the family ticket, head.expired
// where the node's own head has ended, or the daemon's own code. A ticket that
// lets through with audit-fail or unchecked returns no error: see
// [Ticket.Outcome].
func CheckTicket(token string, c TicketCheck) (Ticket, error) {
	t, issuer, err := OpenTicket(token, c.Issuers)
	if err != nil {
		return Ticket{}, err
	}
	for _, check := range []func(Ticket, Issuer) error{c.checkAudience, c.checkSubject, c.checkTimes, c.checkBy, c.checkHead, c.checkDeny} {
		if err := check(t, issuer); err != nil {
			return Ticket{}, err
		}
	}
	if outcome, pattern := t.Outcome(c.Namespace); outcome == OutcomeFail || !outcome.Valid() {
		return Ticket{}, c.refusedOutcome(t, pattern)
	}
	return t, nil
}

// refusedOutcome tells why: the ticket's own code where the outcome is that of
// every namespace, else that it is this namespace's.
func (c TicketCheck) refusedOutcome(t Ticket, pattern string) error {
	if t.Code != "" && (pattern == "*" || t.letsNothing()) {
		return Refuse(t.Code, "the daemon refuses %s@%s", t.Repo, t.Sub.Short())
	}
	if pattern == "" {
		return Refuse(TicketNamespace, "the ticket for %s@%s says nothing about namespace %s", t.Repo, t.Sub.Short(), quote(c.Namespace))
	}
	return Refuse(TicketNamespace, "the daemon refuses %s@%s in namespace %s", t.Repo, t.Sub.Short(), quote(c.Namespace))
}

func (c TicketCheck) checkAudience(t Ticket, _ Issuer) error {
	if c.Node == "" || t.Aud != c.Node {
		return Refuse(TicketAudience, "ticket is for node %s, this is %s", quote(t.Aud), quote(c.Node))
	}
	if c.Cluster == "" || t.Cluster != c.Cluster {
		return Refuse(TicketAudience, "ticket is for cluster %s, this is %s", quote(t.Cluster), quote(c.Cluster))
	}
	return nil
}

func (c TicketCheck) checkSubject(t Ticket, _ Issuer) error {
	if !t.Names(c.Digest) {
		return Refuse(TicketSubject, "ticket is for %s, asked is %s", t.Sub.Short(), c.Digest.Short())
	}
	if c.Repository == "" || t.Repo != c.Repository {
		return Refuse(TicketRepository, "ticket is for repository %s, asked is %s", quote(t.Repo), quote(c.Repository))
	}
	return nil
}

func (c TicketCheck) checkTimes(t Ticket, i Issuer) error {
	if err := t.checkLife(); err != nil {
		return Refuse(TicketLifetime, "ticket %s: %w", t.Jti, err)
	}
	if t.Exp > i.Statement.NotAfter {
		return Refuse(TicketLifetime, "ticket %s ends %s, after its issuer statement, %s", t.Jti, unixUTC(t.Exp), unixUTC(i.Statement.NotAfter))
	}
	skew := int64(MaxSkew / time.Second)
	if now := c.At.Unix(); now < t.Nbf-skew || now < t.Iat-skew {
		return Refuse(TicketNotYetValid, "ticket begins %s, this node's clock says %s", unixUTC(max(t.Nbf, t.Iat)), unixUTC(now))
	} else if now >= t.Exp && !c.AllowOffline {
		return Refuse(TicketExpired, "ticket ended %s, this node's clock says %s", unixUTC(t.Exp), unixUTC(now))
	}
	return nil
}

// checkBy demands that a daemon whose statement is accepted signed the core.
func (c TicketCheck) checkBy(t Ticket, _ Issuer) error {
	if t.Core == "" {
		return nil
	}
	for _, i := range c.Issuers {
		if _, ok := i.Statement.Key(t.By, UseVerdict); ok {
			return nil
		}
	}
	return Refuse(TicketStatement, "no accepted statement lists the verdict key %s, which signed the core", quote(t.By))
}

func (c TicketCheck) checkHead(t Ticket, _ Issuer) error {
	if c.Head.Counter == 0 {
		return Refuse(TicketHead, "this node has no head")
	}
	if c.AllowOffline {
		return nil
	}
	if err := c.Head.CheckAt(c.At); err != nil {
		return err
	}
	switch grace := time.Duration(c.Head.Grace) * time.Second; {
	case t.Head == c.Head.Counter:
		return nil
	case t.Head+1 == c.Head.Counter && !c.HeadSince.IsZero() && c.At.Before(c.HeadSince.Add(grace)) && !c.At.Before(c.HeadSince):
		return nil
	default:
		return Refuse(TicketHead, "ticket is under head %d, this node has %d, grace %s", t.Head, c.Head.Counter, grace)
	}
}

func (c TicketCheck) checkDeny(t Ticket, i Issuer) error {
	active := c.Head.ActiveDocs(c.At)
	if err := c.checkDenyList(c.Head.DenyFile, t, i); err != nil {
		return err
	}
	for _, d := range active {
		if err := c.checkDenyList(d.Entries, t, i); err != nil {
			return err
		}
	}
	// Who signed the image is not in the ticket. A document that denies signers
	// withholds every ticket whose daemon did not have it, until it is renewed.
	active = slices.DeleteFunc(active, func(d CheckedDeny) bool { return !d.Entries.onlyDaemonKnows() })
	if len(active) == 0 {
		return nil
	}
	applied := c.Head.appliedDocs(t)
	for _, d := range active {
		if !slices.ContainsFunc(applied, func(a CheckedDeny) bool { return a.Digest == d.Digest }) {
			return Refuse(TicketDenied, "the ticket was issued without a deny document that names a signer, of owner %s", quote(d.Owner))
		}
	}
	return nil
}

// checkDenyList applies what a node can see by itself.
func (c TicketCheck) checkDenyList(deny DenyList, t Ticket, i Issuer) error {
	switch {
	case deny.DeniesImage(t.Sub, t.Dig.Index, t.Dig.Manifest, t.Dig.Config):
		return Refuse(TicketDenied, "owners denied the image %s", t.Sub.Short())
	case deny.DeniesRepository(t.Repo):
		return Refuse(TicketDenied, "owners denied the repository %s", quote(t.Repo))
	case len(deny.Statements)+len(deny.Measurements) == 0:
		return nil
	}
	for _, issuer := range c.Issuers {
		if _, by := issuer.Statement.Key(t.By, UseVerdict); issuer.Digest != i.Digest && !by {
			continue
		}
		if slices.Contains(deny.Statements, issuer.Digest) {
			return Refuse(TicketDenied, "owners denied the issuer statement %s", issuer.Digest.Short())
		}
		if deny.DeniesMeasurement(issuer) {
			return Refuse(TicketDenied, "owners denied the measurement of the daemon")
		}
	}
	return nil
}

// appliedDocs returns the deny documents that the ticket's deny digest stands
// for, or none where it stands for something else. Documents accumulate, so that
// what a daemon had is what there is now without the newest few.
func (h CheckedHead) appliedDocs(t Ticket) []CheckedDeny {
	docs := h.ActiveDocs(time.Unix(t.Iat, 0))
	slices.SortStableFunc(docs, func(a, b CheckedDeny) int { return cmp.Compare(a.Iat, b.Iat) })
	for n := len(docs); n > 0; n-- {
		if DenyDigest(docs[:n]) == t.Deny {
			return docs[:n]
		}
	}
	return nil
}

func unixUTC(s int64) string { return time.Unix(s, 0).UTC().Format(time.RFC3339) }
