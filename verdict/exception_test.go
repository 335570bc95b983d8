// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

func goodException(w *world) verdict.Exception {
	return verdict.Exception{Cluster: cluster, Digests: []verdict.Digest{w.index, w.manifest}, ID: "outage-1", NotBefore: unix(-time.Hour),
		NotAfter: unix(24 * time.Hour), Owner: "alice", Reason: "the vendor's registry is down", V: 1}
}

func TestException(t *testing.T) {
	w := newWorld(t)
	good := must(verdict.SignException(goodException(w), w.owner[0].Key, w.owner[2].Key))(t)
	payload := payloadOfDSSE(t, good)
	change := func(f func(m map[string]any)) []byte {
		return forgeDSSE(t, verdict.ExceptionType, edit(t, payload, f), w.owner[0], w.owner[2])
	}
	tests := []struct {
		name string
		data []byte
		code verdict.Code
	}{
		{"good", good, ""},
		{"good, signed independently", forgeDSSE(t, verdict.ExceptionType, payload, w.owner[1], w.owner[2]), ""},
		{"one owner", forgeDSSE(t, verdict.ExceptionType, payload, w.owner[0]), verdict.ExceptionSignature},
		{"strangers", forgeDSSE(t, verdict.ExceptionType, payload, w.stranger, w.ticketKey), verdict.ExceptionSignature},
		{"renewal key", forgeDSSE(t, verdict.ExceptionType, payload, w.owner[0], w.renewal), verdict.ExceptionSignature},
		{"payload type of a head", forgeDSSE(t, verdict.HeadType, payload, w.owner[0], w.owner[2]), verdict.ExceptionMalformed},
		{"more than 72 hours", change(func(m map[string]any) { m["not_after"] = unix(72 * time.Hour) }), verdict.ExceptionMalformed},
		{"ends before it begins", change(func(m map[string]any) { m["not_after"] = unix(-2 * time.Hour) }), verdict.ExceptionMalformed},
		{"no end", change(func(m map[string]any) { m["not_after"] = 0 }), verdict.ExceptionMalformed},
		{"in 1970", change(func(m map[string]any) { m["not_before"], m["not_after"] = 0, 100 }), verdict.ExceptionMalformed},
		{"no digests", change(func(m map[string]any) { m["digests"] = []any{} }), verdict.ExceptionMalformed},
		{"too many digests", change(func(m map[string]any) {
			all := make([]any, 257)
			for i := range all {
				all[i] = string(w.index)
			}
			m["digests"] = all
		}), verdict.ExceptionMalformed},
		{"pattern as digest", change(func(m map[string]any) { m["digests"] = []any{"*"} }), verdict.ExceptionMalformed},
		{"no cluster", change(func(m map[string]any) { m["cluster"] = "" }), verdict.ExceptionMalformed},
		{"no reason", change(func(m map[string]any) { m["reason"] = "" }), verdict.ExceptionMalformed},
		{"text that hides itself", change(func(m map[string]any) { m["reason"] = "drill \u202egnp.exe" }), verdict.ExceptionMalformed},
		{"terminal escape", change(func(m map[string]any) { m["owner"] = "\x1b[2Jalice" }), verdict.ExceptionMalformed},
		{"other version", change(func(m map[string]any) { m["v"] = 2 }), verdict.ExceptionMalformed},
		{"unknown member", change(func(m map[string]any) { m["repositories"] = []any{"*"} }), verdict.ExceptionMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := verdict.OpenException(tt.data, w.owners)
			wantCode(t, err, tt.code)
			if err != nil && (e.ID != "" || e.Digest != "") {
				t.Errorf("got %+v with an error, want the zero value", e)
			}
			if err == nil && e.Digest != verdict.SHA256(payload) {
				t.Errorf("got digest %s, want that of the payload", e.Digest)
			}
			_, err = verdict.ParseExceptionInsecure(tt.data)
			if tt.code == verdict.ExceptionSignature {
				tt.code = ""
			}
			wantCode(t, err, tt.code)
		})
	}
	_, err := verdict.OpenException(good, verdict.Owners{})
	wantCode(t, err, verdict.ExceptionSignature)
	_, err = verdict.OpenException(good, verdict.Owners{Keys: w.owners.Keys}) // no threshold
	wantCode(t, err, verdict.ExceptionSignature)
	if _, err := verdict.SignException(verdict.Exception{}, w.owner[0].Key); err == nil {
		t.Error("got a signed zero exception, want an error")
	}
	// encoding/json would write another text than the owner gave.
	e := goodException(w)
	e.Reason = "\xff"
	if _, err := verdict.SignException(e, w.owner[0].Key); err == nil {
		t.Error("got a signed reason that is not UTF-8, want an error")
	}
}

func TestExceptionCheck(t *testing.T) {
	w := newWorld(t)
	e := must(verdict.OpenException(must(verdict.SignException(goodException(w), w.owner[0].Key, w.owner[2].Key))(t), w.owners))(t)
	for _, tt := range []struct {
		name    string
		digest  verdict.Digest
		cluster string
		at      time.Time
		code    verdict.Code
	}{
		{"good", w.index, cluster, at, ""},
		{"first second", w.index, cluster, at.Add(-time.Hour), ""},
		{"before it begins", w.index, cluster, at.Add(-time.Hour - time.Second), verdict.ExceptionExpired},
		{"last second", w.manifest, cluster, at.Add(24*time.Hour - time.Second), ""},
		{"ended", w.manifest, cluster, at.Add(24 * time.Hour), verdict.ExceptionExpired},
		{"no clock", w.index, cluster, time.Time{}, verdict.ExceptionExpired},
		{"another image", w.config, cluster, at, verdict.ExceptionScope},
		{"no image", "", cluster, at, verdict.ExceptionScope},
		{"another cluster", w.index, "prod", at, verdict.ExceptionScope},
		{"no cluster", w.index, "", at, verdict.ExceptionScope},
	} {
		t.Run(tt.name, func(t *testing.T) { wantCode(t, e.Check(tt.digest, tt.cluster, tt.at), tt.code) })
	}
	wantCode(t, verdict.CheckedException{}.Check("", "", at), verdict.ExceptionScope)
}

func TestAddExceptionSignature(t *testing.T) {
	w := newWorld(t)
	one := must(verdict.SignException(goodException(w), w.owner[0].Key))(t)
	two := must(verdict.AddExceptionSignature(one, w.owner[1].Key))(t)
	must(verdict.OpenException(two, w.owners))(t)
	// An owner does not put a name to what is no exception.
	out, err := verdict.AddExceptionSignature(forgeDSSE(t, verdict.ExceptionType, []byte(`{"digests":["*"]}`), w.owner[0]), w.owner[1].Key)
	wantCode(t, err, verdict.ExceptionMalformed)
	if out != nil {
		t.Errorf("got %s, want nothing", out)
	}
	_, err = verdict.AddExceptionSignature(w.set(t).Head, w.owner[1].Key)
	wantCode(t, err, verdict.ExceptionMalformed)
}

func FuzzException(f *testing.F) {
	w := goldenWorld(f)
	inputs := fuzz.New(f, payloadOfDSSE(f, golden(f, "exception.json")))
	f.Fuzz(func(t *testing.T, payload []byte) {
		payload = inputs.Of(payload)
		inputs.Add(json.Valid(payload))
		e, err := signedLast(verdict.ExceptionSignature, func(keys ...pair) (verdict.CheckedException, error) {
			return verdict.OpenException(forgeDSSE(t, verdict.ExceptionType, payload, keys...), w.owners)
		}, w.owner[0], w.owner[1])
		if err != nil {
			if e.ID != "" || e.Digests != nil {
				t.Fatalf("got %+v with an error, want the zero value", e)
			}
			return
		}
		if again, err := verdict.Encode(e.Exception); err != nil || !bytes.Equal(again, payload) {
			t.Fatalf("got %s, %v, want the payload", again, err)
		}
	})
}
