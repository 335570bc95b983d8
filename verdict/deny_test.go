// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

func TestDenyList(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		code       verdict.Code
	}{
		{"empty", `{"v":1}`, ""},
		{"SHA-512 image", `{"images":["sha512:` + zeroSum + zeroSum + `"],"v":1}`, ""},
		{"identity of any issuer", `{"identities":[{"san":"a@example.com"}],"v":1}`, ""},
		{"largest log index", `{"log_entries":["` + zeroSum + `/9223372036854775807"],"v":1}`, ""},
		{"SHA-256 measurement", `{"measurements":["` + zeroSum + `"],"v":1}`, ""},
		{"no version", `{}`, verdict.HeadMalformed},
		{"empty list", `{"images":[],"v":1}`, verdict.HeadMalformed},
		{"image by tag", `{"images":["latest"],"v":1}`, verdict.HeadMalformed},
		{"certificate by SHA-512", `{"certificates":["sha512:` + zeroSum + zeroSum + `"],"v":1}`, verdict.HeadMalformed},
		{"key without algorithm", `{"keys":["` + zeroSum + `"],"v":1}`, verdict.HeadMalformed},
		{"statement with upper-case digest", `{"statements":["sha256:` + strings.Repeat("AB", 32) + `"],"v":1}`, verdict.HeadMalformed},
		{"repository pattern", `{"repositories":["registry.example/*"],"v":1}`, verdict.HeadMalformed},
		{"repository under an alias", `{"repositories":["Registry.example/app"],"v":1}`, verdict.HeadMalformed},
		{"identity without SAN", `{"identities":[{"issuer":"https://x","san":""}],"v":1}`, verdict.HeadMalformed},
		{"empty issuer", `{"identities":[{"issuer":"","san":"x"}],"v":1}`, verdict.HeadMalformed},
		{"issuer with a line end", `{"identities":[{"issuer":"a\n","san":"x"}],"v":1}`, verdict.HeadMalformed},
		{"measurement of another length", `{"measurements":["` + zeroSum[2:] + `"],"v":1}`, verdict.HeadMalformed},
		{"measurement that is not hex", `{"measurements":["` + strings.Repeat("zz", 32) + `"],"v":1}`, verdict.HeadMalformed},
		{"log entry without index", `{"log_entries":["` + zeroSum + `"],"v":1}`, verdict.HeadMalformed},
		{"log entry with a leading zero", `{"log_entries":["` + zeroSum + `/01"],"v":1}`, verdict.HeadMalformed},
		{"log entry with a sign", `{"log_entries":["` + zeroSum + `/+1"],"v":1}`, verdict.HeadMalformed},
		{"log entry beyond 63 bits", `{"log_entries":["` + zeroSum + `/9223372036854775808"],"v":1}`, verdict.HeadMalformed},
		{"log entry of a short log", `{"log_entries":["` + zeroSum[2:] + `/1"],"v":1}`, verdict.HeadMalformed},
		{"cores cannot be denied", `{"cores":["sha256:` + zeroSum + `"],"v":1}`, verdict.HeadMalformed},
		{"too large", `{"v":1}` + strings.Repeat(" ", verdict.MaxDeny), verdict.HeadMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := verdict.ParseDenyList([]byte(tt.data))
			wantCode(t, err, tt.code)
			if err != nil && d.V != 0 {
				t.Errorf("got %+v with an error, want the zero value", d)
			}
			if err == nil && string(encoded(t, d)) != tt.data {
				t.Errorf("got %s, want %s", encoded(t, d), tt.data)
			}
		})
	}
	if _, err := (verdict.DenyList{Images: []verdict.Digest{"x"}}).Encode(); err == nil {
		t.Error("got the bytes of a bad list, want an error")
	}
	if got := string(encoded(t, verdict.DenyList{})); got != `{"v":1}` {
		t.Errorf("got %s for the zero list", got)
	}
}

func TestDenies(t *testing.T) {
	a, b := verdict.SHA256([]byte("a")), verdict.SHA256([]byte("b"))
	d := verdict.DenyList{
		Images: []verdict.Digest{a}, Repositories: []string{repo}, Keys: []verdict.Digest{a}, Certificates: []verdict.Digest{a}, LogEntries: []string{zeroSum + "/7"},
		Identities: []verdict.DeniedIdentity{{Issuer: "https://i.example", SAN: "x"}, {SAN: "y"}},
	}
	for _, tt := range []struct {
		name      string
		got, want bool
	}{
		{"image", d.DeniesImage(a), true},
		{"one of several", d.DeniesImage(b, "", a), true},
		{"other image", d.DeniesImage(b), false},
		{"no image", d.DeniesImage("", ""), false},
		{"repository", d.DeniesRepository(repo), true},
		{"repository below", d.DeniesRepository(repo + "/x"), false},
		{"no repository", d.DeniesRepository(""), false},
		{"identity", d.DeniesIdentity("https://i.example", "x"), true},
		{"identity of another issuer", d.DeniesIdentity("https://j.example", "x"), false},
		{"identity of no issuer", d.DeniesIdentity("", "x"), false},
		{"identity under any issuer", d.DeniesIdentity("https://j.example", "y"), true},
		{"part of an identity", d.DeniesIdentity("https://i.example", "xy"), false},
		{"key", d.DeniesKey(a), true},
		{"other key", d.DeniesKey(b), false},
		{"certificate", d.DeniesCertificate(a), true},
		{"other certificate", d.DeniesCertificate(b), false},
		{"log entry", d.DeniesLogEntry(zeroSum, 7), true},
		{"other index", d.DeniesLogEntry(zeroSum, 77), false},
		{"nothing is denied", verdict.DenyList{}.DeniesImage(a) || verdict.DenyList{}.DeniesRepository("") || verdict.DenyList{}.DeniesIdentity("", ""), false},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestDenyMerge(t *testing.T) {
	x, y := verdict.SHA256([]byte("x")), verdict.SHA256([]byte("y"))
	full := func(d verdict.Digest, s string) verdict.DenyList {
		return verdict.DenyList{
			Certificates: []verdict.Digest{d}, Identities: []verdict.DeniedIdentity{{SAN: s}}, Images: []verdict.Digest{d}, Keys: []verdict.Digest{d},
			LogEntries: []string{s}, Measurements: []string{s}, Repositories: []string{s}, Statements: []verdict.Digest{d}, V: 1,
		}
	}
	a, b := full(x, "x"), full(y, "y")
	got := a.Merge(b).Merge(a)
	want := verdict.DenyList{
		Certificates: []verdict.Digest{x, y}, Identities: []verdict.DeniedIdentity{{SAN: "x"}, {SAN: "y"}}, Images: []verdict.Digest{x, y}, Keys: []verdict.Digest{x, y},
		LogEntries: []string{"x", "y"}, Measurements: []string{"x", "y"}, Repositories: []string{"x", "y"}, Statements: []verdict.Digest{x, y}, V: 1,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if d := cmp.Diff(full(x, "x"), a); d != "" {
		t.Errorf("merging changed what was merged (-want +got):\n%s", d)
	}
	if d := cmp.Diff(a, verdict.DenyList{}.Merge(a)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestDenyDocument(t *testing.T) {
	w := newWorld(t)
	entries := verdict.DenyList{Images: []verdict.Digest{w.otherImg}}
	good := w.denyDoc(t, 1, 5, entries, 0, 168*time.Hour)
	payload := payloadOfDSSE(t, good)
	change := func(f func(m map[string]any), by ...pair) []byte {
		return forgeDSSE(t, verdict.DenyType, edit(t, payload, f), append(by, w.owner[1])...)
	}
	foreign := must(verdict.SignDeny(verdict.DenyDocument{Counter: 1, Entries: entries, Iat: unix(0), NotAfter: unix(time.Hour)}, w.stranger.Key))(t)
	for _, tt := range []struct {
		name string
		data []byte
		code verdict.Code
	}{
		{"one owner of three, threshold two", good, ""},
		{"signed independently", forgeDSSE(t, verdict.DenyType, payload, w.owner[1]), ""},
		{"two owners", forgeDSSE(t, verdict.DenyType, payload, w.owner[0], w.owner[1]), ""},
		{"a stranger", foreign, verdict.HeadSignature},
		{"signed by another owner than it names", forgeDSSE(t, verdict.DenyType, payload, w.owner[0]), verdict.HeadSignature},
		{"renewal key", forgeDSSE(t, verdict.DenyType, edit(t, payload, func(m map[string]any) { m["owner"] = w.renewal.Kid() }), w.renewal), verdict.HeadSignature},
		{"more than 7 days", change(func(m map[string]any) { m["not_after"] = unix(168*time.Hour + time.Second) }), verdict.HeadMalformed},
		{"no end", change(func(m map[string]any) { delete(m, "not_after") }), verdict.HeadMalformed},
		{"no begin", change(func(m map[string]any) { m["iat"] = 0 }), verdict.HeadMalformed},
		{"counter 0", change(func(m map[string]any) { m["counter"] = 0 }), verdict.HeadMalformed},
		{"no owner", change(func(m map[string]any) { m["owner"] = "" }), verdict.HeadMalformed},
		{"bad entry", change(func(m map[string]any) { m["entries"] = map[string]any{"images": []any{"x"}, "v": 1} }), verdict.HeadMalformed},
		{"entries without version", change(func(m map[string]any) { m["entries"] = map[string]any{} }), verdict.HeadMalformed},
		{"version 2", change(func(m map[string]any) { m["v"] = 2 }), verdict.HeadMalformed},
		{"payload type of a head", forgeDSSE(t, verdict.HeadType, payload, w.owner[1]), verdict.HeadMalformed},
		{"deny list instead", forgeDSSE(t, verdict.DenyType, []byte(`{"v":1}`), w.owner[1]), verdict.HeadMalformed},
		{"not an envelope", payload, verdict.HeadMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := verdict.OpenDeny(tt.data, w.owners)
			wantCode(t, err, tt.code)
			if err != nil && (d.Digest != "" || d.Counter != 0) {
				t.Errorf("got %+v with an error, want the zero value", d)
			}
			set := w.set(t)
			set.Deny = [][]byte{tt.data}
			_, err = verdict.OpenHead(set, w.owners)
			wantCode(t, err, tt.code)
		})
	}
	_, err := verdict.OpenDeny(good, verdict.Owners{})
	wantCode(t, err, verdict.HeadSignature)
	if _, err := verdict.SignDeny(verdict.DenyDocument{Counter: 1, Iat: unix(0), NotAfter: unix(200 * time.Hour)}, w.owner[0].Key); err == nil {
		t.Error("got a document of more than 7 days, want an error")
	}
	large := verdict.DenyList{}
	for i := range 4000 {
		large.Images = append(large.Images, verdict.SHA256([]byte{byte(i), byte(i >> 8)}))
	}
	if _, err := verdict.SignDeny(verdict.DenyDocument{Counter: 1, Entries: large, Iat: unix(0), NotAfter: unix(time.Hour)}, w.owner[0].Key); err == nil {
		t.Error("got a document over its limit, want an error")
	}
}

// TestDenyLapse: a document takes effect at once, and lapses unless a head takes
// it in.
func TestDenyLapse(t *testing.T) {
	w := newWorld(t)
	set := w.set(t)
	set.Deny = [][]byte{w.denyDoc(t, 0, 1, verdict.DenyList{Images: []verdict.Digest{w.otherImg}}, 0, time.Hour)}
	h := must(verdict.OpenHead(set, w.owners))(t)
	for _, tt := range []struct {
		name string
		at   time.Time
		want bool
	}{
		{"at once", at, true},
		{"before it was signed: an owner said so", at.Add(-time.Hour), true},
		{"last second", at.Add(time.Hour - time.Second), true},
		{"lapsed", at.Add(time.Hour), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := h.DenyAt(tt.at).DeniesImage(w.otherImg); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if got := len(h.ActiveDocs(tt.at)); (got == 1) != tt.want {
				t.Errorf("got %d documents", got)
			}
		})
	}
	w.deny.Images = []verdict.Digest{w.otherImg}
	w.head.Counter, w.head.Deny = 8, verdict.SHA256(encoded(t, w.deny))
	h = must(h.OpenNewer(w.set(t), at))(t)
	if !h.DenyAt(at.Add(time.Hour)).DeniesImage(w.otherImg) {
		t.Error("got a lapse of what the head took in")
	}
}

func TestDenyDigest(t *testing.T) {
	w := newWorld(t)
	open := func(i int, counter uint64) verdict.CheckedDeny {
		return must(verdict.OpenDeny(w.denyDoc(t, i, counter, verdict.DenyList{}, 0, time.Hour), w.owners))(t)
	}
	a, b := open(0, 1), open(1, 1)
	want := func(parts ...string) string {
		sum := sha256.Sum256([]byte(strings.Join(parts, "")))
		return hex.EncodeToString(sum[:])
	}
	first, second := string(min(a.Digest, b.Digest)), string(max(a.Digest, b.Digest))
	for _, tt := range []struct {
		name string
		docs []verdict.CheckedDeny
		want string
	}{
		{"none", nil, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"one", []verdict.CheckedDeny{a}, want(string(a.Digest), "\n")},
		{"two", []verdict.CheckedDeny{a, b}, want(first, "\n", second, "\n")},
		{"two in the other order", []verdict.CheckedDeny{b, a}, want(first, "\n", second, "\n")},
		{"one twice", []verdict.CheckedDeny{a, a}, want(string(a.Digest), "\n")},
	} {
		if got := verdict.DenyDigest(tt.docs); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func FuzzDenyList(f *testing.F) {
	inputs := fuzz.New(f, golden(f, "deny.json"), []byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		d, err := verdict.ParseDenyList(data)
		if err != nil {
			if d.V != 0 || d.Images != nil {
				t.Fatalf("got %+v with an error, want the zero value", d)
			}
			return
		}
		if !bytes.Equal(encoded(t, d), data) {
			t.Fatalf("got %s, want %s", encoded(t, d), data)
		}
	})
}

func FuzzDenyDocument(f *testing.F) {
	w := goldenWorld(f)
	inputs := fuzz.New(f, payloadOfDSSE(f, golden(f, "deny-document.json")))
	f.Fuzz(func(t *testing.T, payload []byte) {
		payload = inputs.Of(payload)
		inputs.Add(json.Valid(payload))
		d, err := signedLast(verdict.HeadSignature, func(keys ...pair) (verdict.CheckedDeny, error) {
			return verdict.OpenDeny(forgeDSSE(t, verdict.DenyType, payload, keys...), w.owners)
		}, w.owner[2])
		if err != nil {
			if d.Digest != "" || d.Counter != 0 {
				t.Fatalf("got %+v with an error, want the zero value", d)
			}
			return
		}
		if again, err := verdict.Encode(d.DenyDocument); err != nil || !bytes.Equal(again, payload) {
			t.Fatalf("got %s, %v, want the payload", again, err)
		}
	})
}
