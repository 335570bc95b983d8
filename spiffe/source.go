// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/assayd/assay/verdict"
)

const (
	// OpenTimeout is the longest that [OpenSource] waits for the first SVID,
	// whatever its context allows.
	OpenTimeout = 30 * time.Second

	// ExpiryMargin is how long before the end of the own SVID a process counts
	// as unhealthy: a renewal that has not come by then comes too late for the
	// connections that begin now.
	ExpiryMargin = 2 * time.Second

	// maxResponse bounds one answer of the Workload API, in bytes.
	maxResponse = 1 << 20

	// retryFirst and retryMax bound the wait between two tries to reach the
	// Workload API, which doubles.
	retryFirst = 250 * time.Millisecond
	retryMax   = 5 * time.Second
)

// A Source holds the SVID of this process and the trust bundles, as the
// Workload API streams them. It is safe for concurrent use.
//
// It gives out nothing when the Workload API said that this process has no
// identity any more, or when its SVID has expired: then connections are refused
// at the handshake, and streams by [Peer.CheckAt]. While the Workload API is
// merely unreachable, it gives out what it has until that expires.
type Source struct {
	client *workloadapi.Client
	cancel context.CancelFunc
	done   chan struct{} // closed when the watching goroutine has ended
	first  chan struct{} // closed by the first update

	mu         sync.Mutex // guards the rest
	svid       *x509svid.SVID
	bundles    *x509bundle.Set
	generation uint64 // counts updates
	withdrawn  bool   // the last word of the Workload API was: no identity
	watchErr   error  // the last watch's end, nil after an update
	closed     bool
}

// OpenSource connects to the Workload API and waits for the first SVID, at most
// [OpenTimeout]. The socket is a path, a "unix://" address, or empty for the
// address in SPIFFE_ENDPOINT_SOCKET. The source lives until [Source.Close];
// ctx bounds the wait only.
//
// Without an SVID in time it returns a [*verdict.Failure] svid.missing, and for
// an address that cannot be one a [*verdict.Misuse].
func OpenSource(ctx context.Context, socket string) (*Source, error) {
	addr, err := socketAddress(socket)
	if err != nil {
		return nil, err
	}
	watchCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	client, err := workloadapi.New(watchCtx,
		workloadapi.WithAddr(addr),
		workloadapi.WithBackoffStrategy(backoffStrategy{}),
		workloadapi.WithDialOptions(grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse))))
	if err != nil {
		cancel()
		return nil, verdict.Misused("name the Workload API's socket, as /run/spire/agent.sock", "opening the Workload API at %.128q: %w", addr, err)
	}
	s := &Source{client: client, cancel: cancel, done: make(chan struct{}), first: make(chan struct{})}
	go s.watch(watchCtx)

	timeout := time.NewTimer(OpenTimeout)
	defer timeout.Stop()
	var waitErr error
	select {
	case <-s.first:
		return s, nil
	case <-ctx.Done():
		waitErr = ctx.Err()
	case <-timeout.C:
		waitErr = context.DeadlineExceeded
	}
	s.mu.Lock()
	if s.watchErr != nil {
		waitErr = s.watchErr
	}
	s.mu.Unlock()
	if err := s.Close(); err != nil {
		waitErr = errors.Join(waitErr, err)
	}
	return nil, verdict.Fail(verdict.SVIDMissing, "waiting for an SVID from the Workload API at %.128s: %w", addr, waitErr)
}

// socketAddress turns a path or address into the form of the SPIFFE Workload
// Endpoint §4.
func socketAddress(socket string) (string, error) {
	const hint = "name the Workload API's socket in the configuration, or set SPIFFE_ENDPOINT_SOCKET"
	if socket == "" {
		socket = os.Getenv(workloadapi.SocketEnv)
	}
	if strings.HasPrefix(socket, "/") {
		socket = "unix://" + socket
	}
	// TCP is in the standard; over it, whoever may connect to the port is us.
	if !strings.HasPrefix(socket, "unix://") {
		return "", verdict.Misused(hint, "opening the Workload API: got %.128q, want the absolute path of a unix socket", socket)
	}
	if err := workloadapi.ValidateAddress(socket); err != nil {
		return "", verdict.Misused(hint, "opening the Workload API at %.128q: %w", socket, err)
	}
	return socket, nil
}

// watch keeps the stream open until ctx ends. WatchX509Context retries by
// itself, but gives up on Canceled and InvalidArgument, which a restarting agent
// may answer too.
func (s *Source) watch(ctx context.Context) {
	defer close(s.done)
	wait := backoffStrategy{}.NewBackoff()
	for {
		err := s.client.WatchX509Context(ctx, watcher{s})
		s.watchEnded(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait.Next()):
		}
	}
}

// watcher keeps the callbacks of go-spiffe off the exported methods.
type watcher struct{ s *Source }

func (w watcher) OnX509ContextUpdate(c *workloadapi.X509Context) {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.svid == nil {
		close(s.first)
	}
	s.svid, s.bundles = c.DefaultSVID(), c.Bundles
	s.withdrawn, s.watchErr = false, nil
	s.generation++
}

func (w watcher) OnX509ContextWatchError(err error) { w.s.watchEnded(err) }

// watchEnded records why there is no stream. PermissionDenied is the Workload
// API's way to say that this process has no identity (SPIFFE Workload API §5.2);
// everything else may be an agent that restarts.
func (s *Source) watchEnded(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchErr = err
	if status.Code(err) == codes.PermissionDenied {
		s.withdrawn = true
	}
}

// Healthy returns nil when this process has an SVID that is valid at the given
// time and for [ExpiryMargin] longer. Else it returns a [*verdict.Failure]
// svid.missing or svid.expired.
func (s *Source) Healthy(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usable(at, ExpiryMargin)
}

// usableAt is [Source.Healthy] without the margin.
func (s *Source) usableAt(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usable(at, 0)
}

// usable is called with the lock held.
func (s *Source) usable(at time.Time, margin time.Duration) error {
	switch {
	case s.closed:
		return verdict.Fail(verdict.SVIDMissing, "reading the own SVID: its source is closed")
	case s.withdrawn:
		return verdict.Fail(verdict.SVIDMissing, "reading the own SVID: it was withdrawn: %w", s.watchErr)
	case s.svid == nil:
		return verdict.Fail(verdict.SVIDMissing, "reading the own SVID: none has come yet")
	}
	leaf := s.svid.Certificates[0]
	if end := leaf.NotAfter.Add(-margin); at.After(end) {
		why := "no new one came"
		if s.watchErr != nil {
			why = s.watchErr.Error()
		}
		return verdict.Fail(verdict.SVIDExpired, "reading the own SVID: %s ends at %s: %s", s.svid.ID, leaf.NotAfter.UTC().Format(time.RFC3339), why)
	}
	if at.Before(leaf.NotBefore) {
		return verdict.Fail(verdict.SVIDExpired, "reading the own SVID: %s begins at %s, which is in the future", s.svid.ID, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// ID returns the SPIFFE ID of this process, or the error of [Source.Healthy].
func (s *Source) ID() (string, error) {
	svid, err := s.GetX509SVID()
	if err != nil {
		return "", err
	}
	return svid.ID.String(), nil
}

// CheckID compares the SPIFFE ID of this process with the one that its
// configuration names. It returns a [*verdict.Refusal] peer.trust-domain or
// peer.role when it is another, a [*verdict.Misuse] when want is not a SPIFFE
// ID, and else the error of [Source.Healthy].
func (s *Source) CheckID(want string) error {
	wantID, err := parseID(want)
	if err != nil {
		return err
	}
	svid, err := s.GetX509SVID()
	if err != nil {
		return err
	}
	if svid.ID.TrustDomain() != wantID.TrustDomain() {
		return verdict.Refuse(verdict.PeerTrustDomain, "checking the own SVID: got %s, want trust domain %q", svid.ID, wantID.TrustDomain().Name())
	}
	if svid.ID != wantID {
		return verdict.Refuse(verdict.PeerRole, "checking the own SVID: got %s, want %s", svid.ID, wantID)
	}
	return nil
}

// NotAfter returns the end of the current SVID, zero when there is none.
func (s *Source) NotAfter() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.svid == nil {
		return time.Time{}
	}
	return s.svid.Certificates[0].NotAfter
}

// GetX509SVID makes a Source an x509svid.Source of go-spiffe. It returns the
// error of [Source.Healthy], without the margin, when there is no usable SVID.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(time.Now(), 0); err != nil {
		return nil, err
	}
	return s.svid, nil
}

// GetX509BundleForTrustDomain makes a Source an x509bundle.Source of go-spiffe.
// A process without a usable SVID gets no bundle: it would be as old.
func (s *Source) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(time.Now(), 0); err != nil {
		return nil, err
	}
	bundle, err := s.bundles.GetX509BundleForTrustDomain(td)
	if err != nil {
		return nil, fmt.Errorf("looking up the trust bundle of %q: %w", td.Name(), err)
	}
	return bundle, nil
}

// verify checks a chain against the trust bundle of its trust domain at the
// given time. It returns the leaf's SPIFFE ID, the moment until which the chain
// stands, and the generation of the bundle.
func (s *Source) verify(chain []*x509.Certificate, at time.Time) (id spiffeid.ID, until time.Time, generation uint64, err error) {
	generation = s.currentGeneration()
	parsed, chains, err := x509svid.Verify(chain, s, x509svid.WithTime(at))
	if err != nil {
		if own, ok := errors.AsType[*verdict.Failure](err); ok {
			return spiffeid.ID{}, time.Time{}, 0, own
		}
		return spiffeid.ID{}, time.Time{}, 0, verdict.Refuse(verdict.PeerUntrusted, "verifying the peer's SVID: %w", err)
	}
	for _, c := range chains {
		if end := firstEnd(c); end.After(until) {
			until = end
		}
	}
	return parsed, until, generation, nil
}

// firstEnd returns the earliest NotAfter of a chain.
func firstEnd(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

func (s *Source) currentGeneration() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}

// Close ends the connection to the Workload API and waits for the watching
// goroutine. The source gives out nothing afterwards.
func (s *Source) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	<-s.done
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("closing the Workload API client: %w", err)
	}
	return nil
}

// backoffStrategy doubles the wait from retryFirst to retryMax.
type backoffStrategy struct{}

func (backoffStrategy) NewBackoff() workloadapi.Backoff { return &backoff{next: retryFirst} }

type backoff struct{ next time.Duration }

func (b *backoff) Next() time.Duration {
	d := b.next
	b.next = min(2*b.next, retryMax)
	return d
}

func (b *backoff) Reset() { b.next = retryFirst }
