// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"errors"

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
