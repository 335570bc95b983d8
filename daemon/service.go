// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
	"github.com/assayd/assay/verifier"
)

// Limits of requests and answers, in bytes unless they say otherwise; the proto
// documents them.
const (
	maxBatchID     = 64
	maxException   = 128 << 10
	maxCredential  = 1 << 10
	maxExplanation = 1 << 20
	maxReasons     = 16 // items
	// batchConcurrency is how many requests of one VerifyBatch stream are
	// answered at a time.
	batchConcurrency = 32
	// archiveReaders is how many callers may read old shards at a time: it is
	// disk work that nothing bounds by caller.
	archiveReaders = 4
)

// service is the gRPC service. Callers and their rights are the interceptors'
// matter; what is left here is what each verb does.
type service struct {
	assayv1.UnsafeAssayServiceServer
	d *Daemon
}

// Verify decides about one image.
func (s service) Verify(ctx context.Context, req *assayv1.VerifyRequest) (*assayv1.VerifyResponse, error) {
	who, err := sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	return s.d.verify(ctx, who, req)
}

// parseImage reads what a request asks about. The name has to be canonical: the
// daemon does not guess which repository a rule is about.
func parseImage(repository, digest string) (verifier.Image, error) {
	d, err := verdict.ParseDigest(digest)
	if err != nil {
		return verifier.Image{}, verdict.Refuse(verdict.InputMalformed, "reading the request: %w", err)
	}
	if err := verdict.CheckRepository(repository); err != nil {
		return verifier.Image{}, verdict.Refuse(verdict.InputMalformed, "reading the request: %w", err)
	}
	if canonical, err := verifier.ParseRepository(repository); err != nil || canonical != repository {
		return verifier.Image{}, verdict.Refuse(verdict.InputMalformed, "reading the request: repository %.64q is not in canonical form, want %.64q", repository, canonical)
	}
	return verifier.Image{Repository: repository, Digest: d}, nil
}

// verify answers one request for an image.
func (d *Daemon) verify(ctx context.Context, who session, req *assayv1.VerifyRequest) (*assayv1.VerifyResponse, error) {
	image, err := parseImage(req.GetRepository(), req.GetDigest())
	if err != nil {
		return nil, err
	}
	e := d.epoch.Load()
	if err := e.check(time.Now()); err != nil {
		return nil, err
	}
	if req.GetHeadCounter() > e.head.Counter {
		// What it gets under this head would not count there.
		return nil, verdict.Fail(verdict.HeadMissing, "verifying %s: the caller has head %d, this daemon %d; put the newer head first", image, req.GetHeadCounter(), e.head.Counter)
	}
	have, err := d.decider.decide(ctx, e, who.caller, who.peer.Cluster, image)
	if err != nil {
		return nil, err
	}
	out := &assayv1.VerifyResponse{
		HeadCounter: e.head.Counter, NewerHead: e.newer(req.GetHeadCounter()),
		Reasons: assayv1.Reasons(have.result.Reasons[:min(len(have.result.Reasons), maxReasons)]),
	}
	if who.peer.Role != spiffe.RoleNode {
		out.Core = have.core.Envelope
		if have.core.Digest != "" {
			out.Log = &assayv1.LogPosition{Origin: d.shard.Origin(), Index: have.leaf}
		} else if len(out.Reasons) == 0 {
			out.Reasons = assayv1.Reasons([]verdict.Reason{{Code: verdict.PolicyOff, Text: "deciding about " + image.String() + ": every rule that matches is off"}})
		}
		return out, nil
	}
	p := req.GetPlatform()
	out.Ticket, err = d.issueTicket(e, who.peer, have, platform{p.GetOs(), p.GetArchitecture(), p.GetVariant(), p.GetOsVersion()})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// VerifyBatch answers the requests of a stream, in any order.
func (s service) VerifyBatch(stream assayv1.AssayService_VerifyBatchServer) error {
	ctx := stream.Context()
	who, err := sessionOf(ctx)
	if err != nil {
		return err
	}
	var (
		sending sync.Mutex // of stream.Send and failed
		failed  error
		work    sync.WaitGroup
		slots   = make(chan struct{}, batchConcurrency)
	)
	defer work.Wait()
	requests := receive(ctx, s.d, stream.Recv)
	for {
		var req *assayv1.VerifyBatchRequest
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case got := <-requests:
			if errors.Is(got.err, io.EOF) {
				work.Wait()
				return failed
			}
			if got.err != nil {
				return got.err
			}
			req = got.message
		}
		if len(req.GetId()) > maxBatchID {
			return verdict.Refuse(verdict.InputLimit, "reading the request: its id has %d bytes, want at most %d", len(req.GetId()), maxBatchID)
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		work.Go(func() {
			defer func() { <-slots }()
			response := s.d.verifyOne(ctx, who, req.GetRequest())
			sending.Lock()
			defer sending.Unlock()
			if failed == nil {
				failed = stream.Send(&assayv1.VerifyBatchResponse{Id: req.GetId(), Response: response})
			}
		})
	}
}

// verifyOne is verify with its error as a reason in the answer.
func (d *Daemon) verifyOne(ctx context.Context, who session, req *assayv1.VerifyRequest) *assayv1.VerifyResponse {
	ctx, cancel := context.WithTimeout(ctx, d.config.Limits.CallTimeout)
	defer cancel()
	var out *assayv1.VerifyResponse
	err := d.safely(ctx, func() (err error) {
		out, err = d.verify(ctx, who, req)
		return err
	})
	if err != nil {
		return &assayv1.VerifyResponse{HeadCounter: d.epoch.Load().head.Counter, Reasons: []*assayv1.Reason{assayv1.ReasonOf(err)}}
	}
	return out
}

// Explain returns the tree behind a decision.
func (s service) Explain(ctx context.Context, req *assayv1.ExplainRequest) (*assayv1.ExplainResponse, error) {
	who, err := sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	image, err := parseImage(req.GetRepository(), req.GetDigest())
	if err != nil {
		return nil, err
	}
	if err := who.caller.miss(); err != nil {
		return nil, err
	}
	if err := s.d.decider.queue.acquire(ctx, who.peer.ID); err != nil {
		return nil, err
	}
	defer s.d.decider.queue.release()
	e := s.d.epoch.Load()
	r, err := e.verifier.Verify(ctx, verifier.Request{Image: image, At: time.Now()})
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(r.Explanation)
	if err != nil {
		return nil, err
	}
	if len(text) > maxExplanation {
		return nil, verdict.Fail(verdict.InputLimit, "explaining %s: the explanation has %d bytes, want at most %d", image, len(text), maxExplanation)
	}
	return &assayv1.ExplainResponse{HeadCounter: e.head.Counter, Explanation: text}, nil
}

// GetStatement returns the statement with evidence for the caller's nonce.
func (s service) GetStatement(ctx context.Context, req *assayv1.GetStatementRequest) (*assayv1.GetStatementResponse, error) {
	who, err := sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	if len(req.GetNonce()) != verdict.NonceSize {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading the request: nonce has %d bytes, want %d", len(req.GetNonce()), verdict.NonceSize)
	}
	collection, err := s.d.collector.collect(ctx, who.peer.ID, [verdict.NonceSize]byte(req.GetNonce()))
	if err != nil {
		return nil, err
	}
	e := s.d.epoch.Load()
	return &assayv1.GetStatementResponse{Collection: collection, HeadCounter: e.head.Counter, NewerHead: e.news(req.GetHeadCounter())}, nil
}

// ActivateCredential passes a challenge to the TPM.
func (s service) ActivateCredential(ctx context.Context, req *assayv1.ActivateCredentialRequest) (*assayv1.ActivateCredentialResponse, error) {
	for name, b := range map[string][]byte{"credential_blob": req.GetCredentialBlob(), "encrypted_secret": req.GetEncryptedSecret()} {
		if len(b) == 0 || len(b) > maxCredential {
			return nil, verdict.Refuse(verdict.InputMalformed, "reading the request: %s has %d bytes, want 1 to %d", name, len(b), maxCredential)
		}
	}
	who, err := sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, evidenceTimeout)
	defer cancel()
	end, err := s.d.activations.take(ctx, who.peer.ID)
	if err != nil {
		return nil, err
	}
	defer end()
	secret, err := s.d.tee.ActivateCredential(ctx, req.GetCredentialBlob(), req.GetEncryptedSecret())
	if err != nil {
		return nil, err
	}
	return &assayv1.ActivateCredentialResponse{Secret: secret}, nil
}

// GetHead returns the head set, where the caller may not have all of it.
func (s service) GetHead(_ context.Context, req *assayv1.GetHeadRequest) (*assayv1.GetHeadResponse, error) {
	e := s.d.epoch.Load()
	return &assayv1.GetHeadResponse{HeadCounter: e.head.Counter, HeadSet: e.news(req.GetHeadCounter())}, nil
}

// PutHead takes what owners signed out of a head set. A caller sends one at a
// time, and has no longer for it than for any call.
func (s service) PutHead(stream assayv1.AssayService_PutHeadServer) error {
	ctx, cancel := context.WithTimeout(stream.Context(), s.d.config.Limits.CallTimeout)
	defer cancel()
	who, err := sessionOf(ctx)
	if err != nil {
		return err
	}
	leave, ok := s.d.heads.enter(who.peer.ID)
	if !ok {
		return overloaded("taking a head set: %s is sending one already", who.peer.ID)
	}
	defer leave()
	set, err := s.readHead(ctx, stream)
	if err != nil {
		return err
	}
	counter, err := s.d.putHead(ctx, set)
	if err != nil {
		return err
	}
	return stream.SendAndClose(&assayv1.PutHeadResponse{HeadCounter: counter})
}

// readHead reads the pieces of a head set to the end.
func (s service) readHead(ctx context.Context, stream assayv1.AssayService_PutHeadServer) ([]byte, error) {
	requests := receive(ctx, s.d, stream.Recv)
	r := assayv1.HeadReader{Limit: int(s.d.config.Limits.HeadSet)}
	for {
		select {
		case <-ctx.Done():
			return nil, verdict.Fail(verdict.InputLimit, "reading head set: %w", context.Cause(ctx))
		case got := <-requests:
			if errors.Is(got.err, io.EOF) {
				return r.Bytes(), nil
			}
			if got.err != nil {
				return nil, got.err
			}
			if err := r.Add(got.message); err != nil {
				return nil, err
			}
		}
	}
}

// WatchStatus answers nonces with signed status, and tells of a new head.
func (s service) WatchStatus(stream assayv1.AssayService_WatchStatusServer) error {
	ctx := stream.Context()
	who, err := sessionOf(ctx)
	if err != nil {
		return err
	}
	requests := receive(ctx, s.d, stream.Recv)
	var nonce []byte   // the last one
	var counter uint64 // the caller's head
	var told *epoch    // whose head set it was given, or had
	for {
		var changed <-chan struct{}
		if told != nil {
			changed = told.replaced
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case got := <-requests:
			if errors.Is(got.err, io.EOF) {
				return nil
			}
			if got.err != nil {
				return got.err
			}
			nonce, counter = got.message.GetNonce(), got.message.GetHeadCounter()
			if len(nonce) != verdict.StatusNonceSize {
				return verdict.Refuse(verdict.InputMalformed, "reading the request: nonce has %d bytes, want %d", len(nonce), verdict.StatusNonceSize)
			}
			if err := who.caller.pulse(); err != nil {
				return err
			}
		case <-changed:
		}
		e := s.d.epoch.Load()
		status, err := s.d.status(ctx, e, nonce)
		if err != nil {
			return err
		}
		out := &assayv1.WatchStatusResponse{Status: status}
		switch {
		case told == nil:
			out.NewerHead = e.news(counter)
		case string(told.set) != string(e.set):
			out.NewerHead = e.set
		}
		told = e
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// status signs the pulse that answers nonce.
func (d *Daemon) status(ctx context.Context, e *epoch, nonce []byte) (string, error) {
	now := time.Now()
	if err := e.statement.CheckAt(now); err != nil {
		return "", verdict.Fail(verdict.Unready, "signing status: %w", err)
	}
	if err := checkClock(e.head, now); err != nil {
		return "", err
	}
	s := verdict.Status{
		Deny: verdict.DenyMarks(e.docs), Head: verdict.HeadRef{Counter: e.head.Counter, Digest: e.head.Digest},
		Iat: now.Unix(), Iss: d.config.SPIFFEID, Nonce: hex.EncodeToString(nonce), Stmt: e.statement.digest,
	}
	// Where the log is in trouble, the pulse goes on without it: revocation
	// does not depend on the log.
	if _, checkpoint, err := d.shard.Checkpoint(ctx); err == nil {
		s.Checkpoint = string(checkpoint)
	}
	return verdict.SignStatus(s, d.issuer.ticket)
}

// ReportException writes down that a node used an exception.
func (s service) ReportException(ctx context.Context, req *assayv1.ReportExceptionRequest) (*assayv1.ReportExceptionResponse, error) {
	who, err := sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	if len(req.GetException()) > maxException {
		return nil, verdict.Refuse(verdict.InputLimit, "reading the request: exception has %d bytes, want at most %d", len(req.GetException()), maxException)
	}
	digest, err := verdict.ParseDigest(req.GetDigest())
	if err != nil {
		return nil, verdict.Refuse(verdict.InputMalformed, "reading the request: %w", err)
	}
	e := s.d.epoch.Load()
	x, err := verdict.OpenException(req.GetException(), e.head.Owners)
	if err != nil {
		return nil, err
	}
	if err := x.Check(digest, who.peer.Cluster, time.Unix(req.GetUsedAtSeconds(), 0)); err != nil {
		return nil, err
	}
	if err := who.caller.leaf(); err != nil {
		return nil, err
	}
	object, err := audit.Envelope(req.GetException())
	if err != nil {
		return nil, verdict.Refuse(verdict.ExceptionMalformed, "reading the request: %w", err)
	}
	leaf := verdict.Leaf{Kind: verdict.LeafException, Time: time.Now(), Object: digestBytes(x.Digest),
		Policy: digestBytes(e.head.Policy), Statement: digestBytes(e.statement.digest)}
	index, err := s.d.shard.Append(ctx, leaf, object)
	if err != nil {
		return nil, err
	}
	s.d.log.WarnContext(ctx, "exception was used", "peer", who.peer.ID, "digest", digest,
		"rule", x.ID, "log_index", index)
	return &assayv1.ReportExceptionResponse{Log: &assayv1.LogPosition{Origin: s.d.shard.Origin(), Index: index}}, nil
}

// GetCheckpoint returns the newest checkpoint of the running shard.
func (s service) GetCheckpoint(ctx context.Context, _ *assayv1.GetCheckpointRequest) (*assayv1.GetCheckpointResponse, error) {
	_, checkpoint, err := s.d.shard.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	return &assayv1.GetCheckpointResponse{Checkpoint: checkpoint}, nil
}

// shardReader reads a shard: the running one, or one of a boot before.
type shardReader interface {
	Leaf(ctx context.Context, index uint64) (verdict.Leaf, error)
	Proof(ctx context.Context, index uint64) (proof.TLogProof, error)
	Object(ctx context.Context, name verdict.Digest) ([]byte, error)
}

// GetProof returns a leaf, its proof and what it points to.
func (s service) GetProof(ctx context.Context, req *assayv1.GetProofRequest) (*assayv1.GetProofResponse, error) {
	var r shardReader = s.d.shard
	if origin := req.GetOrigin(); origin != "" && origin != s.d.shard.Origin() {
		if len(origin) > verdict.MaxOrigin {
			return nil, verdict.Refuse(verdict.InputLimit, "reading the request: origin has %d bytes, want at most %d", len(origin), verdict.MaxOrigin)
		}
		select {
		case s.d.archiveSlots <- struct{}{}:
			defer func() { <-s.d.archiveSlots }()
		case <-ctx.Done():
			return nil, overloaded("reading shard %.64q: %w", origin, ctx.Err())
		}
		old, err := s.d.archive.Shard(ctx, origin)
		if err != nil {
			return nil, err
		}
		r = old
	}
	leaf, err := r.Leaf(ctx, req.GetIndex())
	if err != nil {
		return nil, err
	}
	p, err := r.Proof(ctx, req.GetIndex())
	if err != nil {
		return nil, err
	}
	object, err := r.Object(ctx, verdict.DigestFromBytes(leaf.Object))
	if err != nil {
		return nil, err
	}
	return &assayv1.GetProofResponse{Proof: p.Marshal(), Leaf: leaf.Encode(), Object: object}, nil
}

// received is a message of a stream, or how the stream ended.
type received[T any] struct {
	message T
	err     error
}

// receive reads a stream in a goroutine of the daemon, so that its handler can
// leave when the stream is cut: Recv knows nothing of that. The goroutine ends
// when the handler has returned, since Recv does then.
func receive[T any](ctx context.Context, d *Daemon, recv func() (T, error)) <-chan received[T] {
	out := make(chan received[T])
	d.receivers.Go(func() {
		for {
			m, err := recv()
			select {
			case out <- received[T]{m, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	return out
}
