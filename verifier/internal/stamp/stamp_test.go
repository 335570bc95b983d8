// SPDX-License-Identifier: Apache-2.0

package stamp_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verifier/internal/stamp"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// A node is an element of DER that can be changed.
type node struct {
	tag      byte
	content  []byte // of a primitive one
	children []*node
}

func parse(t *testing.T, der []byte) (*node, []byte) {
	t.Helper()
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{tag: der[0]}
	if !v.IsCompound {
		n.content = v.Bytes
		return n, rest
	}
	for in := v.Bytes; len(in) > 0; {
		var c *node
		c, in = parse(t, in)
		n.children = append(n.children, c)
	}
	return n, rest
}

func (n *node) der(t *testing.T) []byte {
	t.Helper()
	content := n.content
	for _, c := range n.children {
		content = append(content, c.der(t)...)
	}
	out, err := asn1.Marshal(asn1.RawValue{Class: int(n.tag >> 6), Tag: int(n.tag & 0x1f), IsCompound: n.tag&0x20 != 0, Bytes: content})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (n *node) at(path ...int) *node {
	for _, i := range path {
		n = n.children[i]
	}
	return n
}

func (n *node) add(c ...*node)  { n.children = append(n.children, c...) }
func (n *node) without(i int)   { n.children = slices.Delete(n.children, i, i+1) }
func null() *node               { return &node{tag: 5} }
func object(oid ...byte) *node  { return &node{tag: 6, content: oid} }
func sequence(c ...*node) *node { return &node{tag: 0x30, children: c} }

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
	root, _ := parse(t, token)
	if !bytes.Equal(root.der(t), token) {
		t.Fatal("the timestamp is not DER")
	}
	const ( // places of the attributes
		contentType = iota
		_
		messageDigest
		signingCertificate
	)
	essID := under(attributes, signingCertificate, 1, 0, 0, 0) // ESSCertIDv2
	if n := len(root.at(attributes...).children); n != 4 {
		t.Fatalf("it has %d signed attributes", n)
	}
	sum384, sum512, sum1 := sha512.Sum384(leaf.Raw), sha512.Sum512(leaf.Raw), sha1.Sum(leaf.Raw)
	named := func(oid byte, sum []byte) func(*node) {
		return func(n *node) {
			id := n.at(essID...)
			first := sequence(object(0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, oid))
			id.children = []*node{first, {tag: 4, content: sum}}
		}
	}
	v1 := func(sum []byte) func(*node) {
		return func(n *node) {
			a := n.at(under(attributes, signingCertificate)...)
			a.children[0].content[len(a.children[0].content)-1] = 12
			n.at(essID...).children = []*node{{tag: 4, content: sum}}
		}
	}
	extra := func(path []int) func(*node) { return func(n *node) { n.at(path...).add(null()) } }
	drop := func(path []int, i int) func(*node) { return func(n *node) { n.at(path...).without(i) } }
	twice := func(i int) func(*node) {
		return func(n *node) { n.at(attributes...).add(n.at(under(attributes, i)...)) }
	}
	for name, tt := range map[string]struct {
		change func(*node)
		want   string // "" is none
	}{
		"as it is":                       {func(*node) {}, ""},
		"no certificates":                {drop(data, 3), ""},
		"revocation lists":               {func(n *node) { n.at(data...).children = slices.Insert(n.at(data...).children, 4, &node{tag: 0xa1}) }, ""},
		"unsigned attributes":            {func(n *node) { n.at(signer...).add(&node{tag: 0xa1}) }, ""},
		"a second certificate named":     {func(n *node) { n.at(under(attributes, signingCertificate, 1, 0, 0)...).add(sequence()) }, ""},
		"policies named":                 {func(n *node) { n.at(under(attributes, signingCertificate, 1, 0)...).add(sequence()) }, ""},
		"named by SHA-384":               {named(2, sum384[:]), ""},
		"named by SHA-512":               {named(3, sum512[:]), ""},
		"named by SHA-1":                 {v1(sum1[:]), ""},
		"another, named by SHA-384":      {named(2, sum512[:48]), "another certificate"},
		"another, named by SHA-512":      {named(3, sum384[:]), "another certificate"},
		"another, named by SHA-1":        {v1(sum384[:20]), "another certificate"},
		"named by an unknown hash":       {named(9, sum512[:]), "want SHA-2"},
		"named by a hash without a name": {func(n *node) { n.at(essID...).children = []*node{sequence(null()), {tag: 4, content: sum512[:]}} }, "DER"},

		"more than a response":         {extra(nil), "DER"},
		"no status":                    {drop(nil, 0), "DER"},
		"more than a ContentInfo":      {extra(info), "DER"},
		"no signed data":               {func(n *node) { n.at(under(info, 0)...).content[8]-- }, "DER"},
		"more than signed data":        {extra(under(info, 1)), "DER"},
		"more after the signers":       {extra(data), "DER"},
		"content of no type":           {func(n *node) { n.at(under(content, 0)...).tag = 4 }, "DER"},
		"no content":                   {drop(content, 1), "DER"},
		"more content":                 {extra(content), "DER"},
		"two contents":                 {extra(under(content, 1)), "DER"},
		"content that is no string":    {func(n *node) { n.at(under(content, 1, 0)...).tag = 5 }, "DER"},
		"no signer":                    {func(n *node) { n.at(under(data, 4)...).children = nil }, "DER"},
		"two signers":                  {func(n *node) { s := n.at(under(data, 4)...); s.add(s.children[0]) }, "DER"},
		"more of the signer":           {extra(signer), "DER"},
		"no signed attributes":         {drop(signer, 3), "DER"},
		"more of the signer's name":    {extra(under(signer, 1)), "DER"},
		"another issuer":               {func(n *node) { n.at(under(signer, 1, 0)...).add(null()) }, stamp.ErrAnother.Error()},
		"another serial number":        {func(n *node) { n.at(under(signer, 1, 1)...).content[1] ^= 1 }, stamp.ErrAnother.Error()},
		"content of another type":      {func(n *node) { n.at(under(content, 0)...).content[10]++ }, "want a TSTInfo"},
		"signed as another type":       {func(n *node) { n.at(under(attributes, contentType, 1, 0)...).content[10]++ }, "signed as content of another type"},
		"signed as two types":          {func(n *node) { s := n.at(under(attributes, contentType, 1)...); s.add(s.children[0]) }, "signed as content of another type"},
		"no attribute":                 {func(n *node) { n.at(attributes...).children[1].tag = 0x31 }, "DER"},
		"more of an attribute":         {extra(under(attributes, 1)), "DER"},
		"two digests in one":           {func(n *node) { s := n.at(under(attributes, messageDigest, 1)...); s.add(s.children[0]) }, "DER"},
		"two certificates in one":      {func(n *node) { s := n.at(under(attributes, signingCertificate, 1)...); s.add(s.children[0]) }, "DER"},
		"no content type":              {drop(attributes, contentType), "do not say once"},
		"two content types":            {twice(contentType), "do not say once"},
		"no digest":                    {drop(attributes, messageDigest), "do not say once"},
		"two digests":                  {twice(messageDigest), "do not say once"},
		"no certificate":               {drop(attributes, signingCertificate), "do not say once"},
		"two certificates":             {twice(signingCertificate), "do not say once"},
		"another certificate":          {func(n *node) { n.at(under(essID, 0)...).content[0] ^= 1 }, "another certificate"},
		"no certificate in the list":   {func(n *node) { n.at(under(attributes, signingCertificate, 1, 0, 0)...).children = nil }, "DER"},
		"more beside the certificates": {extra(under(attributes, signingCertificate, 1, 0)), "DER"},
		"more beside the hash":         {extra(essID), "DER"},
	} {
		t.Run(name, func(t *testing.T) {
			n, _ := parse(t, bytes.Clone(token))
			tt.change(n)
			err := stamp.CheckSigner(n.der(t), leaf)
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
