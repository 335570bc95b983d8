// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
)

// TestJWS goes through the ticket: header and form of a token.
func TestJWS(t *testing.T) {
	w := newWorld(t)
	good := sign(t, w.ticket, w.ticketKey)
	payload := payloadOf(t, good)
	kid := w.ticketKey.Kid()
	parts := strings.Split(good, ".")
	with := func(header string) string { return forge(t, header, payload, w.ticketKey.priv) }
	der, err := w.ticketKey.priv.Sign(rand.Reader, sum([]byte(parts[0]+"."+parts[1])), nil)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(w.ticketKey.priv.Public())
	if err != nil {
		t.Fatal(err)
	}
	hs256 := func(key []byte) string {
		input := b64.EncodeToString([]byte(`{"alg":"HS256","kid":"`+kid+`","typ":"`+verdict.TicketType+`"}`)) + "." + parts[1]
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(input))
		return input + "." + b64.EncodeToString(append(mac.Sum(nil), make([]byte, 32)...))
	}
	extra := func(member string) string {
		members := []string{`"alg":"ES256"`, `"kid":"` + kid + `"`, `"typ":"` + verdict.TicketType + `"`, member}
		switch { // sorted, so that nothing but the member itself is wrong
		case member < members[1]:
			members[1], members[2], members[3] = member, members[1], members[2]
		case member < members[2]:
			members[2], members[3] = member, members[2]
		}
		return with("{" + strings.Join(members, ",") + "}")
	}
	tests := []struct {
		name, token string
		code        verdict.Code
		verifies    int
	}{
		{"good", good, "", 1},
		{"good, signed independently", with(header(verdict.TicketType, kid)), "", 1},
		{"alg none", with(`{"alg":"none","kid":"` + kid + `","typ":"` + verdict.TicketType + `"}`), verdict.TicketAlgorithm, 0},
		{"alg none without signature", b64.EncodeToString([]byte(`{"alg":"none","typ":"`+verdict.TicketType+`"}`)) + "." + parts[1] + ".", verdict.TicketAlgorithm, 0},
		{"signature removed", parts[0] + "." + parts[1] + ".", verdict.TicketAlgorithm, 0},
		{"alg None", with(`{"alg":"None","kid":"` + kid + `","typ":"` + verdict.TicketType + `"}`), verdict.TicketAlgorithm, 0},
		{"alg es256", with(`{"alg":"es256","kid":"` + kid + `","typ":"` + verdict.TicketType + `"}`), verdict.TicketAlgorithm, 0},
		{"alg ES384", with(`{"alg":"ES384","kid":"` + kid + `","typ":"` + verdict.TicketType + `"}`), verdict.TicketAlgorithm, 0},
		{"alg absent", with(`{"kid":"` + kid + `","typ":"` + verdict.TicketType + `"}`), verdict.TicketAlgorithm, 0},
		{"HS256 with the public key in DER", hs256(spki), verdict.TicketAlgorithm, 0},
		{"HS256 with the public key as JWK coordinate", hs256([]byte(w.ticketKey.JWK().X)), verdict.TicketAlgorithm, 0},
		{"DER instead of r‖s", parts[0] + "." + parts[1] + "." + b64.EncodeToString(der), verdict.TicketAlgorithm, 0},
		{"zeros as signature", parts[0] + "." + parts[1] + "." + b64.EncodeToString(make([]byte, 64)), verdict.TicketSignature, 1},
		{"signature of another key", forge(t, header(verdict.TicketType, kid), payload, w.stranger.priv), verdict.TicketSignature, 1},
		{"kid of a stranger", forge(t, header(verdict.TicketType, w.stranger.Kid()), payload, w.stranger.priv), verdict.TicketStatement, 0},
		{"kid of the other daemon", forge(t, header(verdict.TicketType, w.ticketKey2.Kid()), payload, w.ticketKey2.priv), verdict.TicketStatement, 0},
		{"kid of the verdict key", forge(t, header(verdict.TicketType, w.verdictKey.Kid()), payload, w.verdictKey.priv), verdict.TicketStatement, 0},
		{"no kid", with(header(verdict.TicketType, "")), verdict.TicketStatement, 0},
		{"typ of a status", with(header(verdict.StatusType, kid)), verdict.TicketAlgorithm, 0},
		{"typ JWT", with(header("JWT", kid)), verdict.TicketAlgorithm, 0},
		{"typ in other case", with(header("Assay-Verdict+JWT", kid)), verdict.TicketAlgorithm, 0},
		{"typ with application/", with(header("application/"+verdict.TicketType, kid)), verdict.TicketAlgorithm, 0},
		{"typ absent", with(`{"alg":"ES256","kid":"` + kid + `"}`), verdict.TicketAlgorithm, 0},
		{"embedded jwk", extra(`"jwk":{"crv":"P-256","kty":"EC"}`), verdict.TicketAlgorithm, 0},
		{"jku", extra(`"jku":"https://evil.example/keys"`), verdict.TicketAlgorithm, 0},
		{"x5u", extra(`"x5u":"https://evil.example/cert"`), verdict.TicketAlgorithm, 0},
		{"x5c", extra(`"x5c":["MIIB"]`), verdict.TicketAlgorithm, 0},
		{"x5t", extra(`"x5t#S256":"x"`), verdict.TicketAlgorithm, 0},
		{"crit", extra(`"crit":["exp"]`), verdict.TicketAlgorithm, 0},
		{"empty crit", extra(`"crit":[]`), verdict.TicketAlgorithm, 0},
		{"b64", extra(`"b64":false`), verdict.TicketAlgorithm, 0},
		{"zip", extra(`"zip":"DEF"`), verdict.TicketAlgorithm, 0},
		{"cty", extra(`"cty":"JWT"`), verdict.TicketAlgorithm, 0},
		{"alg twice", with(`{"alg":"none",` + header(verdict.TicketType, kid)[1:]), verdict.TicketAlgorithm, 0},
		{"header unsorted", with(`{"typ":"` + verdict.TicketType + `","alg":"ES256","kid":"` + kid + `"}`), verdict.TicketAlgorithm, 0},
		{"header with white space", with(`{"alg": "ES256","kid":"` + kid + `","typ":"` + verdict.TicketType + `"}`), verdict.TicketAlgorithm, 0},
		{"header in other case", with(`{"Alg":"ES256","kid":"` + kid + `","typ":"` + verdict.TicketType + `"}`), verdict.TicketAlgorithm, 0},
		{"header is an array", with(`["ES256"]`), verdict.TicketAlgorithm, 0},
		{"header empty", with(""), verdict.TicketAlgorithm, 0},
		{"header too long", with(header(verdict.TicketType, strings.Repeat("k", 300))), verdict.TicketMalformed, 0},
		{"padding", parts[0] + "." + parts[1] + "." + parts[2] + "==", verdict.TicketMalformed, 0},
		{"padded header", parts[0] + "=." + parts[1] + "." + parts[2], verdict.TicketMalformed, 0},
		{"line end in the signature", parts[0] + "." + parts[1] + "." + parts[2][:9] + "\n" + parts[2][9:], verdict.TicketMalformed, 0},
		{"line end after the token", good + "\r\n", verdict.TicketMalformed, 0},
		{"white space before the token", " " + good, verdict.TicketMalformed, 0},
		{"unused bits in the signature", good[:len(good)-1] + string(good[len(good)-1]+1), verdict.TicketMalformed, 0},
		{"base64 of another alphabet", parts[0] + "." + parts[1] + "." + "+/" + parts[2][2:], verdict.TicketMalformed, 0},
		{"two parts", parts[0] + "." + parts[1], verdict.TicketMalformed, 0},
		{"four parts", good + "." + parts[2], verdict.TicketMalformed, 0},
		{"five parts as of JWE", good + ".x.y", verdict.TicketMalformed, 0},
		{"JSON serialization", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, verdict.TicketMalformed, 0},
		{"Bearer", "Bearer " + good, verdict.TicketMalformed, 0},
		{"one dot", ".", verdict.TicketMalformed, 0},
		{"two dots", "..", verdict.TicketAlgorithm, 0},
		{"nothing", "", verdict.TicketMalformed, 0},
		{"too large", good + strings.Repeat("A", verdict.MaxTicket), verdict.TicketMalformed, 0},
		{"payload changed", parts[0] + "." + b64.EncodeToString([]byte(strings.Replace(string(payload), nodeA, nodeB, 1))) + "." + parts[2], verdict.TicketSignature, 1},
		{"header of another token", strings.Split(sign(t, w.ticket, w.ticketKey), ".")[0] + "." + parts[1] + "." + strings.Split(sign(t, func() verdict.Ticket {
			o := w.ticket
			o.Aud = nodeB
			return o
		}(), w.ticketKey), ".")[2], verdict.TicketSignature, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got verdict.Ticket
			var issuer verdict.Issuer
			var err error
			n := verdict.CountVerifies(func() { got, issuer, err = verdict.OpenTicket(tt.token, []verdict.Issuer{w.issuer2, w.issuer}) })
			wantCode(t, err, tt.code)
			if n != tt.verifies {
				t.Errorf("got %d verifications, want %d", n, tt.verifies)
			}
			if err != nil && (got.Aud != "" || got.Res != nil || issuer.Digest != "") {
				t.Errorf("got %+v with an error, want the zero value", got)
			}
		})
	}
}

// TestR55ForgedTokens has golang-jwt CVE-2024-51744 (forged *and* expired told as
// expired) and CVE-2025-30204 (dots); the rest of the row is in TestJWS.
func TestR55ForgedTokens(t *testing.T) {
	w := newWorld(t)
	old := w.ticket
	old.Iat, old.Nbf, old.Exp = unix(-2*time.Hour), unix(-2*time.Hour), unix(-time.Hour)
	token := sign(t, old, w.ticketKey)
	_, err := verdict.CheckTicket(token, w.check(t))
	wantCode(t, err, verdict.TicketExpired)
	got, err := verdict.CheckTicket(token[:len(token)-8]+"AAAAAAAA", w.check(t))
	wantCode(t, err, verdict.TicketSignature)
	if got.Aud != "" || strings.Contains(err.Error(), nodeA) || strings.Contains(err.Error(), repo) {
		t.Errorf("got claims %+v, %v of a forged token, want none", got, err)
	}

	dots := strings.Repeat(".", 8<<10)
	issuers := []verdict.Issuer{w.issuer}
	const runs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		_, _, err := verdict.OpenTicket(dots, issuers)
		wantCode(t, err, verdict.TicketMalformed)
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / runs; !raceEnabled && got >= 1024 {
		t.Errorf("got %d bytes allocated for 8 KiB of dots, want less than 1024", got)
	}
}
