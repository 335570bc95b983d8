// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
	"github.com/assayd/assay/verifier"
)

// A watch is a WatchStatus stream.
type watch = grpc.BidiStreamingClient[assayv1.WatchStatusRequest, assayv1.WatchStatusResponse]

func watchStatus(tb testing.TB, c assayv1.AssayServiceClient) watch {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	s, err := c.WatchStatus(ctx)
	must(tb, err)
	return s
}

// pulse sends a nonce and returns the status that answers it.
func pulse(tb testing.TB, s watch, issuer verdict.Issuer, counter uint64) (verdict.Status, []byte) {
	tb.Helper()
	n := nonce(verdict.StatusNonceSize)
	must(tb, s.Send(&assayv1.WatchStatusRequest{Nonce: n, HeadCounter: counter}))
	got, err := s.Recv()
	must(tb, err)
	status, err := verdict.OpenStatus(got.GetStatus(), []verdict.Issuer{issuer})
	must(tb, err)
	if status.Nonce != hex.EncodeToString(n) {
		tb.Errorf("got nonce %s, want %x", status.Nonce, n)
	}
	return status, got.GetNewerHead()
}

func TestWatchStatus(t *testing.T) {
	w := newWorld(t)
	data, set := w.headSet(headSpec{counter: 1})
	w.offer(data)
	r := w.start("")
	node := r.as("node/dev/node-a")
	issuer := r.issuer(node)
	s := watchStatus(t, node)
	status, newer := pulse(t, s, issuer, 0)
	if status.Head.Counter != 1 || len(status.Deny) != 0 || newer == nil {
		t.Errorf("got %+v, want head 1 and its set for a caller that has none", status)
	}
	log, err := proof.New(proof.Config{Origin: issuer.Statement.Log.Origin, Keys: issuer.Statement.Log.Keys, AllowUnvalidatedEd25519: boring})
	must(t, err)
	if _, err := log.Checkpoint([]byte(status.Checkpoint)); err != nil {
		t.Errorf("got checkpoint %q: %v", status.Checkpoint, err)
	}
	if _, newer = pulse(t, s, issuer, 1); newer != nil {
		t.Error("got a head set again, want none: nothing is new")
	}
	// What changes is pushed, under the last nonce.
	_, err = put(r.as("ci/dev/x"), w.with(set, nil, w.deny(7, time.Hour, verdict.DenyList{})))
	must(t, err)
	got, err := s.Recv()
	must(t, err)
	pushed, err := verdict.OpenStatus(got.GetStatus(), []verdict.Issuer{issuer})
	must(t, err)
	if len(pushed.Deny) != 1 || pushed.Deny[0].Counter != 7 || pushed.Deny[0].Owner != w.owner.key.Kid() || len(got.GetNewerHead()) == 0 {
		t.Errorf("got %+v, want the mark of the document, and the set", pushed)
	}
	must(t, s.Send(&assayv1.WatchStatusRequest{Nonce: []byte("short")}))
	_, err = s.Recv()
	wantCode[*verdict.Refusal](t, assayv1.FromStatus(err), verdict.InputMalformed)
}

// TestLogUnavailable: no ticket for what could not be written down, while what
// is written down already goes on.
func TestLogUnavailable(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	known, unknown := w.image("acme/app", "x", signerURI), w.image("acme/app", "y", signerURI)
	r := w.start("")
	node := r.as("node/dev/node-a")
	ticketFor(t, r, node, known)
	r.TestingBreakLog(verdict.Fail(verdict.LogUnavailable, "writing: no space left on device"))
	got, err := verify(node, unknown)
	wantCode[*verdict.Failure](t, err, verdict.LogUnavailable)
	if got.GetTicket() != "" {
		t.Error("got a ticket that is not in the log")
	}
	ticketFor(t, r, node, known)
}

// TestPanicIsAFailure: what was being decided is not decided, and the daemon
// goes on.
func TestPanicIsAFailure(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	known, unknown := w.image("acme/app", "x", signerURI), w.image("acme/app", "y", signerURI)
	r := w.start("")
	node := r.as("node/dev/node-a")
	ticketFor(t, r, node, known)
	r.TestingPanic()
	_, err := verify(node, unknown)
	wantCode[*verdict.Failure](t, err, verdict.Internal)
	ticketFor(t, r, node, known)
}

// brokenTEE is a TEE that has gone away.
type brokenTEE struct{}

func (brokenTEE) Evidence(context.Context, []byte, []byte) ([]byte, error) {
	return nil, verdict.Fail(verdict.EvidenceMissing, "asking the TPM: the connection is closed")
}

// TestTEEDies: readiness goes, tickets and status flow until they end.
func TestTEEDies(t *testing.T) {
	slow(t)
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI)
	r := w.start("")
	node := r.as("node/dev/node-a")
	issuer := r.issuer(node)
	if !waitHealthy(t, r, true) {
		t.Fatal("got not ready")
	}
	r.TestingTEE(brokenTEE{})
	if !waitHealthy(t, r, false) {
		t.Error("got ready without a TEE")
	}
	got, err := verify(node, image)
	must(t, err)
	if _, _, err := verdict.OpenTicket(got.GetTicket(), []verdict.Issuer{issuer}); err != nil {
		t.Error(err)
	}
	pulse(t, watchStatus(t, node), issuer, 1)
	_, err = node.GetStatement(t.Context(), &assayv1.GetStatementRequest{Nonce: nonce(32)})
	wantCode[*verdict.Failure](t, assayv1.FromStatus(err), verdict.EvidenceMissing)
}

// TestOverload: with every place taken, new questions are shed and known
// answers flow.
func TestOverload(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	known := w.image("acme/app", "x", signerURI)
	r := w.start("limits: {verifications: 1, queue: 3, caller-queue: 2, caller-miss-burst: 20, caller-misses: 1}")
	node := r.as("node/dev/node-a")
	ticketFor(t, r, node, known)
	release := r.TestingSlow()
	defer release()
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = verify(node, verifier.Image{Repository: known.Repository, Digest: verdict.SHA256([]byte(fmt.Sprint(i)))})
		})
	}
	// Six of eight are shed at once; the other two wait until there is room.
	shed := func() (n int) {
		for range 200 {
			if got, err := verify(node, known); err != nil || got.GetTicket() == "" {
				t.Fatalf("got %v for a known image, want it to flow", err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		release()
		wg.Wait()
		for _, err := range errs {
			if verdict.CodeOf(err) == verdict.Overloaded {
				f, ok := errors.AsType[*verdict.Failure](err)
				if !ok || f.RetryAfter == 0 {
					t.Errorf("got %v, want a failure that says when to come back", err)
				}
				n++
			}
		}
		return n
	}()
	if shed != 6 {
		t.Errorf("got %d of 8 shed, want 6: %v", shed, errs)
	}
	// The budget of misses is one per minute with 20 at once.
	var err error
	for i := 0; i < 30 && verdict.CodeOf(err) != verdict.Overloaded; i++ {
		_, err = verify(node, verifier.Image{Repository: known.Repository, Digest: verdict.SHA256([]byte(fmt.Sprint("more", i)))})
	}
	wantCode[*verdict.Failure](t, err, verdict.Overloaded)
	ticketFor(t, r, node, known)
	if _, err := verify(r.as("node/dev/node-b"), verifier.Image{Repository: known.Repository, Digest: verdict.SHA256([]byte("other"))}); verdict.CodeOf(err) != verdict.ImageNotFound {
		t.Errorf("got %v for another caller, want its own budget", err)
	}
}

// TestOthersBudget: who has used up his own leaves cannot use up those of others
// by asking first for what they want.
func TestOthersBudget(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	first, wanted := w.image("acme/app", "first", signerURI), w.image("acme/app", "wanted", signerURI)
	r := w.start("limits: {verifications: 1, caller-leaves: 1}")
	greedy, modest := r.as("node/dev/node-a"), r.as("node/dev/node-b")
	ticketFor(t, r, greedy, first)
	release := r.TestingSlow()
	defer release()
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() { _, failed = verify(greedy, wanted) })
	waitFlight(t, r)
	wg.Go(func() {
		if got, err := verify(modest, wanted); err != nil || got.GetTicket() == "" {
			t.Errorf("got %v, want a ticket at the caller's own expense", err)
		}
	})
	time.Sleep(200 * time.Millisecond) // until it waits for the one that began
	release()
	wg.Wait()
	wantCode[*verdict.Failure](t, failed, verdict.Overloaded)
}

// TestStatusFlood: a caller does not get more statuses than it has use for, and
// others go on.
func TestStatusFlood(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	r := w.start("")
	s := watchStatus(t, r.as("node/dev/node-a"))
	var got error
	for i := 0; i < 2000 && got == nil; i++ {
		if got = s.Send(&assayv1.WatchStatusRequest{Nonce: nonce(verdict.StatusNonceSize)}); got == nil {
			_, got = s.Recv()
		}
	}
	wantCode[*verdict.Failure](t, assayv1.FromStatus(got), verdict.Overloaded)
	other := r.as("node/dev/node-b")
	pulse(t, watchStatus(t, other), r.issuer(other), 0)
}

// TestDrain: streams end with a code that says to go elsewhere, calls under way
// are answered, and the address is free again.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI)
	r := w.start("limits: {verifications: 1, drain: 20s}")
	node := r.as("node/dev/node-a")
	issuer := r.issuer(node)
	s := watchStatus(t, r.as("node/dev/node-b"))
	pulse(t, s, issuer, 1)
	release := r.TestingSlow()
	answered := make(chan error, 1)
	go func() {
		got, err := verify(node, image)
		if err == nil && got.GetTicket() == "" {
			err = errors.New("no ticket")
		}
		answered <- err
	}()
	waitFlight(t, r)
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	_, err := s.Recv()
	wantCode[*verdict.Failure](t, assayv1.FromStatus(err), verdict.Unready)
	release()
	must(t, <-answered)
	must(t, <-stopped)
	_, err = verify(r.as("node/dev/node-c"), image)
	wantCode[*verdict.Failure](t, err, verdict.DaemonUnreachable)
}

// TestDrainDeadline: what does not end in time is cut off, and the daemon closes
// in order.
func TestDrainDeadline(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI)
	r := w.start("limits: {drain: 1s}")
	release := r.TestingSlow()
	defer release()
	answered := make(chan error, 1)
	go func() {
		_, err := verify(r.as("node/dev/node-a"), image)
		answered <- err
	}()
	waitFlight(t, r)
	begin := time.Now()
	must(t, r.stop())
	if took := time.Since(begin); took < time.Second || took > time.Minute {
		t.Errorf("got an end after %s, want it after a second", took)
	}
	if _, ok := errors.AsType[*verdict.Failure](<-answered); !ok {
		t.Error("got an answer, want a failure")
	}
}

// TestFullDisk is TestLogUnavailable with a disk that is full.
func TestFullDisk(t *testing.T) {
	slow(t)
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	known, unknown := w.image("acme/app", "x", signerURI), w.image("acme/app", "y", signerURI)
	must(t, os.Mkdir(w.stateDir(), 0o700))
	if err := unix.Mount("tmpfs", w.stateDir(), "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(w.stateDir(), unix.MNT_DETACH)) })
	r := w.start("")
	node := r.as("node/dev/node-a")
	ticketFor(t, r, node, known)
	filler := filepath.Join(w.stateDir(), "filler")
	if err := os.WriteFile(filler, make([]byte, 16<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("got %v, want a full disk", err)
	}
	got, err := verify(node, unknown)
	wantCode[*verdict.Failure](t, err, verdict.LogUnavailable)
	if got.GetTicket() != "" {
		t.Error("got a ticket that is not in the log")
	}
	ticketFor(t, r, node, known)
	if !waitHealthy(t, r, false) {
		t.Error("got ready with a full disk")
	}
	must(t, os.Remove(filler))
	for range 100 {
		if _, err = verify(node, unknown); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	must(t, err)
	if !waitHealthy(t, r, true) {
		t.Error("got not ready once there is room")
	}
}

func TestReportException(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	r := w.start("")
	node := r.as("node/dev/node-a")
	now, d := time.Now(), verdict.SHA256([]byte("x"))
	sign := func(key *verdict.Key, cluster string) []byte {
		x, err := verdict.SignException(verdict.Exception{
			ID: "inc-1", Cluster: cluster, Digests: []verdict.Digest{d}, Owner: "operations", Reason: "registry is down",
			NotBefore: now.Add(-time.Minute).Unix(), NotAfter: now.Add(time.Hour).Unix(),
		}, key)
		must(t, err)
		return x
	}
	report := func(x []byte, d verdict.Digest, at time.Time) (*assayv1.ReportExceptionResponse, error) {
		got, err := node.ReportException(t.Context(), &assayv1.ReportExceptionRequest{Exception: x, Digest: string(d), UsedAtSeconds: at.Unix()})
		return got, assayv1.FromStatus(err)
	}
	good := sign(w.owner.key, "dev")
	got, err := report(good, d, now)
	must(t, err)
	p, err := r.as("auditor/dev/auditor").GetProof(t.Context(), &assayv1.GetProofRequest{Index: got.GetLog().GetIndex()})
	must(t, err)
	leaf, err := verdict.ParseLeaf(p.GetLeaf())
	must(t, err)
	if leaf.Kind != verdict.LeafException || string(p.GetObject()) != string(good) {
		t.Errorf("got leaf %+v, want the exception", leaf)
	}
	for _, tc := range []struct {
		name string
		x    []byte
		d    verdict.Digest
		at   time.Time
		want verdict.Code
	}{
		{"another image", good, verdict.SHA256([]byte("y")), now, verdict.ExceptionScope},
		{"another cluster", sign(w.owner.key, "east"), d, now, verdict.ExceptionScope},
		{"after its end", good, d, now.Add(2 * time.Hour), verdict.ExceptionExpired},
		{"by somebody else", sign(newOwner(t).key, "dev"), d, now, verdict.ExceptionSignature},
		{"none", []byte("{}"), d, now, verdict.ExceptionMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := report(tc.x, tc.d, tc.at)
			wantCode[*verdict.Refusal](t, err, tc.want)
		})
	}
}

// TestProofs: the running shard and those of boots before.
func TestProofs(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI)
	r := w.start("")
	ticket := ticketFor(t, r, r.as("node/dev/node-a"), image)
	issuer := r.issuer(r.as("node/dev/node-a"))
	must(t, r.stop())
	again := w.start("")
	auditor := again.as("auditor/dev/auditor")
	log, err := proof.New(proof.Config{Origin: issuer.Statement.Log.Origin, Keys: issuer.Statement.Log.Keys, AllowUnvalidatedEd25519: boring})
	must(t, err)
	got, err := auditor.GetProof(t.Context(), &assayv1.GetProofRequest{Origin: ticket.Log.Origin, Index: ticket.Log.Index})
	must(t, err)
	p, err := proof.ParseTLogProof(got.GetProof())
	must(t, err)
	if _, err := log.Inclusion(got.GetLeaf(), p); err != nil {
		t.Error(err)
	}
	if !proof.Names(ticket.Core, got.GetObject()) {
		t.Error("got another object than the ticket's core")
	}
	for _, req := range []*assayv1.GetProofRequest{{Index: 1000}, {Origin: "nowhere.invalid/x"}, {Origin: ticket.Log.Origin, Index: 1000}} {
		_, err := auditor.GetProof(t.Context(), req)
		wantCode[*verdict.Refusal](t, assayv1.FromStatus(err), verdict.LogMissing)
	}
	checkpoint, err := auditor.GetCheckpoint(t.Context(), &assayv1.GetCheckpointRequest{})
	must(t, err)
	if c, err := proof.ParseSignedInsecure(checkpoint.GetCheckpoint()); err != nil || c.Size == 0 {
		t.Errorf("got checkpoint %+v, %v", c, err)
	}
}

// TestStatementRenewal: a new statement before the old one ends, with the same
// keys, so that what the old one covers goes on.
func TestStatementRenewal(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	r := w.start("limits: {statement-life: 1m}")
	node := r.as("node/dev/node-a")
	first := r.issuer(node)
	if life := first.Statement.NotAfter - first.Statement.NotBefore; life != 60 {
		t.Errorf("got a life of %d s, want 60", life)
	}
	r.TestingRenew()
	second := r.issuer(node)
	if second.Statement.Seq != 2 || second.Statement.Prev != first.Digest || second.Statement.Keys[0] != first.Statement.Keys[0] {
		t.Errorf("got %+v, want the second statement of the boot with the same keys", second.Statement)
	}
	image := w.image("acme/app", "x", signerURI)
	if got := ticketFor(t, r, node, image); got.Stmt != second.Digest || got.Exp > second.Statement.NotAfter {
		t.Errorf("got a ticket under %s until %d, want it under the second and inside it", got.Stmt, got.Exp)
	}
}

func TestDigestsFor(t *testing.T) {
	amd := verifier.Platform{OS: "linux", Architecture: "amd64", Manifest: verdict.SHA256([]byte("a")), Config: verdict.SHA256([]byte("ac")), ConfigComplete: true}
	arm6 := verifier.Platform{OS: "linux", Architecture: "arm", Variant: "v6", Manifest: verdict.SHA256([]byte("6"))}
	arm7 := verifier.Platform{OS: "linux", Architecture: "arm", Variant: "v7", Manifest: verdict.SHA256([]byte("7")), Config: verdict.SHA256([]byte("7c"))}
	index := verdict.SHA256([]byte("i"))
	r := &verifier.Result{Index: index, Platforms: []verifier.Platform{amd, arm6, arm7}}
	for _, tc := range []struct {
		name        string
		os, arch, v string
		want        verdict.TicketDigests
		code        verdict.Code
	}{
		{"exactly", "linux", "amd64", "", verdict.TicketDigests{Index: index, Manifest: amd.Manifest, Config: amd.Config}, ""},
		{"default variant, incomplete configuration", "linux", "arm", "", verdict.TicketDigests{Index: index, Manifest: arm7.Manifest}, ""},
		{"variant", "linux", "arm", "v6", verdict.TicketDigests{Index: index, Manifest: arm6.Manifest}, ""},
		{"not there", "linux", "s390x", "", verdict.TicketDigests{}, verdict.SubjectPlatform},
		{"other system", "windows", "amd64", "", verdict.TicketDigests{}, verdict.SubjectPlatform},
		{"not told", "", "", "", verdict.TicketDigests{Index: index}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := daemon.DigestsFor(r, daemon.Platform(tc.os, tc.arch, tc.v))
			if got != tc.want || verdict.CodeOf(err) != tc.code {
				t.Errorf("got %+v, %v, want %+v, %q", got, err, tc.want, tc.code)
			}
		})
	}
}
