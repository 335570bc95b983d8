// SPDX-License-Identifier: Apache-2.0

package revocation_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/dertest"
	"github.com/assayd/assay/verifier/internal/revocation"
	"github.com/assayd/assay/verifier/revocationtest"
)

func contextWithin(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// sharedFile names a file of the shared test data, or skips.
func sharedFile(t testing.TB, elem ...string) string {
	t.Helper()
	p := filepath.Join(append([]string{"../../../../shared/testdata"}, elem...)...)
	if _, err := os.Stat(p); errors.Is(err, fs.ErrNotExist) {
		t.Skip("shared testdata is absent")
	}
	return p
}

// TestRealLists reads the lists of Intel's PCK authorities, which are the only ones
// in the shared test data, and checks a certificate of the time against them.
func TestRealLists(t *testing.T) {
	folder := sharedFile(t, "evidence", "tdx-sim-module15-accept")
	var chain []*x509.Certificate
	for rest := bytesOf(t)(os.ReadFile(filepath.Join(folder, "pckcrl-chain.pem"))); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	if len(chain) != 2 {
		t.Fatalf("got %d certificates, want the platform authority and the root", len(chain))
	}
	der := func(name string) []byte {
		b := bytesOf(t)(os.ReadFile(filepath.Join(folder, name)))
		if p, _ := pem.Decode(b); p != nil {
			return p.Bytes
		}
		if d, err := hex.DecodeString(string(bytes.TrimSpace(b))); err == nil {
			return d
		}
		return b
	}
	st := revocation.Stapled{CRLs: [][]byte{der("root.crl"), der("pck.crl")}}
	list, err := x509.ParseRevocationList(st.CRLs[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := revocation.New(revocation.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, tc := range []struct {
		name string
		at   time.Time
		want verdict.Code
	}{
		{"in its time", list.ThisUpdate.Add(time.Hour), ""},
		{"before", list.ThisUpdate.Add(-time.Hour), verdict.RevocationUnavailable},
		{"after", list.NextUpdate.Add(time.Hour), verdict.RevocationUnavailable},
	} {
		r, err := c.Check(t.Context(), chain, tc.at, revocation.SigningTime{}, revocation.Hard, st)
		if verdict.CodeOf(err) != tc.want || err == nil && (len(r.Evidence) != 1 || r.Evidence[0].Source != "crl" || !r.NotAfter.Equal(list.NextUpdate)) {
			t.Errorf("%s: got %+v, %v, want %q", tc.name, r, err, tc.want)
		}
	}
}

// The request is what the library reads, and its nonce new each time.
func TestRequest(t *testing.T) {
	p := newPKI(t, nil)
	leaf := issue(t, p, nil)
	one, nonce, err := revocation.NewRequest(leaf, p.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ocsp.ParseRequest(one)
	if err != nil {
		t.Fatal(err)
	}
	want := crypto.SHA1
	if noSHA1() {
		want = crypto.SHA256
	}
	// The library knows no nonce.
	der, err := ocsp.CreateRequest(leaf, p.Issuer, &ocsp.RequestOptions{Hash: want})
	if err != nil {
		t.Fatal(err)
	}
	if same, err := ocsp.ParseRequest(der); err != nil || !reflect.DeepEqual(r, same) {
		t.Errorf("got %+v, want that of the library, %+v, %v", r, same, err)
	}
	_, again, err := revocation.NewRequest(leaf, p.Issuer)
	if err != nil || bytes.Equal(nonce, again) || len(nonce) != 32 || !bytes.Contains(one, nonce) {
		t.Errorf("got nonces %x and %x, %v, want two of 32 bytes", nonce, again, err)
	}
}

// bigList is a list with many entries.
func bigList(t testing.TB, p *revocationtest.PKI, n int) []byte {
	t.Helper()
	return bytesOf(t)(p.CRL(issue(t, p, nil), func(l *x509.RevocationList) {
		for i := range n {
			d := sha256.Sum256(big.NewInt(int64(i)).Bytes())
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{
				SerialNumber: new(big.Int).SetBytes(d[:15]), RevocationTime: now.Add(-time.Hour), ReasonCode: 1 + i%5})
		}
	}))
}

// Entries of a list cost no memory but that of its bytes.
func TestBigList(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoOCSP, c.NoServer = true, true })
	der := bigList(t, p, 50_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := revocation.ParseCRL(der); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("got %d bytes allocated for a list of %d", got, len(der))
	}
	_, err := revocation.ParseCRL(make([]byte, revocation.MaxCRLBytes+1))
	wantText(t, err, "it has 33554433 bytes")
	_, err = revocation.ParseResponse(make([]byte, revocation.MaxOCSPBytes+1))
	wantText(t, err, "it has 65537 bytes")
}

func FuzzCRL(f *testing.F) {
	p, err := revocationtest.New(revocationtest.Config{At: now, Freshest: true, NoServer: true})
	if err != nil {
		f.Fatal(err)
	}
	leaf, _, err := p.Issue(nil)
	if err != nil {
		f.Fatal(err)
	}
	p.Revoke(leaf, revocationtest.Revocation{At: now, Reason: 4, Invalidity: now})
	f.Add(bytesOf(f)(p.CRL(leaf, nil)))
	f.Add(bytesOf(f)(p.Delta(leaf, nil)))
	f.Add(bytesOf(f)(p.CRL(leaf, listExtensions(revocationtest.Scope{URL: "http://a/", OnlyUser: true, SomeReasons: true}.Extension()))))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := revocation.ParseCRL(der)
		if err != nil {
			if c != nil {
				t.Fatal("got a list beside an error")
			}
			return
		}
		want, err := x509.ParseRevocationList(der)
		if err != nil {
			// The contents of an entry are read when it is the one that is asked
			// for; what is not in the entries is the library's.
			return
		}
		for _, e := range want.RevokedCertificateEntries {
			if found, err := revocation.Find(c, e.SerialNumber); err == nil && !found && e.ReasonCode != 8 {
				t.Fatalf("entry %s is not found", e.SerialNumber)
			}
		}
	})
}

func FuzzOCSP(f *testing.F) {
	p, err := revocationtest.New(revocationtest.Config{At: now, NoServer: true})
	if err != nil {
		f.Fatal(err)
	}
	leaf, _, err := p.Issue(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytesOf(f)(p.OCSP(leaf, nil)))
	p.Revoke(leaf, revocationtest.Revocation{At: now, Reason: 4, Invalidity: now})
	f.Add(bytesOf(f)(p.OCSP(leaf, func(o *revocationtest.OCSP) { o.Nonce, o.Certificates = []byte{4, 1, 7}, []*x509.Certificate{p.Issuer} })))
	f.Add(ocsp.UnauthorizedErrorResponse)
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := revocation.ParseResponse(der)
		if err != nil {
			return
		}
		if !revocation.Verified(r, leaf, p.Issuer) {
			return
		}
		// What we believe the library does, too, and says the same of.
		want, err := ocsp.ParseResponseForCert(der, leaf, p.Issuer)
		if err != nil {
			// Of the certificates with it, it takes the first one to be the signer.
			if bytes.Contains(der, p.Issuer.Raw) {
				return
			}
			t.Fatalf("we verify what the library does not: %v", err)
		}
		if got := revocation.StatusOf(r, leaf, p.Issuer); got != want.Status {
			t.Fatalf("got status %d, want %d", got, want.Status)
		}
	})
}

func FuzzPoints(f *testing.F) {
	f.Add(revocationtest.FreshestAt("http://crl.example/x").Value)
	f.Add(revocationtest.Scope{URL: "http://a/", OnlyUser: true}.Extension().Value)
	f.Fuzz(func(_ *testing.T, der []byte) {
		_, _ = revocation.ParsePoints(der)
		_, _ = revocation.ParseIssuingPoint(der)
	})
}

// BenchmarkCheck is what one check costs with evidence at hand, and BenchmarkList
// what a list of a megabyte does.
func BenchmarkCheck(b *testing.B) {
	for _, source := range []string{"ocsp", "crl"} {
		b.Run(source, func(b *testing.B) {
			p := newPKI(b, func(c *revocationtest.Config) { c.NoOCSP, c.NoCRL = source != "ocsp", source != "crl" })
			c := newChecker(b, p, nil)
			chain := p.Chain(issue(b, p, nil))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Check(b.Context(), chain, now, revocation.SigningTime{}, revocation.Hard, revocation.Stapled{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkList(b *testing.B) {
	p := newPKI(b, func(c *revocationtest.Config) { c.NoOCSP, c.NoServer = true, true })
	der := bigList(b, p, 25_000)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(der)))
	b.ReportAllocs()
	for b.Loop() {
		c, err := revocation.ParseCRL(der)
		if err != nil {
			b.Fatal(err)
		}
		if found, err := revocation.Find(c, serial); err != nil || found {
			b.Fatal(found, err)
		}
	}
}

// TestResponseForm: a response, and one change to its form.
func TestResponseForm(t *testing.T) {
	if noSHA1() {
		t.Skip("a responder is named by SHA-1")
	}
	p := newPKI(t, nil)
	leaf := issue(t, p, nil)
	p.Revoke(leaf, revocationtest.Revocation{At: now, Reason: 4, Invalidity: now})
	known := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}
	der := func(change func(*revocationtest.OCSP)) []byte {
		return bytesOf(t)(p.OCSP(leaf, func(o *revocationtest.OCSP) {
			o.Nonce, o.Certificates = []byte{4, 1, 7}, []*x509.Certificate{p.Issuer}
			if change != nil {
				change(o)
			}
		}))
	}
	byName, byKey := der(nil), der(func(o *revocationtest.OCSP) { o.ByKey = true })
	good := der(func(o *revocationtest.OCSP) { o.Answers[0].Status = ocsp.Good })
	extended := der(func(o *revocationtest.OCSP) { o.Extensions = append(o.Extensions, known) })
	type node = dertest.Node
	// Where things are: in the response, in the basic response, in an answer.
	const (
		code = iota
		body
	)
	add := func(path ...int) func(*node) { return func(n *node) { n.At(path...).Add(dertest.Null()) } }
	drop := func(i int, path ...int) func(*node) { return func(n *node) { n.At(path...).Without(i) } }
	const none, certificates, data, extensions, answer = "not an OCSP response", "certificates with it", "its data", "its extensions", "an answer in it"
	for name, tt := range map[string]struct {
		der          []byte
		outer, inner func(*node)
		want         string // "" is none
	}{
		"by name":            {byName, nil, nil, ""},
		"by key":             {byKey, nil, nil, ""},
		"good":               {good, nil, nil, ""},
		"with an extension":  {extended, nil, nil, ""},
		"no certificates":    {byName, nil, drop(3), ""},
		"no more extensions": {byName, nil, drop(3, 0), ""},
		"version 1":          {byName, nil, func(n *node) { n.At(0).Insert(0, &node{Tag: 0xa0, Children: []*node{{Tag: 2, Content: []byte{0}}}}) }, ""},
		"version 2":          {byName, nil, func(n *node) { n.At(0).Insert(0, &node{Tag: 0xa0, Children: []*node{{Tag: 2, Content: []byte{1}}}}) }, "version"},
		"no end":             {byName, nil, func(n *node) { n.At(0, 2, 0).Without(3) }, ""},

		"the responder's code":   {byName, func(n *node) { n.At(code).Content[0] = 6 }, nil, "the responder says"},
		"no code":                {byName, func(n *node) { n.At(code).Tag = 4 }, nil, none},
		"more beside the body":   {byName, add(), nil, none},
		"more in the body":       {byName, add(body, 0), nil, none},
		"another type":           {byName, func(n *node) { n.At(body, 0, 0).Content[8]++ }, nil, "want a basic one"},
		"more behind the basic":  {byName, func(n *node) { c := n.At(body, 0, 1); c.Content = append(c.Content, 5, 0) }, nil, none},
		"no signature":           {byName, nil, func(n *node) { n.Without(3); n.Without(2) }, none},
		"no algorithm":           {byName, nil, func(n *node) { n.At(1).Children = nil }, "signature algorithm"},
		"more beside":            {byName, nil, add(), certificates},
		"more certificates":      {byName, nil, add(3), certificates},
		"no certificate":         {byName, nil, func(n *node) { n.At(3, 0).Insert(0, dertest.Null()) }, certificates},
		"an unreadable one":      {byName, nil, func(n *node) { n.At(3, 0, 0).Children = nil }, "a certificate with it"},
		"a responder of none":    {byName, nil, func(n *node) { n.At(0, 0).Tag = 0xa3 }, "neither name nor key"},
		"no responder":           {byName, nil, func(n *node) { n.At(0).Children = nil }, data},
		"more of the responder":  {byKey, nil, add(0, 0), data},
		"more data":              {byName, nil, add(0), data},
		"no answer":              {byName, nil, add(0, 2), data},
		"more extensions":        {byName, nil, add(0, 3), extensions},
		"more of an extension":   {byName, nil, add(0, 3, 0, 0), extensions},
		"many extensions":        {extended, nil, func(n *node) { l := n.At(0, 3, 0); l.Children = slices.Repeat(l.Children[1:2], 40) }, extensions},
		"two nonces":             {byName, nil, func(n *node) { l := n.At(0, 3, 0); l.Add(l.Children[0]) }, "two nonces"},
		"a critical one":         {extended, nil, func(n *node) { n.At(0, 3, 0, 0).Insert(1, &node{Tag: 1, Content: []byte{0xff}}) }, "critical"},
		"no name of the answer":  {byName, nil, func(n *node) { n.At(0, 2, 0).Children = n.At(0, 2, 0).Children[:1] }, answer},
		"more of its name":       {byName, nil, add(0, 2, 0, 0), answer},
		"more of good":           {good, nil, func(n *node) { n.At(0, 2, 0, 1).Content = []byte{0} }, answer},
		"more of revoked":        {byName, nil, add(0, 2, 0, 1), answer},
		"more of the reason":     {byName, nil, add(0, 2, 0, 1, 1), answer},
		"a status that is none":  {byName, nil, func(n *node) { n.At(0, 2, 0, 1).Tag = 0x83; n.At(0, 2, 0, 1).Children = nil }, answer},
		"more of the answer":     {byName, nil, add(0, 2, 0), answer},
		"more of its end":        {byName, nil, add(0, 2, 0, 3), answer},
		"more of its extensions": {byName, nil, add(0, 2, 0, 4), extensions},
		"more behind a date":     {byName, nil, func(n *node) { d := n.At(0, 2, 0, 4, 0, 0, 1); d.Content = append(d.Content, 5, 0) }, "its invalidity date"},
	} {
		t.Run(name, func(t *testing.T) {
			n := dertest.Parse(t, tt.der)
			if tt.inner != nil {
				basic := dertest.Parse(t, n.At(body, 0, 1).Content)
				tt.inner(basic)
				n.At(body, 0, 1).Content = basic.DER(t)
			}
			if tt.outer != nil {
				tt.outer(n)
			}
			_, err := revocation.ParseResponse(n.DER(t))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	for name, der := range map[string][]byte{"nothing": nil, "more behind it": append(bytes.Clone(byName), 5, 0)} {
		if _, err := revocation.ParseResponse(der); err == nil || !strings.Contains(err.Error(), none) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestListForm: a list with an entry, and one change to its form. What is in the
// entry is read when it is looked for.
func TestListForm(t *testing.T) {
	p := newPKI(t, func(c *revocationtest.Config) { c.NoServer = true })
	leaf := issue(t, p, nil)
	p.Revoke(leaf, revocationtest.Revocation{At: now, Reason: 4, Invalidity: now})
	list, delta := bytesOf(t)(p.CRL(leaf, nil)), bytesOf(t)(p.Delta(leaf, nil))
	type node = dertest.Node
	add := func(path ...int) func(*node) { return func(n *node) { n.At(path...).Add(dertest.Null()) } }
	drop := func(i int, path ...int) func(*node) { return func(n *node) { n.At(path...).Without(i) } }
	content := func(b []byte, path ...int) func(*node) { return func(n *node) { n.At(path...).Content = b } }
	// Where things are in the list, in its TBSCertList and in an entry.
	const tbs, issuer, entries, extensions, serial, at, of, invalidity, reason = 0, 2, 5, 6, 0, 1, 2, 0, 1
	const none, malformed, ofEntry, number = "not a certificate list", "an entry is malformed", "the extensions of an entry are malformed", "not a number of a list"
	for name, tt := range map[string]struct {
		der    []byte
		change func(*node)
		want   string // "" is none
	}{
		"a list":                    {list, nil, ""},
		"a delta list":              {delta, nil, ""},
		"another type":              {list, func(n *node) { n.Tag = 0x31 }, none},
		"nothing in it":             {list, func(n *node) { n.Children = nil }, none},
		"no issuer":                 {list, drop(issuer, tbs), "its list of entries is malformed"},
		"no entry":                  {list, func(n *node) { n.At(tbs, entries).Insert(0, dertest.Null()) }, malformed},
		"no serial number":          {list, drop(serial, tbs, entries, 0), malformed},
		"a long serial number":      {list, func(n *node) { s := n.At(tbs, entries, 0, serial); s.Content = append([]byte{0, 0}, s.Content...) }, malformed},
		"a serial number alone":     {list, func(n *node) { e := n.At(tbs, entries, 0); e.Children = e.Children[:at] }, malformed},
		"other than extensions":     {list, func(n *node) { n.At(tbs, entries, 0, of).Tag = 0x31 }, "an entry has more than extensions"},
		"more than extensions":      {list, add(tbs, entries, 0), "an entry has more than extensions"},
		"an extension of no type":   {list, drop(0, tbs, entries, 0, of, reason), ofEntry},
		"half critical":             {list, func(n *node) { n.At(tbs, entries, 0, of, reason).Insert(1, &node{Tag: 1, Content: []byte{1}}) }, ofEntry},
		"many extensions":           {list, func(n *node) { e := n.At(tbs, entries, 0, of); e.Children = slices.Repeat(e.Children[:1], 33) }, ofEntry},
		"no time":                   {list, content([]byte("today"), tbs, entries, 0, at), "the entry is malformed"},
		"no reason":                 {list, content(nil, tbs, entries, 0, of, reason, 1), "the entry is malformed"},
		"no invalidity date":        {list, content([]byte{5, 0}, tbs, entries, 0, of, invalidity, 1), "its invalidity date is malformed"},
		"more behind the date":      {list, func(n *node) { d := n.At(tbs, entries, 0, of, invalidity, 1); d.Content = append(d.Content, 5, 0) }, "its invalidity date is malformed"},
		"a number below zero":       {list, content([]byte{2, 1, 0xff}, tbs, extensions, 0, 1, 1), number},
		"more behind the number":    {list, content([]byte{2, 1, 10, 5, 0}, tbs, extensions, 0, 1, 1), number},
		"a number of 21 bytes":      {list, content(append([]byte{2, 21}, bytes.Repeat([]byte{1}, 21)...), tbs, extensions, 0, 1, 1), number},
		"a base that is no number":  {delta, content([]byte{4, 1, 10}, tbs, extensions, 0, 2, 2), number},
		"a base that is below zero": {delta, content([]byte{2, 1, 0xff}, tbs, extensions, 0, 2, 2), number},
	} {
		t.Run(name, func(t *testing.T) {
			n := dertest.Parse(t, tt.der)
			if tt.change != nil {
				tt.change(n)
			}
			found := false
			l, err := revocation.ParseCRL(n.DER(t))
			if err == nil {
				found, err = revocation.Find(l, leaf.SerialNumber)
			}
			if tt.want != "" {
				wantText(t, err, tt.want)
			} else if err != nil || !found {
				t.Errorf("got %v, %v, want the entry", found, err)
			}
		})
	}
}

// TestPointsForm: distribution points, and one change to their form.
func TestPointsForm(t *testing.T) {
	type node = dertest.Node
	points := revocationtest.FreshestAt("http://crl.example/x").Value
	issuing := revocationtest.Scope{URL: "http://crl.example/x", OnlyUser: true}.Extension().Value
	read := map[string]func([]byte) error{
		"points":  func(der []byte) error { _, err := revocation.ParsePoints(der); return err },
		"issuing": func(der []byte) error { _, err := revocation.ParseIssuingPoint(der); return err },
	}
	relative := func(c ...*node) *node { return &node{Tag: 0xa0, Children: append([]*node{{Tag: 0xa1}}, c...)} }
	for name, tt := range map[string]struct {
		kind   string
		der    []byte
		change func(*node)
		want   string
	}{
		"points":                     {"points", points, nil, ""},
		"a relative name":            {"points", points, func(n *node) { n.At(0).Children[0] = relative() }, ""},
		"a point without name":       {"points", points, func(n *node) { n.At(0).Children = nil }, ""},
		"no point":                   {"points", points, func(n *node) { n.Add(dertest.Null()) }, "distribution points are malformed"},
		"a name that is none":        {"points", points, func(n *node) { n.At(0, 0).Children = []*node{dertest.Null()} }, "a distribution point is malformed"},
		"more of a relative name":    {"points", points, func(n *node) { n.At(0).Children[0] = relative(dertest.Null()) }, "a distribution point is malformed"},
		"more of a full name":        {"points", points, func(n *node) { n.At(0, 0).Add(dertest.Null()) }, "a distribution point is malformed"},
		"half an address":            {"points", points, func(n *node) { n.At(0, 0).Children[0] = &node{Tag: 0xa0, Content: []byte{0x86, 9}} }, "a distribution point is malformed"},
		"many addresses":             {"points", points, func(n *node) { f := n.At(0, 0, 0); f.Children = slices.Repeat(f.Children, 100) }, "a distribution point has more than 64 addresses"},
		"many points":                {"points", points, func(n *node) { n.Children = slices.Repeat(n.Children, 100) }, "it names more than 64 addresses"},
		"issuing":                    {"issuing", issuing, nil, ""},
		"issuing, more":              {"issuing", issuing, func(n *node) { n.Add(dertest.Null()) }, "issuing distribution point"},
		"issuing, half a name":       {"issuing", issuing, func(n *node) { n.Children = []*node{{Tag: 0xa0, Children: []*node{dertest.Null()}}} }, "a distribution point is malformed"},
		"issuing, a flag of two":     {"issuing", issuing, func(n *node) { n.At(1).Content = []byte{0xff, 0xff} }, "issuing distribution point"},
		"issuing, a flag of neither": {"issuing", issuing, func(n *node) { n.At(1).Content = []byte{1} }, "issuing distribution point"},
	} {
		t.Run(name, func(t *testing.T) {
			n := dertest.Parse(t, tt.der)
			if tt.change != nil {
				tt.change(n)
			}
			if err := read[tt.kind](n.DER(t)); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	for kind, der := range map[string][]byte{"points": points, "issuing": issuing} {
		if err := read[kind](append(bytes.Clone(der), 5, 0)); err == nil {
			t.Errorf("%s, more behind it: accepted", kind)
		}
	}
}
