// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

func TestStatement(t *testing.T) {
	w := newWorld(t)
	good := encoded(t, w.statement)
	change := func(f func(m map[string]any)) []byte { return edit(t, good, f) }
	log := func(f func(l map[string]any)) []byte {
		return change(func(m map[string]any) { f(m["log"].(map[string]any)) })
	}
	vkey := func(s string) []byte { return log(func(l map[string]any) { l["keys"] = []any{s} }) }
	key := func(i int, name string, v any) []byte {
		return change(func(m map[string]any) { m["keys"].([]any)[i].(map[string]any)[name] = v })
	}
	ec := base64.StdEncoding.EncodeToString([]byte("\x02spki"))
	tests := []struct {
		name string
		data []byte
		code verdict.Code
	}{
		{"good", good, ""},
		{"with prev", change(func(m map[string]any) { m["prev"] = "sha256:" + zeroSum }), ""},
		{"an Ed25519 log key too", log(func(l map[string]any) {
			l["keys"] = append(l["keys"].([]any), "log.assay.invalid/x+0a0b0c0d+"+base64.StdEncoding.EncodeToString(append([]byte{1}, make([]byte, 32)...)))
		}), ""},
		{"24 hours", change(func(m map[string]any) { m["not_after"] = unix(23 * time.Hour) }), ""},
		{"more than 24 hours", change(func(m map[string]any) { m["not_after"] = unix(23*time.Hour + time.Second) }), verdict.IssuerMalformed},
		{"no end", change(func(m map[string]any) { delete(m, "not_after") }), verdict.IssuerMalformed},
		{"ends before it begins", change(func(m map[string]any) { m["not_after"] = unix(-2 * time.Hour) }), verdict.IssuerMalformed},
		{"version 2", change(func(m map[string]any) { m["v"] = 2 }), verdict.IssuerMalformed},
		{"issuer", change(func(m map[string]any) { m["issuer"] = "https://dev.assay.invalid" }), verdict.IssuerMalformed},
		{"boot", change(func(m map[string]any) { m["boot"] = boot + "00" }), verdict.IssuerMalformed},
		{"seq 0", change(func(m map[string]any) { m["seq"] = 0 }), verdict.IssuerMalformed},
		{"head 0", change(func(m map[string]any) { m["head"].(map[string]any)["counter"] = 0 }), verdict.IssuerMalformed},
		{"config by SHA-512", change(func(m map[string]any) { m["config"] = "sha512:" + zeroSum + zeroSum }), verdict.IssuerMalformed},
		{"flavour", change(func(m map[string]any) { m["build"].(map[string]any)["crypto"].(map[string]any)["module"] = "openssl" }), verdict.IssuerMalformed},
		{"prev", change(func(m map[string]any) { m["prev"] = "none" }), verdict.IssuerMalformed},
		{"no keys", change(func(m map[string]any) { m["keys"] = []any{} }), verdict.IssuerMalformed},
		{"no ticket key", change(func(m map[string]any) { m["keys"] = m["keys"].([]any)[1:] }), verdict.IssuerMalformed},
		{"no verdict key", change(func(m map[string]any) { m["keys"] = m["keys"].([]any)[:1] }), verdict.IssuerMalformed},
		{"one key twice", change(func(m map[string]any) { m["keys"] = append(m["keys"].([]any), m["keys"].([]any)[0]) }), verdict.IssuerMalformed},
		{"one key for both", change(func(m map[string]any) {
			k := maps.Clone(m["keys"].([]any)[0].(map[string]any))
			k["use"] = verdict.UseVerdict
			m["keys"] = append(m["keys"].([]any)[:1], k)
		}), verdict.IssuerMalformed},
		{"an owner's key", key(0, "use", verdict.UseOwner), verdict.IssuerMalformed},
		{"an owner's key too", change(func(m map[string]any) {
			k := w.owner[0].JWK()
			m["keys"] = append(m["keys"].([]any), map[string]any{"crv": k.Crv, "kid": k.Kid, "kty": k.Kty, "use": k.Use, "x": k.X, "y": k.Y})
		}), verdict.IssuerMalformed},
		{"kid of another key", key(0, "kid", w.stranger.Kid()), verdict.IssuerMalformed},
		{"private part of a key", key(0, "d", "AAAA"), verdict.IssuerMalformed},
		{"log key of another name", vkey("log.evil/x+01020304+" + ec), verdict.IssuerMalformed},
		{"log key whose name only begins so", vkey("log.assay.invalid/xy+01020304+" + ec), verdict.IssuerMalformed},
		{"log key without hash", vkey("log.assay.invalid/x+" + ec), verdict.IssuerMalformed},
		{"log key with upper-case hash", vkey("log.assay.invalid/x+0102030A+" + ec), verdict.IssuerMalformed},
		{"log key of an unknown type", vkey("log.assay.invalid/x+01020304+" + base64.StdEncoding.EncodeToString([]byte("\x04key"))), verdict.IssuerMalformed},
		{"log key that is empty", vkey("log.assay.invalid/x+01020304+"), verdict.IssuerMalformed},
		{"only an Ed25519 log key", vkey("log.assay.invalid/x+01020304+" + base64.StdEncoding.EncodeToString(append([]byte{1}, make([]byte, 32)...))), verdict.IssuerMalformed},
		{"a log key of an unknown type too", log(func(l map[string]any) {
			l["keys"] = append(l["keys"].([]any), "log.assay.invalid/x+01020304+"+base64.StdEncoding.EncodeToString([]byte("\x04key")))
		}), verdict.IssuerMalformed},
		{"five log keys", log(func(l map[string]any) { l["keys"] = slices.Repeat(l["keys"].([]any), 5) }), verdict.IssuerMalformed},
		{"no log keys", log(func(l map[string]any) { l["keys"] = []any{} }), verdict.IssuerMalformed},
		{"origin with a plus", log(func(l map[string]any) { l["origin"], l["keys"] = "a+b", []any{"a+b+01020304+" + ec} }), verdict.IssuerMalformed},
		{"origin with a space", log(func(l map[string]any) { l["origin"], l["keys"] = "a b", []any{"a b+01020304+" + ec} }), verdict.IssuerMalformed},
		{"origin too long", log(func(l map[string]any) {
			o := strings.Repeat("o", verdict.MaxOrigin+1)
			l["origin"], l["keys"] = o, []any{o + "+01020304+" + ec}
		}), verdict.IssuerMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := verdict.ParseStatement(tt.data)
			wantCode(t, err, tt.code)
			if err != nil && (s.Boot != "" || s.Keys != nil) {
				t.Errorf("got %+v with an error, want the zero value", s)
			}
			if err == nil && !bytes.Equal(encoded(t, s), tt.data) {
				t.Errorf("got %s, want %s", encoded(t, s), tt.data)
			}
		})
	}
	if data, err := (verdict.Statement{}).Encode(); err == nil || data != nil {
		t.Errorf("got %s, %v for the zero statement, want an error", data, err)
	}
	bad := w.statement
	bad.Seq = 0
	if data, err := bad.Encode(); err == nil || data != nil {
		t.Errorf("got %s, %v for a statement without seq, want an error", data, err)
	}
	if k, ok := w.statement.Key(w.ticketKey.Kid(), verdict.UseVerdict); ok || k != (verdict.JWK{}) {
		t.Error("got the ticket key as verdict key")
	}
}

func TestStatementCheckAt(t *testing.T) {
	s := newWorld(t).statement
	for _, tt := range []struct {
		name string
		at   time.Time
		code verdict.Code
	}{
		{"now", at, ""},
		{"daemon's clock ahead by the skew", at.Add(-time.Hour - time.Minute), ""},
		{"before", at.Add(-time.Hour - time.Minute - time.Second), verdict.IssuerExpired},
		{"last second", at.Add(22*time.Hour - time.Second), ""},
		{"ended", at.Add(22 * time.Hour), verdict.IssuerExpired},
		{"no clock", time.Time{}, verdict.IssuerExpired},
	} {
		t.Run(tt.name, func(t *testing.T) { wantCode(t, s.CheckAt(tt.at), tt.code) })
	}
	wantCode(t, verdict.Statement{}.CheckAt(at), verdict.IssuerExpired)
}

// TestBinding has the vector of the design: S = {}, N empty.
func TestBinding(t *testing.T) {
	report, quote := verdict.ReportData([]byte("{}"), nil), verdict.QuoteData([]byte("{}"), nil)
	if got, want := hex.EncodeToString(report[:]), "fa2179757279f3f97058da9b388f17cb685c6433dc2c991d18a76492be0332411c79893b1cb7c9ec6c25dcd432d9f1edc5886a40acd9cc9b56438331b39c26bd"; got != want {
		t.Errorf("got report data %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(quote[:]), "9b5a771a0c28ae9a2e29c9b158e65100631f700badfceeea8d0d94383d2e6068"; got != want {
		t.Errorf("got quote data %s, want %s", got, want)
	}
	nonces := bytes.Repeat([]byte{7}, 64)
	preimage := "assay/issuer-statement/v1\x00\x00\x00\x00\x00\x00\x00\x00\x03abc\x00\x00\x00\x00\x00\x00\x00\x40" + string(nonces)
	if got, want := verdict.ReportData([]byte("abc"), nonces), sha512.Sum512([]byte(preimage)); got != want {
		t.Errorf("got report data %x, want %x", got, want)
	}
	if got, want := verdict.QuoteData([]byte("abc"), nonces), sha256.Sum256([]byte(preimage)); got != want {
		t.Errorf("got quote data %x, want %x", got, want)
	}
	// Bytes cannot move between statement and nonces.
	if verdict.QuoteData([]byte("ab"), []byte("c")) == verdict.QuoteData([]byte("a"), []byte("bc")) {
		t.Error("got one binding for two pairs")
	}
}

func TestHasNonce(t *testing.T) {
	var a, b, c [verdict.NonceSize]byte
	a[0], b[31], c[16] = 1, 2, 3
	ab := append(a[:], b[:]...)
	for _, tt := range []struct {
		name   string
		nonces []byte
		nonce  [verdict.NonceSize]byte
		want   bool
	}{
		{"alone", a[:], a, true},
		{"first", ab, a, true},
		{"last", ab, b, true},
		{"absent", ab, c, false},
		{"none: published", nil, a, false},
		{"none, and zero asked for", nil, [verdict.NonceSize]byte{}, false},
		{"across two", append(make([]byte, 16), append(a[:], make([]byte, 16)...)...), a, false},
		{"cut", a[:31], a, false},
		{"one byte more", append(ab[:64:64], 0), a, false},
		{"as many as allowed", append(make([]byte, (verdict.MaxNonces-1)*verdict.NonceSize), a[:]...), a, true},
		{"too many", append(make([]byte, verdict.MaxNonces*verdict.NonceSize), a[:]...), a, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := verdict.HasNonce(tt.nonces, tt.nonce); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRegisterEvent(t *testing.T) {
	w := newWorld(t)
	event := verdict.RegisterEvent{Boot: boot, Config: w.statement.Config, Head: 7, Policy: w.head.Policy, Roots: w.head.Roots}
	good := encoded(t, event)
	for _, tt := range []struct {
		name string
		data []byte
		code verdict.Code
	}{
		{"good", good, ""},
		{"head 0", edit(t, good, func(m map[string]any) { m["head"] = 0 }), verdict.EvidenceMalformed},
		{"boot", edit(t, good, func(m map[string]any) { m["boot"] = "" }), verdict.EvidenceMalformed},
		{"policy", edit(t, good, func(m map[string]any) { m["policy"] = zeroSum }), verdict.EvidenceMalformed},
		{"unknown member", edit(t, good, func(m map[string]any) { m["v"] = 1 }), verdict.EvidenceMalformed},
		{"too large", append(bytes.Clone(good), bytes.Repeat([]byte(" "), verdict.MaxRegisterEvent)...), verdict.EvidenceMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := verdict.ParseRegisterEvent(tt.data)
			wantCode(t, err, tt.code)
			if err != nil && e != (verdict.RegisterEvent{}) {
				t.Errorf("got %+v with an error, want the zero value", e)
			}
		})
	}
	if _, err := (verdict.RegisterEvent{}).Encode(); err == nil {
		t.Error("got the bytes of the zero event, want an error")
	}
	if !w.statement.SameEvent(event) {
		t.Error("got another event for the statement")
	}
	for name, change := range map[string]func(e *verdict.RegisterEvent){
		"boot": func(e *verdict.RegisterEvent) { e.Boot = zeroSum }, "config": func(e *verdict.RegisterEvent) { e.Config = w.index },
		"head": func(e *verdict.RegisterEvent) { e.Head++ }, "policy": func(e *verdict.RegisterEvent) { e.Policy = w.index }, "roots": func(e *verdict.RegisterEvent) { e.Roots = w.index },
	} {
		other := event
		change(&other)
		if w.statement.SameEvent(other) {
			t.Errorf("got the same event with another %s", name)
		}
	}
	want := sha256.Sum256([]byte("assay/register/v1\x00\x00\x00\x00\x00\x00\x00\x00\x02{}"))
	h := sha256.New()
	h.Write([]byte("left over"))
	if got := verdict.RegisterDigest(h, []byte("{}")); !bytes.Equal(got, want[:]) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// TestR33Endless: what has no end is refused, and what lives too long.
func TestR33Endless(t *testing.T) {
	w := newWorld(t)
	good := encoded(t, w.statement)
	for name, f := range map[string]func(m map[string]any){
		"statement without not_after":        func(m map[string]any) { delete(m, "not_after") },
		"statement with not_after null":      func(m map[string]any) { m["not_after"] = nil },
		"statement with not_after as string": func(m map[string]any) { m["not_after"] = "1900000000" },
		"statement with not_after 0":         func(m map[string]any) { m["not_after"] = 0 },
		"statement over 24 hours":            func(m map[string]any) { m["not_after"] = unix(24 * time.Hour) },
	} {
		_, err := verdict.ParseStatement(edit(t, good, f))
		if verdict.CodeOf(err) != verdict.IssuerMalformed {
			t.Errorf("%s: got %v, want %s", name, err, verdict.IssuerMalformed)
		}
	}
	c := w.check(t)
	token := sign(t, w.ticket, w.ticketKey)
	for name, tt := range map[string]struct {
		f    func(m map[string]any)
		code verdict.Code
	}{
		"ticket without exp":           {func(m map[string]any) { delete(m, "exp") }, verdict.TicketMalformed},
		"ticket with exp null":         {func(m map[string]any) { m["exp"] = nil }, verdict.TicketMalformed},
		"ticket with exp as string":    {func(m map[string]any) { m["exp"] = "1900000000" }, verdict.TicketMalformed},
		"ticket with exp as a float":   {func(m map[string]any) { m["exp"] = 1.9e9 + 0.5 }, verdict.TicketMalformed},
		"ticket with exp 0":            {func(m map[string]any) { m["exp"] = 0 }, verdict.TicketMalformed},
		"ticket over 24 hours":         {func(m map[string]any) { m["exp"] = unix(24 * time.Hour) }, verdict.TicketLifetime},
		"ticket until 2⁵³−1":           {func(m map[string]any) { m["exp"] = 1<<53 - 1 }, verdict.TicketLifetime},
		"ticket that outlives its S":   {func(m map[string]any) { m["exp"] = unix(22*time.Hour + time.Second) }, verdict.TicketLifetime},
		"ticket that ends at its iat":  {func(m map[string]any) { m["exp"] = m["iat"] }, verdict.TicketLifetime},
		"ticket that ends before nbf":  {func(m map[string]any) { m["nbf"] = m["exp"] }, verdict.TicketLifetime},
		"denial of more than a minute": {func(m map[string]any) { m["res"] = map[string]any{"*": "fail"} }, verdict.TicketLifetime},
	} {
		forged := forge(t, header(verdict.TicketType, w.ticketKey.Kid()), edit(t, payloadOf(t, token), tt.f), w.ticketKey.priv)
		for _, offline := range []bool{false, true} { // a ticket's own length counts offline too
			c.AllowOffline = offline
			if _, err := verdict.CheckTicket(forged, c); verdict.CodeOf(err) != tt.code {
				t.Errorf("%s, offline %v: got %v, want %s", name, offline, err, tt.code)
			}
		}
	}
	// A status has no end of its own: its iat and the node's status-age are it.
	status := must(verdict.SignStatus(goodStatus(w, c.Head), w.ticketKey.Key))(t)
	forged := forge(t, header(verdict.StatusType, w.ticketKey.Kid()), edit(t, payloadOf(t, status), func(m map[string]any) { delete(m, "iat") }), w.ticketKey.priv)
	_, err := verdict.OpenStatus(forged, c.Issuers)
	wantCode(t, err, verdict.StatusMalformed)
}

func FuzzStatement(f *testing.F) {
	inputs := fuzz.New(f, golden(f, "statement.json"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		s, err := verdict.ParseStatement(data)
		if err != nil {
			if s.Boot != "" || s.Keys != nil {
				t.Fatalf("got %+v with an error, want the zero value", s)
			}
			return
		}
		if !bytes.Equal(encoded(t, s), data) {
			t.Fatalf("got %s, want %s", encoded(t, s), data)
		}
	})
}

func FuzzRegisterEvent(f *testing.F) {
	inputs := fuzz.New(f, golden(f, "register-event.json"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		e, err := verdict.ParseRegisterEvent(data)
		if err != nil {
			if e != (verdict.RegisterEvent{}) {
				t.Fatalf("got %+v with an error, want the zero value", e)
			}
			return
		}
		if !bytes.Equal(encoded(t, e), data) {
			t.Fatalf("got %s, want %s", encoded(t, e), data)
		}
	})
}
