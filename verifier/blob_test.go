// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// TestBlob: who signed what with which key, given a file and given its digest.
func TestBlob(t *testing.T) {
	sig, err := whole()
	if err != nil {
		t.Fatal(err)
	}
	roots := rootsOf(t, sig)
	content := []byte("the bytes of an artifact")
	message := func(o *sign) { o.MessageSignature, o.Message = true, content }
	for _, c := range []struct {
		name         string
		opts         func(*sign)
		file, digest verdict.Code
	}{
		{"keyless", message, "", ""},
		{"keyless in Rekor v2", both(message, v2), "", ""},
		{"statement of some type", func(o *sign) { o.Predicate = "https://acme.example/some/v1" }, "", ""},
		{"P-384 with SHA-256", both(message, keyed(t, "p384")), "", ""},
		{"P-384 with SHA-384", both(message, keyed(t, "p384"), v2, func(o *sign) { o.OwnHash, o.MessageHash = true, crypto.SHA384 }), "", verdict.SubjectAlgorithm},
		{"RSA", both(message, keyed(t, "rsa2048")), "", ""},
		{"pre-hashed Ed25519", both(message, keyed(t, "ed25519"), v2, func(o *sign) { o.OwnHash, o.MessageHash = true, crypto.SHA512 }), "", verdict.SubjectAlgorithm},
		{"plain Ed25519", both(message, keyed(t, "ed25519"), func(o *sign) { o.NoLog = true }), verdict.LogMissing, verdict.SigAlgorithm},
		{"plain Ed25519 where it was logged", both(message, keyed(t, "ed25519"), v2, func(o *sign) { o.MessageHash = crypto.SHA512 }), verdict.SigInvalid, verdict.SubjectAlgorithm},
		{"digest of another", both(message, onBundle(func(b *protobundle.Bundle) { b.GetMessageSignature().MessageDigest.Digest[0] ^= 1 })), verdict.SubjectMismatch, verdict.SubjectMismatch},
		{"digest of no known length", both(message, onBundle(func(b *protobundle.Bundle) {
			d := b.GetMessageSignature().MessageDigest
			d.Digest = d.Digest[:20]
		})), verdict.SubjectAlgorithm, verdict.SubjectAlgorithm},
		{"signature changed", both(message, keyed(t, "p256"), onBundle(func(b *protobundle.Bundle) {
			s := b.GetMessageSignature().Signature
			s[len(s)-1] ^= 1
		})), verdict.SigInvalid, verdict.SigInvalid},
		{"signed tomorrow", both(message, func(o *sign) { o.At = now.Add(24 * time.Hour) }), verdict.TimeUntrusted, verdict.TimeUntrusted},
		{"other subject", both(message, func(o *sign) { o.Subject += "x" }), verdict.IdentitySAN, verdict.IdentitySAN},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := good()
			c.opts(&o)
			b, err := sig.Bundle(verdict.SHA256(content), o)
			if err != nil {
				t.Fatal(err)
			}
			one := keyless()
			if o.Key != nil {
				one = verifier.OneOff{Keys: [][]byte{publicPEM(t, o.Key.Public())}}
			}
			file, err := verifier.ReadBlob(t.Context(), bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			digest, err := verifier.BlobOfDigest(file.Digest())
			if err != nil {
				t.Fatal(err)
			}
			other, err := verifier.ReadBlob(t.Context(), bytes.NewReader([]byte("other bytes")))
			if err != nil {
				t.Fatal(err)
			}
			id, err := verifier.VerifyBlob(b, file, one, roots, now, verifier.Ed25519)
			if verdict.CodeOf(err) != c.file || err == nil != (c.file == "") {
				t.Errorf("file: %v, want %q", err, c.file)
			}
			if err == nil && (id.Key == "" || id.SignedAt.IsZero() || len(id.LogEntries) == 0 || id.Predicate != o.Predicate && !o.MessageSignature) {
				t.Errorf("file: got %+v", id)
			}
			if _, err := verifier.VerifyBlob(b, digest, one, roots, now, verifier.Ed25519); verdict.CodeOf(err) != c.digest || err == nil != (c.digest == "") {
				t.Errorf("digest: %v, want %q", err, c.digest)
			}
			if _, err := verifier.VerifyBlob(b, other, one, roots, now, verifier.Ed25519); err == nil {
				t.Error("other bytes passed")
			}
		})
	}
}

// TestBlobWithoutLog: a bare key where no log is listed. Plain Ed25519 needs the
// bytes themselves.
func TestBlobWithoutLog(t *testing.T) {
	sig, err := sigstoretest.New(sigstoretest.Config{At: now, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	roots := rootsOf(t, sig)
	long := bytes.Repeat([]byte("0123456789abcdef"), verifier.MaxBlobBytes/16)
	for _, c := range []struct {
		name    string
		content []byte
		ownHash bool
		want    verdict.Code
	}{
		{"short", []byte("short"), false, ""},
		{"empty", []byte{}, false, ""},
		{"longest", long, false, ""},
		{"too long", append(long, 'x'), false, verdict.SigInvalid},
		{"too long and pre-hashed", append(long, 'x'), true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := good()
			keyed(t, "ed25519")(&o)
			o.NoLog, o.MessageSignature, o.Message, o.OwnHash = true, true, c.content, c.ownHash
			b, err := sig.Bundle(verdict.SHA256(c.content), o)
			if err != nil {
				t.Fatal(err)
			}
			one := verifier.OneOff{Keys: [][]byte{publicPEM(t, o.Key.Public())}}
			blob, err := verifier.ReadBlob(t.Context(), bytes.NewReader(c.content))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := verifier.VerifyBlob(b, blob, one, roots, now, verifier.Ed25519); verdict.CodeOf(err) != c.want || err == nil != (c.want == "") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, err := verifier.VerifyBlob(b, blob, one, roots, now); c.want == "" && verdict.CodeOf(err) != ed25519Unvalidated {
				t.Errorf("not allowed: got %v, want %q", err, ed25519Unvalidated)
			}
			digest, err := verifier.BlobOfDigest(blob.Digest())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := verifier.VerifyBlob(b, digest, one, roots, now, verifier.Ed25519); verdict.CodeOf(err) != verdict.SigAlgorithm {
				t.Errorf("digest alone: got %v, want %q", err, verdict.SigAlgorithm)
			}
		})
	}
}

// A failing reader fails after its bytes.
type failing struct{ io.Reader }

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = errors.New("the disk is gone")
	}
	return n, err
}

// TestReadBlob: what cannot be read to its end is no blob.
func TestReadBlob(t *testing.T) {
	if _, err := verifier.ReadBlob(t.Context(), failing{bytes.NewReader([]byte("part"))}); err == nil {
		t.Error("half an artifact was taken for one")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := verifier.ReadBlob(ctx, bytes.NewReader([]byte("part"))); err == nil {
		t.Error("read on after the caller had gone")
	}
	dir := t.TempDir()
	for _, p := range []string{dir, filepath.Join(dir, "absent")} {
		if _, err := verifier.OpenBlob(t.Context(), p); err == nil {
			t.Errorf("%s was opened as a file", p)
		}
	}
	p := filepath.Join(dir, "file")
	if err := os.WriteFile(p, []byte("bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := verifier.OpenBlob(t.Context(), p)
	if err != nil || b.Digest() != verdict.SHA256([]byte("bytes")) {
		t.Errorf("got %v, %v", b, err)
	}
	for _, d := range []verdict.Digest{"", "sha256:abc", "sha512:" + verdict.Digest(bytes.Repeat([]byte("a"), 128))} {
		if _, err := verifier.BlobOfDigest(d); err == nil {
			t.Errorf("%q was taken for a SHA-256", d)
		}
	}
}
