// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"time"

	"github.com/assayd/assay/verdict"
)

// stapledURL is the source of what came without a request.
const stapledURL = "stapled"

// A lookup finds out about one certificate.
type lookup struct {
	c            *Checker
	at           time.Time
	signed       SigningTime
	stapled      stapledEvidence
	cert, issuer *x509.Certificate
	// delegate: the certificate is one of an OCSP responder, which only lists can
	// speak about, since it would speak for itself.
	delegate bool

	// Of the certificate: addresses that are asked, and all those of its lists.
	ocspURLs, crlURLs, freshest, points []string

	notes    []error // why what was seen decides nothing
	warnings []string
}

// notRevoked is what a piece of evidence says, or several that belong together.
type notRevoked struct {
	evidence []Evidence
	notAfter time.Time
}

// certificate finds out, from what is at hand first. All of that is looked at
// before any of it is believed that the certificate is fine.
func (l *lookup) certificate(ctx context.Context) outcome {
	sources, err := l.addresses()
	if err != nil {
		return l.unavailable(err)
	}
	var found *notRevoked
	better := func(n *notRevoked) {
		if n != nil && (found == nil || n.evidence[0].ThisUpdate.After(found.evidence[0].ThisUpdate)) {
			found = n
		}
	}
	if !l.delegate {
		n, err := l.knownResponses(ctx)
		if err != nil {
			return outcome{err: err}
		}
		better(n)
	}
	n, err := l.knownLists(ctx)
	if err != nil {
		return outcome{err: err}
	}
	better(n)
	if !sources && found == nil {
		if l.delegate {
			return l.unavailable(errors.New("it names no list of revoked certificates"))
		}
		return outcome{evidence: []Evidence{l.evidence("none", "", time.Time{}, time.Time{}, nil)}}
	}
	if found == nil && !l.delegate {
		if found, err = l.askResponders(ctx); err != nil {
			return outcome{err: err}
		}
	}
	if found == nil {
		if found, err = l.askLists(ctx); err != nil {
			return outcome{err: err}
		}
	}
	if found == nil {
		return l.unavailable(joinNotes(append(l.notes, l.stapled.notes...)))
	}
	return outcome{evidence: found.evidence, warnings: l.warnings, notAfter: found.notAfter}
}

func (l *lookup) name() string {
	return fmt.Sprintf("%q (serial number %s)", clipped(l.cert.Subject.String()), serialOf(l.cert))
}

func serialOf(c *x509.Certificate) string { return fmt.Sprintf("%x", c.SerialNumber) }

func (l *lookup) unavailable(why error) outcome {
	return outcome{err: verdict.Fail(verdict.RevocationUnavailable, "checking revocation of %s: %w", l.name(), why)}
}

func (l *lookup) note(source, address string, err error) {
	l.notes = append(l.notes, fmt.Errorf("%s %s: %w", source, clipped(address), err))
}

func (l *lookup) evidence(source, address string, this, next time.Time, der []byte) Evidence {
	e := Evidence{Subject: clipped(l.cert.Subject.String()), Serial: serialOf(l.cert), Source: source, URL: address, ThisUpdate: this, NextUpdate: next}
	if der != nil {
		e.Digest = verdict.SHA256(der)
	}
	return e
}

// addresses reads what the certificate names, and whether it names any source. One
// that names sources of which we can ask none is not one without.
func (l *lookup) addresses() (sources bool, err error) {
	sources = len(l.cert.OCSPServer) > 0
	l.ocspURLs = asked(l.cert.OCSPServer)
	for _, e := range l.cert.Extensions {
		switch {
		case e.Id.Equal(oidDistributionPoint):
			sources = true
			if l.points, err = parsePoints(e.Value); err != nil {
				return false, err
			}
			l.crlURLs = asked(l.points)
		case e.Id.Equal(oidFreshest):
			if l.freshest, err = parsePoints(e.Value); err != nil {
				return false, err
			}
		}
	}
	return sources, nil
}

// asked returns those of the addresses that are asked.
func asked(addresses []string) []string {
	var some []string
	for _, a := range addresses {
		if len(some) < MaxAddresses && fetchable(a) {
			some = append(some, a)
		}
	}
	return some
}

// refuse is what follows from an entry that says revoked: the refusal, or nil and a
// warning where the signature was made before the certificate became invalid.
func (l *lookup) refuse(source, address string, e *revocationEntry) error {
	reason := reasonNames[e.reason]
	if reason == "" {
		reason = fmt.Sprintf("reason %d", e.reason)
	}
	compromised := e.reason == reasonKeyCompromise || e.reason == reasonCACompromise || e.reason == reasonAACompromise
	if l.signed.BeforeInvalidity && l.signed.Proven && !l.signed.Upper.IsZero() && !compromised && !l.delegate &&
		e.invalidity.After(l.signed.Upper) {
		l.warn(fmt.Sprintf("certificate %s was revoked at %s (%s), invalid from %s on; the signature was made before, at %s at the latest",
			l.name(), stamp(e.at), reason, stamp(e.invalidity), stamp(l.signed.Upper)))
		return nil
	}
	return verdict.Refuse(verdict.RevokedCertificate, "checking revocation: certificate %s was revoked at %s (%s), says %s %s", l.name(), stamp(e.at), reason, source, clipped(address))
}

// warn adds a warning; two pieces of evidence may give the same one.
func (l *lookup) warn(text string) {
	if !slices.Contains(l.warnings, text) {
		l.warnings = append(l.warnings, text)
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// permanent tells whether a revocation can never be lifted.
func (e *revocationEntry) permanent() bool { return e.reason != reasonHold && e.reason != reasonRemove }

// OCSP.

// checkedResponse is a response whose signature was verified for one issuer.
type checkedResponse struct {
	*response
	delegate *x509.Certificate // nil: the issuer signed it
}

func checkResponse(r *response, cert, issuer *x509.Certificate) (*checkedResponse, error) {
	if _, err := r.answersFor(cert, issuer); err != nil {
		return nil, err
	}
	delegate, err := r.verify(issuer)
	if err != nil {
		return nil, err
	}
	return &checkedResponse{r, delegate}, nil
}

// knownResponses looks at responses that need no request.
func (l *lookup) knownResponses(ctx context.Context) (*notRevoked, error) {
	type source struct {
		r   *checkedResponse
		url string
	}
	var known []source
	for _, r := range l.stapled.responses {
		if _, err := r.answersFor(l.cert, l.issuer); err != nil {
			continue // about another certificate
		}
		checked, err := checkResponse(r, l.cert, l.issuer)
		if err != nil {
			l.note("ocsp", stapledURL, err)
			continue
		}
		known = append(known, source{checked, stapledURL})
	}
	for _, u := range l.ocspURLs {
		if r := l.cachedResponse(ctx, u); r != nil {
			known = append(known, source{r, u})
		}
	}
	var best *notRevoked
	for _, s := range known {
		n, err := l.judgeResponse(ctx, s.r, s.url)
		if err != nil {
			return nil, err
		}
		if n != nil && (best == nil || n.evidence[0].ThisUpdate.After(best.evidence[0].ThisUpdate)) {
			best = n
		}
	}
	return best, nil
}

// judgeResponse returns what a response says: a refusal, that the certificate is not
// revoked, or nil for nothing.
func (l *lookup) judgeResponse(ctx context.Context, r *checkedResponse, address string) (*notRevoked, error) {
	answers, err := r.answersFor(l.cert, l.issuer)
	if err != nil {
		l.note("ocsp", address, err)
		return nil, nil
	}
	// The certificate that is asked about cannot answer for itself.
	if r.delegate != nil && bytes.Equal(r.delegate.RawSubjectPublicKeyInfo, l.cert.RawSubjectPublicKeyInfo) {
		l.note("ocsp", address, errors.New("the certificate signed the answer about itself"))
		return nil, nil
	}
	worst, excused := answers[0], false
	for _, a := range answers {
		if a.criticalNotKnown {
			l.note("ocsp", address, errors.New("the answer has a critical extension that is not known"))
			return nil, nil
		}
		now := fresh(a.this, a.next, l.at) == nil
		if a.status == revoked && (a.entry.permanent() || now) {
			if err := l.refuse("ocsp", address, &a.entry); err != nil {
				return nil, err
			}
			excused = true
		}
		if a.this.Before(worst.this) || a.status != good {
			worst = a
		}
	}
	if err := fresh(worst.this, worst.next, l.at); err != nil {
		l.note("ocsp", address, err)
		return nil, nil
	}
	if worst.status != good && !excused {
		l.note("ocsp", address, errors.New("the responder does not know the certificate"))
		return nil, nil
	}
	if bySHA1(r.algorithm) {
		l.note("ocsp", address, errSHA1)
		return nil, nil
	}
	n := &notRevoked{evidence: []Evidence{l.evidence("ocsp", address, worst.this, worst.next, r.raw)}, notAfter: worst.next}
	if r.delegate == nil {
		return n, nil
	}
	by, err := l.responder(ctx, r.delegate)
	if err != nil {
		l.note("ocsp", address, err)
		return nil, nil
	}
	n.evidence = append(n.evidence, by.evidence...)
	n.notAfter = earlier(earlier(n.notAfter, by.notAfter), r.delegate.NotAfter)
	return n, nil
}

// responder checks that the issuer's delegate may answer now (RFC 6960 §4.2.2.2.1).
func (l *lookup) responder(ctx context.Context, d *x509.Certificate) (outcome, error) {
	if l.at.Before(d.NotBefore) || l.at.After(d.NotAfter) {
		return outcome{}, fmt.Errorf("the certificate of its signer is valid from %s to %s", stamp(d.NotBefore), stamp(d.NotAfter))
	}
	if hasNoCheck(d) {
		return outcome{}, nil
	}
	of := &lookup{c: l.c, at: l.at, stapled: l.stapled, cert: d, issuer: l.issuer, delegate: true}
	o := of.certificate(ctx)
	if o.err != nil {
		return outcome{}, fmt.Errorf("the certificate of its signer: %w", o.err)
	}
	return o, nil
}

func (l *lookup) ocspKey(address string) [32]byte {
	id := certID(l.cert, l.issuer)
	return digestOf([]byte("ocsp"), []byte(address), id[:])
}

// cachedResponse returns what is kept, and has it renewed when it is not new.
func (l *lookup) cachedResponse(ctx context.Context, address string) *checkedResponse {
	key := l.ocspKey(address)
	v, fetched := l.c.cache.get(key)
	if v == nil {
		v = l.load(ctx, key, kindOCSP, MaxOCSPBytes, func(der []byte) (any, error) {
			r, err := parseResponse(der)
			if err != nil {
				return nil, err
			}
			return checkResponse(r, l.cert, l.issuer)
		})
	}
	r, ok := v.(*checkedResponse)
	if !ok {
		return nil
	}
	answers, err := r.answersFor(l.cert, l.issuer)
	if err == nil && l.c.cfg.Fetch != nil && fresh(answers[0].this, answers[0].next, l.at) == nil && l.at.Sub(fetched) > refreshAfter {
		_, _ = l.c.flights.start("ocsp "+address+string(key[:]), l.at, l.c.cfg.OCSPTimeout, l.fetchResponse(address, key))
	}
	return r
}

// askResponders asks the addresses in order until one knows.
func (l *lookup) askResponders(ctx context.Context) (*notRevoked, error) {
	for _, u := range l.ocspURLs {
		if l.c.cfg.Fetch == nil {
			l.note("ocsp", u, errors.New("nobody is asked"))
			continue
		}
		key := l.ocspKey(u)
		flight := "ocsp " + u + string(key[:])
		v, err := l.c.flights.fly(ctx, flight, l.at, l.c.cfg.OCSPTimeout, l.fetchResponse(u, key))
		if err != nil {
			l.note("ocsp", u, err)
			continue
		}
		n, err := l.judgeResponse(ctx, v.(*checkedResponse), u)
		if err != nil || n != nil {
			return n, err
		}
		l.c.flights.rest(flight, l.at, errors.New("what it answered decides nothing"))
	}
	return nil, nil
}

// fetchResponse makes a request and keeps what comes of it.
func (l *lookup) fetchResponse(address string, key [32]byte) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		request, nonce, err := newRequest(l.cert, l.issuer)
		if err != nil {
			return nil, err
		}
		der, err := l.c.cfg.Fetch(ctx, http.MethodPost, address, "application/ocsp-request", request, MaxOCSPBytes)
		if err != nil {
			return nil, err
		}
		r, err := parseResponse(der)
		if err != nil {
			return nil, err
		}
		// RFC 9654 §2.1: a responder may leave it out, as those do that sign in
		// advance. Another one than ours is an answer to somebody else.
		if r.nonce != nil && !bytes.Equal(r.nonce, nonce) {
			return nil, errors.New("its nonce is not ours")
		}
		checked, err := checkResponse(r, l.cert, l.issuer)
		if err != nil {
			return nil, err
		}
		if old, _ := l.c.cache.get(key); old != nil && !l.newer(checked, old.(*checkedResponse)) {
			return checked, nil
		}
		l.c.cache.put(key, checked, len(der), l.at)
		l.c.keep(key, kindOCSP, der)
		return checked, nil
	}
}

// newer tells whether a response may take the place of another one in the cache.
func (l *lookup) newer(a, b *checkedResponse) bool {
	as, aerr := a.answersFor(l.cert, l.issuer)
	bs, berr := b.answersFor(l.cert, l.issuer)
	return aerr == nil && (berr != nil || !as[0].this.Before(bs[0].this))
}

// load reads a file of the cache and verifies it as if it were new. It is a flight
// too: the disk may hang.
func (l *lookup) load(ctx context.Context, key [32]byte, kind string, limit int64, verify func([]byte) (any, error)) any {
	if l.c.cache.root == nil {
		return nil
	}
	v, err := l.c.flights.fly(ctx, "load "+string(key[:]), l.at, l.c.cfg.CRLTimeout, func(context.Context) (any, error) {
		der := l.c.cache.read(key, kind, limit)
		if der == nil {
			return nil, nil
		}
		v, err := verify(der)
		if err != nil {
			l.c.cache.warn("verifying", err)
			return nil, nil
		}
		if now, _ := l.c.cache.get(key); now != nil {
			return now, nil // fetched meanwhile
		}
		l.c.cache.put(key, v, len(der), time.Time{})
		return v, nil
	})
	if err != nil {
		return nil // as if there were none: what is on disk never changes a decision
	}
	return v
}

// CRL.

func (l *lookup) crlKey(address string) [32]byte {
	return digestOf([]byte("crl"), []byte(address), l.issuer.RawSubject, l.issuer.RawSubjectPublicKeyInfo)
}

// cachedList returns what is kept, or nil, and when it was fetched.
func (l *lookup) cachedList(ctx context.Context, address string) (*crl, time.Time) {
	key := l.crlKey(address)
	v, fetched := l.c.cache.get(key)
	if v == nil {
		v = l.load(ctx, key, kindCRL, MaxCRLBytes, func(der []byte) (any, error) {
			list, err := parseCRL(der)
			if err != nil {
				return nil, err
			}
			if err := list.verify(l.issuer); err != nil {
				return nil, err
			}
			l.remember(list)
			return list, nil
		})
	}
	list, _ := v.(*crl)
	return list, fetched
}

// remember keeps the number of a verified list, and returns the highest one before,
// or nil. A list of the future is not counted: it would shut out the present ones.
func (l *lookup) remember(list *crl) *big.Int {
	number := list.number
	if list.head.ThisUpdate.After(l.at.Add(skew)) {
		number = new(big.Int)
	}
	return l.c.cache.seen(list.scope(l.issuer), number)
}

// fetchList asks for a list and keeps it.
func (l *lookup) fetchList(address string) func(context.Context) (any, error) {
	key := l.crlKey(address)
	return func(ctx context.Context) (any, error) {
		der, err := l.c.cfg.Fetch(ctx, http.MethodGet, address, "", nil, MaxCRLBytes)
		if err != nil {
			return nil, err
		}
		list, err := parseCRL(der)
		if err != nil {
			return nil, err
		}
		if err := list.verify(l.issuer); err != nil {
			return nil, err
		}
		if before := l.remember(list); before != nil && list.number.Cmp(before) < 0 {
			return list, nil // older than one that was seen: it is judged, and not kept
		}
		if list.head.ThisUpdate.After(l.at.Add(skew)) {
			return list, nil
		}
		l.c.cache.put(key, list, len(der), l.at)
		l.c.keep(key, kindCRL, der)
		return list, nil
	}
}

// knownLists looks at lists that need no request.
func (l *lookup) knownLists(ctx context.Context) (*notRevoked, error) {
	type source struct {
		list *crl
		url  string
	}
	var known []source
	for _, u := range l.crlURLs {
		list, fetched := l.cachedList(ctx, u)
		if list == nil {
			continue
		}
		known = append(known, source{list, u})
		if l.c.cfg.Fetch != nil && list.current(l.at) == nil && l.at.Sub(fetched) > refreshAfter {
			_, _ = l.c.flights.start(l.crlFlight(u), l.at, l.c.cfg.CRLTimeout, l.fetchList(u))
		}
	}
	for _, list := range l.stapled.lists {
		if !bytes.Equal(list.head.RawIssuer, l.issuer.RawSubject) {
			continue // of another issuer
		}
		if err := list.verify(l.issuer); err != nil {
			l.note("crl", stapledURL, err)
			continue
		}
		l.remember(list)
		if list.base == nil { // delta lists are looked for where they are needed
			known = append(known, source{list, stapledURL})
		}
	}
	var best *notRevoked
	for _, s := range known {
		n, err := l.judgeList(ctx, s.list, s.url)
		if err != nil {
			return nil, err
		}
		if n != nil && (best == nil || n.evidence[0].ThisUpdate.After(best.evidence[0].ThisUpdate)) {
			best = n
		}
	}
	return best, nil
}

// askLists asks the addresses in order until a list decides.
func (l *lookup) askLists(ctx context.Context) (*notRevoked, error) {
	for _, u := range l.crlURLs {
		list, err := l.ask(ctx, u)
		if err != nil {
			l.note("crl", u, err)
			continue
		}
		n, err := l.judgeList(ctx, list, u)
		if err != nil || n != nil {
			return n, err
		}
		l.restList(u)
	}
	return nil, nil
}

// restList lets an address be whose list decides nothing.
func (l *lookup) restList(address string) {
	l.c.flights.rest(l.crlFlight(address), l.at, errors.New("what it answered decides nothing"))
}

func (l *lookup) crlFlight(address string) string {
	key := l.crlKey(address)
	return "crl " + address + string(key[:])
}

func (l *lookup) ask(ctx context.Context, address string) (*crl, error) {
	if l.c.cfg.Fetch == nil {
		return nil, errors.New("nobody is asked")
	}
	v, err := l.c.flights.fly(ctx, l.crlFlight(address), l.at, l.c.cfg.CRLTimeout, l.fetchList(address))
	if err != nil {
		return nil, err
	}
	return v.(*crl), nil
}

// judgeList returns what a verified list says: a refusal, that the certificate is
// not revoked, or nil for nothing. A list that has ended, or is older than one that
// was seen, refuses what it has for good: what is revoked stays so.
func (l *lookup) judgeList(ctx context.Context, list *crl, address string) (*notRevoked, error) {
	nothing := func(err error) (*notRevoked, error) {
		l.note("crl", address, err)
		return nil, nil
	}
	if err := list.covers(l.cert, l.points); err != nil {
		return nothing(err)
	}
	e, err := list.find(l.cert.SerialNumber)
	if err != nil {
		return nothing(err)
	}
	excused := false
	if e != nil && e.permanent() {
		if err := l.refuse("crl", address, e); err != nil {
			return nil, err
		}
		excused = true
	}
	if err := list.current(l.at); err != nil {
		return nothing(err)
	}
	if bySHA1(list.head.SignatureAlgorithm) {
		return nothing(errSHA1)
	}
	if list.base != nil {
		return nothing(errors.New("it is a delta list in the place of a complete one"))
	}
	if highest := l.remember(list); highest != nil && list.number.Cmp(highest) < 0 {
		return nothing(fmt.Errorf("its number is %d, and %d was seen before", list.number, highest))
	}
	if list.point.someReasons {
		return nothing(errors.New("it is a list for some reasons only"))
	}
	n := &notRevoked{evidence: []Evidence{l.evidence("crl", address, list.head.ThisUpdate, list.head.NextUpdate, list.raw)}, notAfter: list.head.NextUpdate}
	if places := append(append([]string(nil), list.freshest...), l.freshest...); len(places) > 0 {
		delta, deltaEntry, from, err := l.delta(ctx, list, places)
		if err != nil {
			if e != nil && !excused { // held: newer news would have to lift it
				if err := l.refuse("crl", address, e); err != nil {
					return nil, err
				}
			}
			return nothing(err)
		}
		n.evidence = append(n.evidence, l.evidence("delta-crl", from, delta.head.ThisUpdate, delta.head.NextUpdate, delta.raw))
		n.notAfter = earlier(n.notAfter, delta.head.NextUpdate)
		switch {
		case deltaEntry == nil:
		case deltaEntry.reason == reasonRemove:
			if e != nil && !e.permanent() {
				e = nil
			}
		default:
			if err := l.refuse("delta-crl", from, deltaEntry); err != nil {
				return nil, err
			}
			excused = true
		}
	}
	if e != nil && !excused {
		if err := l.refuse("crl", address, e); err != nil {
			return nil, err
		}
	}
	// RFC 5280 §3.3: entries may go once the certificate has expired.
	if l.at.After(l.cert.NotAfter) && !l.delegate {
		l.warn(fmt.Sprintf("certificate %s expired at %s; its CRL need not have it any more if it was revoked", l.name(), stamp(l.cert.NotAfter)))
	}
	return n, nil
}

// delta finds the delta list that belongs to a complete one (RFC 5280 §5.2.4,
// §6.3.3 (c)): an issuer that names one says that the complete list is not news.
func (l *lookup) delta(ctx context.Context, list *crl, places []string) (*crl, *revocationEntry, string, error) {
	var notes []error
	try := func(d *crl, from string) (*revocationEntry, bool) {
		entry, err := l.judgeDelta(list, d)
		if err != nil {
			notes = append(notes, fmt.Errorf("delta-crl %s: %w", clipped(from), err))
		}
		return entry, err == nil
	}
	for _, d := range l.stapled.lists {
		if d.base == nil || d.verify(l.issuer) != nil {
			continue
		}
		if entry, ok := try(d, stapledURL); ok {
			return d, entry, stapledURL, nil
		}
	}
	for _, u := range asked(places) {
		if d, _ := l.cachedList(ctx, u); d != nil {
			if entry, ok := try(d, u); ok {
				return d, entry, u, nil
			}
		}
		d, err := l.ask(ctx, u)
		if err != nil {
			notes = append(notes, fmt.Errorf("delta-crl %s: %w", clipped(u), err))
			continue
		}
		if entry, ok := try(d, u); ok {
			return d, entry, u, nil
		}
		l.restList(u)
	}
	if len(notes) == 0 {
		notes = append(notes, errors.New("it names delta lists at no address that is asked"))
	}
	return nil, nil, "", joinNotes(notes)
}

// errSHA1 is told of evidence that could be of two contents: crypto/x509 takes such
// signatures on lists and answers, and whoever asks a responder chooses a part of what
// it signs. What it says against a certificate counts all the same.
var errSHA1 = errors.New("it is signed by way of SHA-1, which does not prove that a certificate is not revoked")

func bySHA1(a x509.SignatureAlgorithm) bool {
	return a == x509.SHA1WithRSA || a == x509.ECDSAWithSHA1
}

// judgeDelta returns the entry of a delta list that is to be applied to a list.
func (l *lookup) judgeDelta(list, delta *crl) (*revocationEntry, error) {
	switch {
	case delta.base == nil:
		return nil, errors.New("it is a complete list in the place of a delta list")
	case !bytes.Equal(delta.pointRaw, list.pointRaw):
		return nil, errors.New("it is of another scope than the complete list")
	case delta.base.Cmp(list.number) > 0:
		return nil, fmt.Errorf("it is to be applied to list %d or later, and there is %d", delta.base, list.number)
	case delta.number.Cmp(list.number) < 0:
		return nil, fmt.Errorf("its number is %d, and the complete list has %d", delta.number, list.number)
	}
	if err := delta.current(l.at); err != nil {
		return nil, err
	}
	weak := bySHA1(delta.head.SignatureAlgorithm)
	if !weak {
		if highest := l.remember(delta); highest != nil && delta.number.Cmp(highest) < 0 {
			return nil, fmt.Errorf("its number is %d, and %d was seen before", delta.number, highest)
		}
	}
	entry, err := delta.find(l.cert.SerialNumber)
	if err == nil && weak && (entry == nil || entry.reason == reasonRemove) {
		return nil, errSHA1
	}
	return entry, err
}
