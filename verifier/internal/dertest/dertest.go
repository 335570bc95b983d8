// SPDX-License-Identifier: Apache-2.0

// Package dertest changes one thing in DER that is otherwise well-formed, for tests
// of what reads it.
package dertest

import (
	"encoding/asn1"
	"slices"
	"testing"
)

// A Node is an element, primitive with content, or constructed with children.
type Node struct {
	Tag      byte
	Content  []byte
	Children []*Node
}

// Parse reads one element, and nothing behind it.
func Parse(t testing.TB, der []byte) *Node {
	t.Helper()
	n, rest := parse(t, der)
	if len(rest) > 0 {
		t.Fatalf("%d bytes behind the DER", len(rest))
	}
	return n
}

func parse(t testing.TB, der []byte) (n *Node, rest []byte) {
	t.Helper()
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil {
		t.Fatal(err)
	}
	n = &Node{Tag: der[0]}
	if !v.IsCompound {
		n.Content = slices.Clone(v.Bytes)
		return n, rest
	}
	for in := v.Bytes; len(in) > 0; {
		var c *Node
		c, in = parse(t, in)
		n.Children = append(n.Children, c)
	}
	return n, rest
}

// DER encodes the element: its content, and its children behind that.
func (n *Node) DER(t testing.TB) []byte {
	t.Helper()
	content := slices.Clone(n.Content)
	for _, c := range n.Children {
		content = append(content, c.DER(t)...)
	}
	out, err := asn1.Marshal(asn1.RawValue{Class: int(n.Tag >> 6), Tag: int(n.Tag & 0x1f), IsCompound: n.Tag&0x20 != 0, Bytes: content})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// At is the element at the end of a path of positions.
func (n *Node) At(path ...int) *Node {
	for _, i := range path {
		n = n.Children[i]
	}
	return n
}

// Add adds children at the end.
func (n *Node) Add(c ...*Node) { n.Children = append(n.Children, c...) }

// Without takes child i away.
func (n *Node) Without(i int) { n.Children = slices.Delete(n.Children, i, i+1) }

// Insert puts c before child i.
func (n *Node) Insert(i int, c *Node) { n.Children = slices.Insert(n.Children, i, c) }

// Null is an element that means nothing.
func Null() *Node { return &Node{Tag: 5} }

// Object is an object identifier by its bytes.
func Object(oid ...byte) *Node { return &Node{Tag: 6, Content: oid} }

// Octets is an octet string.
func Octets(b []byte) *Node { return &Node{Tag: 4, Content: b} }

// Sequence is a sequence.
func Sequence(c ...*Node) *Node { return &Node{Tag: 0x30, Children: c} }
