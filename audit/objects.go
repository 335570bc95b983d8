// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/verdict"
)

const (
	// MaxObject bounds a stored object, in bytes: a core in its envelope, a
	// statement, an evidence collection with its endorsements.
	MaxObject = 4 << 20
	// objectNameLen is the length of an object's file name.
	objectNameLen = 64
	// objectsName is the folder of objects, inside that of the shard.
	objectsName = "objects"
)

// An Object is stored beside the log under the digest that a leaf names it by.
// The zero value is refused; [Content] and [Envelope] make one.
type Object struct {
	name verdict.Digest
	data []byte
}

// Content names data by its SHA-256: issuer statements and evidence
// collections.
func Content(data []byte) Object { return Object{name: verdict.SHA256(data), data: data} }

// Envelope names a DSSE envelope by the SHA-256 of its payload: cores and
// exceptions. The error is a *verdict.Misuse.
func Envelope(dsse []byte) (Object, error) {
	payload, ok := proof.EnvelopePayload(dsse)
	if !ok {
		return Object{}, verdict.Misused("give the envelope as it was signed", "storing object: not a DSSE envelope in canonical form")
	}
	return Object{name: verdict.SHA256(payload), data: dsse}, nil
}

// Digest returns the name.
func (o Object) Digest() verdict.Digest { return o.name }

// objectPath returns the path of an object of the shard at dir. Digests are
// checked before: they come from leaves (binary) or from ParseDigest.
func objectPath(dir string, name verdict.Digest) string {
	h := name.Hex()
	return filepath.Join(dir, objectsName, h[:2], h)
}

// storeObject puts o into the shard at dir, durably. One that is there already
// is used again.
func storeObject(dir string, o Object) error {
	path := objectPath(dir, o.name)
	switch have, err := readFile(path, MaxObject); {
	case err == nil && bytes.Equal(have, o.data):
		// Whoever wrote it may not have synced the folder yet.
		return syncDir(filepath.Dir(path))
	case err == nil && proof.Names(o.name, have):
		// The same payload under another signature: both are genuine, the
		// first stays.
		return syncDir(filepath.Dir(path))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	return writeFile(path, o.data)
}

// loadObject reads an object of the shard at dir and checks its name.
func loadObject(dir string, name verdict.Digest) ([]byte, error) {
	if _, ok := name.Bytes(); !ok {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading object: %q is not a SHA-256 digest", name.Short())
	}
	data, err := readFile(objectPath(dir, name), MaxObject)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, verdict.Refuse(verdict.LogMissing, "reading object %s: the shard does not have it", name)
	}
	if err != nil {
		return nil, verdict.Fail(verdict.LogUnavailable, "reading object %s: %w", name, err)
	}
	if !proof.Names(name, data) {
		return nil, verdict.Refuse(verdict.LogMismatch, "reading object %s: the file holds another one", name)
	}
	return data, nil
}
