// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// TestPAE has the vector of the DSSE specification (protocol.md, "Test
// Vectors") and the corner cases of its grammar.
func TestPAE(t *testing.T) {
	tests := []struct{ payloadType, payload, want string }{
		{"http://example.com/HelloWorld", "hello world", "DSSEv1 29 http://example.com/HelloWorld 11 hello world"},
		{"", "", "DSSEv1 0  0 "},
		{"a b", "1 2", "DSSEv1 3 a b 3 1 2"},
		{"é", "\x00\xff", "DSSEv1 2 é 2 \x00\xff"}, // lengths are in bytes
	}
	for _, tt := range tests {
		if got := verdict.PAE(tt.payloadType, []byte(tt.payload)); string(got) != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// signatures decodes the signatures of an envelope, and envelopeOf writes them
// back.
func changeEnvelope(tb testing.TB, data []byte, f func(m map[string]any, signatures []any) []any) []byte {
	tb.Helper()
	return edit(tb, data, func(m map[string]any) { m["signatures"] = f(m, m["signatures"].([]any)) })
}

// TestEnvelope goes through the head, as all envelopes share the code.
func TestEnvelope(t *testing.T) {
	w := newWorld(t)
	good := w.set(t).Head
	payload := payloadOfDSSE(t, good)
	member := func(s any, name string) string { return s.(map[string]any)[name].(string) }
	flip := func(sig string) string {
		raw, err := base64.StdEncoding.DecodeString(sig)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)-1] ^= 1
		return base64.StdEncoding.EncodeToString(raw)
	}
	tests := []struct {
		name     string
		head     []byte
		code     verdict.Code
		verifies bool // whether signature work may have begun
	}{
		{"good", good, "", true},
		{"good, signed independently", forgeDSSE(t, verdict.HeadType, payload, w.owner[1], w.owner[0]), "", true},
		{"good, and a stranger signed too", forgeDSSE(t, verdict.HeadType, payload, w.stranger, w.owner[1], w.owner[0]), "", true},
		{"good, and the third signed too", forgeDSSE(t, verdict.HeadType, payload, w.owner[2], w.owner[1], w.owner[0]), "", true},
		{"one owner", forgeDSSE(t, verdict.HeadType, payload, w.owner[0]), verdict.HeadSignature, true},
		{"one owner and two strangers", forgeDSSE(t, verdict.HeadType, payload, w.owner[0], w.stranger, w.verdictKey), verdict.HeadSignature, true},
		{"one owner twice", forgeDSSE(t, verdict.HeadType, payload, w.owner[0], w.owner[0]), verdict.HeadMalformed, false},
		{"one owner under two keyids", changeEnvelope(t, forgeDSSE(t, verdict.HeadType, payload, w.owner[0], w.owner[0]), func(_ map[string]any, s []any) []any {
			s[1].(map[string]any)["keyid"] = w.stranger.Kid()
			return s
		}), verdict.HeadSignature, true},
		{"one owner under the keyid of another", changeEnvelope(t, forgeDSSE(t, verdict.HeadType, payload, w.owner[0], w.owner[0]), func(_ map[string]any, s []any) []any {
			s[1].(map[string]any)["keyid"] = w.owner[1].Kid()
			return s
		}), verdict.HeadSignature, true},
		{"two good, a bad one of the third", changeEnvelope(t, forgeDSSE(t, verdict.HeadType, payload, w.owner[0], w.owner[1], w.owner[2]), func(_ map[string]any, s []any) []any {
			s[2].(map[string]any)["sig"] = flip(member(s[2], "sig"))
			return s
		}), verdict.HeadSignature, true},
		{"no keyid", changeEnvelope(t, good, func(_ map[string]any, s []any) []any {
			s[0].(map[string]any)["keyid"] = ""
			return s
		}), verdict.HeadSignature, true},
		{"no signatures", changeEnvelope(t, good, func(map[string]any, []any) []any { return []any{} }), verdict.HeadMalformed, false},
		{"too many signatures", changeEnvelope(t, good, func(_ map[string]any, s []any) []any {
			for i := range 15 {
				s = append(s, map[string]any{"keyid": strings.Repeat("x", i+1), "sig": ""})
			}
			return s
		}), verdict.HeadMalformed, false},
		{"payload type of a renewal", forgeDSSE(t, verdict.RenewalType, payload, w.owner[0], w.owner[1]), verdict.HeadMalformed, false},
		{"payload type of a core", forgeDSSE(t, verdict.CoreType, payload, w.owner[0], w.owner[1]), verdict.HeadMalformed, false},
		{"payload type changed after signing", edit(t, forgeDSSE(t, verdict.DenyType, payload, w.owner[0], w.owner[1]), func(m map[string]any) { m["payloadType"] = verdict.HeadType }), verdict.HeadSignature, true},
		{"payload changed after signing", edit(t, good, func(m map[string]any) {
			m["payload"] = base64.StdEncoding.EncodeToString(bytes.Replace(payload, []byte(`"counter":7`), []byte(`"counter":8`), 1))
		}), verdict.HeadSignature, true},
		{"payload in base64url", edit(t, good, func(m map[string]any) { m["payload"] = base64.RawURLEncoding.EncodeToString(payload) + "_" }), verdict.HeadMalformed, false},
		{"payload with a line end", edit(t, good, func(m map[string]any) { m["payload"] = m["payload"].(string) + "\n" }), verdict.HeadMalformed, false},
		{"signature with a line end", changeEnvelope(t, good, func(_ map[string]any, s []any) []any {
			s[0].(map[string]any)["sig"] = "\r\n" + member(s[0], "sig")
			return s
		}), verdict.HeadSignature, false},
		{"r‖s instead of DER", changeEnvelope(t, good, func(_ map[string]any, s []any) []any {
			s[0].(map[string]any)["sig"] = base64.StdEncoding.EncodeToString(rawSignature(t, verdict.PAE(verdict.HeadType, payload), w.owner[0].priv))
			return s
		}), verdict.HeadSignature, true},
		{"signed without PAE", changeEnvelope(t, good, func(_ map[string]any, s []any) []any {
			sig, err := w.owner[0].priv.Sign(rand.Reader, sum(payload), nil)
			if err != nil {
				t.Fatal(err)
			}
			s[0].(map[string]any)["sig"] = base64.StdEncoding.EncodeToString(sig)
			return s
		}), verdict.HeadSignature, true},
		{"unknown member", edit(t, good, func(m map[string]any) { m["jwk"] = "x" }), verdict.HeadMalformed, false},
		{"certificate beside a signature", changeEnvelope(t, good, func(_ map[string]any, s []any) []any {
			s[0].(map[string]any)["cert"] = "x"
			return s
		}), verdict.HeadMalformed, false},
		{"member of another case", bytes.Replace(good, []byte(`"payloadType"`), []byte(`"payloadtype"`), 1), verdict.HeadMalformed, false},
		{"payload twice", bytes.Replace(good, []byte(`{"payload":`), []byte(`{"payload":"","payload":`), 1), verdict.HeadMalformed, false},
		{"white space", append([]byte(" "), good...), verdict.HeadMalformed, false},
		{"trailing bytes", append(slices.Clip(good), '\n'), verdict.HeadMalformed, false},
		{"payload not canonical", forgeDSSE(t, verdict.HeadType, append([]byte(" "), payload...), w.owner[0], w.owner[1]), verdict.HeadMalformed, false},
		{"payload too large", forgeDSSE(t, verdict.HeadType, bytes.Repeat([]byte(" "), verdict.MaxHead+1), w.owner[0], w.owner[1]), verdict.HeadMalformed, false},
		{"envelope too large", append(slices.Clip(good), bytes.Repeat([]byte(" "), 2*verdict.MaxHead)...), verdict.HeadMalformed, false},
		{"empty payload", forgeDSSE(t, verdict.HeadType, nil, w.owner[0], w.owner[1]), verdict.HeadMalformed, false},
		{"nothing", nil, verdict.HeadMalformed, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := w.set(t)
			set.Head = tt.head
			var h verdict.CheckedHead
			var err error
			n := verdict.CountVerifies(func() { h, err = verdict.OpenHead(set, w.owners) })
			wantCode(t, err, tt.code)
			if (n > 0) != tt.verifies {
				t.Errorf("got %d verifications, want some: %v", n, tt.verifies)
			}
			if err != nil && (h.Counter != 0 || h.Owners.Keys != nil || h.Set.Head != nil) {
				t.Errorf("got %+v with an error, want the zero value", h)
			}
		})
	}
}

func sum(b []byte) []byte {
	d, ok := verdict.SHA256(b).Bytes()
	if !ok {
		panic("verdict_test: SHA256 is not SHA-256")
	}
	return d[:]
}

func TestSeal(t *testing.T) {
	w := newWorld(t)
	many := make([]*verdict.Key, 17)
	for i := range many {
		many[i] = newPair(t, verdict.UseOwner).Key
	}
	for name, keys := range map[string][]*verdict.Key{"nobody": nil, "one key twice": {w.owner[0].Key, w.owner[0].Key}, "too many": many} {
		if got, err := verdict.SignHead(w.head, keys...); err == nil || got != nil {
			t.Errorf("%s: got %s, %v, want an error", name, got, err)
		}
	}
}

func TestAddSignature(t *testing.T) {
	w := newWorld(t)
	one, err := verdict.SignHead(w.head, w.owner[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	set := w.set(t)
	open := func(head []byte) error {
		set.Head = head
		_, err := verdict.OpenHead(set, w.owners)
		return err
	}
	wantCode(t, open(one), verdict.HeadSignature)
	two, err := verdict.AddHeadSignature(one, w.owner[1].Key)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, open(two), "")
	if again, err := verdict.AddHeadSignature(two, w.owner[1].Key); err != nil || !bytes.Equal(again, two) {
		t.Errorf("got %s, %v for a key that signed, want the same bytes", again, err)
	}
	// Whoever carried the envelope put a bad signature in the owner's name.
	spoilt := changeEnvelope(t, two, func(_ map[string]any, s []any) []any {
		s[1].(map[string]any)["sig"] = s[0].(map[string]any)["sig"]
		return s
	})
	wantCode(t, open(spoilt), verdict.HeadSignature)
	mended, err := verdict.AddHeadSignature(spoilt, w.owner[1].Key)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, open(mended), "")

	full := forgeDSSE(t, verdict.HeadType, payloadOfDSSE(t, one), func() (all []pair) {
		for range 16 {
			all = append(all, newPair(t, verdict.UseOwner))
		}
		return all
	}()...)
	_, err = verdict.AddHeadSignature(full, w.owner[1].Key)
	wantCode(t, err, verdict.HeadMalformed)
	_, err = verdict.AddHeadSignature([]byte("{}"), w.owner[1].Key)
	wantCode(t, err, verdict.HeadMalformed)
	_, err = verdict.AddHeadSignature(forgeDSSE(t, verdict.HeadType, []byte("{}"), w.owner[0]), w.owner[1].Key)
	wantCode(t, err, verdict.HeadMalformed)
}

func FuzzEnvelope(f *testing.F) {
	var goods [][]byte
	for _, name := range []string{"head.json", "core.json", "exception.json", "deny-document.json", "renewal.json"} {
		goods = append(goods, golden(f, name))
	}
	inputs := fuzz.New(f, goods...)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		h, err := verdict.ParseHeadInsecure(data)
		if err != nil {
			if h != (verdict.Head{}) {
				t.Fatalf("got %+v with an error, want the zero value", h)
			}
			return
		}
		if !json.Valid(data) || verdict.CheckCanonical(data) != nil {
			t.Fatalf("got a head from %q", data)
		}
	})
}
