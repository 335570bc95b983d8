// SPDX-License-Identifier: Apache-2.0

package sign_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sign"
	"github.com/assayd/assay/verifier/sigstoretest"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// config is a signing configuration, without a timestamp authority where that is "".
func config(ca, log, stamper string, version int) []byte {
	valid := `"validFor": {"start": "2026-01-01T00:00:00Z"}, "operator": "test"`
	service := func(url string, version int) string {
		return fmt.Sprintf(`[{"url": %q, "majorApiVersion": %d, %s}]`, url, version, valid)
	}
	tsa := ""
	if stamper != "" {
		tsa = `, "tsaUrls": ` + service(stamper, 1) + `, "tsaConfig": {"selector": "ANY"}`
	}
	return []byte(`{"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json", "caUrls": ` + service(ca, 1) + `, "rekorTlogUrls": ` + service(log, version) +
		`, "rekorTlogConfig": {"selector": "ANY"}` + tsa + `}`)
}

func token(claims string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." + part([]byte(claims)) + "." + part([]byte("signature"))
}

func roots(t *testing.T) *verifier.Roots {
	t.Helper()
	s, err := sigstoretest.New(sigstoretest.Config{At: now})
	if err != nil {
		t.Fatal(err)
	}
	return rootsOf(t, s)
}

func rootsOf(t *testing.T, s *sigstoretest.Sigstore) *verifier.Roots {
	t.Helper()
	data, err := s.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	r, err := verifier.ParseRoots(data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func artifact(t *testing.T) *verifier.Blob {
	t.Helper()
	b, err := verifier.ReadBlob(t.Context(), strings.NewReader("artifact"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func isMisuse(err error) bool {
	_, ok := errors.AsType[*verdict.Misuse](err)
	return ok
}

func TestParseServices(t *testing.T) {
	const good = "https://fulcio.example"
	if _, err := sign.ParseServices(config(good, good, good, 2), now); err != nil {
		t.Fatal(err)
	}
	if _, err := sign.ParseServices(config("http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", 1), now); err != nil {
		t.Errorf("on this machine: %v", err)
	}
	for name, tt := range map[string]struct {
		data []byte
		at   time.Time
	}{
		"http elsewhere":     {config("http://fulcio.example", good, good, 2), now},
		"a log by http":      {config(good, "http://log.example", good, 2), now},
		"a stamper by http":  {config(good, good, "http://tsa.example", 2), now},
		"with a password":    {config("https://a:b@fulcio.example", good, good, 2), now},
		"no host":            {config("https:///x", good, good, 2), now},
		"a log of version 3": {config(good, good, good, 3), now},
		"before they began":  {config(good, good, good, 2), now.AddDate(-1, 0, 0)},
		"no JSON":            {[]byte("x"), now},
		"too long":           {bytes.Repeat([]byte(" "), sign.MaxConfigBytes+1), now},
	} {
		if _, err := sign.ParseServices(tt.data, tt.at); !isMisuse(err) {
			t.Errorf("%s: got %v, want a misuse", name, err)
		}
	}
}

// TestServices: what a service does not do is told as that, and nothing is made of
// half an answer. That sigstore's own services make a good bundle is proven in
// ci/sigstore.
func TestServices(t *testing.T) {
	s, err := sigstoretest.New(sigstoretest.Config{At: now})
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Bundle(verdict.SHA256([]byte("x")), sigstoretest.Options{Issuer: "https://issuer.example", Subject: "a@example.org", At: now})
	if err != nil {
		t.Fatal(err)
	}
	var made struct {
		VerificationMaterial struct {
			Certificate struct{ RawBytes []byte }
		}
	}
	if err := json.Unmarshal(data, &made); err != nil {
		t.Fatal(err)
	}
	certificate, err := json.Marshal(map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": []string{
		"-----BEGIN CERTIFICATE-----\n" + base64.StdEncoding.EncodeToString(made.VerificationMaterial.Certificate.RawBytes) + "\n-----END CERTIFICATE-----\n"}}}})
	if err != nil {
		t.Fatal(err)
	}
	entry := []byte(`{"logIndex":"1","logId":{"keyId":"AAAA"},"kindVersion":{"kind":"hashedrekord","version":"0.0.2"},"inclusionProof":{"logIndex":"1","rootHash":"AAAA","treeSize":"2","hashes":[],"checkpoint":{"envelope":"x"}},"canonicalizedBody":"e30="}`)
	answer := func(status int, body []byte) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(status); _, _ = w.Write(body) }
	}
	endless := func(w http.ResponseWriter) {
		for range 1 << 12 {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<10)); err != nil {
				return
			}
		}
	}
	redirect := func(w http.ResponseWriter) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
	good := map[string]func(http.ResponseWriter){"ca": answer(201, certificate), "tsa": answer(200, []byte("no timestamp")), "log": answer(201, entry)}
	for _, tt := range []struct {
		name, service string
		answer        func(http.ResponseWriter)
		want          verdict.Code
		asked         int64
	}{
		{"an entry that is none", "ca", good["ca"], verdict.InputUnsupported, 1},
		{"the authority refuses", "ca", answer(403, []byte("no")), verdict.SigstoreUnreachable, 1},
		{"the authority redirects", "ca", redirect, verdict.SigstoreUnreachable, 1},
		{"the authority is endless", "ca", endless, verdict.SigstoreUnreachable, 1},
		{"the authority fails", "ca", answer(503, nil), verdict.SigstoreUnreachable, 3},
		{"the authority has no certificate", "ca", answer(200, []byte(`{}`)), verdict.SigstoreUnreachable, 1},
		{"the authority has no JSON", "ca", answer(200, []byte(`<html>`)), verdict.SigstoreUnreachable, 1},
		{"the authority has no PEM", "ca", answer(200, []byte(`{"signedCertificateEmbeddedSct":{"chain":{"certificates":["x"]}}}`)), verdict.SigstoreUnreachable, 1},
		{"the stamper refuses", "tsa", answer(400, nil), verdict.SigstoreUnreachable, 1},
		{"the log refuses", "log", answer(409, nil), verdict.SigstoreUnreachable, 1},
		{"the log has no JSON", "log", answer(201, []byte("x")), verdict.SigstoreUnreachable, 1},
	} {
		for version := 1; version <= 2; version++ {
			t.Run(fmt.Sprint(tt.name, ", version ", version), func(t *testing.T) {
				t.Parallel() // some of it waits
				var asked atomic.Int64
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					name := map[bool]string{true: "ca", false: "log"}[strings.Contains(r.URL.Path, "signingCert")]
					if strings.HasPrefix(r.URL.Path, "/tsa") {
						name = "tsa"
					}
					if r.URL.Path == "/elsewhere" || r.Method != http.MethodPost {
						t.Errorf("asked %s %s", r.Method, r.URL.Path)
					}
					if name == tt.service {
						asked.Add(1)
						tt.answer(w)
						return
					}
					good[name](w)
				}))
				defer server.Close()
				services, err := sign.ParseServices(config(server.URL, server.URL, server.URL+"/tsa", version), now)
				if err != nil {
					t.Fatal(err)
				}
				want := tt.want
				if version == 1 && want == verdict.InputUnsupported {
					want = verdict.SigstoreUnreachable // the entry is one of version 2
				}
				data, err := services.Bundle(t.Context(), artifact(t), token(`{"sub":"user"}`), roots(t), now)
				if verdict.CodeOf(err) != want || data != nil {
					t.Errorf("got %q and %v, want %q", data, err, want)
				}
				if asked.Load() != tt.asked {
					t.Errorf("asked %d times, want %d", asked.Load(), tt.asked)
				}
			})
		}
	}
}

// TestEntry: services that do their part make a bundle that verifies; and nothing is
// made of an entry that the log told in part.
func TestEntry(t *testing.T) {
	const issuer, subject = "https://issuer.example", "signer@example.org"
	idToken := token(`{"email":"` + subject + `","email_verified":true}`)
	s, err := sigstoretest.New(sigstoretest.Config{At: now})
	if err != nil {
		t.Fatal(err)
	}
	who := sigstoretest.Options{Issuer: issuer, Subject: subject, At: now}
	authority := func(r *http.Request, body []byte) (any, error) {
		var asked struct {
			PublicKeyRequest struct {
				PublicKey         struct{ Content string }
				ProofOfPossession []byte
			}
		}
		if err := json.Unmarshal(body, &asked); err != nil {
			return nil, err
		}
		block, _ := pem.Decode([]byte(asked.PublicKeyRequest.PublicKey.Content))
		if block == nil {
			return nil, errors.New("no key")
		}
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256([]byte(subject))
		if k, ok := pub.(*ecdsa.PublicKey); !ok || !ecdsa.VerifyASN1(k, sum[:], asked.PublicKeyRequest.ProofOfPossession) || r.Header.Get("Authorization") != "Bearer "+idToken {
			return nil, errors.New("no proof of possession, or no token")
		}
		c, err := s.Certificate(pub, who)
		if err != nil {
			return nil, err
		}
		return map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": []string{
			string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))}}}}, nil
	}
	type object = map[string]any
	log := func(body []byte, change func(answer, entry, proof object)) (any, error) {
		e, err := s.Entry(body, who)
		if err != nil {
			return nil, err
		}
		p := e.GetInclusionProof()
		proof := object{"checkpoint": p.GetCheckpoint().GetEnvelope(), "hashes": []string{}, "logIndex": p.GetLogIndex(), "rootHash": hex.EncodeToString(p.GetRootHash()), "treeSize": p.GetTreeSize()}
		entry := object{"body": e.GetCanonicalizedBody(), "integratedTime": e.GetIntegratedTime(), "logID": hex.EncodeToString(e.GetLogId().GetKeyId()), "logIndex": e.GetLogIndex(),
			"verification": object{"inclusionProof": proof, "signedEntryTimestamp": e.GetInclusionPromise().GetSignedEntryTimestamp()}}
		answer := object{"uuid": entry}
		change(answer, entry, proof)
		return answer, nil
	}
	roots := rootsOf(t, s)
	for _, tt := range []struct {
		name   string
		change func(answer, entry, proof object)
		want   verdict.Code
	}{
		{"good", func(_, _, _ object) {}, ""},
		{"no entry", func(answer, _, _ object) { delete(answer, "uuid") }, verdict.SigstoreUnreachable},
		{"two entries", func(answer, entry, _ object) { answer["another"] = entry }, verdict.SigstoreUnreachable},
		{"no proof", func(_, entry, _ object) { entry["verification"] = object{} }, verdict.SigstoreUnreachable},
		{"a log with something behind it", func(_, entry, _ object) { entry["logID"] = fmt.Sprint(entry["logID"], "x") }, verdict.SigstoreUnreachable},
		{"a root with something behind it", func(_, _, proof object) { proof["rootHash"] = fmt.Sprint(proof["rootHash"], "x") }, verdict.SigstoreUnreachable},
		{"a hash that is none", func(_, _, proof object) { proof["hashes"] = []string{"x"} }, verdict.SigstoreUnreachable},
		{"an index that is a text", func(_, _, proof object) { proof["logIndex"] = "0" }, verdict.SigstoreUnreachable},
		{"another tree", func(_, _, proof object) { proof["treeSize"] = 2 }, verdict.LogProof},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				var answer any
				if err == nil && r.URL.Path == "/api/v2/signingCert" {
					answer, err = authority(r, body)
				} else if err == nil {
					answer, err = log(body, tt.change)
				}
				if err == nil {
					err = json.NewEncoder(w).Encode(answer)
				}
				if err != nil {
					t.Error(err)
				}
			}))
			defer server.Close()
			services, err := sign.ParseServices(config(server.URL, server.URL, "", 1), now)
			if err != nil {
				t.Fatal(err)
			}
			data, err := services.Bundle(t.Context(), artifact(t), idToken, roots, now)
			if verdict.CodeOf(err) != tt.want || (data != nil) != (tt.want == "") {
				t.Fatalf("got %q and %v, want %q", data, err, tt.want)
			}
			if tt.want != "" {
				return
			}
			if id, err := verifier.VerifyBlob(data, artifact(t), verifier.OneOff{Identity: subject, Issuer: issuer}, roots, now); err != nil || id.SAN != subject {
				t.Errorf("got %+v, %v", id, err)
			}
		})
	}
}

func TestToken(t *testing.T) {
	services, err := sign.ParseServices(config("https://127.0.0.1:1", "https://127.0.0.1:1", "https://127.0.0.1:1", 2), now)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"nothing": "", "two parts": "a.b", "no base64": "a.!.c", "no JSON": "a." + base64.RawURLEncoding.EncodeToString([]byte("x")) + ".c",
		"no subject": token(`{}`), "an address that is not verified": token(`{"sub":"user","email":"a@example.org"}`), "too long": token(`{"sub":"` + strings.Repeat("x", sign.MaxTokenBytes) + `"}`),
	} {
		if _, err := services.Bundle(t.Context(), artifact(t), bad, roots(t), now); !isMisuse(err) {
			t.Errorf("%s: got %v, want a misuse", name, err)
		}
	}
}
