// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/notation"
)

// A Bundle is a [Source] that has signatures and no image: a sigstore bundle
// in a file, or a folder with the parts of a cosign .sig or .att manifest,
// namely payload.json (the signed bytes), layers.json (a list of its layer
// descriptors with their annotations) and, where there is one, subject.json
// ({"digest","repository"}). A folder with the recorded metadata of Docker Content
// Trust is one too: its signatures are those that the roots list. A [Result] from it names no platforms, since
// nothing shows the manifest.
type Bundle struct {
	candidates []*candidate
	subject    Image
}

// OpenBundle reads path. What cannot be opened is a [verdict.Misuse]; what can
// and makes no sense is a candidate that is refused.
func OpenBundle(path string) (*Bundle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, verdict.Misused("name a bundle, or a folder with payload.json and layers.json", "opening bundle: %w", err)
	}
	if !info.IsDir() {
		data, err := readFile(path, MaxBundleBytes+MaxPayloadBytes)
		if err != nil {
			return nil, verdict.Misused("", "opening bundle: %w", err)
		}
		return ParseBundle(filepath.Base(path), data), nil
	}
	if b, ok, err := openNotation(path); ok || err != nil {
		return b, err
	}
	if recordsCollection(path) {
		return &Bundle{}, nil // the roots have what lists the image
	}
	if data, err := readFile(filepath.Join(path, "provenance.json"), MaxBundleBytes); err == nil {
		return &Bundle{candidates: parseRecord("provenance.json", data)}, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, verdict.Misused("", "opening bundle: %w", err)
	}
	payload, err := readFile(filepath.Join(path, "payload.json"), MaxBundleBytes)
	if err != nil {
		return nil, verdict.Misused("name a folder with payload.json and layers.json", "opening bundle: %w", err)
	}
	layers, err := readFile(filepath.Join(path, "layers.json"), MaxManifestBytes)
	if err != nil {
		return nil, verdict.Misused("name a folder with payload.json and layers.json", "opening bundle: %w", err)
	}
	b := &Bundle{candidates: legacyFolder(filepath.Base(path), payload, layers)}
	subject, err := readFile(filepath.Join(path, "subject.json"), MaxManifestBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, verdict.Misused("", "opening bundle: %w", err)
	default:
		if b.subject, err = parseSubject(subject); err != nil {
			return nil, verdict.Misused("", "opening bundle: subject.json: %w", err)
		}
	}
	return b, nil
}

// recordsCollection says whether a folder has the metadata of a collection of
// Docker Content Trust.
func recordsCollection(dir string) bool {
	for _, name := range []string{"root.json", "timestamp.json", "snapshot.json", "targets.json"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.Mode().IsRegular() {
			return false
		}
	}
	return true
}

// openNotation reads a folder with an envelope of the Notary Project.
func openNotation(dir string) (*Bundle, bool, error) {
	for file, mediaType := range map[string]string{"envelope.jws.json": notation.TypeJWS, "envelope.cose": notation.TypeCOSE} {
		data, err := readFile(filepath.Join(dir, file), notation.MaxBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, true, verdict.Misused("", "opening bundle: %w", err)
		}
		return &Bundle{candidates: []*candidate{newNotationCandidate(file, mediaType, data)}}, true, nil
	}
	return nil, false, nil
}

// ParseBundle makes a source of the bytes of one sigstore bundle. Name is for
// messages.
func ParseBundle(name string, data []byte) *Bundle {
	return &Bundle{candidates: []*candidate{newBundleCandidate(name, data)}}
}

// Subject returns what subject.json says that the signatures are about. It is
// a convenience for people, and proves nothing.
func (b *Bundle) Subject() (Image, bool) { return b.subject, b.subject.Digest != "" }

// legacyFolder makes a candidate of each layer.
func legacyFolder(name string, payload, layers []byte) []*candidate {
	one := func(err error) []*candidate {
		return []*candidate{{name: name, family: familyLegacy, err: err}}
	}
	if err := checkJSON(layers, maxManifestValues); err != nil {
		return one(verdict.Refuse(verdict.InputMalformed, "reading layers.json: %w", err))
	}
	descriptors, _, err := parseDescriptors(json.RawMessage(layers), maxLayers)
	if err != nil {
		return one(verdict.Refuse(verdict.InputMalformed, "reading layers.json: %w", err))
	}
	if len(descriptors) > MaxSignatures {
		return one(verdict.Fail(verdict.InputLimit, "reading layers.json: %d layers, want at most %d", len(descriptors), MaxSignatures))
	}
	var out []*candidate
	for i, d := range descriptors {
		var found []*candidate
		switch d.MediaType {
		case typeSimpleSigning:
			found = []*candidate{newLegacyCandidate(name+" layer "+strconv.Itoa(i), d, payload)}
		case typeEnvelope:
			found = newAttestationCandidates(name+" layer "+strconv.Itoa(i), d, payload)
		default:
			found = []*candidate{{name: name + " layer " + strconv.Itoa(i), family: familyOther}}
		}
		if got := verdict.SHA256(payload); got != d.Digest {
			for _, c := range found {
				c.err = verdict.Refuse(verdict.InputMalformed, "reading layers.json: layer %d is %s, and payload.json has %s", i, d.Digest, got)
			}
		}
		out = append(out, found...)
	}
	return out
}

func parseSubject(data []byte) (Image, error) {
	obj, err := parseObject(data, maxManifestValues)
	if err != nil {
		return Image{}, err
	}
	var digest, repository string
	if err := errors.Join(obj.optional("digest", &digest), obj.optional("repository", &repository)); err != nil {
		return Image{}, err
	}
	var img Image
	if img.Digest, err = parseDigest(digest); err != nil {
		return Image{}, err
	}
	if repository != "" {
		img.Repository, err = ParseRepository(repository)
	}
	return img, err
}

// Manifest implements [Source]: there is none.
func (b *Bundle) Manifest(_ context.Context, _ string, d verdict.Digest) (string, []byte, error) {
	return "", nil, verdict.Refuse(verdict.ImageNotFound, "reading bundle: it does not have %s", d)
}

// Tagged implements [Source]: there are no tags.
func (b *Bundle) Tagged(context.Context, string, string) (verdict.Digest, string, []byte, error) {
	return "", "", nil, verdict.Refuse(verdict.ImageNotFound, "reading bundle: it has no tags")
}

// Blob implements [Source]: there are no blobs.
func (b *Bundle) Blob(_ context.Context, _ string, d verdict.Digest, _, _ int64) ([]byte, error) {
	return nil, verdict.Refuse(verdict.ImageNotFound, "reading bundle: it does not have %s", d)
}

// Referrers implements [Source]: the signatures are looked at directly.
func (b *Bundle) Referrers(context.Context, string, verdict.Digest) ([]Descriptor, error) {
	return nil, nil
}
