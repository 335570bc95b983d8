// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// fieldsOf lists the fields of a part of a policy by their paths.
func fieldsOf(typ reflect.Type, path string) []string {
	var out []string
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() && name != "extensions" {
			out = append(out, fieldsOf(inner, path+name+".")...)
			continue
		}
		out = append(out, path+name)
	}
	return out
}

// TestR23EveryField: each field of an authority alone, set to what the signer does not
// meet, refuses what passes without it. A field that is not here fails: none may be
// read and not asked about.
func TestR23EveryField(t *testing.T) {
	k := newKit(t)
	logged, unlogged, bare := k.image, k.push("without log"), k.push("without SCT")
	k.attachBundle(logged, k.bundle(logged, good()), "")
	o := good()
	o.NoLog, o.Timestamp = true, true
	k.attachBundle(unlogged, k.bundle(unlogged, o), "")
	o = good()
	o.NoSCT = true
	k.attachBundle(bare, k.bundle(bare, o), "")
	key, pub := newKey(t, "p256")
	_, otherPub := newKey(t, "p256")
	keyed := k.push("by a key")
	o.Key = key
	k.attachLayers(keyed, k.layer(keyed, o))

	mine, err := k.sig.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	other, err := sigstoretest.New(sigstoretest.Config{At: now})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := other.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(map[string]any{"x": string(mine), "y": string(theirs)})
	if err != nil {
		t.Fatal(err)
	}
	var text map[string]json.RawMessage
	if err := json.Unmarshal(file, &text); err != nil {
		t.Fatal(err)
	}
	roots, err := verifier.ParseRoots([]byte(fmt.Sprintf("version: 1\nsigstore: {default: {trusted-root: %s}, theirs: {trusted-root: %s}}\n", text["x"], text["y"])))
	if err != nil {
		t.Fatal(err)
	}
	who := "    keyless: {issuer: " + issuer + ", subject: " + subject + "}\n"
	pem := func(p []byte, more string) string { return fmt.Sprintf("    key: {pem: %q%s}\n", p, more) }
	type field struct {
		image     verifier.Image
		good, bad string
		want      verdict.Code
		// test is where it is shown instead: it takes a world of its own.
		test string
	}
	fields := map[string]field{
		"keyless.issuer":          {image: logged, good: who, bad: "    keyless: {issuer: https://other.example, subject: " + subject + "}\n", want: verdict.IdentityIssuer},
		"keyless.subject":         {image: logged, good: who, bad: "    keyless: {issuer: " + issuer + ", subject: other}\n", want: verdict.IdentitySAN},
		"keyless.subject-pattern": {image: logged, good: "    keyless: {issuer: " + issuer + ", subject-pattern: '" + subject[:len(subject)-1] + "*'}\n", bad: "    keyless: {issuer: " + issuer + ", subject-pattern: 'other*'}\n", want: verdict.IdentitySAN},
		"keyless.extensions":      {test: "TestR23EveryDemandCounts"},
		"key.pem":                 {image: keyed, good: pem(pub, ""), bad: pem(otherPub, ""), want: verdict.KeyUnknown},
		"key.not-before":          {image: keyed, good: pem(pub, ""), bad: pem(pub, ", not-before: 2030-01-01T00:00:00Z"), want: verdict.KeyWindow},
		"key.not-after":           {image: keyed, good: pem(pub, ""), bad: pem(pub, ", not-after: 2020-01-01T00:00:00Z"), want: verdict.KeyWindow},
		"roots":                   {image: logged, good: who, bad: who + "    roots: theirs\n", want: verdict.LogMissing},
		"require-log":             {image: unlogged, good: who + "    allow-unlogged: true\n", bad: who + "    require-log: true\n", want: verdict.LogMissing},
		"allow-unlogged":          {image: unlogged, good: who + "    allow-unlogged: true\n", bad: who, want: verdict.LogMissing},
		"require-timestamp":       {image: logged, good: who, bad: who + "    require-timestamp: true\n", want: verdict.TimeUnproven},
		"logs":                    {image: logged, good: who + "    logs: 1\n", bad: who + "    logs: 2\n", want: verdict.LogCount},
		"signed-after":            {image: logged, good: who, bad: who + "    signed-after: 2030-01-01T00:00:00Z\n", want: verdict.TimeNotAllowed},
		"signed-before":           {image: logged, good: who, bad: who + "    signed-before: 2020-01-01T00:00:00Z\n", want: verdict.TimeNotAllowed},
		"allow-no-sct":            {image: bare, good: who + "    allow-no-sct: true\n", bad: who, want: verdict.SCTMissing},
		"revocation":              {test: "TestR41Revocation"},
		"grandfather":             {test: "TestR41Grandfather"},
		"x509.trust-stores":       {test: "TestRealPKI"},
		"x509.subject":            {test: "TestRealPKI"},
		"x509.subject-pattern":    {test: "TestRealPKI"},
		"notation.trust-stores":   {test: "TestRealNotation"},
		"notation.subjects":       {test: "TestNotationSubjects"},
		"notation.any-subject":    {test: "TestNotationSubjects"},
		"tuf.repository":          {test: "TestTargets"},
		"tuf.role":                {test: "TestTargets"},
		"tuf.paths":               {test: "TestTargets"},
		"notary-v1.role":          {test: "TestCollections"},
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests []byte
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, data...)
	}
	all := fieldsOf(reflect.TypeFor[verifier.Authority](), "")
	for name := range fields {
		if !slices.Contains(all, name) {
			t.Errorf("there is no field %s", name)
		}
	}
	for _, name := range all {
		f, ok := fields[name]
		if !ok {
			t.Errorf("nothing shows that %s is asked about", name)
			continue
		}
		if f.test != "" {
			if !bytes.Contains(tests, []byte("\nfunc "+f.test+"(")) {
				t.Errorf("%s: there is no %s", name, f.test)
			}
			continue
		}
		for lines, want := range map[string]verdict.Code{f.good: "", f.bad: f.want} {
			p := policy(t, "version: 1\nauthorities:\n  a:\n"+lines+"rules:\n  - {name: all, repositories: ['**'], authorities: [a]}\n")
			v := newVerifier(t, verifier.Config{Policy: p, Roots: roots, Source: k.source()})
			if ok, code, _ := verify(t.Context(), t, v, f.image, now); ok != (want == "") || code != want {
				t.Errorf("%s with %q: passed %v with %q, want %q", name, lines, ok, code, want)
			}
		}
	}
}
