// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
	"github.com/assayd/assay/verifier"
)

func put(c assayv1.AssayServiceClient, set []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := assayv1.SendHead(ctx, c, set)
	return got.GetHeadCounter(), assayv1.FromStatus(err)
}

// TestHeadSwap: a newer head brings its policy, a new statement and new tickets,
// and survives a restart.
func TestHeadSwap(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI)
	r := w.start("")
	node := r.as("node/dev/node-a")
	before := ticketFor(t, r, node, image)
	first := r.issuer(node)

	strict := strings.Replace(w.policy(), `authorities: [release]}`, `authorities: [other]}`, 1)
	counter, err := put(r.as("ci/dev/anybody"), w.head(headSpec{counter: 2, policy: strict}))
	must(t, err)
	if counter != 2 {
		t.Fatalf("got head %d, want 2", counter)
	}
	second := r.issuer(node)
	if second.Statement.Seq != 2 || second.Statement.Prev != first.Digest || second.Statement.Boot != first.Statement.Boot || second.Statement.Policy != verdict.SHA256([]byte(strict)) {
		t.Errorf("got statement %+v, want the second of the boot, with the new policy", second.Statement)
	}
	after := ticketFor(t, r, node, image)
	if before.Res["*"] != verdict.OutcomePass || after.Res["*"] != verdict.OutcomeFail || after.Head != 2 || after.Stmt != second.Digest {
		t.Errorf("got %v under head %d, then %v under head %d, want the new policy to decide", before.Res, before.Head, after.Res, after.Head)
	}
	got, err := node.Verify(t.Context(), &assayv1.VerifyRequest{Repository: image.Repository, Digest: string(image.Digest), HeadCounter: 1})
	must(t, err)
	if len(got.GetNewerHead()) == 0 {
		t.Error("got no newer head for a caller with head 1")
	}
	must(t, r.stop())

	again := w.start("") // the file still offers head 1
	if s := again.issuer(again.as("node/dev/node-a")).Statement; s.Head.Counter != 2 || s.Boot == second.Statement.Boot || s.Prev != second.Digest {
		t.Errorf("got statement %+v after a restart, want head 2 of the disk, another boot, and the last statement as hint", s)
	}
}

// TestPutHeadRefused: nobody's role makes a head count, and a refused one
// changes nothing.
func TestPutHeadRefused(t *testing.T) {
	w := newWorld(t)
	data, set := w.headSet(headSpec{counter: 5})
	w.offer(data)
	r := w.start("")
	admin := r.as("admin/dev/admin")
	foreign := newOwner(t)
	_, cut := w.headSet(headSpec{counter: 6, policy: w.policy() + "# changed\n"})
	cut.Files = cut.Files[1:]
	for _, tc := range []struct {
		name string
		set  []byte
		want verdict.Code
	}{
		{"older", w.head(headSpec{counter: 4}), verdict.HeadRollback},
		{"same counter, other contents", w.head(headSpec{counter: 5, notAfter: time.Hour}), verdict.HeadConflict},
		{"by somebody else", w.head(headSpec{counter: 6, signers: []*verdict.Key{foreign.key}}), verdict.HeadSignature},
		{"expired", w.head(headSpec{counter: 6, notAfter: -time.Hour}), verdict.HeadExpired},
		{"policy that is none", w.head(headSpec{counter: 6, policy: "version: 9\n"}), verdict.HeadFile},
		{"policy missing", w.with(cut, nil), verdict.HeadFile},
		{"not a head set", []byte("{}"), verdict.HeadMalformed},
		{"empty", nil, verdict.HeadMalformed},
		{"deny document of somebody else", w.with(set, nil, foreignDeny(t, foreign)), verdict.HeadSignature},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := put(admin, tc.set)
			wantCode[*verdict.Refusal](t, err, tc.want)
			if s := r.issuer(admin).Statement; s.Seq != 1 || s.Head.Counter != 5 {
				t.Errorf("got statement %d under head %d, want nothing changed", s.Seq, s.Head.Counter)
			}
		})
	}
}

func foreignDeny(t *testing.T, o owner) []byte {
	t.Helper()
	now := time.Now()
	d, err := verdict.SignDeny(verdict.DenyDocument{Counter: 1, Entries: verdict.DenyList{V: 1}, Iat: now.Unix(), NotAfter: now.Add(time.Hour).Unix(), Owner: o.key.Kid()}, o.key)
	must(t, err)
	return d
}

// TestDenyAtOnce: what one owner denies is refused from the next request on,
// also what was in memory, and a newer head without the document takes nothing
// back.
func TestDenyAtOnce(t *testing.T) {
	slow(t)
	w := newWorld(t)
	data, set := w.headSet(headSpec{counter: 1})
	w.offer(data)
	image, other, third := w.image("acme/app", "x", signerURI), w.image("acme/app", "y", signerURI), w.image("acme/app", "z", signerURI)
	r := w.start("")
	node := r.as("node/dev/node-a")
	if got := ticketFor(t, r, node, image); got.Res["*"] != verdict.OutcomePass {
		t.Fatalf("got %v, want pass", got.Res)
	}
	denied := func(image verifier.Image) bool {
		_, err := verify(node, image)
		return verdict.CodeOf(err) == verdict.RevokedImage
	}
	_, err := put(node, w.with(set, nil, w.deny(1, time.Hour, verdict.DenyList{Images: []verdict.Digest{image.Digest}})))
	must(t, err)
	if !denied(image) || denied(other) {
		t.Error("got the denied image decided, or another one denied")
	}
	before := ticketFor(t, r, node, other)
	if s := r.issuer(node).Statement; s.Seq != 1 {
		t.Errorf("got statement %d, want the first: the head is the same", s.Seq)
	}
	// A second document of the same owner, in a set that has lost the first.
	_, err = put(node, w.with(set, nil, w.deny(2, 3*time.Second, verdict.DenyList{Images: []verdict.Digest{third.Digest}})))
	must(t, err)
	if !denied(image) || !denied(third) {
		t.Error("a second document took the first one back")
	}
	if after := ticketFor(t, r, node, other); after.Deny == before.Deny {
		t.Error("got the same deny digest in tickets, want another")
	}
	_, err = put(node, w.head(headSpec{counter: 2}))
	must(t, err)
	if !denied(image) {
		t.Error("a newer head without the document took it back")
	}
	deadline := time.Now().Add(20 * time.Second)
	for denied(third) {
		if time.Now().After(deadline) {
			t.Fatal("a document counts after its end")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !denied(image) {
		t.Error("a document ended with another one")
	}
	must(t, r.stop())
	again := w.start("")
	if _, err := verify(again.as("node/dev/node-a"), image); verdict.CodeOf(err) != verdict.RevokedImage {
		t.Errorf("got %v after a restart, want it denied", err)
	}
}

// TestDenyDoesNotWait: a newer head that cannot be taken yet withholds readiness,
// its deny documents count all the same, and it is taken as soon as it can be.
func TestDenyDoesNotWait(t *testing.T) {
	slow(t)
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image, other := w.image("acme/app", "x", signerURI), w.image("acme/app", "y", signerURI)
	r := w.start("")
	node := r.as("node/dev/node-a")
	ticketFor(t, r, node, image)
	mend := r.TestingBreakStatements(verdict.Fail(verdict.LogUnavailable, "writing: no space left on device"))
	doc := w.deny(1, time.Hour, verdict.DenyList{Images: []verdict.Digest{image.Digest}})
	_, err := put(node, w.head(headSpec{counter: 2, docs: [][]byte{doc}}))
	wantCode[*verdict.Failure](t, err, verdict.LogUnavailable)
	_, err = verify(node, image)
	wantCode[*verdict.Refusal](t, err, verdict.RevokedImage)
	if got := ticketFor(t, r, node, other); got.Head != 1 {
		t.Errorf("got a ticket under head %d, want 1: head 2 has no statement yet", got.Head)
	}
	if !waitHealthy(t, r, false) {
		t.Error("got ready under a head that is known to be old")
	}
	mend()
	if !waitHealthy(t, r, true) {
		t.Error("got not ready once the head could be taken")
	}
	if got := ticketFor(t, r, node, other); got.Head != 2 {
		t.Errorf("got a ticket under head %d, want 2", got.Head)
	}
}

// TestOtherIdentity: a Workload API that makes the daemon somebody else stops
// the start.
func TestOtherIdentity(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	for id, want := range map[string]verdict.Code{
		"spiffe://dev.assay.invalid/assay/node/dev/node-a": verdict.PeerRole,
		"spiffe://other.invalid/assay/d/dev/assayd":        verdict.PeerTrustDomain,
	} {
		w.api.Set(w.authority.SVID(t, id))
		err := daemon.Run(t.Context(), w.config(""), quiet())
		wantCode[*verdict.Refusal](t, err, want)
	}
}

// TestRenewal: an expired head signs nothing until it is renewed.
func TestRenewal(t *testing.T) {
	w := newWorld(t)
	data, set := w.headSet(headSpec{counter: 1, notAfter: -time.Minute})
	w.offer(data)
	image := w.image("acme/app", "x", signerURI)
	r := w.start("")
	node := r.as("node/dev/node-a")
	_, err := verify(node, image)
	wantCode[*verdict.Refusal](t, err, verdict.HeadExpired)
	if healthy(t, r) {
		t.Error("got ready under an expired head")
	}
	head, err := verdict.OpenHead(set, verdict.Owners{Keys: []verdict.JWK{w.owner.key.JWK()}, Threshold: 1, V: 1})
	must(t, err)
	now := time.Now()
	renewal, err := verdict.SignRenewal(verdict.Renewal{Counter: 1, Head: head.Digest, Iat: now.Unix(), NotAfter: now.Add(time.Hour).Unix()}, w.renewal)
	must(t, err)
	_, err = put(node, w.with(set, renewal))
	must(t, err)
	got := ticketFor(t, r, node, image)
	if got.Exp > now.Add(time.Hour).Unix() {
		t.Errorf("got exp %d, want it inside the renewed head", got.Exp)
	}
	if !waitHealthy(t, r, true) {
		t.Error("got not ready after the renewal")
	}
	// A set without the renewal takes nothing back.
	_, err = put(node, data)
	must(t, err)
	ticketFor(t, r, node, image)
}

func TestStartHead(t *testing.T) {
	for _, tc := range []struct {
		name       string
		disk, file func(*world) []byte
		want       uint64 // 0: the start is refused with code
		code       verdict.Code
	}{
		{"file only", nil, func(w *world) []byte { return w.head(headSpec{counter: 3}) }, 3, ""},
		{"disk newer", func(w *world) []byte { return w.head(headSpec{counter: 4}) }, func(w *world) []byte { return w.head(headSpec{counter: 3}) }, 4, ""},
		{"disk rolled back", func(w *world) []byte { return w.head(headSpec{counter: 2}) }, func(w *world) []byte { return w.head(headSpec{counter: 3}) }, 3, ""},
		{"disk corrupt", func(*world) []byte { return []byte("{\"v\":1") }, func(w *world) []byte { return w.head(headSpec{counter: 3}) }, 3, ""},
		{"file corrupt", func(w *world) []byte { return w.head(headSpec{counter: 3}) }, func(*world) []byte { return []byte("junk") }, 3, ""},
		{"two heads with one counter", func(w *world) []byte { return w.head(headSpec{counter: 3}) }, func(w *world) []byte { return w.head(headSpec{counter: 3, notAfter: time.Hour}) }, 0, verdict.HeadConflict},
		{"below min-head", nil, func(w *world) []byte { return w.head(headSpec{counter: 1}) }, 0, verdict.HeadRollback},
		{"of somebody else", nil, func(w *world) []byte {
			return w.head(headSpec{counter: 3, signers: []*verdict.Key{newOwner(w.tb).key}})
		}, 0, verdict.HeadSignature},
		{"none", nil, nil, 0, verdict.HeadMissing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			extra := ""
			if tc.disk != nil {
				must(t, os.MkdirAll(w.stateDir(), 0o700))
				must(t, os.WriteFile(filepath.Join(w.stateDir(), "head.json"), tc.disk(w), 0o600))
			}
			if tc.file != nil {
				w.offer(tc.file(w))
			}
			text := strings.Replace(w.configText(extra), "min-head: 1", "min-head: 2", 1)
			if tc.file == nil {
				text = strings.Replace(text, "head: "+w.headFile()+"\n", "", 1)
			}
			c, err := daemon.ParseConfig("assayd.yaml", []byte(text))
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			d, err := daemon.Open(ctx, c, quiet())
			if tc.want == 0 {
				cancel()
				if verdict.CodeOf(err) != tc.code {
					t.Errorf("got %v, want %s", err, tc.code)
				}
				return
			}
			must(t, err)
			served := make(chan error, 1)
			go func() { served <- d.Serve(ctx) }()
			r := &running{Daemon: d, w: w}
			if got := r.issuer(r.as("node/dev/node-a")).Statement.Head.Counter; got != tc.want {
				t.Errorf("got head %d, want %d", got, tc.want)
			}
			cancel()
			must(t, <-served)
		})
	}
}

func TestSecondDaemonOnTheSameState(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	w.start("")
	err := daemon.Run(t.Context(), w.config("limits: {drain: 5s}"), quiet())
	if m, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(m.Text, "another assayd has it") {
		t.Errorf("got %v, want a misuse about the other daemon", err)
	}
}

func TestClock(t *testing.T) {
	w := newWorld(t)
	_, set := w.headSet(headSpec{counter: 1})
	set.Deny = [][]byte{w.deny(1, time.Hour, verdict.DenyList{})}
	h, err := verdict.OpenHead(set, verdict.Owners{Keys: []verdict.JWK{w.owner.key.JWK()}, Threshold: 1, V: 1})
	must(t, err)
	now := time.Now()
	if err := daemon.CheckClock(h, now); err != nil {
		t.Errorf("got %v for a clock that is right", err)
	}
	wantCode[*verdict.Failure](t, daemon.CheckClock(h, now.Add(-time.Hour)), verdict.ClockBehind)
	wantCode[*verdict.Failure](t, daemon.CheckClock(verdict.CheckedHead{}, time.Unix(0, 0)), verdict.ClockBehind)
}

// TestPutHeadBounds: a head set comes in pieces that are bounded each and in all,
// one set of a caller at a time, so that no caller makes the daemon hold much.
func TestPutHeadBounds(t *testing.T) {
	w := newWorld(t)
	set := w.head(headSpec{counter: 1})
	w.offer(set)
	r := w.start("\nlimits:\n  head-set: 64KiB\n")
	c := r.as("ci/dev/anybody")
	open := func(chunks ...[]byte) assayv1.AssayService_PutHeadClient {
		stream, err := c.PutHead(t.Context())
		must(t, err)
		for _, chunk := range chunks {
			must(t, stream.Send(&assayv1.PutHeadRequest{Chunk: chunk}))
		}
		return stream
	}
	answer := func(s assayv1.AssayService_PutHeadClient) error {
		_, err := s.CloseAndRecv()
		return assayv1.FromStatus(err)
	}
	half := make([]byte, 40<<10)
	for name, chunks := range map[string][][]byte{
		"an empty piece":    {{}},
		"too large a piece": {make([]byte, assayv1.HeadChunk+1)},
		"too much in all":   {half, half},
	} {
		t.Run(name, func(t *testing.T) {
			wantCode[*verdict.Refusal](t, answer(open(chunks...)), verdict.HeadMalformed)
		})
	}
	// The second may come first: then it is malformed, and both begin again.
	first := open(half)
	err := answer(open())
	for end := time.Now().Add(10 * time.Second); verdict.CodeOf(err) != verdict.Overloaded && time.Now().Before(end); err = answer(open()) {
		answer(first) //nolint:errcheck // whichever it is
		first = open(half)
	}
	wantCode[*verdict.Failure](t, err, verdict.Overloaded)
	wantCode[*verdict.Refusal](t, answer(first), verdict.HeadMalformed) // half a set is none
	if _, err := put(c, set); err != nil {
		t.Errorf("got %v after those, want the whole set taken", err)
	}
	_, err = c.Verify(t.Context(), &assayv1.VerifyRequest{Repository: "registry.example/app", Digest: string(make([]byte, 1<<20))})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v for a request of 1 MiB, want it unread", err)
	}
}
