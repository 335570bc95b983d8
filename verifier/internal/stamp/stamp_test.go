// SPDX-License-Identifier: Apache-2.0

package stamp_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict/flavour"
	"github.com/assayd/assay/verifier/internal/dertest"
	"github.com/assayd/assay/verifier/internal/stamp"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// TestCheckSigner: a timestamp, and one change to it.
func TestCheckSigner(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	sig, err := sigstoretest.New(sigstoretest.Config{At: at})
	if err != nil {
		t.Fatal(err)
	}
	token, err := sig.Timestamp([]byte("signature"), at)
	if err != nil {
		t.Fatal(err)
	}
	leaf := sig.TimestampLeaf()
	// Where things are.
	info := []int{1}                // ContentInfo
	data := append(info, 1, 0)      // SignedData
	content := append(data, 2)      // EncapsulatedContentInfo
	signer := append(data, 4, 0)    // SignerInfo
	attributes := append(signer, 3) // signed ones
	under := func(path []int, more ...int) []int { return append(slices.Clone(path), more...) }
	root := dertest.Parse(t, token)
	if !bytes.Equal(root.DER(t), token) {
		t.Fatal("the timestamp is not DER")
	}
	const ( // places of the attributes
		contentType = iota
		_
		messageDigest
		signingCertificate
	)
	essID := under(attributes, signingCertificate, 1, 0, 0, 0) // ESSCertIDv2
	if n := len(root.At(attributes...).Children); n != 4 {
		t.Fatalf("it has %d signed attributes", n)
	}
	sum384, sum512, sum1 := sha512.Sum384(leaf.Raw), sha512.Sum512(leaf.Raw), sha1.Sum(leaf.Raw)
	named := func(oid byte, sum []byte) func(*dertest.Node) {
		return func(n *dertest.Node) {
			id := n.At(essID...)
			first := dertest.Sequence(dertest.Object(0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, oid))
			id.Children = []*dertest.Node{first, dertest.Octets(sum)}
		}
	}
	v1 := func(sum []byte) func(*dertest.Node) {
		return func(n *dertest.Node) {
			a := n.At(under(attributes, signingCertificate)...)
			a.Children[0].Content[len(a.Children[0].Content)-1] = 12
			n.At(essID...).Children = []*dertest.Node{dertest.Octets(sum)}
		}
	}
	extra := func(path []int) func(*dertest.Node) {
		return func(n *dertest.Node) { n.At(path...).Add(dertest.Null()) }
	}
	drop := func(path []int, i int) func(*dertest.Node) { return func(n *dertest.Node) { n.At(path...).Without(i) } }
	twice := func(i int) func(*dertest.Node) {
		return func(n *dertest.Node) { n.At(attributes...).Add(n.At(under(attributes, i)...)) }
	}
	for name, tt := range map[string]struct {
		change func(*dertest.Node)
		want   string // "" is none
	}{
		"as it is":                   {func(*dertest.Node) {}, ""},
		"no certificates":            {drop(data, 3), ""},
		"revocation lists":           {func(n *dertest.Node) { n.At(data...).Insert(4, &dertest.Node{Tag: 0xa1}) }, ""},
		"unsigned attributes":        {func(n *dertest.Node) { n.At(signer...).Add(&dertest.Node{Tag: 0xa1}) }, ""},
		"a second certificate named": {func(n *dertest.Node) { n.At(under(attributes, signingCertificate, 1, 0, 0)...).Add(dertest.Sequence()) }, ""},
		"policies named":             {func(n *dertest.Node) { n.At(under(attributes, signingCertificate, 1, 0)...).Add(dertest.Sequence()) }, ""},
		"named by SHA-384":           {named(2, sum384[:]), ""},
		"named by SHA-512":           {named(3, sum512[:]), ""},
		"named by SHA-1":             {v1(sum1[:]), ""},
		"another, named by SHA-384":  {named(2, sum512[:48]), "another certificate"},
		"another, named by SHA-512":  {named(3, sum384[:]), "another certificate"},
		"another, named by SHA-1":    {v1(sum384[:20]), "another certificate"},
		"named by an unknown hash":   {named(9, sum512[:]), "want SHA-2"},
		"named by a hash without a name": {func(n *dertest.Node) {
			n.At(essID...).Children = []*dertest.Node{dertest.Sequence(dertest.Null()), dertest.Octets(sum512[:])}
		}, "DER"},

		"more than a response":         {extra(nil), "DER"},
		"no status":                    {drop(nil, 0), "DER"},
		"more than a ContentInfo":      {extra(info), "DER"},
		"no signed data":               {func(n *dertest.Node) { n.At(under(info, 0)...).Content[8]-- }, "DER"},
		"more than signed data":        {extra(under(info, 1)), "DER"},
		"more after the signers":       {extra(data), "DER"},
		"content of no type":           {func(n *dertest.Node) { n.At(under(content, 0)...).Tag = 4 }, "DER"},
		"no content":                   {drop(content, 1), "DER"},
		"more content":                 {extra(content), "DER"},
		"two contents":                 {extra(under(content, 1)), "DER"},
		"content that is no string":    {func(n *dertest.Node) { n.At(under(content, 1, 0)...).Tag = 5 }, "DER"},
		"no signer":                    {func(n *dertest.Node) { n.At(under(data, 4)...).Children = nil }, "DER"},
		"two signers":                  {func(n *dertest.Node) { s := n.At(under(data, 4)...); s.Add(s.Children[0]) }, "DER"},
		"more of the signer":           {extra(signer), "DER"},
		"no signed attributes":         {drop(signer, 3), "DER"},
		"more of the signer's name":    {extra(under(signer, 1)), "DER"},
		"another issuer":               {func(n *dertest.Node) { n.At(under(signer, 1, 0)...).Add(dertest.Null()) }, stamp.ErrAnother.Error()},
		"another serial number":        {func(n *dertest.Node) { n.At(under(signer, 1, 1)...).Content[1] ^= 1 }, stamp.ErrAnother.Error()},
		"content of another type":      {func(n *dertest.Node) { n.At(under(content, 0)...).Content[10]++ }, "want a TSTInfo"},
		"signed as another type":       {func(n *dertest.Node) { n.At(under(attributes, contentType, 1, 0)...).Content[10]++ }, "signed as content of another type"},
		"signed as two types":          {func(n *dertest.Node) { s := n.At(under(attributes, contentType, 1)...); s.Add(s.Children[0]) }, "signed as content of another type"},
		"no attribute":                 {func(n *dertest.Node) { n.At(attributes...).Children[1].Tag = 0x31 }, "DER"},
		"more of an attribute":         {extra(under(attributes, 1)), "DER"},
		"two digests in one":           {func(n *dertest.Node) { s := n.At(under(attributes, messageDigest, 1)...); s.Add(s.Children[0]) }, "DER"},
		"two certificates in one":      {func(n *dertest.Node) { s := n.At(under(attributes, signingCertificate, 1)...); s.Add(s.Children[0]) }, "DER"},
		"no content type":              {drop(attributes, contentType), "do not say once"},
		"two content types":            {twice(contentType), "do not say once"},
		"no digest":                    {drop(attributes, messageDigest), "do not say once"},
		"two digests":                  {twice(messageDigest), "do not say once"},
		"no certificate":               {drop(attributes, signingCertificate), "do not say once"},
		"two certificates":             {twice(signingCertificate), "do not say once"},
		"another certificate":          {func(n *dertest.Node) { n.At(under(essID, 0)...).Content[0] ^= 1 }, "another certificate"},
		"no certificate in the list":   {func(n *dertest.Node) { n.At(under(attributes, signingCertificate, 1, 0, 0)...).Children = nil }, "DER"},
		"more beside the certificates": {extra(under(attributes, signingCertificate, 1, 0)), "DER"},
		"more beside the hash":         {extra(essID), "DER"},
	} {
		t.Run(name, func(t *testing.T) {
			n := dertest.Parse(t, token)
			tt.change(n)
			err := stamp.CheckSigner(n.DER(t), leaf)
			if name == "named by SHA-1" {
				refusedWithoutSHA1(t, n.DER(t), leaf)
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	for name, in := range map[string][]byte{"nothing": nil, "more behind it": append(bytes.Clone(token), 5, 0), "one byte less": token[:len(token)-1]} {
		if err := stamp.CheckSigner(in, leaf); !errors.Is(err, stamp.ErrMalformed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// refusedWithoutSHA1: where SHA-1 must not be computed it panics; a timestamp that
// needs it is refused. Whether that is so is decided when a process starts.
func refusedWithoutSHA1(t *testing.T, token []byte, leaf *x509.Certificate) {
	t.Helper()
	if flavour.Current().Module == "boringcrypto" {
		return // it does not know that mode
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWithoutSHA1$")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only", "STAMP_CHILD="+hex.EncodeToString(token)+" "+hex.EncodeToString(leaf.Raw))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("without SHA-1: %v\n%s", err, out)
	}
}

// TestWithoutSHA1 is the other process of refusedWithoutSHA1.
func TestWithoutSHA1(t *testing.T) {
	in, child := os.LookupEnv("STAMP_CHILD")
	if !child {
		return
	}
	token, der, _ := strings.Cut(in, " ")
	response, err := hex.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := stamp.CheckSigner(response, leaf); err == nil || !strings.Contains(err.Error(), "fips140=only") {
		t.Errorf("got %v", err)
	}
}

func FuzzCheckSigner(f *testing.F) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	sig, err := sigstoretest.New(sigstoretest.Config{At: at})
	if err != nil {
		f.Fatal(err)
	}
	token, err := sig.Timestamp([]byte("signature"), at)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	leaf := sig.TimestampLeaf()
	f.Fuzz(func(t *testing.T, token []byte) {
		_ = stamp.CheckSigner(token, leaf)
	})
}
