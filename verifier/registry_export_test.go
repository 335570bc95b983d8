// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/assayd/assay/verdict"
)

// TestingOnlyWake ends the rests that hosts asked for, as if their time had passed.
func (r *Registry) TestingOnlyWake() { r.hosts.wake() }

// TestingOnlyContentBytes is how much content is kept.
func (r *Registry) TestingOnlyContentBytes() int64 {
	r.contents.mu.Lock()
	defer r.contents.mu.Unlock()
	return r.contents.bytes
}

// A TestingOnlyDial connects to an address.
type TestingOnlyDial = func(ctx context.Context, network, address string) (net.Conn, error)

// TestingOnlyDials sets how hosts are dialled that the caller named, and those that
// an answer named; nil leaves it. No address is refused then when it is dialled.
func (r *Registry) TestingOnlyDials(named, foreign TestingOnlyDial) {
	for c, dial := range map[*http.Client]TestingOnlyDial{r.named: named, r.guarded: foreign} {
		if t, ok := c.Transport.(*http.Transport); ok && dial != nil {
			t.DialContext, t.Proxy = dial, nil
		}
	}
}

// TestingOnlyBudget is a context in which left bytes may still be read.
func TestingOnlyBudget(ctx context.Context, left int) context.Context {
	ctx = withBudget(ctx)
	budgetOf(ctx).read(MaxImageBytes - left)
	return ctx
}

// TestingOnlyRead notes that bytes of the layout's manifests were read before.
func (l *Layout) TestingOnlyRead(bytes int64) { l.read += bytes }

// TestingOnlyMaxLayoutManifests bounds them.
const TestingOnlyMaxLayoutManifests = maxLayoutManifests

// TestingOnlyManifest is what was understood of a manifest.
type TestingOnlyManifest struct {
	MediaType             string
	Subject, Config       verdict.Digest
	Layers, Index         []Descriptor
	Children              []Platform
	Attestations          []verdict.Digest
	IsIndex, ChildrenRead bool
}

// TestingOnlyParseManifest parses one.
func TestingOnlyParseManifest(mediaType string, body []byte) (*TestingOnlyManifest, error) {
	m, err := parseManifest(mediaType, body)
	if m == nil || err != nil {
		return nil, err
	}
	out := &TestingOnlyManifest{MediaType: m.mediaType, Subject: m.subject, Config: m.config.Digest, Layers: m.layers, Index: m.index, IsIndex: m.index != nil, Attestations: m.attestations()}
	if out.Children, _, err = m.children(); err == nil {
		out.ChildrenRead = true
	}
	return out, nil
}

// TestingOnlyStamp verifies a timestamp by each authority of the default instance,
// and says what the library says of it.
func (r *Roots) TestingOnlyStamp(token, signature []byte) (err, byLibrary error) {
	material := r.instance(DefaultInstance).material
	err, byLibrary = errors.New("no authority"), errors.New("no authority")
	for i, a := range material.TimestampingAuthorities() {
		if _, e := a.Verify(token, signature); e == nil {
			err = nil
		}
		if _, e := material.TrustedRoot.TimestampingAuthorities()[i].Verify(token, signature); e == nil {
			byLibrary = nil
		}
	}
	return err, byLibrary
}
