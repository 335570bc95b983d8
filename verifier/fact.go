// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/notation"
)

// A fact is what one verified signature shows, whatever any policy makes of
// it: this signature over these bytes verifies under this material. It is what
// layer 1 of the cache holds, and it never is a decision.
type fact struct {
	claims *claims
	signer *signer
	// times are the proven times of signing, earliest first; none where only
	// the time of the decision can date the signature.
	times []time.Time
	logs  []logEntry
	// chain is the signer's certificates, leaf first, up to the trust anchor,
	// where its publisher can revoke them; stampers are those of timestamp
	// authorities alike. Sigstore's certificates live for minutes and are not
	// revoked.
	chain    []*x509.Certificate
	stampers [][]*x509.Certificate
	// window is when an undated signature counts.
	window window
	// expires is when the signer wants it to end; zero for never.
	expires time.Time
	// trustUntil is when the list that has the image stops to count, and list its
	// digest.
	trustUntil time.Time
	list       verdict.Digest
}

// A window is a span of time, inclusive at both ends; a zero end is open.
type window struct{ from, to time.Time }

func (w window) contains(t time.Time) bool {
	return !t.Before(w.from) && (w.to.IsZero() || !t.After(w.to))
}

func (w window) String() string {
	name := func(t time.Time) string {
		if t.IsZero() {
			return "any time"
		}
		return t.UTC().Format(time.RFC3339)
	}
	return name(w.from) + " to " + name(w.to)
}

// and narrows w to what is in o too.
func (w window) and(o window) window {
	if o.from.After(w.from) {
		w.from = o.from
	}
	if w.to.IsZero() || !o.to.IsZero() && o.to.Before(w.to) {
		w.to = o.to
	}
	return w
}

// A logEntry is where a log has the signature.
type logEntry struct {
	logID string // hex of the key's SHA-256
	index int64
	// claimed: nothing signed has the index in it. Rekor v1 signs it in the
	// entry timestamp only; its proof of inclusion counts within one shard.
	claimed bool
}

// A stage is how far a candidate came: the one that failed latest says most.
type stage int

const (
	stageRead stage = iota
	stageKind
	stageSigner
	stageSignature
	stageLog
	stageTime
	stageChain
	stageSCT
	stageSubject
	stageIdentity
	stageRevoked
	stageContent
)

// A stageError is why a candidate is not the signature that an authority was
// asked for.
type stageError struct {
	stage stage
	err   error
}

// A material is what a signature is verified under: the trust of an authority
// and its demands on proofs. Exactly one of key,
// anchors, notation and keyless is set.
type material struct {
	// instance has the logs and timestamp authorities, and for keyless the
	// certificate authorities; nil for none.
	instance *instance
	keyless  bool
	key      crypto.PublicKey
	spki     verdict.Digest
	anchors  []*x509.Certificate // of an own PKI
	notation *notation.Trust
	targets  *targetTrust
	// collections are those of Docker Content Trust.
	collections *collectionTrust
	// stale is why nothing can be verified under it now, or nil; until is when
	// that begins, or zero.
	stale error
	until time.Time

	log        bool // an entry of a listed log is demanded
	timestamp  bool // a timestamp of a listed authority is demanded
	sct        bool // a certificate-transparency timestamp is demanded
	algorithms algorithms

	// id names all of it in cache keys.
	id string
}

// material returns what a's signatures are verified under with roots.
func (a *authority) material(roots *Roots, alg algorithms) (*material, error) {
	m := &material{instance: roots.instance(a.instance), log: a.RequireLog || a.Logs > 0, timestamp: a.RequireTimestamp, algorithms: alg}
	if m.instance == nil && a.Roots != "" {
		return nil, verdict.Misused("name it under sigstore of the roots file", "authority %q: the trust roots have no sigstore instance %q [%s]", a.name, a.Roots, verdict.TrustMissing)
	}
	if m.instance != nil {
		m.stale, m.until = m.instance.stale, m.instance.until
	}
	var trust []string
	switch {
	case a.TUF != nil:
		return a.targetMaterial(roots)
	case a.NotaryV1 != nil:
		return a.collectionMaterial(roots)
	case a.Key != nil:
		m.key, m.spki = a.pub, a.spki
		trust = append(trust, "key", string(a.spki))
	case a.Notation != nil:
		names := a.Notation.TrustStores
		if err := roots.checkStores(a.name, names, StoreCA, StoreSigningAuthority, StoreTSA); err != nil {
			return nil, err
		}
		m.notation = &notation.Trust{CAs: roots.store(StoreCA, names), SigningAuthorities: roots.store(StoreSigningAuthority, names), TSAs: roots.store(StoreTSA, names), RequireTimestamp: a.RequireTimestamp}
		if len(m.notation.CAs)+len(m.notation.SigningAuthorities) == 0 {
			return nil, verdict.Misused("name a trust store of kind ca or signing-authority", "authority %q: none of its trust stores may issue signers [%s]", a.name, verdict.TrustMissing)
		}
		if m.timestamp && len(m.notation.TSAs) == 0 {
			return nil, verdict.Misused("name a trust store of kind tsa", "authority %q: a timestamp is demanded, and no trust store is for one [%s]", a.name, verdict.TrustMissing)
		}
		m.instance, m.stale, m.until = nil, nil, time.Time{}
		m.id = strings.Join([]string{"notation", certificatesID(m.notation.CAs), certificatesID(m.notation.SigningAuthorities), certificatesID(m.notation.TSAs), strconv.FormatBool(a.RequireTimestamp), strconv.FormatBool(alg.ed25519)}, " ")
		return m, nil
	case a.X509 != nil:
		if err := roots.checkStores(a.name, a.X509.TrustStores, StoreX509); err != nil {
			return nil, err
		}
		m.anchors = roots.store(StoreX509, a.X509.TrustStores)
		trust = append(trust, "x509", certificatesID(m.anchors))
	default:
		m.keyless = true
		trust = append(trust, "keyless")
		if m.stale != nil { // what it lists is not known
			m.id = strings.Join(append(trust, "stale", a.instance), " ")
			return m, nil //nolint:nilerr // it is told when something is verified
		}
		if !m.instance.hasCA() {
			return nil, verdict.Misused("name a trusted root", "authority %q: the trust roots list no certificate authority [%s]", a.name, verdict.TrustMissing)
		}
		m.log = m.log || m.instance.hasLog() && !a.AllowUnlogged
		m.timestamp = m.timestamp || !m.log
		m.sct = m.instance.hasCTLog() && !a.AllowNoSCT
	}
	if !m.keyless && !m.log && !m.timestamp {
		m.stale = nil // nothing of the instance is demanded
	}
	if m.stale != nil {
		m.id = strings.Join(append(trust, "stale", a.instance), " ")
		return m, nil //nolint:nilerr // as above
	}
	if m.log && !m.instance.hasLog() {
		return nil, verdict.Misused("name a trusted root with the log, or do not demand one", "authority %q: a log entry is demanded, and the trust roots list no log [%s]", a.name, verdict.TrustMissing)
	}
	if m.timestamp && !m.instance.hasTimestamps() {
		return nil, verdict.Misused("name a trusted root with the timestamp authority", "authority %q: a timestamp is demanded, and the trust roots list no timestamp authority [%s]", a.name, verdict.TrustMissing)
	}
	trust = append(trust, m.instance.id())
	for _, set := range []bool{m.log, m.timestamp, m.sct, alg.ed25519} {
		trust = append(trust, strconv.FormatBool(set))
	}
	m.id = strings.Join(trust, " ")
	return m, nil
}

// certificatesID names a set of certificates.
func certificatesID(certs []*x509.Certificate) string {
	var all []byte
	for _, c := range certs {
		sum := sha256.Sum256(c.Raw)
		all = append(all, sum[:]...)
	}
	return string(verdict.SHA256(all))
}

// reads says whether a signature of that family can be a's.
func (a *authority) reads(f family) bool {
	switch f {
	case familyLegacy, familyAttestation, familyBundle:
		return a.Keyless != nil || a.Key != nil || a.X509 != nil
	case familyNotation:
		return a.Notation != nil
	case familyRecord:
		return a.Key != nil
	case familyTarget:
		return a.TUF != nil || a.NotaryV1 != nil
	case familyOther:
	}
	return false
}

// verify runs the steps of the sigstore client specification ("Verification")
// over e, in an order in which what is cheap and says little comes first. Time
// is none of its inputs: every window is compared with proven times.
func (m *material) verify(e *entity) (*fact, *stageError) {
	switch {
	case m.key != nil:
		return m.verifyKeyed(e)
	case m.keyless:
		return m.verifyKeyless(e)
	case m.notation != nil:
		return m.verifyNotation(e)
	case m.targets != nil:
		return m.verifyTarget(e)
	case m.collections != nil:
		return m.verifyCollection(e)
	}
	return m.verifyX509(e)
}

// trusted is what the library's steps take.
func (m *material) trusted() root.TrustedMaterialCollection {
	if m.instance == nil || m.instance.material == nil {
		return nil
	}
	return root.TrustedMaterialCollection{m.instance.material}
}

func (m *material) verifyKeyless(e *entity) (*fact, *stageError) {
	if e.leaf == nil {
		return nil, &stageError{stageSigner, verdict.Refuse(verdict.CertUntrusted, "reading signer: it was signed with a bare key, and a certificate is demanded")}
	}
	s, err := readSigner(e.leaf)
	if err != nil {
		return nil, &stageError{stageSigner, err}
	}
	if err := m.algorithms.accept(e.leaf.PublicKey); err != nil {
		return nil, &stageError{stageSigner, err}
	}
	if err := checkFulcioLeaf(e.leaf); err != nil {
		return nil, &stageError{stageSigner, err}
	}
	if err := m.verifySignature(e, e.leaf.PublicKey); err != nil {
		return nil, &stageError{stageSignature, err}
	}
	tm := root.TrustedMaterial(m.instance.material)
	times, logs, serr := m.verifyTimes(e, tm)
	if serr != nil {
		return nil, serr
	}
	if len(times) == 0 {
		if len(e.timestamps) > 0 {
			return nil, &stageError{stageTime, verdict.Refuse(verdict.TimeUntrusted, "proving time: no listed authority verifies any of %d timestamps", len(e.timestamps))}
		}
		return nil, &stageError{stageTime, verdict.Refuse(verdict.TimeUnproven, "proving time: there is neither a signed entry timestamp nor a timestamp")}
	}
	// The chain has to be valid at every proven time ("hybrid model").
	chains, at, err := m.instance.material.verifyLeaf(e.leaf, times)
	if err != nil {
		return nil, &stageError{stageChain, explainChain(e.leaf, at, m.instance.material.TrustedRoot)}
	}
	if err := m.acceptChains(chains); err != nil {
		return nil, &stageError{stageChain, err}
	}
	if err := checkFulcioIssuer(chains); err != nil {
		return nil, &stageError{stageChain, err}
	}
	if m.sct {
		if err := m.instance.material.verifySCT(chains); err != nil {
			return nil, &stageError{stageSCT, err}
		}
	}
	return &fact{claims: e.claims, signer: s, times: times, logs: logs}, nil
}

func (m *material) verifyKeyed(e *entity) (*fact, *stageError) {
	if e.leaf != nil && verdict.SHA256(e.leaf.RawSubjectPublicKeyInfo) != m.spki {
		return nil, &stageError{stageSigner, verdict.Refuse(verdict.KeyUnknown, "reading signer: it was signed with a certificate whose key is another")}
	}
	if err := m.verifySignature(e, m.key); err != nil {
		if verdict.CodeOf(err) == verdict.SigInvalid && m.isOther(e) {
			err = verdict.Refuse(verdict.KeyUnknown, "verifying signature: it was made by another key")
		}
		return nil, &stageError{stageSignature, err}
	}
	var tm root.TrustedMaterial
	if e.logged() || len(e.timestamps) > 0 { // otherwise the library is asked nothing
		content := &keyContent{key: m.key, hint: e.hint}
		e = e.withKey(content)
		tm = append(root.TrustedMaterialCollection{root.NewTrustedPublicKeyMaterial(content.verifier)}, m.trusted()...)
	}
	times, logs, serr := m.verifyTimes(e, tm)
	if serr != nil {
		return nil, serr
	}
	return &fact{claims: e.claims, signer: &signer{key: m.spki}, times: times, logs: logs}, nil
}

// isOther says whether something beside a signature that does not verify names
// another key. It only chooses between two reasons.
func (m *material) isOther(e *entity) bool {
	content := &keyContent{key: m.key}
	for _, t := range e.entries {
		if pk := t.publicKey(); pk != nil && !content.CompareKey(pk, nil) {
			return true
		}
	}
	return false
}

// verifySignature verifies the signature itself, by our own code: the library
// writes to stderr while it tries hashes.
func (m *material) verifySignature(e *entity, pub crypto.PublicKey) error {
	if e.message == nil {
		return e.verifyDigests(m.algorithms, pub)
	}
	err := m.algorithms.verifyMessage(pub, e.message, e.sig)
	if err != nil && e.bare != nil && m.algorithms.verifyMessage(pub, e.bare, e.sig) == nil {
		return nil
	}
	return err
}

// verifyTimes verifies log entries and timestamps, and returns the times that
// they prove. An entry of a listed log has to be right also where none is
// demanded: it is there to be believed. tm may be nil where there is neither entry
// nor timestamp.
func (m *material) verifyTimes(e *entity, tm root.TrustedMaterial) ([]time.Time, []logEntry, *stageError) {
	var times []time.Time
	var logs []logEntry
	var logKeys map[string]*root.TransparencyLog
	if e.logged() {
		logKeys = tm.RekorLogs()
	}
	for _, t := range e.entries {
		if logKeys[t.logID()] != nil && t.isCompared(e) {
			continue
		}
		if _, err := t.whole(); err != nil {
			return nil, nil, &stageError{stageLog, verdict.Refuse(verdict.InputMalformed, "reading log entry: %w", err)}
		}
	}
	known := slices.ContainsFunc(e.entries, func(t *entry) bool { return logKeys[t.logID()] != nil })
	if t := e.intoto; t != nil && logKeys[t.logID] != nil {
		at, serr := t.verify(e, logKeys[t.logID])
		if serr != nil {
			return nil, nil, serr
		}
		times, logs = append(times, at), append(logs, t.logEntry())
	}
	if m.log && !known && len(logs) == 0 {
		return nil, nil, &stageError{stageLog, verdict.Refuse(verdict.LogMissing, "verifying log entry: %d entries, none of a log that the trust roots list", len(e.entries))}
	}
	if known {
		for _, t := range e.entries {
			if l := logKeys[t.logID()]; l != nil {
				if _, isEd := l.PublicKey.(ed25519.PublicKey); isEd && !m.algorithms.ed25519 {
					return nil, nil, &stageError{stageLog, m.algorithms.accept(l.PublicKey)}
				}
				logs = append(logs, logEntry{logID: t.logID(), index: t.GetLogIndex(), claimed: !t.isRekorV2() && !t.hasPromise()})
			}
		}
		logged, err := e.verifyEntries(tm, logKeys)
		if err != nil {
			return nil, nil, &stageError{stageLog, err}
		}
		if err := checkEntries(e, logKeys); err != nil {
			return nil, nil, &stageError{stageLog, err}
		}
		times = append(times, logged...)
	}
	if len(e.timestamps) > 0 {
		stamps, _, err := verify.VerifySignedTimestamp(e.asStamped(), tm)
		if err != nil {
			return nil, nil, &stageError{stageTime, verdict.Refuse(verdict.TimeUntrusted, "proving time: %w", err)}
		}
		if len(stamps) < len(e.timestamps) {
			if err := checkTimestamps(e); err != nil {
				return nil, nil, &stageError{stageTime, err}
			}
		}
		for _, s := range stamps {
			times = append(times, s.Time)
		}
		if m.timestamp && len(stamps) == 0 {
			return nil, nil, &stageError{stageTime, verdict.Refuse(verdict.TimeUntrusted, "proving time: no listed authority verifies any of %d timestamps", len(e.timestamps))}
		}
	} else if m.timestamp {
		return nil, nil, &stageError{stageTime, verdict.Refuse(verdict.TimeUnproven, "proving time: there is no timestamp, and one is demanded")}
	}
	slices.SortFunc(times, time.Time.Compare)
	// The library compares a log key's validity only with the time in a signed
	// entry timestamp. Entries that are proven by inclusion alone (all of
	// Rekor v2) are compared here.
	for _, t := range e.entries {
		l := logKeys[t.logID()]
		if l == nil || t.hasPromise() {
			continue
		}
		for _, at := range times {
			if at.Before(l.ValidityPeriodStart) || !l.ValidityPeriodEnd.IsZero() && at.After(l.ValidityPeriodEnd) {
				return nil, nil, &stageError{stageLog, verdict.Refuse(verdict.LogProof, "verifying log entry: the log's key was not valid at %s", at.UTC().Format(time.RFC3339))}
			}
		}
	}
	return times, logs, nil
}

// logged says whether a log entry came with e.
func (e *entity) logged() bool { return len(e.entries) > 0 || e.intoto != nil }

// acceptChains refuses chains with algorithms that this build may not use.
func (m *material) acceptChains(chains [][]*x509.Certificate) error {
	if m.algorithms.ed25519 {
		return nil
	}
	for _, chain := range chains {
		if !slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return m.algorithms.accept(c.PublicKey) != nil }) {
			return nil
		}
	}
	return verdict.Refuse(verdict.SigAlgorithm, "verifying certificate chain: a certificate has a key outside this build's validated crypto module")
}

// explainLog finds out why an entity with an entry of Rekor v2 was not accepted.
// The library's steps run again one by one, since its errors are texts.
func explainLog(e *entity, logs map[string]*root.TransparencyLog, cause error) error {
	for _, t := range e.entries {
		l := logs[t.logID()]
		if l == nil {
			continue
		}
		if err := t.validate(); err != nil {
			return verdict.Refuse(verdict.InputMalformed, "reading log entry: %w", err)
		}
		content, err := e.VerificationContent()
		if err != nil {
			return verdict.Refuse(verdict.LogMismatch, "verifying log entry %d: %w", t.GetLogIndex(), err)
		}
		if !t.isRekorV2() {
			if err := e.verifyEntry(t, l); err != nil {
				return err
			}
		}
		// What Rekor v2 has logged is recomputed; a difference fails the inclusion.
		if !bytes.Equal(t.signature(), e.sig) || !t.isBy(content, nil) || !t.isRekorV2() && !e.isLoggedAs(t) {
			return verdict.Refuse(verdict.LogMismatch, "verifying log entry %d: it is about another signature, key or content", t.GetLogIndex())
		}
	}
	return verdict.Refuse(verdict.LogProof, "verifying log entry: %w", cause)
}

// explainChain finds out why a certificate was not accepted at a time.
func explainChain(leaf *x509.Certificate, at time.Time, roots *root.TrustedRoot) error {
	expired := verdict.Refuse(verdict.CertExpiredAtSigning, "verifying certificate chain: it was signed at %s, and the certificate is valid from %s to %s",
		at.UTC().Format(time.RFC3339), leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	if at.Before(leaf.NotBefore) || at.After(leaf.NotAfter) {
		return expired
	}
	for _, authority := range roots.FulcioCertificateAuthorities() {
		ca, ok := authority.(*root.FulcioCertificateAuthority)
		if !ok {
			continue
		}
		pool, parents := x509.NewCertPool(), x509.NewCertPool()
		pool.AddCert(ca.Root)
		for _, c := range ca.Intermediates {
			parents.AddCert(c)
		}
		opts := x509.VerifyOptions{CurrentTime: at, Roots: pool, Intermediates: parents, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
		_, err := leaf.Verify(opts)
		if err == nil { // only the window that the roots give the CA is left
			return verdict.Refuse(verdict.CertExpiredAtSigning, "verifying certificate chain: the trust roots do not list its CA for %s", at.UTC().Format(time.RFC3339))
		}
		if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
			switch invalid.Reason {
			case x509.Expired:
				return verdict.Refuse(verdict.CertExpiredAtSigning, "verifying certificate chain: an issuer was not valid when it was signed, at %s", at.UTC().Format(time.RFC3339))
			case x509.IncompatibleUsage, x509.NotAuthorizedToSign, x509.TooManyIntermediates:
				return verdict.Refuse(verdict.CertProfile, "verifying certificate chain: %w", invalid)
			case x509.CANotAuthorizedForThisName:
				return verdict.Refuse(verdict.CertUntrusted, "verifying certificate chain: %w", invalid)
			}
		}
		if _, ok := errors.AsType[x509.UnhandledCriticalExtension](err); ok {
			return verdict.Refuse(verdict.CertProfile, "verifying certificate chain: %w", err)
		}
	}
	return verdict.Refuse(verdict.CertUntrusted, "verifying certificate chain: no path from %q to a listed authority", leaf.Issuer.String())
}

// A keyContent stands for a bare key in sigstore-go's steps. Windows of keys
// are compared by the decision, since a key without proof of time is judged at
// the time of the decision.
type keyContent struct {
	key  crypto.PublicKey
	hint string
}

// Hint is what the bundle calls the key. There is one key only, so that it
// chooses nothing.
func (k *keyContent) Hint() string { return k.hint }

func (k *keyContent) CompareKey(other any, _ root.TrustedMaterial) bool {
	if c, ok := other.(*x509.Certificate); ok {
		other = c.PublicKey
	}
	key, ok := k.key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(other)
}

func (k *keyContent) ValidAtTime(time.Time, root.TrustedMaterial) bool { return true }
func (k *keyContent) Certificate() *x509.Certificate                   { return nil }
func (k *keyContent) Intermediates() []*x509.Certificate               { return nil }
func (k *keyContent) PublicKey() verify.PublicKeyProvider              { return k }

// verifier gives the library the key for Rekor v2, which recomputes its leaf.
func (k *keyContent) verifier(string) (root.TimeConstrainedVerifier, error) {
	v, err := signature.LoadVerifier(k.key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return root.NewExpiringKey(v, time.Time{}, time.Time{}), nil
}

// shortLog is for people.
func (l logEntry) String() string {
	return strings.Join([]string{l.logID, strconv.FormatInt(l.index, 10)}, "/")
}
