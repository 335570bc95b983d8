// SPDX-License-Identifier: Apache-2.0

package notaryv1

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/tuf"
	"github.com/assayd/assay/verifier/notaryv1test"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	gun      = "docker.io/acme/app"
	manifest = `{"an":"image"}`
)

func newCollection(t testing.TB) *notaryv1test.Collection {
	t.Helper()
	c := notaryv1test.New(t, gun, now.AddDate(0, 0, 7))
	c.Roles["targets"].Targets["v1"] = notaryv1test.Target([]byte(manifest))
	c.Publish()
	return c
}

func config(c *notaryv1test.Collection) Config {
	return Config{GUN: gun, RootKeys: []crypto.PublicKey{c.Roles["root"].Keys[0].Private.Public()}}
}

func hexOf(content string) string { return verdict.SHA256([]byte(content)).Hex() }

func refresh(t testing.TB, c *notaryv1test.Collection, cfg Config, store tuf.Store, at time.Time) (*Snapshot, error) {
	t.Helper()
	return Refresh(t.Context(), cfg, store, c, at)
}

func TestCollection(t *testing.T) {
	c := newCollection(t)
	store := tuf.NewMemory()
	s, err := refresh(t, c, config(c), store, now)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Expires().Equal(now.AddDate(0, 0, 7)) {
		t.Errorf("expires %s", s.Expires())
	}
	for _, tt := range []struct {
		digest string
		size   int64
		role   string
		want   string
	}{
		{hexOf(manifest), int64(len(manifest)), "", "targets v1"},
		{hexOf(manifest), -1, "", "targets v1"},
		{hexOf(manifest), -1, "targets", "targets v1"},
		{hexOf(manifest), 1, "", ""},
		{hexOf("another"), -1, "", ""},
		{hexOf(manifest), -1, "targets/releases", ""},
		{hexOf(manifest), -1, "root", ""},
		{strings.ToUpper(hexOf(manifest)), -1, "", ""},
	} {
		found, err := s.Lookup(tt.digest, tt.size, tt.role)
		got := ""
		if len(found) > 0 {
			got = found[0].Role + " " + found[0].Path
		}
		if err != nil || got != tt.want {
			t.Errorf("%s of %d bytes by %q: got %q and %v, want %q", tt.digest[:8], tt.size, tt.role, got, err, tt.want)
		}
	}
	loaded, err := Load(config(c), store, now.Add(time.Hour))
	if err != nil || loaded.Digest() != s.Digest() {
		t.Errorf("loading: got %v", err)
	}
}

// TestOneChange: a good collection with one change, and the code of the check that
// refuses it.
func TestOneChange(t *testing.T) {
	type collection = notaryv1test.Collection
	signed := func(role string, change func(map[string]any)) func(*collection) {
		return func(c *collection) { c.Roles[role].Change = change }
	}
	// after changes files that are published already.
	frozen := map[*collection]bool{}
	after := func(change func(*collection)) func(*collection) {
		return func(c *collection) {
			c.Publish()
			change(c)
			frozen[c] = true
		}
	}
	flip := func(b []byte) { b[0] ^= 1 }
	long := func(n int) []byte { return bytes.Repeat([]byte(" "), n) }
	for _, tt := range []struct {
		name   string
		change func(*collection)
		want   verdict.Code
	}{
		{"nothing", func(*collection) {}, ""},
		{"root of another key", func(c *collection) {
			k := notaryv1test.NewKey(t)
			k.Certify(t, gun, now.AddDate(1, 0, 0))
			c.Roles["root"].Keys = []*notaryv1test.Key{k}
		}, verdict.KeyUnknown},
		{"root that the key did not sign", func(c *collection) { c.Roles["root"].Signers = []*notaryv1test.Key{} }, verdict.SigInvalid},
		{"root with another signature", func(c *collection) { c.Roles["root"].Keys[0].Spoil = flip }, verdict.SigInvalid},
		{"root without a certificate", func(c *collection) { c.Roles["root"].Keys[0].Certificate = nil }, verdict.InputUnsupported},
		{"root of another collection", func(c *collection) { c.Roles["root"].Keys[0].Certify(t, "docker.io/acme/other", now.AddDate(1, 0, 0)) }, verdict.SubjectRepository},
		{"root that wants two of its keys", func(c *collection) {
			c.Roles["root"].Keys = append(c.Roles["root"].Keys, notaryv1test.NewKey(t))
			c.Roles["root"].Threshold = 2
		}, verdict.SigCount},
		{"timestamp of another key", func(c *collection) { c.Roles["timestamp"].Signers = []*notaryv1test.Key{notaryv1test.NewKey(t)} }, verdict.SigInvalid},
		{"snapshot of another key", func(c *collection) { c.Roles["snapshot"].Signers = []*notaryv1test.Key{notaryv1test.NewKey(t)} }, verdict.SigInvalid},
		{"targets of another key", func(c *collection) { c.Roles["targets"].Signers = []*notaryv1test.Key{notaryv1test.NewKey(t)} }, verdict.SigInvalid},
		{"targets by the timestamp's key", func(c *collection) { c.Roles["targets"].Signers = c.Roles["timestamp"].Keys }, verdict.SigInvalid},
		{"targets by one of two", func(c *collection) {
			c.Roles["targets"].Keys = append(c.Roles["targets"].Keys, notaryv1test.NewKey(t))
			c.Roles["targets"].Threshold, c.Roles["targets"].Signers = 2, c.Roles["targets"].Keys[:1]
		}, verdict.SigCount},
		{"targets twice by one key", func(c *collection) {
			c.Roles["targets"].Keys = append(c.Roles["targets"].Keys, notaryv1test.NewKey(t))
			one := c.Roles["targets"].Keys[0]
			c.Roles["targets"].Threshold, c.Roles["targets"].Signers = 2, []*notaryv1test.Key{one, one}
		}, verdict.SigCount},
		{"one key under two names", func(c *collection) {
			one := c.Roles["targets"].Keys[0]
			two := *one
			two.Certify(t, gun, now.AddDate(1, 0, 0))
			c.Roles["targets"].Keys, c.Roles["targets"].Threshold = []*notaryv1test.Key{one, &two}, 2
		}, verdict.SigCount},
		{"a signature of another method", func(c *collection) { c.Roles["targets"].Keys[0].Method = "rsapss" }, verdict.SigInvalid},
		{"other bytes than snapshot names", after(func(c *collection) {
			c.Replace("targets.json", append(c.File("targets.json"), ' '))
		}), verdict.RegistryDigestMismatch},
		{"other bytes than timestamp names", after(func(c *collection) {
			c.Replace("snapshot.json", append(c.File("snapshot.json"), ' '))
		}), verdict.RegistryDigestMismatch},
		{"another root than snapshot names", after(func(c *collection) {
			c.Replace("root.json", append(c.File("root.json"), ' '))
		}), verdict.RegistryDigestMismatch},
		{"another SHA-512", signed("timestamp", func(s map[string]any) {
			s["meta"].(map[string]any)["snapshot"].(map[string]any)["hashes"].(map[string]any)["sha512"] = make([]byte, 64)
		}), verdict.RegistryDigestMismatch},
		{"no timestamp", func(c *collection) { c.Roles["timestamp"].Absent = true }, verdict.TrustMissing},
		{"no targets", func(c *collection) { c.Roles["targets"].Absent = true }, verdict.InputMalformed}, // snapshot has none
		{"a delegation that is named and not there", func(c *collection) {
			c.Delegate("targets/releases", "")
			after(func(c *collection) { c.Replace("targets/releases.json", nil) })(c)
		}, verdict.TrustMissing},
		{"expired timestamp", func(c *collection) { c.Roles["timestamp"].Expires = now.Add(-time.Second) }, verdict.TrustStale},
		{"expired snapshot", func(c *collection) { c.Roles["snapshot"].Expires = now.Add(-time.Second) }, verdict.TrustStale},
		{"expired targets", func(c *collection) { c.Roles["targets"].Expires = now.Add(-time.Second) }, verdict.TrustStale},
		{"expired root", func(c *collection) { c.Roles["root"].Expires = now.Add(-time.Second) }, verdict.TrustStale},
		{"expired delegation", func(c *collection) { c.Delegate("targets/releases", "").Expires = now.Add(-time.Second) }, verdict.TrustStale},
		{"expired certificate", func(c *collection) { c.Roles["root"].Keys[0].Certify(t, gun, now.Add(-time.Second)) }, verdict.TrustStale},
		{"delegation of another key", func(c *collection) {
			c.Delegate("targets/releases", "").Signers = []*notaryv1test.Key{notaryv1test.NewKey(t)}
		}, verdict.SigInvalid},
		{"another type", signed("targets", func(s map[string]any) { s["_type"] = "Snapshot" }), verdict.InputMalformed},
		{"type of TUF 1.0", signed("targets", func(s map[string]any) { s["_type"] = "targets" }), verdict.InputMalformed},
		{"version 0", signed("targets", func(s map[string]any) { s["version"] = 0 }), verdict.InputMalformed},
		{"no expiry", signed("targets", func(s map[string]any) { delete(s, "expires") }), verdict.InputMalformed},
		{"no SHA-256", signed("targets", func(s map[string]any) {
			s["targets"] = map[string]any{"v1": map[string]any{"length": 1, "hashes": map[string]any{"sha512": make([]byte, 64)}}}
		}), verdict.InputMalformed},
		{"a short SHA-256", signed("targets", func(s map[string]any) {
			s["targets"] = map[string]any{"v1": map[string]any{"length": 1, "hashes": map[string]any{"sha256": make([]byte, 31)}}}
		}), verdict.InputMalformed},
		{"a short SHA-512", signed("targets", func(s map[string]any) {
			s["targets"] = map[string]any{"v1": map[string]any{"length": 1, "hashes": map[string]any{"sha256": make([]byte, 32), "sha512": make([]byte, 63)}}}
		}), verdict.InputMalformed},
		{"no length", signed("targets", func(s map[string]any) {
			s["targets"] = map[string]any{"v1": map[string]any{"hashes": map[string]any{"sha256": make([]byte, 32)}}}
		}), verdict.InputMalformed},
		{"a negative length", signed("targets", func(s map[string]any) {
			s["targets"] = map[string]any{"v1": map[string]any{"length": -1, "hashes": map[string]any{"sha256": make([]byte, 32)}}}
		}), verdict.InputMalformed},
		{"a target that is no tag", signed("targets", func(s map[string]any) {
			s["targets"] = map[string]any{"../v1": notaryv1test.Target([]byte(manifest))}
		}), verdict.InputMalformed},
		{"a role twice", func(c *collection) {
			c.Delegate("targets/releases", "")
			c.Roles["targets"].Change = func(s map[string]any) {
				d := s["delegations"].(map[string]any)
				roles := d["roles"].([]any)
				d["roles"] = append(roles, roles[0])
			}
		}, verdict.InputMalformed},
		{"a delegation elsewhere", func(c *collection) {
			c.Delegate("targets/releases", "")
			c.Roles["targets"].Change = func(s map[string]any) {
				s["delegations"].(map[string]any)["roles"].([]any)[0].(map[string]any)["name"] = "snapshot"
			}
		}, verdict.InputMalformed},
		{"a delegation below another", func(c *collection) {
			c.Delegate("targets/releases", "")
			c.Roles["targets"].Change = func(s map[string]any) {
				s["delegations"].(map[string]any)["roles"].([]any)[0].(map[string]any)["name"] = "targets/a/b"
			}
		}, verdict.InputMalformed},
		{"threshold 0", signed("root", func(s map[string]any) { s["roles"].(map[string]any)["targets"].(map[string]any)["threshold"] = 0 }), verdict.InputMalformed},
		{"a threshold above the keys", signed("root", func(s map[string]any) { s["roles"].(map[string]any)["targets"].(map[string]any)["threshold"] = 2 }), verdict.InputMalformed},
		{"no role of targets", signed("root", func(s map[string]any) { delete(s["roles"].(map[string]any), "targets") }), verdict.InputMalformed},
		{"a key that is not there", signed("root", func(s map[string]any) {
			s["roles"].(map[string]any)["targets"].(map[string]any)["keyids"] = []string{"x"}
		}), verdict.InputMalformed},
		{"a key of another type", signed("root", func(s map[string]any) {
			for _, k := range s["keys"].(map[string]any) {
				k.(map[string]any)["keytype"] = "dsa"
			}
		}), verdict.SigAlgorithm},
		{"a key that says another kind", signed("root", func(s map[string]any) {
			for _, k := range s["keys"].(map[string]any) {
				if k := k.(map[string]any); k["keytype"] == "ecdsa" {
					k["keytype"] = "rsa"
				}
			}
		}), verdict.SigAlgorithm},
		{"a key on another curve", signed("root", func(s map[string]any) {
			for _, k := range s["keys"].(map[string]any) {
				if k := k.(map[string]any); k["keytype"] == "ecdsa" {
					k["keyval"] = map[string]any{"public": p224(t)}
				}
			}
		}), verdict.SigAlgorithm},
		{"a certificate that is none", signed("root", func(s map[string]any) {
			for _, k := range s["keys"].(map[string]any) {
				if k := k.(map[string]any); k["keytype"] == "ecdsa-x509" {
					k["keyval"] = map[string]any{"public": []byte("no PEM")}
				}
			}
		}), verdict.InputMalformed},
		{"a certificate of junk", signed("root", func(s map[string]any) {
			for _, k := range s["keys"].(map[string]any) {
				if k := k.(map[string]any); k["keytype"] == "ecdsa-x509" {
					k["keyval"] = map[string]any{"public": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}
				}
			}
		}), verdict.InputMalformed},
		{"a key of junk", signed("root", func(s map[string]any) {
			for _, k := range s["keys"].(map[string]any) {
				if k := k.(map[string]any); k["keytype"] == "ecdsa" {
					k["keyval"] = map[string]any{"public": []byte("junk")}
				}
			}
		}), verdict.InputMalformed},
		{"a short Ed25519 key", signed("root", func(s map[string]any) {
			for _, k := range s["keys"].(map[string]any) {
				if k := k.(map[string]any); k["keytype"] == "ecdsa" {
					k["keytype"], k["keyval"] = "ed25519", map[string]any{"public": make([]byte, 31)}
				}
			}
		}), verdict.InputMalformed},
		{"too many delegated roles in all", func(c *collection) {
			for i := range maxRoles {
				c.Delegate(fmt.Sprint("targets/", i), "")
			}
			c.Delegate("targets/0/x", "")
		}, verdict.InputLimit},
		{"nothing signed", func(c *collection) { c.Roles["targets"].Sealed = func(f map[string]any) { delete(f, "signed") } }, verdict.InputMalformed},
		{"too many signatures", func(c *collection) {
			c.Roles["targets"].Sealed = func(f map[string]any) {
				for len(f["signatures"].([]any)) <= maxKeys {
					f["signatures"] = append(f["signatures"].([]any), f["signatures"].([]any)[0])
				}
			}
		}, verdict.InputMalformed},
		{"too many keys", signed("root", func(s map[string]any) {
			for i := range maxKeys + 1 {
				s["keys"].(map[string]any)[fmt.Sprint(i)] = map[string]any{}
			}
		}), verdict.InputMalformed},
		{"too many delegations", signed("targets", func(s map[string]any) {
			var roles []any
			for i := range maxRoles + 1 {
				roles = append(roles, map[string]any{"name": fmt.Sprint("targets/", i)})
			}
			s["delegations"] = map[string]any{"keys": map[string]any{}, "roles": roles}
		}), verdict.InputLimit},
		{"a duplicate member", after(func(c *collection) {
			c.Replace("root.json", bytes.Replace(c.File("root.json"), []byte(`"signatures"`), []byte(`"signatures":[],"signatures"`), 1))
		}), verdict.InputMalformed},
		{"a timestamp that does not end", after(func(c *collection) {
			c.Replace("timestamp.json", append(c.File("timestamp.json"), long(maxTimestamp)...))
		}), verdict.InputLimit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCollection(t)
			cfg := config(c)
			tt.change(c)
			if !frozen[c] {
				c.Publish()
			}
			_, err := refresh(t, c, cfg, tuf.NewMemory(), now)
			if verdict.CodeOf(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func p224(t *testing.T) []byte {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestRollback: what is older than what was seen is refused, and two contents of
// one version; a role with other keys begins anew.
func TestRollback(t *testing.T) {
	for _, role := range []string{"root", "timestamp", "snapshot", "targets", "targets/releases"} {
		for _, tt := range []struct {
			name   string
			change func(*notaryv1test.Collection)
			want   verdict.Code
		}{
			{"nothing", func(*notaryv1test.Collection) {}, ""},
			{"newer", func(c *notaryv1test.Collection) { c.Roles[role].Version = 6 }, ""},
			{"older", func(c *notaryv1test.Collection) { c.Roles[role].Version = 4 }, verdict.TrustRollback},
			{"another of the same version", func(c *notaryv1test.Collection) { c.Roles[role].Expires = now.AddDate(0, 0, 6) }, verdict.TrustRollback},
		} {
			t.Run(role+" "+tt.name, func(t *testing.T) {
				c := newCollection(t)
				c.Delegate("targets/releases", "")
				for _, r := range c.Roles {
					r.Version = 5
				}
				c.Publish()
				store := tuf.NewMemory()
				if _, err := refresh(t, c, config(c), store, now); err != nil {
					t.Fatal(err)
				}
				// The others get a new version, since they name what has changed.
				tt.change(c)
				for name, r := range c.Roles {
					if name != role && tt.name != "nothing" {
						r.Version = 6
					}
				}
				if tt.name != "nothing" {
					c.Publish()
				}
				_, err := refresh(t, c, config(c), store, now)
				if verdict.CodeOf(err) != tt.want {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			})
		}
	}
	t.Run("gone", func(t *testing.T) {
		c := newCollection(t)
		c.Delegate("targets/releases", "")
		c.Publish()
		store := tuf.NewMemory()
		if _, err := refresh(t, c, config(c), store, now); err != nil {
			t.Fatal(err)
		}
		c.Roles["targets/releases"].Absent = true
		for _, r := range c.Roles {
			r.Version++
		}
		c.Publish()
		if _, err := refresh(t, c, config(c), store, now); verdict.CodeOf(err) != verdict.TrustRollback {
			t.Errorf("got %v, want %q", err, verdict.TrustRollback)
		}
	})
	t.Run("other keys", func(t *testing.T) {
		c := newCollection(t)
		for _, r := range c.Roles {
			r.Version = 5
		}
		c.Publish()
		store := tuf.NewMemory()
		if _, err := refresh(t, c, config(c), store, now); err != nil {
			t.Fatal(err)
		}
		for name, r := range c.Roles {
			r.Version = 1
			if name == "root" {
				r.Version = 6
				continue
			}
			r.Keys = []*notaryv1test.Key{notaryv1test.NewKey(t)}
		}
		c.Publish()
		if _, err := refresh(t, c, config(c), store, now); err != nil {
			t.Errorf("got %v, want versions that begin anew", err)
		}
	})
}

// A broken one cannot do its part.
type broken struct{ tuf.Store }

var errBroken = errors.New("broken")

func (broken) Put(string, []byte) error                             { return errBroken }
func (broken) Fetch(context.Context, string, int64) ([]byte, error) { return nil, errBroken }

func TestBroken(t *testing.T) {
	c := newCollection(t)
	if _, err := refresh(t, c, config(c), broken{tuf.NewMemory()}, now); verdict.CodeOf(err) != verdict.Internal {
		t.Errorf("a store that does not store: got %v", err)
	}
	if _, err := Refresh(t.Context(), config(c), tuf.NewMemory(), broken{}, now); verdict.CodeOf(err) != verdict.TrustMissing || !errors.Is(err, errBroken) {
		t.Errorf("a server that breaks: got %v", err)
	}
}

// TestDelegations: docker looks into targets/releases before targets, and only
// there where it is; a role has a word in its paths only.
func TestDelegations(t *testing.T) {
	c := newCollection(t)
	other := `{"another":"image"}`
	c.Roles["targets"].Targets = map[string]any{"v1": notaryv1test.Target([]byte(manifest)), "old": notaryv1test.Target([]byte(manifest))}
	releases := c.Delegate("targets/releases", "v")
	releases.Targets = map[string]any{"v2": notaryv1test.Target([]byte(other)), "x1": notaryv1test.Target([]byte("outside its paths"))}
	c.Delegate("targets/team", "v").Targets = map[string]any{"v3": notaryv1test.Target([]byte("of the team"))}
	deep := c.Delegate("targets/team/sub", "")
	deep.Targets = map[string]any{"v4": notaryv1test.Target([]byte("deep")), "w4": notaryv1test.Target([]byte("deep, outside"))}
	c.Publish()
	s, err := refresh(t, c, config(c), tuf.NewMemory(), now)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ content, role, want string }{
		{other, "", "targets/releases v2"},
		{other, "targets", ""},
		{manifest, "", ""}, // targets has it, and docker does not look there
		{manifest, "targets", "targets old"},
		{"outside its paths", "", ""},
		{"outside its paths", "targets/releases", ""},
		{"of the team", "", ""},
		{"of the team", "targets/team", "targets/team v3"},
		{"deep", "targets/team/sub", "targets/team/sub v4"},
		{"deep, outside", "targets/team/sub", ""},
	} {
		found, err := s.Lookup(hexOf(tt.content), int64(len(tt.content)), tt.role)
		got := ""
		if len(found) > 0 {
			got = found[0].Role + " " + found[0].Path
		}
		if err != nil || got != tt.want {
			t.Errorf("%q by %q: got %q and %v, want %q", tt.content, tt.role, got, err, tt.want)
		}
	}

	// Whose signatures a match rests on: of the roles on the way to it, no others.
	for content, roles := range map[string][]string{other: {"targets/releases"}, "deep": {"targets/team", "targets/team/sub"}} {
		role := roles[len(roles)-1]
		found, err := s.Lookup(hexOf(content), -1, role)
		if err != nil || len(found) != 1 {
			t.Fatalf("%q: got %v and %v", content, found, err)
		}
		var want []verdict.Digest
		for _, r := range append(roles, "root", "timestamp", "snapshot", "targets") {
			f, err := Fingerprint(c.Roles[r].Keys[0].Private.Public())
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, f)
		}
		if got := slices.Sorted(slices.Values(found[0].Keys)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("%s: got keys %v, want %v", role, got, want)
		}
	}

	// Two roles that say that one tag has different digests.
	c.Roles["targets/team"].Targets["v2"] = notaryv1test.Target([]byte(manifest))
	for _, r := range c.Roles {
		r.Version++
	}
	c.Publish()
	s, err = refresh(t, c, config(c), tuf.NewMemory(), now)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := s.Lookup(hexOf(other), -1, ""); verdict.CodeOf(err) != verdict.SubjectMismatch {
		t.Errorf("a contradiction: got %v and %v, want %q", found, err, verdict.SubjectMismatch)
	}
	if found, err := s.Lookup(hexOf(other), -1, "targets/releases"); err != nil || len(found) != 1 {
		t.Errorf("by a role that is named: got %v and %v", found, err)
	}
}

// TestStored: what was stored is verified again, and judged by its age.
func TestStored(t *testing.T) {
	c := newCollection(t)
	cfg := config(c)
	cfg.MaxAge = 24 * time.Hour
	store := tuf.NewMemory()
	if _, err := Load(cfg, store, now); verdict.CodeOf(err) != verdict.TrustMissing {
		t.Errorf("nothing stored: got %v", err)
	}
	if _, err := refresh(t, c, cfg, store, now); err != nil {
		t.Fatal(err)
	}
	good, _ := store.Get(stateName)
	other := cfg
	other.RootKeys = []crypto.PublicKey{notaryv1test.NewKey(t).Private.Public()}
	edit := func(change func(*state)) []byte {
		var st state
		if err := json.Unmarshal(good, &st); err != nil {
			t.Fatal(err)
		}
		change(&st)
		data, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, tt := range []struct {
		name string
		cfg  Config
		data []byte
		at   time.Time
		want verdict.Code
	}{
		{"good", cfg, good, now.Add(24 * time.Hour), ""},
		{"too old", cfg, good, now.Add(24*time.Hour + time.Second), verdict.TrustStale},
		{"a clock that is behind", cfg, good, now.Add(-time.Hour), verdict.ClockBehind},
		{"under another key", other, good, now, verdict.TrustMissing},
		{"no JSON", cfg, []byte("x"), now, verdict.TrustMissing},
		{"another version", cfg, edit(func(s *state) { s.Version = 2 }), now, verdict.TrustMissing},
		{"a role that is gone", cfg, edit(func(s *state) { delete(s.Roles, "targets") }), now, verdict.TrustMissing},
		{"a changed role", cfg, edit(func(s *state) { s.Roles["targets"][20] ^= 1 }), now, verdict.TrustMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := tuf.NewMemory()
			if err := m.Put(stateName, tt.data); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(tt.cfg, m, tt.at); verdict.CodeOf(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	for name, change := range map[string]func(*Config){
		"no keys":        func(c *Config) { c.RootKeys = nil },
		"no name":        func(c *Config) { c.GUN = "x" },
		"a name with ..": func(c *Config) { c.GUN = "docker.io/../app" },
		"an age":         func(c *Config) { c.MaxAge = -1 },
	} {
		bad := config(c)
		change(&bad)
		var misuse *verdict.Misuse
		if _, err := refresh(t, c, bad, tuf.NewMemory(), now); !asMisuse(err, &misuse) {
			t.Errorf("%s: got %v, want a misuse", name, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Refresh(gone, cfg, tuf.NewMemory(), c, now); err == nil {
		t.Error("with a context that has ended: got no error")
	}
}

func asMisuse(err error, into **verdict.Misuse) bool {
	m, ok := err.(*verdict.Misuse) //nolint:errorlint // it is returned as it is
	*into = m
	return ok
}

// TestRSA: root keys of docker's hardware tokens and of old publishers are RSA.
func TestRSA(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("signed")
	sum := sha256.Sum256(message)
	pss, err := rsa.SignPSS(rand.Reader, private, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: sha256.Size})
	if err != nil {
		t.Fatal(err)
	}
	old, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	k := &key{public: private.Public()}
	for _, tt := range []struct {
		method string
		sig    []byte
		want   bool
	}{{"rsapss", pss, true}, {"rsapkcs1v15", old, true}, {"rsapss", old, false}, {"rsapkcs1v15", pss, false}, {"ecdsa", pss, false}, {"", pss, false}} {
		if got := k.verifies(message, signature{Method: tt.method, Sig: tt.sig}); got != tt.want {
			t.Errorf("%q: got %v, want %v", tt.method, got, tt.want)
		}
	}
	if k.verifies([]byte("another"), signature{Method: "rsapss", Sig: pss}) {
		t.Error("another message is verified")
	}
}

// FuzzParse: no metadata makes the reader panic, and what it takes it can judge.
func FuzzParse(f *testing.F) {
	c := newCollection(f)
	c.Delegate("targets/releases", "v")
	c.Publish()
	for _, role := range []string{"root", "timestamp", "snapshot", "targets", "targets/releases"} {
		f.Add(c.File(role+".json"), role)
	}
	f.Add([]byte(`{"signed":{"_type":"Root"},"signatures":[]}`), "root")
	f.Fuzz(func(t *testing.T, data []byte, role string) {
		if role != roleRoot && role != roleTimestamp && role != roleSnapshot && !IsRole(role) {
			return
		}
		d, err := parse(data, role)
		if err != nil {
			if verdict.CodeOf(err) == verdict.Internal {
				t.Errorf("got %v, want a reason", err)
			}
			return
		}
		if role != roleRoot {
			return
		}
		for _, name := range []string{roleRoot, roleTimestamp, roleSnapshot, roleTargets} {
			if r := d.Roles[name]; len(d.signers(r, d.Keys)) > len(r.KeyIDs) {
				t.Error("more signers than keys")
			}
		}
	})
}

// TestBytes: which check refuses which byte of the metadata.
func TestBytes(t *testing.T) {
	for name, code := range map[string]verdict.Code{
		"root.json": verdict.SigInvalid, "timestamp.json": verdict.SigInvalid, "snapshot.json": verdict.RegistryDigestMismatch, "targets.json": verdict.RegistryDigestMismatch,
	} {
		c := newCollection(t)
		good := c.File(name)
		ranges := map[string]string{"signature": `"sig":"`, "expiry": `"expires":"20`}
		if name != "root.json" {
			ranges["hash"] = `"sha256":"`
		}
		for what, mark := range ranges {
			at, seen := bytes.Index(good, []byte(mark)), 0
			if at < 0 {
				t.Fatalf("%s has no %s", name, what)
			}
			for i := at + len(mark); good[i] != '"'; i++ {
				bad := bytes.Clone(good)
				bad[i] ^= 1
				c.Replace(name, bad)
				_, err := refresh(t, c, config(c), tuf.NewMemory(), now)
				switch got := verdict.CodeOf(err); got {
				case code:
					seen++
				case verdict.InputMalformed, verdict.TrustStale: // no base64, no date, or one that is over
				default:
					t.Errorf("%s, %s: byte %d: got %v, want %s", name, what, i-at, err, code)
				}
			}
			if seen == 0 {
				t.Errorf("%s, %s: no byte is refused with %s", name, what, code)
			}
		}
		c.Replace(name, good)
		if _, err := refresh(t, c, config(c), tuf.NewMemory(), now); err != nil {
			t.Errorf("%s, as it was: %v", name, err)
		}
	}
}
