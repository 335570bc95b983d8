// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/notaryv1test"
)

// yamlList writes PEM texts as a list in one line.
func yamlList(texts ...[]byte) string {
	var out []string
	for _, t := range texts {
		out = append(out, fmt.Sprintf("%q", t))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func collectionRoots(t testing.TB, repository, lines string) *verifier.Roots {
	t.Helper()
	r, err := verifier.ParseRoots([]byte("version: 1\nnotary-v1:\n  " + repository + ": {" + lines + "}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func collectionPolicy(t *testing.T, role string) *verifier.Policy {
	t.Helper()
	return policy(t, "version: 1\nauthorities:\n  list:\n    notary-v1: {"+role+"}\nrules:\n  - {name: all, repositories: ['**'], authorities: [list]}\n")
}

// TestCollections: an image counts where a tag of its repository's collection has
// its digest and size; what is not fetched or has ended is undecided.
func TestCollections(t *testing.T) {
	k := newKit(t)
	_, manifest, err := k.source().Manifest(t.Context(), repo, k.image.Digest)
	if err != nil {
		t.Fatal(err)
	}
	until := now.AddDate(0, 0, 7)
	c := notaryv1test.New(t, repo, until)
	c.Roles["targets"].Targets["v1"] = notaryv1test.Target(manifest)
	c.Publish()
	url := "http://" + server(t, c)
	key := yamlList(c.Roles["root"].Keys[0].PEM())
	lines := fmt.Sprintf("url: '%s', root-keys: %s", url, key)
	check := func(roots *verifier.Roots, p *verifier.Policy, img verifier.Image, at time.Time) (bool, verdict.Code, *verifier.Result) {
		v := newVerifier(t, verifier.Config{Policy: p, Roots: roots, Source: k.source()})
		return verify(t.Context(), t, v, img, at)
	}
	if ok, code, _ := check(collectionRoots(t, repo, lines), collectionPolicy(t, "role: docker"), k.image, now); ok || code != verdict.TrustStale {
		t.Errorf("before it was fetched: passed %v with %q", ok, code)
	}
	folder := t.TempDir()
	roots, err := collectionRoots(t, repo, lines).Refresh(t.Context(), verifier.Refreshing{Folder: folder}, now)
	if err != nil {
		t.Fatal(err)
	}
	if roots.Digest() == collectionRoots(t, repo, lines).Digest() {
		t.Error("what was fetched does not change the digest")
	}
	ok, code, res := check(roots, collectionPolicy(t, "role: docker"), k.image, now)
	if !ok || !res.NotAfter.Equal(until) || len(res.Identities) != 1 || !strings.Contains(res.Identities[0].SAN, "targets "+repo+":v1") {
		t.Errorf("the good one: passed %v with %q: %+v", ok, code, res)
	}
	denied := func(d verdict.DenyList) (bool, verdict.Code) {
		v := newVerifier(t, verifier.Config{Policy: collectionPolicy(t, "role: docker"), Roots: roots, Source: k.source(), Deny: d})
		ok, code, _ := verify(t.Context(), t, v, k.image, now)
		return ok, code
	}
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		if ok, code := denied(verdict.DenyList{V: 1, Keys: []verdict.Digest{spki(t, c.Roles[role].Keys[0].Private.Public())}}); ok || code != verdict.RevokedKey {
			t.Errorf("the key of %s denied: passed %v with %q", role, ok, code)
		}
	}
	if ok, code := denied(verdict.DenyList{V: 1, Keys: []verdict.Digest{spki(t, notaryv1test.NewKey(t).Private.Public())}}); !ok {
		t.Errorf("a key denied that signed nothing: refused with %q", code)
	}
	if ok, code := denied(verdict.DenyList{V: 1, Identities: []verdict.DeniedIdentity{{Issuer: "notary-v1", SAN: "targets " + repo + ":v1"}}}); ok || code != verdict.RevokedIdentity {
		t.Errorf("its tag denied: passed %v with %q", ok, code)
	}
	if ok, code, _ := check(roots, collectionPolicy(t, "role: targets"), k.image, now); !ok {
		t.Errorf("by its role: refused with %q", code)
	}
	if ok, code, _ := check(roots, collectionPolicy(t, "role: targets/releases"), k.image, now); ok || code != verdict.SigNone {
		t.Errorf("by another role: passed %v with %q", ok, code)
	}
	if ok, code, _ := check(roots, collectionPolicy(t, "role: docker"), k.push("not listed"), now); ok || code != verdict.SigNone {
		t.Errorf("an image that is not listed: passed %v with %q", ok, code)
	}
	elsewhere := k.image
	elsewhere.Repository = "registry.example/other/app"
	if ok, code, _ := check(roots, collectionPolicy(t, "role: docker"), elsewhere, now); ok || code != verdict.SigNone {
		t.Errorf("in a repository without a collection: passed %v with %q", ok, code)
	}
	if ok, code, _ := check(roots, collectionPolicy(t, "role: docker"), k.image, until.Add(time.Second)); ok || code != verdict.TrustStale {
		t.Errorf("after its end: passed %v with %q", ok, code)
	}

	// Without the server what was kept counts, and an older answer does not.
	c.SetDown(true)
	kept, err := collectionRoots(t, repo, lines).Refresh(t.Context(), verifier.Refreshing{Folder: folder}, now)
	if err == nil {
		t.Error("the server is down, and nobody says so")
	}
	if ok, code, _ := check(kept, collectionPolicy(t, "role: docker"), k.image, now); !ok {
		t.Errorf("what was kept: refused with %q", code)
	}
	if none, err := collectionRoots(t, repo, lines).Refresh(t.Context(), verifier.Refreshing{}, now); err == nil {
		t.Error("nothing was kept, and nobody says so")
	} else if ok, _, _ := check(none, collectionPolicy(t, "role: docker"), k.image, now); ok {
		t.Error("with nothing kept it passes")
	}
	c.SetDown(false)
	c.Roles["targets"].Targets = map[string]any{}
	for _, r := range c.Roles {
		r.Version = 0
	}
	for _, r := range c.Roles {
		r.Version = 1
		r.Expires = until.Add(-time.Hour)
	}
	c.Publish()
	if again, err := kept.Refresh(t.Context(), verifier.Refreshing{Folder: folder}, now); verdict.CodeOf(err) != verdict.TrustRollback {
		t.Errorf("two contents of one version: got %v", err)
	} else if ok, code, _ := check(again, collectionPolicy(t, "role: docker"), k.image, now); !ok {
		t.Errorf("after a refused answer: refused with %q", code)
	}
	for _, r := range c.Roles {
		r.Version = 2
	}
	c.Publish()
	gone, err := kept.Refresh(t.Context(), verifier.Refreshing{Folder: folder}, now)
	if err != nil {
		t.Fatal(err)
	}
	if ok, code, _ := check(gone, collectionPolicy(t, "role: docker"), k.image, now); ok || code != verdict.SigNone {
		t.Errorf("after the tag was taken away: passed %v with %q", ok, code)
	}

	for name, tt := range map[string]struct{ repository, lines, want string }{
		"no place":         {repo, "root-keys: " + key, "exactly one of url and folder"},
		"two places":       {repo, lines + ", folder: x", "exactly one of url and folder"},
		"no key":           {repo, "url: " + url, "root keys"},
		"no such key":      {repo, "url: " + url + ", root-keys: [x]", "PEM"},
		"an age":           {repo, lines + ", max-age: 1", "max-age"},
		"a short name":     {"acme", lines, "whole name"},
		"an unknown field": {repo, lines + ", tofu: true", "tofu"},
	} {
		_, err := verifier.ParseRoots([]byte("version: 1\nnotary-v1:\n  " + tt.repository + ": {" + tt.lines + "}\n"))
		wantMisuse(t, name, err, tt.want)
	}
	for _, role := range []string{"root", "releases", "targets/", "targets/../x"} {
		_, err := verifier.ParsePolicy("policy.yaml", []byte("version: 1\nauthorities: {list: {notary-v1: {role: "+role+"}}}\nrules: [{name: all, repositories: ['**'], authorities: [list]}]\n"))
		wantMisuse(t, role, err, "role")
	}
	// Roles of one collection are keys that one publisher handed out.
	_, err = verifier.ParsePolicy("policy.yaml", []byte("version: 1\nauthorities:\n  a: {notary-v1: {role: docker}}\n  b: {notary-v1: {role: targets}}\nrules:\n  - {name: all, repositories: ['**'], authorities: [a, b], require: 2}\n"))
	wantMisuse(t, "two roles of one collection", err, "require")
	p := collectionPolicy(t, "role: docker")
	if _, err := verifier.New(verifier.Config{Policy: p, Roots: k.roots, Source: k.source()}); err == nil || !strings.Contains(err.Error(), "no collection") {
		t.Errorf("roots without collections: got %v", err)
	}
}

// TestRealContentTrust: recorded collections of real publishers, at a time at which
// they counted, and those that a project signed anew with an end in 2999.
func TestRealContentTrust(t *testing.T) {
	for _, c := range sharedCases(t, "tuf-notary-v1") {
		t.Run(c.Name, func(t *testing.T) {
			name, at := "", now
			switch c.Name {
			case "dct-sample-image", "dct-alice-image":
				at = time.Date(2019, 10, 20, 0, 0, 0, 0, time.UTC)
			default:
				name = "securesystems.de" // the certificate is not for the repository
			}
			folder := sharedFile(t, "testdata", c.Path)
			source, err := verifier.OpenBundle(folder)
			if err != nil {
				t.Fatal(err)
			}
			check := func(img verifier.Image, role, certificate string, at time.Time, key string) (bool, verdict.Code) {
				o := verifier.OneOff{NotaryKeys: [][]byte{readFile(t, sharedFile(t, "testdata", key))}, Repository: img.Repository, NotaryFolder: folder, NotaryName: certificate, NotaryRole: role}
				roots, err := o.Roots(nil)
				if err != nil {
					t.Fatal(err)
				}
				roots, _ = roots.Refresh(t.Context(), verifier.Refreshing{Offline: true}, at) // the verdict says it
				v := newVerifier(t, verifier.Config{Policy: oneOff(t, o), Roots: roots, Source: source})
				ok, code, _ := verify(t.Context(), t, v, img, at)
				return ok, code
			}
			key := c.Trust.DCTRootKey
			for tag, digest := range c.digests() {
				img := verifier.Image{Repository: c.Repository, Digest: digest}
				want, role := verdict.Code(""), ""
				switch {
				case c.Name == "dct-never-expire-with-conflicting-delegations-image":
					want = verdict.SubjectMismatch
					if ok, code := check(img, "targets/del1", name, at, key); !ok {
						t.Errorf("%s by a role that is named: refused with %q", tag, code)
					}
				case c.Name == "dct-never-expire-with-delegations-image" && tag == "v1":
					role = "targets/del2" // releases does not have it
					if ok, code := check(img, "", name, at, key); ok || code != verdict.SigNone {
						t.Errorf("%s, which is not released: passed %v with %q", tag, ok, code)
					}
				}
				if ok, code := check(img, role, name, at, key); ok != (want == "") || code != want {
					t.Errorf("%s: passed %v with %q, want %q", tag, ok, code, want)
				}
				if ok, code := check(img, role, "docker.io/other/app", at, key); ok || code != verdict.SubjectRepository {
					t.Errorf("%s with a certificate for another: passed %v with %q", tag, ok, code)
				}
				other := "roots/dct/phbelitz-root.pub"
				if key == other {
					other = "roots/dct/never-expire-root.pub"
				}
				if ok, code := check(img, role, name, at, other); ok || code != verdict.KeyUnknown {
					t.Errorf("%s with another root key: passed %v with %q", tag, ok, code)
				}
				if name == "" {
					if ok, code := check(img, role, name, now, key); ok || code != verdict.TrustStale {
						t.Errorf("%s today: passed %v with %q", tag, ok, code)
					}
				}
				img.Digest = verdict.SHA256([]byte("another"))
				if want == "" {
					if ok, code := check(img, role, name, at, key); ok || code != verdict.SigNone {
						t.Errorf("another digest: passed %v with %q", ok, code)
					}
				}
			}
			if len(c.digests()) == 0 || filepath.Base(folder) != c.Name {
				t.Error("the case says no digest")
			}
		})
	}
}
