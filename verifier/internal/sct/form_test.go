// SPDX-License-Identifier: Apache-2.0

package sct

import (
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/assayd/assay/verifier/internal/dertest"
)

// TestWithoutTimestamps: a TBSCertificate, as far as it is read, and one change.
func TestWithoutTimestamps(t *testing.T) {
	type node = dertest.Node
	oid, err := asn1.Marshal(OID)
	if err != nil {
		t.Fatal(err)
	}
	good := func() *node {
		another := dertest.Sequence(dertest.Object(0x55, 0x1d, 0x0f), dertest.Octets(nil))
		timestamps := dertest.Sequence(dertest.Parse(t, oid), dertest.Octets(nil))
		return dertest.Sequence(dertest.Null(), &node{Tag: 0xa3, Children: []*node{dertest.Sequence(another, timestamps)}})
	}
	for name, tt := range map[string]struct {
		change func(*node)
		more   []byte
		want   string // "" is none
	}{
		"as it is":             {func(*node) {}, nil, ""},
		"more behind it":       {func(*node) {}, []byte{5, 0}, "not readable"},
		"no extensions":        {func(n *node) { n.Without(1) }, nil, "not readable"},
		"more fields":          {func(n *node) { n.Add(dertest.Null()) }, nil, "not readable"},
		"more extensions":      {func(n *node) { n.At(1).Add(dertest.Null()) }, nil, "not readable"},
		"no extension":         {func(n *node) { n.At(1, 0).Add(dertest.Null()) }, nil, "not readable"},
		"an extension of none": {func(n *node) { n.At(1, 0).Add(dertest.Sequence()) }, nil, "not readable"},
		"no timestamps":        {func(n *node) { n.At(1, 0).Without(1) }, nil, "0 lists of timestamps"},
		"timestamps twice":     {func(n *node) { l := n.At(1, 0); l.Add(l.Children[1]) }, nil, "2 lists of timestamps"},
		"timestamps alone":     {func(n *node) { n.At(1, 0).Without(0) }, nil, "beside its other extensions"},
	} {
		n := good()
		tt.change(n)
		_, err := withoutTimestamps(append(n.DER(t), tt.more...))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}
