// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
)

// A Decision says whether an image is let through, and why. The zero value does
// not let through.
type Decision struct {
	// Outcome is what counts; all but verdict.OutcomeFail and the empty one let
	// through.
	Outcome verdict.Outcome
	// Err is why not, or in audit why it would not have been: a *verdict.Refusal,
	// *verdict.Failure or *verdict.Misuse. It is nil for a pass.
	Err error
	// Note is what to know about an image that was let through other than by a
	// pass; its Text is also set for a pass.
	Note verdict.Reason
	// Ticket is the one that let through, zero without one.
	Ticket verdict.Ticket
	// Offline is true where the image was let through without a fresh status.
	Offline bool
	// Simulated is true where nothing but a simulator vouches for the daemon.
	Simulated bool
	// Unwitnessed is true where nobody but the daemon itself vouches for its log.
	Unwitnessed bool
	// Exception is what let through where that was an exception.
	Exception string
}

// Allowed tells whether the image is let through.
func (d Decision) Allowed() bool {
	return d.Outcome.Valid() && d.Outcome != verdict.OutcomeFail
}

// maxLine bounds what Line returns, in bytes: the kubelet shows it in an event.
const maxLine = 1 << 10

// Line returns the decision as one line of at most 1 KiB without a line feed: the
// code, a sentence, and for a denial what to do next. What is let through without
// being a pass begins with audit-fail or unchecked.
func (d Decision) Line() string {
	var line string
	switch {
	case d.Allowed() && d.Outcome == verdict.OutcomePass:
		line = "pass: " + d.Note.Text
	case d.Allowed():
		line = string(d.Outcome) + " " + string(d.Note.Code) + ": " + d.Note.Text
	default:
		reason := verdict.ReasonOf(d.why())
		line = string(reason.Code) + ": " + reason.Text
		if info, ok := reason.Code.Info(); ok && len(line)+len(info.Hint) < maxLine-2 {
			line += "; " + info.Hint
		}
		if m, ok := errors.AsType[*verdict.Misuse](d.why()); ok {
			line = "misuse: " + m.Text
		}
	}
	line = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == '\u2028' || r == '\u2029' || r == '\u0085' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(line, "?"))
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "")
	}
	return line
}

func (d Decision) why() error {
	if d.Err == nil {
		return verdict.Fail(verdict.Internal, "no decision was made")
	}
	return d.Err
}

func denied(err error) Decision { return Decision{Outcome: verdict.OutcomeFail, Err: err} }

// Knowledge is what a node knows when it judges: its configuration and what it
// holds that owners signed.
type Knowledge struct {
	Config Config
	// Head is checked against Marks; where there is none, HeadErr says why.
	Head    verdict.CheckedHead
	HeadErr error
	Marks   Marks
	// Exceptions are those of the owners.
	Exceptions []SignedException
	// AgentErr is why the agent did not answer, nil where it did.
	AgentErr error
}

// An Image is what is asked about.
type Image struct {
	Repository string
	Digest     verdict.Digest
	// Namespace is the pod's, empty for a pull.
	Namespace string
}

func (i Image) String() string {
	return i.Repository + "@" + i.Digest.Short()
}

// Judge decides about an image from what a node knows and what the agent has. It
// is pure. The order is: what owners deny, then tickets under a fresh status or
// what was let through before, then exceptions, then the mode.
func Judge(k Knowledge, image Image, a Answer, at time.Time) Decision {
	if k.Config.Mode == Off {
		return Decision{
			Outcome: verdict.OutcomeUnchecked,
			Note:    verdict.Reason{Code: verdict.PolicyOff, Text: "nothing was checked: this node's mode is off"},
		}
	}
	d := k.judge(image, a, at)
	if d.Allowed() || k.Config.Mode != Audit {
		return d
	}
	d.Outcome, d.Note = verdict.OutcomeAuditFail, verdict.ReasonOf(d.why())
	return d
}

func (k Knowledge) judge(image Image, a Answer, at time.Time) Decision {
	if err := k.checkDenied(image, at); err != nil {
		return denied(err)
	}
	d := k.judgeTickets(image, a, at)
	if d.Allowed() {
		return d
	}
	if x, ok := k.exception(image, at); ok {
		return Decision{
			Outcome: verdict.OutcomeUnchecked, Err: d.Err, Exception: string(x.Digest),
			Note: verdict.Reason{Code: verdict.PolicyException, Text: fmt.Sprintf("%s is let through by exception %.128q of %.128q until %s", image, x.ID, x.Owner,
				time.Unix(x.NotAfter, 0).UTC().Format(time.RFC3339))},
		}
	}
	return d
}

// checkDenied holds the owners' deny lists against what is asked: they beat tickets
// and exceptions. Without a head there is no list; then nothing but an exception
// lets through. A clock that was set back makes documents count longer, which is
// the right side.
func (k Knowledge) checkDenied(image Image, at time.Time) error {
	switch deny := k.Head.DenyAt(at); {
	case deny.DeniesImage(image.Digest):
		return verdict.Refuse(verdict.TicketDenied, "owners denied the image %s", image)
	case deny.DeniesRepository(image.Repository):
		return verdict.Refuse(verdict.TicketDenied, "owners denied the repository %.128q", image.Repository)
	}
	return nil
}

// latest is the node's time, or the highest that it has seen signed: a clock that
// was set back must not lengthen an exception.
func (k Knowledge) latest(at time.Time) time.Time {
	if seen := time.Unix(k.Marks.Time, 0); k.Marks.Time != 0 && seen.After(at) {
		return seen
	}
	return at
}

func (k Knowledge) exception(image Image, at time.Time) (SignedException, bool) {
	// With a head that is older than one seen, nobody knows what is denied now.
	if k.HeadErr != nil && (verdict.CodeOf(k.HeadErr) != verdict.HeadMissing || k.Marks.Head.Counter != 0) {
		return SignedException{}, false
	}
	for _, x := range k.Exceptions {
		if x.Check(image.Digest, k.Config.Cluster, k.latest(at)) == nil {
			return x, true
		}
	}
	return SignedException{}, false
}

// judgeTickets decides by tickets alone.
func (k Knowledge) judgeTickets(image Image, a Answer, at time.Time) Decision {
	if k.HeadErr != nil {
		// A node that never had a head is told why the agent could get none.
		if _, known := a.Code.Info(); known && verdict.CodeOf(k.HeadErr) == verdict.HeadMissing {
			return denied(k.noTicket(image, a))
		}
		return denied(k.HeadErr)
	}
	if err := k.Marks.CheckClock(at); err != nil {
		return denied(err)
	}
	standing := k.standing(a.Statements, at)
	headErr := k.Head.CheckAt(at)
	status, statusErr := k.status(a.Status, standing, at)
	if headErr == nil && statusErr == nil {
		return k.judgeOnline(image, a, slices.DeleteFunc(slices.Clone(standing), func(i verdict.Issuer) bool { return i.Statement.CheckAt(at) != nil }), at)
	}
	why := statusErr
	if headErr != nil {
		why = headErr
	}
	return k.judgeOffline(image, a, standing, status, why, at)
}

func (k Knowledge) judgeOnline(image Image, a Answer, issuers []verdict.Issuer, at time.Time) Decision {
	if len(a.Tickets) == 0 {
		return denied(k.noTicket(image, a))
	}
	return k.quorum(image, a.Tickets, verdict.TicketCheck{
		At: at, Node: k.Config.Node, Cluster: k.Config.Cluster, Digest: image.Digest, Repository: image.Repository, Namespace: image.Namespace,
		Issuers: issuers, Head: k.Head, HeadSince: since(k.Marks, k.Head),
	})
}

// judgeOffline holds design §4.4: what this node let through before the last fresh
// status, until max_offline after it. why is what is not fresh.
func (k Knowledge) judgeOffline(image Image, a Answer, issuers []verdict.Issuer, last verdict.Status, why error, at time.Time) Decision {
	stale := func(format string, args ...any) Decision {
		// A status that is refused, and not only old, is told as what it is.
		if code := verdict.CodeOf(why); verdict.Refused(why) && code != verdict.HeadExpired && code != verdict.IssuerExpired {
			return denied(why)
		}
		return denied(verdict.Fail(verdict.StatusStale, "%s, and "+format, append([]any{text(why)}, args...)...))
	}
	pulse := time.Unix(last.Iat, 0)
	end := pulse.Add(time.Duration(k.Config.MaxOffline))
	switch {
	case k.Config.Offline != OfflineLastKnown:
		return stale("this node denies all without one")
	case last.Iat == 0:
		return stale("this node has no status to count from")
	case a.Known == 0 || a.Known > last.Iat:
		return stale("%s was not let through here before that", image)
	case !at.Before(end):
		return stale("what was let through before counts no longer than %s", time.Duration(k.Config.MaxOffline))
	}
	if len(a.Tickets) == 0 {
		return stale("the ticket of %s is not here any more", image)
	}
	d := k.quorum(image, a.Tickets, verdict.TicketCheck{
		At: at, Node: k.Config.Node, Cluster: k.Config.Cluster, Digest: image.Digest, Repository: image.Repository, Namespace: image.Namespace,
		Issuers: issuers, Head: k.Head, AllowOffline: true,
	})
	d.Offline = d.Allowed()
	if d.Offline {
		d.Note.Text += fmt.Sprintf(", offline since %s", pulse.UTC().Format(time.RFC3339))
	}
	return d
}

func text(err error) string { return verdict.ReasonOf(err).Text }

// since is when the node first held the head, zero where the marks do not know.
func since(m Marks, h verdict.CheckedHead) time.Time {
	if m.Head.Counter != h.Counter || m.HeadSince == 0 {
		return time.Time{}
	}
	return time.Unix(m.HeadSince, 0)
}

// noTicket is why there is none: what the agent says, or that it says nothing.
func (k Knowledge) noTicket(image Image, a Answer) error {
	if info, ok := a.Code.Info(); ok {
		text := a.Text
		if text == "" {
			text = info.Meaning
		}
		if info.Kind == verdict.KindRefusal {
			return verdict.Refuse(a.Code, "%.700s", text)
		}
		return verdict.Fail(a.Code, "%.700s", text)
	}
	if k.AgentErr != nil {
		return verdict.Fail(verdict.CodeOf(k.AgentErr), "%s, and there is no ticket for %s in the state folder", text(k.AgentErr), image)
	}
	return verdict.Fail(verdict.TicketMissing, "the agent has no ticket for %s", image)
}

// standing returns the issuers that count under the node's head: a reference entry
// for what they measured still stands, and neither statement nor measurement is
// denied. The agent judges the same when a head comes; a crash between its two
// writes must not leave a dead issuer alive.
func (k Knowledge) standing(issuers []verdict.Issuer, at time.Time) []verdict.Issuer {
	var out []verdict.Issuer
	for _, i := range issuers {
		if checkIssuer(i) == nil && Standing(k.Head, i, k.Config.Profile == verdict.Development, at) == nil {
			out = append(out, i)
		}
	}
	return out
}

// Standing refuses an issuer for which the head's references have no entry any
// more, with guest.measurement, guest.register, issuer.profile or issuer.config. It does not look
// at what the owners deny: the check of a ticket does, and tells it.
func Standing(h verdict.CheckedHead, i verdict.Issuer, allowDevelopment bool, at time.Time) error {
	err := verdict.Refuse(verdict.GuestMeasurement, "head %d has no reference entry for the measurement of statement %s", h.Counter, i.Digest.Short())
	for _, e := range h.References.Entries {
		switch {
		case e.Kind != i.Kind || measured(e) == "" || measured(e) != i.Measurement || !e.Valid(at):
		case !sameRegisters(e, i):
			if verdict.CodeOf(err) != verdict.GuestMeasurement {
				continue // another entry came further
			}
			err = verdict.Refuse(verdict.GuestRegister, "reference entry %.64q has other registers than statement %s", e.Name, i.Digest.Short())
		case e.Profile != verdict.Production && !allowDevelopment:
			err = verdict.Refuse(verdict.IssuerProfile, "reference entry %.64q is of profile %.32q", e.Name, e.Profile)
		case !slices.Contains(e.Configs, i.Statement.Config) || !slices.Contains(e.Flavours, i.Statement.Build.Crypto.Module):
			err = verdict.Refuse(verdict.IssuerConfig, "reference entry %.64q does not name the config or flavour of statement %s", e.Name, i.Digest.Short())
		default:
			return nil
		}
	}
	return err
}

// measured is what an appraisal by e calls the measurement: the launch measurement,
// or of a TPM PCR 11, and where e does not pin that the lowest PCR that it pins.
func measured(e verdict.ReferenceEntry) string {
	if e.Kind != verdict.KindTPM {
		return e.Measurement
	}
	if value, ok := e.Registers["pcr11"]; ok {
		return value
	}
	for n := range maxPCRs {
		if value, ok := e.Registers[fmt.Sprintf("pcr%d", n)]; ok {
			return value
		}
	}
	return ""
}

// sameRegisters tells whether a TD, or a VM of Azure, has the registers that e pins. Of a
// TPM the agent keeps only what measured says.
func sameRegisters(e verdict.ReferenceEntry, i verdict.Issuer) bool {
	if e.Kind == verdict.KindTPM {
		return true
	}
	for name, value := range e.Registers {
		if i.Registers[name] != value {
			return false
		}
	}
	return true
}

// maxPCRs is how many registers of a TPM an entry can pin.
const maxPCRs = 24

// status opens the newest status. It returns it also where it is not fresh: what
// was let through before it still counts for a while.
func (k Knowledge) status(token string, issuers []verdict.Issuer, at time.Time) (verdict.Status, error) {
	if token == "" {
		return verdict.Status{}, verdict.Fail(verdict.StatusStale, "there is no status of any daemon")
	}
	deny := k.Head.DenyAt(at)
	issuers = slices.DeleteFunc(slices.Clone(issuers), func(i verdict.Issuer) bool {
		return slices.Contains(deny.Statements, i.Digest) || deny.DeniesMeasurement(i)
	})
	s, err := verdict.OpenStatus(token, issuers)
	if err != nil {
		return verdict.Status{}, err
	}
	if err := s.CheckFresh(at, time.Duration(k.Config.StatusAge)); err != nil {
		if time.Unix(s.Iat, 0).After(at.Add(verdict.MaxSkew)) {
			return verdict.Status{}, err // nothing is counted from the future
		}
		return s, err
	}
	for _, i := range issuers {
		if i.Digest == s.Stmt {
			if err := i.Statement.CheckAt(at); err != nil {
				return s, err
			}
		}
	}
	if err := k.checkStatusHead(s, at); err != nil {
		// It counts as the last pulse where it came before the newer head did. A
		// daemon that stays behind would else keep known images alive for ever.
		if first := since(k.Marks, k.Head); first.IsZero() || s.Iat > first.Unix() {
			return verdict.Status{}, err
		}
		return s, err
	}
	return s, nil
}

// checkStatusHead refuses the pulse of a daemon that is behind this node: it would
// say that nothing newer is known where something is. For the head's grace the
// daemon may be one behind, as tickets may.
func (k Knowledge) checkStatusHead(s verdict.Status, at time.Time) error {
	first := since(k.Marks, k.Head)
	grace := time.Duration(k.Head.Grace) * time.Second
	switch {
	case s.Head.Counter == k.Head.Counter && s.Head.Digest != k.Head.Digest:
		return verdict.Refuse(verdict.HeadConflict, "the newest status is under another head %d than this node's", s.Head.Counter)
	case s.Head.Counter >= k.Head.Counter:
		return nil
	case s.Head.Counter+1 == k.Head.Counter && !first.IsZero() && !at.Before(first) && at.Before(first.Add(grace)):
		return nil
	}
	return verdict.Refuse(verdict.StatusRollback, "the newest status is under head %d, this node has %d", s.Head.Counter, k.Head.Counter)
}

// order ranks refusals of tickets: of several, the one that got furthest is told.
var order = []verdict.Code{
	verdict.TicketMalformed, verdict.TicketAlgorithm, verdict.TicketStatement, verdict.TicketSignature, verdict.TicketAudience, verdict.TicketSubject,
	verdict.TicketRepository, verdict.TicketLifetime, verdict.TicketNotYetValid, verdict.TicketExpired, verdict.TicketHead, verdict.TicketNamespace,
}

func rank(err error) int {
	if i := slices.Index(order, verdict.CodeOf(err)); i >= 0 {
		return i
	}
	return len(order)
}

// quorum lets through where tickets of enough distinct daemons do. A daemon counts
// by the key that signed the core, whoever signed the ticket: daemons share
// cores.
func (k Knowledge) quorum(image Image, tickets []string, check verdict.TicketCheck) Decision {
	var refusal error
	var best Decision
	distinct := map[string]bool{}
	passed := 0
	for _, token := range tickets[:min(len(tickets), MaxQuorum)] {
		t, err := verdict.CheckTicket(token, check)
		if err != nil {
			if refusal == nil || rank(err) > rank(refusal) {
				refusal = err
			}
			continue
		}
		issuer, ok := decider(t, check.Issuers)
		if !ok {
			continue
		}
		passed++
		if by := k.Config.QuorumBy.Of(issuer); by != "" {
			distinct[by] = true
		}
		outcome, _ := t.Outcome(check.Namespace)
		// Of several that let through, the least good one is told: whoever says
		// audit-fail has seen something.
		if best.Outcome == "" || weaker(outcome, best.Outcome) {
			best.Outcome, best.Ticket = outcome, t
		}
		best.Simulated = best.Simulated || verdict.Simulated(issuer.Kind)
	}
	switch {
	case passed == 0 && refusal != nil:
		return denied(refusal)
	case len(distinct) < k.Config.Quorum:
		return denied(verdict.Refuse(verdict.TicketQuorum, "daemons let %s through that count as %d by %s, want %d", image, len(distinct), cmp.Or(k.Config.QuorumBy, ByBoot), k.Config.Quorum))
	}
	best.Unwitnessed = k.Config.AllowUnwitnessed && best.Ticket.Log != nil
	best.Note.Code = best.Ticket.Code
	switch {
	case best.Outcome == verdict.OutcomeUnchecked && best.Note.Code == "":
		best.Note.Code = verdict.PolicyOff
	case best.Note.Code == "" && best.Outcome != verdict.OutcomePass:
		best.Note.Code = verdict.PolicyError
	}
	best.Note.Text = fmt.Sprintf("%s is let through by ticket %s under head %d", image, best.Ticket.Jti, best.Ticket.Head)
	if best.Simulated {
		best.Note.Text += ", simulated"
	}
	if best.Unwitnessed {
		best.Note.Text += ", unwitnessed"
	}
	return best
}

// decider returns the issuer whose verdict key signed the core, or without a core
// the one that signed the ticket.
func decider(t verdict.Ticket, issuers []verdict.Issuer) (verdict.Issuer, bool) {
	for _, i := range issuers {
		if t.Core == "" && i.Digest == t.Stmt {
			return i, true
		}
		if _, ok := i.Statement.Key(t.By, verdict.UseVerdict); t.Core != "" && ok {
			return i, true
		}
	}
	return verdict.Issuer{}, false
}

func weaker(a, b verdict.Outcome) bool {
	scale := []verdict.Outcome{verdict.OutcomeAuditFail, verdict.OutcomeUnchecked, verdict.OutcomePass}
	return slices.Index(scale, a) < slices.Index(scale, b)
}
