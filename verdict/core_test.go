// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// goodCore is a verdict that passed, with every member filled in.
func goodCore(w *world) verdict.Core {
	return verdict.Core{
		Type: verdict.InTotoStatementType, PredicateType: verdict.VSAType,
		Subject: []verdict.CoreSubject{{Digest: verdict.DigestMap(w.index), Name: repo}, {Digest: verdict.DigestMap(w.manifest), Name: repo}},
		Predicate: verdict.CorePredicate{
			Verifier:     verdict.CoreVerifier{ID: daemon, Version: map[string]string{"assayd": "v0.1.0"}},
			TimeVerified: at.Format(time.RFC3339), ResourceURI: repo,
			Policy:             verdict.CoreResource{URI: "policy.yaml", Digest: verdict.DigestMap(w.head.Policy)},
			InputAttestations:  []verdict.CoreResource{{URI: repo + "@sha256:" + zeroSum, Digest: map[string]string{"sha256": zeroSum}}},
			VerificationResult: verdict.Passed, VerifiedLevels: []string{verdict.Unevaluated},
			Extension: verdict.CoreExtension{
				Cluster: cluster, Deny: verdict.DenyDigest(nil), Head: 7,
				Identities: []verdict.CoreIdentity{{Authority: "release", Issuer: "https://accounts.example", SAN: "ci@example.com"}, {Authority: "ops", Key: verdict.SHA256([]byte("spki"))}},
				Namespaces: map[string]verdict.Outcome{"*": verdict.OutcomePass, "team-*": verdict.OutcomeUnchecked},
				NotAfter:   unix(240 * time.Hour), Roots: w.head.Roots, Rules: []string{"all", "team"}, Salt: boot,
				Reasons: []verdict.Reason{{Code: verdict.PolicyOff, Text: "rule team is off", Authority: "release"}},
			},
		},
	}
}

// TestCoreIsStatementAndVSA reads a core as others do: the member names are those
// of in-toto Statement v1 and SLSA VSA v1, and the only addition is one URI.
func TestCoreIsStatementAndVSA(t *testing.T) {
	w := newWorld(t)
	signed, err := verdict.SignCore(goodCore(w), w.verdictKey.Key)
	if err != nil {
		t.Fatal(err)
	}
	var statement map[string]any
	if err := json.Unmarshal(payloadOfDSSE(t, signed.Envelope), &statement); err != nil {
		t.Fatal(err)
	}
	names := func(v any) []string { return slices.Sorted(maps.Keys(v.(map[string]any))) }
	predicate := statement["predicate"].(map[string]any)
	for _, tt := range []struct {
		what string
		got  []string
		want []string
	}{
		// in-toto attestation/spec/v1/statement.md and resource_descriptor.md.
		{"statement", names(statement), []string{"_type", "predicate", "predicateType", "subject"}},
		{"subject", names(statement["subject"].([]any)[0]), []string{"digest", "name"}},
		// slsa.dev/spec/v1.0/verification_summary.
		{"predicate", names(predicate), []string{"https://github.com/assayd/assay/verdict/v1", "inputAttestations", "policy", "resourceUri", "timeVerified", "verificationResult", "verifiedLevels", "verifier"}},
		{"verifier", names(predicate["verifier"]), []string{"id", "version"}},
		{"policy", names(predicate["policy"]), []string{"digest", "uri"}},
		{"input", names(predicate["inputAttestations"].([]any)[0]), []string{"digest", "uri"}},
	} {
		if d := cmp.Diff(tt.want, tt.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, d)
		}
	}
	if got := statement["_type"]; got != "https://in-toto.io/Statement/v1" {
		t.Errorf("got _type %v", got)
	}
	if got := statement["predicateType"]; got != "https://slsa.dev/verification_summary/v1" {
		t.Errorf("got predicateType %v", got)
	}
	if got := predicate["verificationResult"]; got != "PASSED" {
		t.Errorf("got verificationResult %v", got)
	}
	if got, want := signed.Digest, verdict.SHA256(payloadOfDSSE(t, signed.Envelope)); got != want {
		t.Errorf("got digest %s, want %s, that of the payload", got, want)
	}
	if _, err := time.Parse(time.RFC3339, predicate["timeVerified"].(string)); err != nil {
		t.Error(err)
	}
}

func TestCore(t *testing.T) {
	w := newWorld(t)
	keys := []verdict.JWK{w.verdictKey2.JWK(), w.verdictKey.JWK()}
	signed := must(verdict.SignCore(goodCore(w), w.verdictKey.Key))(t)
	payload := payloadOfDSSE(t, signed.Envelope)
	predicate := func(f func(p map[string]any)) []byte {
		return forgeDSSE(t, verdict.CoreType, edit(t, payload, func(m map[string]any) { f(m["predicate"].(map[string]any)) }), w.verdictKey)
	}
	extension := func(f func(x map[string]any)) []byte {
		return predicate(func(p map[string]any) { f(p["https://github.com/assayd/assay/verdict/v1"].(map[string]any)) })
	}
	statement := func(f func(m map[string]any)) []byte {
		return forgeDSSE(t, verdict.CoreType, edit(t, payload, f), w.verdictKey)
	}
	tests := []struct {
		name string
		data []byte
		code verdict.Code
	}{
		{"good", signed.Envelope, ""},
		{"good, signed independently", forgeDSSE(t, verdict.CoreType, payload, w.verdictKey), ""},
		{"nothing was used", predicate(func(p map[string]any) { p["inputAttestations"] = []any{} }), ""},
		{"failed", predicate(func(p map[string]any) { p["verificationResult"] = "FAILED" }), ""},
		{"another key", forgeDSSE(t, verdict.CoreType, payload, w.ticketKey), verdict.SigInvalid},
		{"another key under the kid of this", changeEnvelope(t, forgeDSSE(t, verdict.CoreType, payload, w.ticketKey), func(_ map[string]any, s []any) []any {
			s[0].(map[string]any)["keyid"] = w.verdictKey.Kid()
			return s
		}), verdict.SigInvalid},
		{"two signatures", forgeDSSE(t, verdict.CoreType, payload, w.verdictKey, w.verdictKey2), verdict.InputMalformed},
		{"payload type", forgeDSSE(t, "application/json", payload, w.verdictKey), verdict.InputMalformed},
		{"statement v0.1", statement(func(m map[string]any) { m["_type"] = "https://in-toto.io/Statement/v0.1" }), verdict.InputMalformed},
		{"provenance", statement(func(m map[string]any) { m["predicateType"] = "https://slsa.dev/provenance/v1" }), verdict.InputMalformed},
		{"no subject", statement(func(m map[string]any) { m["subject"] = []any{} }), verdict.InputMalformed},
		{"subject with two digests", statement(func(m map[string]any) {
			m["subject"].([]any)[0].(map[string]any)["digest"] = map[string]any{"sha256": zeroSum, "sha512": zeroSum + zeroSum}
		}), verdict.InputMalformed},
		{"subject with SHA-1", statement(func(m map[string]any) {
			m["subject"].([]any)[0].(map[string]any)["digest"] = map[string]any{"sha1": zeroSum[:40]}
		}), verdict.InputMalformed},
		{"unknown member", statement(func(m map[string]any) { m["x"] = 1 }), verdict.InputMalformed},
		{"second extension", predicate(func(p map[string]any) { p["https://evil.example/v1"] = map[string]any{} }), verdict.InputMalformed},
		{"slsaVersion", predicate(func(p map[string]any) { p["slsaVersion"] = "1.0" }), verdict.InputMalformed},
		{"result", predicate(func(p map[string]any) { p["verificationResult"] = "passed" }), verdict.InputMalformed},
		{"time with a fraction", predicate(func(p map[string]any) { p["timeVerified"] = "2026-03-01T12:00:00.5Z" }), verdict.InputMalformed},
		{"time with an offset", predicate(func(p map[string]any) { p["timeVerified"] = "2026-03-01T12:00:00+01:00" }), verdict.InputMalformed},
		{"time in lower case", predicate(func(p map[string]any) { p["timeVerified"] = "2026-03-01t12:00:00z" }), verdict.InputMalformed},
		{"no levels", predicate(func(p map[string]any) { p["verifiedLevels"] = []any{} }), verdict.InputMalformed},
		{"verifier", predicate(func(p map[string]any) { p["verifier"].(map[string]any)["id"] = "https://example.com" }), verdict.InputMalformed},
		{"repository", predicate(func(p map[string]any) { p["resourceUri"] = "Registry.example/App" }), verdict.InputMalformed},
		{"policy without digest", predicate(func(p map[string]any) { p["policy"].(map[string]any)["digest"] = map[string]any{} }), verdict.InputMalformed},
		{"policy by SHA-512", predicate(func(p map[string]any) {
			p["policy"].(map[string]any)["digest"] = map[string]any{"sha512": zeroSum + zeroSum}
		}), verdict.InputMalformed},
		{"input without digest", predicate(func(p map[string]any) {
			p["inputAttestations"].([]any)[0].(map[string]any)["digest"] = map[string]any{}
		}), verdict.InputMalformed},
		{"short salt", extension(func(x map[string]any) { x["salt"] = "00" }), verdict.InputMalformed},
		{"no head", extension(func(x map[string]any) { x["head"] = 0 }), verdict.InputMalformed},
		{"no namespaces", extension(func(x map[string]any) { x["namespaces"] = map[string]any{} }), verdict.InputMalformed},
		{"outcome", extension(func(x map[string]any) { x["namespaces"] = map[string]any{"*": "allow"} }), verdict.InputMalformed},
		{"namespace pattern", extension(func(x map[string]any) { x["namespaces"] = map[string]any{"*-team": "pass"} }), verdict.InputMalformed},
		{"passed, and a namespace fails", extension(func(x map[string]any) { x["namespaces"] = map[string]any{"*": "pass", "a": "fail"} }), verdict.InputMalformed},
		{"passed, and a namespace fails in audit", extension(func(x map[string]any) { x["namespaces"] = map[string]any{"*": "audit-fail"} }), verdict.InputMalformed},
		{"no cluster", extension(func(x map[string]any) { x["cluster"] = "" }), verdict.InputMalformed},
		{"roots", extension(func(x map[string]any) { x["roots"] = "sha256:00" }), verdict.InputMalformed},
		{"deny", extension(func(x map[string]any) { x["deny"] = strings.ToUpper(verdict.DenyDigest(nil)) }), verdict.InputMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := verdict.OpenCore(tt.data, keys)
			wantCode(t, err, tt.code)
			if err != nil && (c.Digest != "" || c.Type != "" || c.Envelope != nil) {
				t.Errorf("got %+v with an error, want the zero value", c)
			}
			if err == nil && c.By != w.verdictKey.Kid() {
				t.Errorf("got by %q, want %q", c.By, w.verdictKey.Kid())
			}
			insecure, err := verdict.ParseCoreInsecure(tt.data)
			want := tt.code
			if want == verdict.SigInvalid {
				want = ""
			}
			wantCode(t, err, want)
			if insecure.By != "" {
				t.Errorf("got by %q from the insecure parser, want none", insecure.By)
			}
		})
	}
	_, err := verdict.OpenCore(signed.Envelope, nil)
	wantCode(t, err, verdict.SigInvalid)
	_, err = verdict.OpenCore(signed.Envelope, []verdict.JWK{func() verdict.JWK {
		k := w.verdictKey.JWK()
		k.Use = verdict.UseTicket
		return k
	}()})
	wantCode(t, err, verdict.SigInvalid)
}

func TestSignCore(t *testing.T) {
	w := newWorld(t)
	c := goodCore(w)
	c.Predicate.InputAttestations = nil
	signed, err := verdict.SignCore(c, w.verdictKey.Key)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(payloadOfDSSE(t, signed.Envelope)), `"inputAttestations":[]`) {
		t.Errorf("got %s, want an empty list", payloadOfDSSE(t, signed.Envelope))
	}
	c.Predicate.Extension.Rules = []string{strings.Repeat("x", verdict.MaxCore)}
	if got, err := verdict.SignCore(c, w.verdictKey.Key); err == nil || got.Envelope != nil {
		t.Errorf("got %d bytes, %v, want an error", len(got.Envelope), err)
	}
	c = goodCore(w)
	c.Predicate.Extension.Head = 0
	if _, err := verdict.SignCore(c, w.verdictKey.Key); err == nil {
		t.Error("got a core without a head, want an error")
	}
	c = goodCore(w)
	c.Predicate.Verifier.Version = nil
	if _, err := verdict.SignCore(c, w.verdictKey.Key); err == nil {
		t.Error("got a core without verifier.version, want an error")
	}
}

func FuzzCore(f *testing.F) {
	inputs := fuzz.New(f, golden(f, "core.json"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		c, err := verdict.ParseCoreInsecure(data)
		if err != nil {
			if c.Digest != "" || c.Type != "" {
				t.Fatalf("got %+v with an error, want the zero value", c)
			}
			return
		}
		if again, err := verdict.Encode(c.Core); err != nil || string(again) != string(payloadOfDSSE(t, data)) {
			t.Fatalf("got %s, %v, want the payload", again, err)
		}
	})
}
