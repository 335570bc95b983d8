// SPDX-License-Identifier: Apache-2.0

package tuf

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/tuftest"
)

// pemOf is a key in the form of metadata.
func pemOf(t *testing.T, pub any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// TestForm: metadata of each role, and one change to its form. Nobody signs it again:
// that is looked at later.
func TestForm(t *testing.T) {
	r := tuftest.New(t, time.Now().Add(time.Hour))
	r.Targets["targets"]["app:1"] = tuftest.Target("image")
	r.Delegate("targets", tuftest.Delegation{Name: "by-path", Paths: []string{"app:*"}}, map[string]any{})
	r.Delegate("targets", tuftest.Delegation{Name: "by-hash", PathHashPrefixes: []string{"0a"}}, map[string]any{})
	documents := map[string][]byte{roleRoot: r.PublishRoot()}
	r.Publish()
	for role, name := range map[string]string{roleTimestamp: "timestamp.json", roleSnapshot: "1.snapshot.json", roleTargets: "1.targets.json"} {
		documents[role] = r.Served[name]
	}
	edPublic, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	modulus := func(bits int) *rsa.PublicKey {
		return &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), bits-1, 1), E: 65537}
	}
	type object = map[string]any
	type list = []any
	in := func(v any, path ...string) object {
		for _, p := range path {
			v = v.(object)[p]
		}
		return v.(object)
	}
	signed := func(path ...string) func(object) object {
		return func(o object) object { return in(o, append([]string{"signed"}, path...)...) }
	}
	set := func(at func(object) object, name string, value any) func(object) {
		return func(o object) { at(o)[name] = value }
	}
	// key replaces a key that the role timestamp names.
	key := func(kind, scheme, public string) func(object) {
		return func(o object) {
			id := in(o, "signed", "roles", roleTimestamp)["keyids"].(list)[0].(string)
			in(o, "signed", "keys")[id] = object{"keytype": kind, "scheme": scheme, "keyval": object{"public": public}}
		}
	}
	delegation := func(i int, f func(object)) func(object) {
		return func(o object) { f(in(o, "signed", "delegations")["roles"].(list)[i].(object)) }
	}
	fill := func(n int, value any) object {
		o := object{}
		for i := range n {
			o[fmt.Sprint("a", i)] = value
		}
		return o
	}
	ofBuild := verdict.Code("")
	if !Ed25519 {
		ofBuild = verdict.SigAlgorithm
	}
	ec := pemOf(t, r.Keys[roleRoot][0].Public())
	for name, tt := range map[string]struct {
		role   string
		change func(object)
		code   verdict.Code
		text   string
	}{
		"root":                   {role: roleRoot},
		"timestamp":              {role: roleTimestamp},
		"snapshot":               {role: roleSnapshot},
		"targets":                {role: roleTargets},
		"RSA":                    {roleRoot, key("rsa", "rsassa-pss-sha256", pemOf(t, modulus(2048))), "", ""},
		"Ed25519":                {roleRoot, key("ed25519", "ed25519", hex.EncodeToString(edPublic)), ofBuild, "outside this build's"},
		"nothing signed":         {roleTimestamp, func(o object) { delete(o, "signed") }, verdict.InputMalformed, "no signed, or no signatures"},
		"no signatures":          {roleTimestamp, func(o object) { delete(o, "signatures") }, verdict.InputMalformed, "no signed, or no signatures"},
		"many signatures":        {roleTimestamp, func(o object) { o["signatures"] = make(list, maxKeys+1) }, verdict.InputMalformed, "129 signatures"},
		"another type":           {roleTimestamp, set(signed(), "_type", "snapshot"), verdict.InputMalformed, "it is of type"},
		"another specification":  {roleTimestamp, set(signed(), "spec_version", "2.0"), verdict.InputUnsupported, "want 1.x"},
		"a version that is text": {roleTimestamp, set(signed(), "version", "1"), verdict.InputMalformed, "cannot unmarshal"},
		"version 0":              {roleTimestamp, set(signed(), "version", 0), verdict.InputMalformed, "a version above 0"},
		"no expiry":              {roleTimestamp, func(o object) { delete(signed()(o), "expires") }, verdict.InputMalformed, "and an expiry"},
		"a signature of null":    {roleTimestamp, func(o object) { o["signatures"] = list{nil} }, verdict.InputMalformed, "a signature that is null"},
		"a signature of text":    {roleTimestamp, func(o object) { o["signatures"] = list{"x"} }, verdict.InputMalformed, "a signature: "},

		"no role":        {roleRoot, func(o object) { delete(signed("roles")(o), roleTargets) }, verdict.InputMalformed, "no role targets"},
		"a role of null": {roleRoot, set(signed("roles"), "mirrors", nil), verdict.InputMalformed, "is null"},
		"many roles": {roleRoot, func(o object) {
			in(o, "signed")["roles"] = merged(in(o, "signed", "roles"), fill(maxRoles, in(o, "signed", "roles", roleRoot)))
		}, verdict.InputMalformed, "36 roles"},
		"a key named twice": {roleRoot, func(o object) {
			k := in(o, "signed", "roles", roleTimestamp)
			l := k["keyids"].(list)
			k["keyids"] = append(l, l[0])
		}, verdict.InputMalformed, "names a key twice"},
		"a key not there":      {roleRoot, set(signed("roles", roleTimestamp), "keyids", list{"x"}), verdict.InputMalformed, "names a key that is not there"},
		"a threshold of 0":     {roleRoot, set(signed("roles", roleTimestamp), "threshold", 0), verdict.InputMalformed, "threshold 0 of 1"},
		"a threshold of 2":     {roleRoot, set(signed("roles", roleTimestamp), "threshold", 2), verdict.InputMalformed, "threshold 2 of 1"},
		"many keys":            {roleRoot, func(o object) { in(o, "signed")["keys"] = merged(in(o, "signed", "keys"), fill(maxKeys, object{})) }, verdict.InputMalformed, "keys, want at most"},
		"a key of null":        {roleRoot, set(signed("keys"), "x", nil), verdict.InputMalformed, "a key is null"},
		"Ed25519 that is none": {roleRoot, key("ed25519", "ed25519", "00"), verdict.InputMalformed, "an Ed25519 key that is none"},
		"another scheme":       {roleRoot, key("ed25519", "x", hex.EncodeToString(edPublic)), verdict.InputMalformed, "an Ed25519 key that is none"},
		"no PEM":               {roleRoot, key("ecdsa", "ecdsa-sha2-nistp256", "x"), verdict.InputMalformed, `a key of type "ecdsa"`},
		"two PEM blocks":       {roleRoot, key("ecdsa", "ecdsa-sha2-nistp256", ec+ec), verdict.InputMalformed, `a key of type "ecdsa"`},
		"ECDSA called RSA":     {roleRoot, key("rsa", "ecdsa-sha2-nistp256", ec), verdict.SigAlgorithm, "with curve P-256"},
		"another hash":         {roleRoot, key("ecdsa", "ecdsa-sha2-nistp384", ec), verdict.SigAlgorithm, "with curve P-256"},
		"P-521":                {roleRoot, key("ecdsa", "", pemOf(t, p521.Public())), verdict.SigAlgorithm, "with curve P-521"},
		"RSA called ECDSA":     {roleRoot, key("ecdsa", "rsassa-pss-sha256", pemOf(t, modulus(2048))), verdict.SigAlgorithm, "with RSA of 2048 bits"},
		"RSA, another scheme":  {roleRoot, key("rsa", "rsassa-pkcs1v15-sha256", pemOf(t, modulus(2048))), verdict.SigAlgorithm, "with RSA of 2048 bits"},
		"small RSA":            {roleRoot, key("rsa", "rsassa-pss-sha256", pemOf(t, modulus(1024))), verdict.SigAlgorithm, "with RSA of 1024 bits"},
		"large RSA":            {roleRoot, key("rsa", "rsassa-pss-sha256", pemOf(t, modulus(16384))), verdict.SigAlgorithm, "with RSA of 16384 bits"},
		"Ed25519 in PEM":       {roleRoot, key("ecdsa", "ecdsa-sha2-nistp256", pemOf(t, edPublic)), verdict.SigAlgorithm, "want ECDSA, RSA or Ed25519"},

		"no snapshot":             {roleTimestamp, func(o object) { delete(signed("meta")(o), "snapshot.json") }, verdict.InputMalformed, "does not name snapshot.json"},
		"no targets":              {roleSnapshot, func(o object) { delete(signed("meta")(o), "targets.json") }, verdict.InputMalformed, "does not name targets.json"},
		"an entry of null":        {roleSnapshot, set(signed("meta"), "x.json", nil), verdict.InputMalformed, "no version or a wrong length"},
		"an entry of version 0":   {roleSnapshot, set(signed("meta", "targets.json"), "version", 0), verdict.InputMalformed, "no version or a wrong length"},
		"a negative length":       {roleSnapshot, set(signed("meta", "targets.json"), "length", -1), verdict.InputMalformed, "no version or a wrong length"},
		"a hash of another name":  {roleSnapshot, set(signed("meta", "targets.json", "hashes"), "sha1", strings.Repeat("a", 40)), verdict.InputMalformed, "neither SHA-256 nor SHA-512"},
		"a hash that is no hex":   {roleSnapshot, set(signed("meta", "targets.json", "hashes"), "sha256", strings.Repeat("x", 64)), verdict.InputMalformed, "neither SHA-256 nor SHA-512"},
		"a short hash":            {roleTargets, set(signed("targets", "app:1", "hashes"), "sha256", "aa"), verdict.InputMalformed, "neither SHA-256 nor SHA-512"},
		"no list of targets":      {roleTargets, func(o object) { delete(signed()(o), "targets") }, verdict.InputMalformed, "it has no targets"},
		"a target outside":        {roleTargets, set(signed("targets"), "../x", tuftest.Target("x")), verdict.InputMalformed, "no path inside"},
		"a target of null":        {roleTargets, set(signed("targets"), "x", nil), verdict.InputMalformed, "no length or no hashes"},
		"a target without hashes": {roleTargets, set(signed("targets", "app:1"), "hashes", object{}), verdict.InputMalformed, "no length or no hashes"},
		"succinct roles":          {roleTargets, set(signed("delegations"), "succinct_roles", object{}), verdict.InputUnsupported, "succinct roles"},
		"many delegations":        {roleTargets, set(signed("delegations"), "roles", make(list, maxRoles+1)), verdict.InputLimit, "33 delegations"},
		"a delegation of null":    {roleTargets, func(o object) { in(o, "signed", "delegations")["roles"].(list)[0] = nil }, verdict.InputMalformed, "without a name of its own"},
		"a delegation twice":      {roleTargets, delegation(1, func(o object) { o["name"] = "by-path" }), verdict.InputMalformed, "without a name of its own"},
		"a delegation of a role":  {roleTargets, delegation(1, func(o object) { o["name"] = roleSnapshot }), verdict.InputMalformed, "it delegates to snapshot"},
		"a delegation to nobody":  {roleTargets, delegation(1, func(o object) { o["keyids"] = list{} }), verdict.InputMalformed, "threshold 1 of 0"},
		"no paths":                {roleTargets, delegation(0, func(o object) { delete(o, "paths") }), verdict.InputMalformed, "either paths or"},
		"an odd pattern":          {roleTargets, delegation(0, func(o object) { o["paths"] = list{"[a]"} }), verdict.InputUnsupported, "want * and ? alone"},
		"a prefix of capitals":    {roleTargets, delegation(1, func(o object) { o["path_hash_prefixes"] = list{"0A"} }), verdict.InputMalformed, "lower-case hex"},
		"a long prefix":           {roleTargets, delegation(1, func(o object) { o["path_hash_prefixes"] = list{strings.Repeat("a", 65)} }), verdict.InputMalformed, "lower-case hex"},
	} {
		t.Run(name, func(t *testing.T) {
			var o object
			if err := json.Unmarshal(documents[tt.role], &o); err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				tt.change(o)
			}
			data, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parse(data, tt.role); verdict.CodeOf(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %s with %q", err, tt.code, tt.text)
			}
		})
	}
	if _, err := parse([]byte(`{"signed":{},"signed":{}}`), roleRoot); verdict.CodeOf(err) != verdict.InputMalformed || !strings.Contains(err.Error(), "duplicate member") {
		t.Errorf("a member twice: got %v", err)
	}
}

func merged(a, b map[string]any) map[string]any {
	maps.Copy(a, b)
	return a
}

// TestBounds: what a refresh counts.
func TestBounds(t *testing.T) {
	c := &client{left: 3}
	if err := c.count(make([]byte, 3)); err != nil {
		t.Errorf("as much as is left: %v", err)
	}
	if err := c.count(make([]byte, 1)); verdict.CodeOf(err) != verdict.InputLimit {
		t.Errorf("more than is left: %v", err)
	}
	for _, tt := range []struct {
		got, want int64
		code      verdict.Code
	}{{2, 2, ""}, {1, 2, verdict.TrustRollback}, {3, 2, verdict.RegistryDigestMismatch}} {
		if err := named(roleTargets, tt.got, tt.want); verdict.CodeOf(err) != tt.code {
			t.Errorf("version %d where %d was named: %v", tt.got, tt.want, err)
		}
	}
}
