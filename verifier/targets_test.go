// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
	"github.com/assayd/assay/verifier/tuftest"
)

// A tufKit is a TUF repository on loopback, and roots that name it.
type tufKit struct {
	*kit
	repository *tuftest.Repository
	url        string
	down       atomic.Bool
}

func newTUFKit(t *testing.T) *tufKit {
	t.Helper()
	k := &tufKit{kit: newKit(t), repository: tuftest.New(t, now.AddDate(0, 0, 7))}
	k.url = "http://" + server(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := k.repository.Fetch(r.Context(), strings.TrimPrefix(r.URL.Path, "/"), 0)
		switch {
		case k.down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case err != nil:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = w.Write(data)
		}
	}))
	return k
}

// roots names the repository, as one of targets and as that of a sigstore
// instance.
func (k *tufKit) roots(lines string) *verifier.Roots {
	k.t.Helper()
	root := strings.ReplaceAll(strings.TrimSpace(string(k.repository.PublishRoot())), "'", "''")
	r, err := verifier.ParseRoots([]byte(fmt.Sprintf("version: 1\ntuf:\n  acme: {url: '%s', root: '%s'%s}\nsigstore:\n  default:\n    tuf: {url: '%s', root: '%s'%s}\n", k.url, root, lines, k.url, root, lines)))
	if err != nil {
		k.t.Fatal(err)
	}
	return r
}

func (k *tufKit) verdict(roots *verifier.Roots, policy *verifier.Policy, at time.Time) (bool, verdict.Code, *verifier.Result) {
	k.t.Helper()
	v := newVerifier(k.t, verifier.Config{Policy: policy, Roots: roots, Source: k.source()})
	return verify(k.t.Context(), k.t, v, k.image, at)
}

// spki is what a deny list names a key by.
func spki(t *testing.T, key crypto.PublicKey) verdict.Digest {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return verdict.SHA256(der)
}

func tufPolicy(t *testing.T, lines string) *verifier.Policy {
	t.Helper()
	return policy(t, "version: 1\nauthorities:\n  list:\n    tuf:\n      repository: acme\n"+lines+"rules:\n  - {name: all, repositories: ['**'], authorities: [list]}\n")
}

// TestTargets: an image counts where a target of the right role and path has its
// digest and size; what is not fetched or has ended is undecided.
func TestTargets(t *testing.T) {
	k := newTUFKit(t)
	_, manifest, err := k.source().Manifest(t.Context(), repo, k.image.Digest)
	if err != nil {
		t.Fatal(err)
	}
	const name = "images/" + repo + "/v1"
	k.repository.Targets["targets"][name] = tuftest.Target(string(manifest))
	k.repository.File("trusted_root.json", string(mustRoot(t, k)))
	k.repository.Publish()
	good := "      paths: ['images/{repository}/*']\n"

	if ok, code, _ := k.verdict(k.roots(""), tufPolicy(t, good), now); ok || code != verdict.TrustStale {
		t.Errorf("before it was fetched: passed %v with %q", ok, code)
	}
	folder := t.TempDir()
	roots, err := k.roots("").Refresh(t.Context(), verifier.Refreshing{Folder: folder}, now)
	if err != nil {
		t.Fatal(err)
	}
	if roots.Digest() == k.roots("").Digest() {
		t.Error("what was fetched does not change the digest")
	}
	for _, tt := range []struct {
		name, lines string
		want        verdict.Code
	}{
		{"path of the repository", good, ""},
		{"role", good + "      role: targets\n", ""},
		{"another role", good + "      role: releases\n", verdict.SigNone},
		{"another path", "      paths: ['other/{repository}/*']\n", verdict.SigNone},
		{"a star does not cross a slash", "      paths: ['images/*']\n", verdict.SigNone},
	} {
		ok, code, res := k.verdict(roots, tufPolicy(t, tt.lines), now)
		if ok != (tt.want == "") || code != tt.want {
			t.Errorf("%s: passed %v with %q, want %q", tt.name, ok, code, tt.want)
		}
		if ok && (!res.NotAfter.Equal(k.repository.Until) || len(res.Identities) != 1 || !strings.Contains(res.Identities[0].SAN, name)) {
			t.Errorf("%s: until %s, by %+v", tt.name, res.NotAfter, res.Identities)
		}
	}
	denied := func(d verdict.DenyList) (bool, verdict.Code) {
		v := newVerifier(t, verifier.Config{Policy: tufPolicy(t, good), Roots: roots, Source: k.source(), Deny: d})
		ok, code, _ := verify(t.Context(), t, v, k.image, now)
		return ok, code
	}
	for _, role := range []string{"timestamp", "snapshot", "targets"} {
		if ok, code := denied(verdict.DenyList{V: 1, Keys: []verdict.Digest{spki(t, k.repository.Keys[role][0].Public())}}); ok || code != verdict.RevokedKey {
			t.Errorf("the key of %s denied: passed %v with %q", role, ok, code)
		}
	}
	if ok, code := denied(verdict.DenyList{V: 1, Keys: []verdict.Digest{spki(t, tuftest.NewKey(t).Public())}}); !ok {
		t.Errorf("a key denied that signed nothing: refused with %q", code)
	}
	for _, issuer := range []string{"", "tuf"} {
		if ok, code := denied(verdict.DenyList{V: 1, Identities: []verdict.DeniedIdentity{{Issuer: issuer, SAN: "targets " + name}}}); ok || code != verdict.RevokedIdentity {
			t.Errorf("its target denied: passed %v with %q", ok, code)
		}
	}
	other := k.push("not listed")
	k.image, other = other, k.image
	if ok, code, _ := k.verdict(roots, tufPolicy(t, good), now); ok || code != verdict.SigNone {
		t.Errorf("an image that is not listed: passed %v with %q", ok, code)
	}
	k.image = other
	if ok, code, _ := k.verdict(roots, tufPolicy(t, good), k.repository.Until.Add(time.Second)); ok || code != verdict.TrustStale {
		t.Errorf("after its end: passed %v with %q", ok, code)
	}

	// Without the server, what was kept counts; with nothing kept, nothing does.
	k.down.Store(true)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.roots("").Refresh(t.Context(), verifier.Refreshing{Folder: file}, now); verdict.CodeOf(err) != verdict.TrustStale {
		t.Errorf("a folder that is none: got %v", err)
	}
	kept, err := k.roots("").Refresh(t.Context(), verifier.Refreshing{Folder: folder}, now)
	if ok, code, _ := k.verdict(kept, tufPolicy(t, good), now); !ok {
		t.Errorf("without the server: refused with %q after %v", code, err)
	}
	none, err := k.roots("").Refresh(t.Context(), verifier.Refreshing{}, now)
	if ok, code, _ := k.verdict(none, tufPolicy(t, good), now); err == nil || ok || verdict.CodeOf(err) == "" || code != verdict.CodeOf(err) {
		t.Errorf("with nothing kept: passed %v with %q after %v", ok, code, err)
	}
	k.down.Store(false)

	// The roots of a sigstore instance, by its repository.
	k.attachLayers(k.image, k.layer(k.image, good2()))
	if ok, code, _ := k.verdict(roots, oneOff(t, keyless()), now); !ok {
		t.Errorf("a sigstore instance by TUF: refused with %q", code)
	}
	if ok, code, _ := k.verdict(roots, oneOff(t, keyless()), k.repository.Until.Add(time.Second)); ok || code != verdict.TrustStale {
		t.Errorf("a sigstore instance after its end: passed %v with %q", ok, code)
	}
	// A key that demands nothing of the instance does not need it.
	key, pub := newKey(t, "p256")
	o := good2()
	o.Key, o.NoLog = key, true
	k.attachLayers(k.image, k.layer(k.image, o))
	if ok, code, _ := k.verdict(k.roots(""), oneOff(t, verifier.OneOff{Keys: [][]byte{pub}}), now); !ok {
		t.Errorf("a key beside roots that are not fetched: refused with %q", code)
	}

	// A newer list without it: it is listed no more.
	delete(k.repository.Targets["targets"], name)
	for _, role := range []string{"targets", "snapshot", "timestamp"} {
		k.repository.Version[role] = 2
	}
	k.repository.Publish()
	newer, err := roots.Refresh(t.Context(), verifier.Refreshing{Folder: folder}, now)
	if err != nil {
		t.Fatal(err)
	}
	if ok, code, _ := k.verdict(newer, tufPolicy(t, good), now); ok || code != verdict.SigNone {
		t.Errorf("after it was taken off: passed %v with %q", ok, code)
	}
}

func good2() sigstoretest.Options { return good() }

// mustRoot is the trusted_root.json of the kit's instance.
func mustRoot(t *testing.T, k *tufKit) []byte {
	t.Helper()
	data, err := k.sig.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSourcesMisuse(t *testing.T) {
	base := "version: 1\ntuf:\n  acme: {url: 'https://tuf.example', root: '{}', max-age: 7d}\n"
	if _, err := verifier.ParseRoots([]byte(base)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{"url: 'https://tuf.example', ", "", "exactly one of url and folder"},
		{"url: 'https://tuf.example'", "url: 'https://tuf.example', folder: x", "exactly one of url and folder"},
		{"root: '{}', ", "", "no root"},
		{"7d", "7m", "write hours or days"},
		{"max-age: 7d", "target: x", "a target is for a sigstore instance"},
		{"acme:", "'a b':", "want 1 to 64 letters"},
		{"tuf:\n  acme: {", "sigstore:\n  default: {trusted-root: x, tuf: {", ""},
	} {
		bad := strings.Replace(base, tt.old, tt.new, 1)
		if bad == base {
			t.Fatal("nothing was changed")
		}
		_, err := verifier.ParseRoots([]byte(bad))
		wantMisuse(t, tt.want, err, tt.want)
	}
	v := policy(t, "version: 1\nauthorities:\n  list: {tuf: {repository: nobody, paths: [x]}}\nrules:\n  - {name: all, repositories: ['**'], authorities: [list]}\n")
	_, err := verifier.New(verifier.Config{Policy: v, Source: verifier.ParseBundle("x", nil)})
	wantMisuse(t, "a repository that is not named", err, "no TUF repository")
}
