// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// checkpoint is a signed note of a log; nobody looks at its signature here.
func checkpoint(origin string, size uint64) string {
	root := base64.StdEncoding.EncodeToString(make([]byte, 32))
	return fmt.Sprintf("%s\n%d\n%s\n\n— %s AQIDBHNpZ25hdHVyZQ==\n", origin, size, root, origin)
}

func goodStatus(w *world, h verdict.CheckedHead) verdict.Status {
	return verdict.Status{
		Checkpoint: checkpoint("log.assay.invalid/x", 42), Deny: verdict.DenyMarks(h.ActiveDocs(at)),
		Head: verdict.HeadRef{Counter: h.Counter, Digest: h.Digest}, Iat: at.Unix(), Iss: daemon, Nonce: boot, Stmt: w.issuer.Digest,
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	good := must(verdict.SignStatus(goodStatus(w, w.open(t)), w.ticketKey.Key))(t)
	payload := payloadOf(t, good)
	kid := w.ticketKey.Kid()
	change := func(f func(m map[string]any)) string {
		return forge(t, header(verdict.StatusType, kid), edit(t, payload, f), w.ticketKey.priv)
	}
	note := func(s string) string { return change(func(m map[string]any) { m["checkpoint"] = s }) }
	tests := []struct {
		name, token string
		code        verdict.Code
		verifies    int
	}{
		{"good", good, "", 1},
		{"good, signed independently", forge(t, header(verdict.StatusType, kid), payload, w.ticketKey.priv), "", 1},
		{"no checkpoint", change(func(m map[string]any) { delete(m, "checkpoint") }), "", 1},
		{"ticket", sign(t, w.ticket, w.ticketKey), verdict.StatusMalformed, 0},
		{"ticket under the typ of a status", forge(t, header(verdict.StatusType, kid), payloadOf(t, sign(t, w.ticket, w.ticketKey)), w.ticketKey.priv), verdict.StatusMalformed, 0},
		{"status under the typ of a ticket", forge(t, header(verdict.TicketType, kid), payload, w.ticketKey.priv), verdict.StatusMalformed, 0},
		{"too large", good + strings.Repeat("A", verdict.MaxStatus), verdict.StatusMalformed, 0},
		{"unknown statement", change(func(m map[string]any) { m["stmt"] = "sha256:" + zeroSum }), verdict.StatusSignature, 0},
		{"statement of the other daemon", change(func(m map[string]any) { m["stmt"] = string(w.issuer2.Digest) }), verdict.StatusSignature, 0},
		{"issuer", change(func(m map[string]any) { m["iss"] = nodeA }), verdict.StatusSignature, 0},
		{"verdict key", forge(t, header(verdict.StatusType, w.verdictKey.Kid()), payload, w.verdictKey.priv), verdict.StatusSignature, 0},
		{"signature of another key", forge(t, header(verdict.StatusType, kid), payload, w.ticketKey2.priv), verdict.StatusSignature, 1},
		{"no iat", change(func(m map[string]any) { delete(m, "iat") }), verdict.StatusMalformed, 0},
		{"iat 0", change(func(m map[string]any) { m["iat"] = 0 }), verdict.StatusMalformed, 0},
		{"no nonce", change(func(m map[string]any) { delete(m, "nonce") }), verdict.StatusMalformed, 0},
		{"short nonce", change(func(m map[string]any) { m["nonce"] = boot[2:] }), verdict.StatusMalformed, 0},
		{"upper-case nonce", change(func(m map[string]any) { m["nonce"] = strings.ToUpper(boot) }), verdict.StatusMalformed, 0},
		{"head 0", change(func(m map[string]any) { m["head"].(map[string]any)["counter"] = 0 }), verdict.StatusMalformed, 0},
		{"two marks of one owner", change(func(m map[string]any) {
			m["deny"] = []any{map[string]any{"counter": 1, "owner": "x"}, map[string]any{"counter": 2, "owner": "x"}}
		}), verdict.StatusMalformed, 0},
		{"mark with counter 0", change(func(m map[string]any) { m["deny"] = []any{map[string]any{"counter": 0, "owner": "x"}} }), verdict.StatusMalformed, 0},
		{"mark without owner", change(func(m map[string]any) { m["deny"] = []any{map[string]any{"counter": 1, "owner": ""}} }), verdict.StatusMalformed, 0},
		{"too many marks", change(func(m map[string]any) {
			var marks []any
			for i := range 17 {
				marks = append(marks, map[string]any{"counter": 1, "owner": strings.Repeat("x", i+1)})
			}
			m["deny"] = marks
		}), verdict.StatusMalformed, 0},
		{"checkpoint without signature", note("x\n1\n" + strings.Repeat("A", 43) + "=\n\n"), verdict.StatusMalformed, 0},
		{"checkpoint of two lines", note("x\n1\n\n— x AAAA\n"), verdict.StatusMalformed, 0},
		{"checkpoint with a size with a leading zero", note("x\n01\n" + strings.Repeat("A", 43) + "=\n\n— x AAAA\n"), verdict.StatusMalformed, 0},
		{"checkpoint with a negative size", note("x\n-1\n" + strings.Repeat("A", 43) + "=\n\n— x AAAA\n"), verdict.StatusMalformed, 0},
		{"checkpoint with a short root", note("x\n1\nAAAA\n\n— x AAAA\n"), verdict.StatusMalformed, 0},
		{"checkpoint without origin", note("\n1\n" + strings.Repeat("A", 43) + "=\n\n— x AAAA\n"), verdict.StatusMalformed, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s verdict.Status
			var err error
			n := verdict.CountVerifies(func() { s, err = verdict.OpenStatus(tt.token, []verdict.Issuer{w.issuer2, w.issuer}) })
			wantCode(t, err, tt.code)
			if n != tt.verifies {
				t.Errorf("got %d verifications, want %d", n, tt.verifies)
			}
			if err != nil && (s.Iss != "" || s.Iat != 0) {
				t.Errorf("got %+v with an error, want the zero value", s)
			}
		})
	}
	if token, err := verdict.SignStatus(verdict.Status{}, w.ticketKey.Key); err == nil || token != "" {
		t.Errorf("got %q, %v for the zero status, want an error", token, err)
	}
	_, err := verdict.OpenStatus(good, nil)
	wantCode(t, err, verdict.StatusSignature)
}

func TestStatusFresh(t *testing.T) {
	s := verdict.Status{Iat: at.Unix()}
	const age = 5 * time.Minute
	for _, tt := range []struct {
		name string
		at   time.Time
		code verdict.Code
	}{
		{"now", at, ""},
		{"at its age", at.Add(age), ""},
		{"older", at.Add(age + time.Second), verdict.StatusStale},
		{"daemon's clock a little ahead", at.Add(-time.Minute), ""},
		{"daemon's clock further ahead", at.Add(-time.Minute - time.Second), verdict.StatusStale},
		{"node's clock an hour off", at.Add(-time.Hour), verdict.StatusStale},
		{"no clock", time.Time{}, verdict.StatusStale},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := s.CheckFresh(tt.at, age)
			wantCode(t, err, tt.code)
			if _, failure := err.(*verdict.Failure); err != nil && !failure { //nolint:errorlint // the type itself is asserted
				t.Errorf("got %T, want a failure: a stale status decides nothing", err)
			}
		})
	}
	wantCode(t, s.CheckFresh(at.Add(time.Second), 0), verdict.StatusStale)
}

func TestStatusCheckHead(t *testing.T) {
	w := newWorld(t)
	set := w.set(t)
	set.Deny = [][]byte{w.denyDoc(t, 0, 4, verdict.DenyList{}, 0, time.Hour), w.denyDoc(t, 1, 9, verdict.DenyList{}, -3*time.Hour, 2*time.Hour)}
	h := must(verdict.OpenHead(set, w.owners))(t)
	good := goodStatus(w, h)
	if len(good.Deny) != 1 || good.Deny[0] != (verdict.DenyMark{Counter: 4, Owner: w.owner[0].Kid()}) {
		t.Fatalf("got marks %v, want that of the document that has not lapsed", good.Deny)
	}
	for _, tt := range []struct {
		name   string
		change func(s *verdict.Status)
		code   verdict.Code
	}{
		{"same", func(*verdict.Status) {}, ""},
		{"higher head", func(s *verdict.Status) { s.Head = verdict.HeadRef{Counter: 8}; s.Deny = nil }, ""},
		{"higher deny counter", func(s *verdict.Status) { s.Deny[0].Counter = 5 }, ""},
		{"lower head", func(s *verdict.Status) { s.Head.Counter = 6 }, verdict.StatusRollback},
		{"other head under the counter", func(s *verdict.Status) { s.Head.Digest = w.otherImg }, verdict.HeadConflict},
		{"lower deny counter", func(s *verdict.Status) { s.Deny[0].Counter = 3 }, verdict.StatusRollback},
		{"no deny marks", func(s *verdict.Status) { s.Deny = nil }, verdict.StatusRollback},
		{"mark of another owner", func(s *verdict.Status) { s.Deny[0].Owner = w.owner[1].Kid() }, verdict.StatusRollback},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := good
			s.Deny = append([]verdict.DenyMark(nil), good.Deny...)
			tt.change(&s)
			wantCode(t, s.CheckHead(h, at), tt.code)
		})
	}
}

func TestLogMark(t *testing.T) {
	m, ok := verdict.Status{Checkpoint: checkpoint("log.example/1", 42)}.Log()
	want := verdict.LogMark{Origin: "log.example/1", Size: 42, Root: base64.StdEncoding.EncodeToString(make([]byte, 32))}
	if !ok || m != want {
		t.Fatalf("got %+v, %v, want %+v", m, ok, want)
	}
	if m, ok := (verdict.Status{}).Log(); ok || m != (verdict.LogMark{}) {
		t.Errorf("got %+v without a checkpoint, want none", m)
	}
	if m, ok := (verdict.Status{Checkpoint: "x"}).Log(); ok || m != (verdict.LogMark{}) {
		t.Errorf("got %+v from garbage, want none", m)
	}
}

// TestR36StatusRollback: a status that names less than the node has seen, and a
// log of the same origin with a smaller or another tree.
func TestR36StatusRollback(t *testing.T) {
	w := newWorld(t)
	h := w.open(t)
	s := goodStatus(w, h)
	s.Head.Counter--
	wantCode(t, s.CheckHead(h, at), verdict.StatusRollback)

	seen := verdict.LogMark{Origin: "log.example/1", Size: 42, Root: "a"}
	for _, tt := range []struct {
		name string
		mark verdict.LogMark
		code verdict.Code
	}{
		{"same", seen, ""},
		{"larger", verdict.LogMark{Origin: seen.Origin, Size: 43, Root: "b"}, ""},
		{"smaller", verdict.LogMark{Origin: seen.Origin, Size: 41, Root: "b"}, verdict.StatusRollback},
		{"same size, other tree", verdict.LogMark{Origin: seen.Origin, Size: 42, Root: "b"}, verdict.StatusRollback},
		{"other origin", verdict.LogMark{Origin: "log.example/2", Size: 1, Root: "b"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) { wantCode(t, tt.mark.CheckAfter(seen), tt.code) })
	}
}

func FuzzStatus(f *testing.F) {
	f.Add(string(golden(f, "status.jwt")))
	w := goldenWorld(f)
	count := fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, token string) {
		count.Add(strings.Count(token, ".") == 2)
		s, err := verdict.OpenStatus(token, []verdict.Issuer{w.issuer})
		if err != nil {
			if s.Iss != "" || s.Checkpoint != "" {
				t.Fatalf("got %+v with an error, want the zero value", s)
			}
			return
		}
		if again, err := verdict.Encode(s); err != nil || string(again) != string(payloadOf(t, token)) {
			t.Fatalf("got %s, %v, want the payload", again, err)
		}
	})
}

// FuzzStatusPayload signs what the fuzzer makes, to reach what is behind the
// signature.
func FuzzStatusPayload(f *testing.F) {
	w := goldenWorld(f)
	inputs := fuzz.New(f, payloadOf(f, string(golden(f, "status.jwt"))))
	head := header(verdict.StatusType, w.ticketKey.Kid())
	f.Fuzz(func(t *testing.T, payload []byte) {
		payload = inputs.Of(payload)
		inputs.Add(json.Valid(payload))
		s, err := signedLast(verdict.StatusSignature, func(keys ...pair) (verdict.Status, error) {
			return verdict.OpenStatus(forge(t, head, payload, keys[0].priv), []verdict.Issuer{w.issuer})
		}, w.ticketKey)
		if err != nil {
			if s.Iss != "" {
				t.Fatalf("got %+v with an error, want the zero value", s)
			}
			return
		}
		if again, err := verdict.Encode(s); err != nil || string(again) != string(payload) {
			t.Fatalf("got %s, %v, want the payload", again, err)
		}
	})
}
