// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// recheckEvery is how often the peer of a stream is checked while nothing is
// said on it.
const recheckEvery = 5 * time.Second

// peerCredentials are TLS credentials that find out who the peer is once per
// connection: the [spiffe.Peer] remembers which trust bundle it was verified
// against.
type peerCredentials struct {
	credentials.TransportCredentials
	roles *spiffe.Roles
}

// peerInfo is what a connection knows of its peer.
type peerInfo struct {
	credentials.TLSInfo
	peer *spiffe.Peer
}

// ServerHandshake is that of TLS, and then the peer has to have a role.
func (c peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	tlsConn, info, err := c.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		return nil, nil, err
	}
	t, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil, nil, errors.Join(fmt.Errorf("handshake gave %T, want TLS", info), tlsConn.Close())
	}
	p, err := spiffe.PeerFromTLS(t.State, c.roles)
	if err != nil {
		return nil, nil, errors.Join(err, tlsConn.Close())
	}
	return tlsConn, peerInfo{t, p}, nil
}

// Clone keeps the roles, which those of TLS alone would lose.
func (c peerCredentials) Clone() credentials.TransportCredentials {
	return peerCredentials{c.TransportCredentials.Clone(), c.roles}
}

// A session is one call of an authorised peer.
type session struct {
	peer   *spiffe.Peer
	caller *caller
}

type sessionKey struct{}

// sessionOf returns the session of a call. A call without one did not come
// through the interceptors.
func sessionOf(ctx context.Context) (session, error) {
	s, ok := ctx.Value(sessionKey{}).(session)
	if !ok {
		return session{}, verdict.Refuse(verdict.PeerRole, "calling: the peer is not known")
	}
	return s, nil
}

// admit decides whether the peer of ctx may call method now, and counts the
// call. The returned context is ctx where it may not.
func (d *Daemon) admit(ctx context.Context, method string) (context.Context, func(), error) {
	var p *spiffe.Peer
	if from, ok := peer.FromContext(ctx); ok {
		if info, ok := from.AuthInfo.(peerInfo); ok {
			p = info.peer
		}
	}
	// A peer that is nil has no right, too.
	if err := verbs.Check(p, method); err != nil {
		return ctx, nil, err
	}
	if err := p.CheckAt(d.source, time.Now()); err != nil {
		return ctx, nil, err
	}
	c := d.callers.of(p.ID)
	leave, err := c.enter()
	if err != nil {
		return ctx, nil, err
	}
	return context.WithValue(ctx, sessionKey{}, session{p, c}), leave, nil
}

// unary is the way of every call that is not a stream.
func (d *Daemon) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if v := recover(); v != nil {
			resp, err = nil, panicked(ctx, d.log, v, debug.Stack())
		}
		err = d.told(ctx, info.FullMethod, err)
	}()
	ctx, leave, err := d.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, d.config.Limits.CallTimeout)
	defer cancel()
	return handler(ctx, req)
}

// stream is the way of every stream. It ends when the peer's SVID does, when
// the trust bundle no longer has its authority, when the own SVID is withdrawn,
// and when the daemon drains.
func (d *Daemon) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx := ss.Context()
	defer func() {
		if v := recover(); v != nil {
			err = panicked(ctx, d.log, v, debug.Stack())
		}
		err = d.told(ctx, info.FullMethod, err)
	}()
	ctx, leave, err := d.admit(ctx, info.FullMethod)
	if err != nil {
		return err
	}
	defer leave()
	s, err := sessionOf(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		d.watchPeer(ctx, s.peer, cancel)
	}()
	defer func() {
		cancel(nil)
		<-watched
	}()
	err = handler(srv, &checkedStream{ss, ctx, d, s.peer})
	if cause := context.Cause(ctx); cause != nil && ss.Context().Err() == nil {
		return cause // why the stream was cut beats how that looked inside
	}
	return err
}

// watchPeer cuts a stream whose peer may not stay.
func (d *Daemon) watchPeer(ctx context.Context, p *spiffe.Peer, cut context.CancelCauseFunc) {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	end := time.NewTimer(time.Until(p.NotAfter()))
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.draining:
			cut(verdict.Fail(verdict.Unready, "serving: the daemon is stopping"))
			return
		case <-tick.C:
		case <-end.C:
		}
		if err := p.CheckAt(d.source, time.Now()); err != nil {
			cut(err)
			return
		}
	}
}

// A checkedStream checks the peer again with each message.
type checkedStream struct {
	grpc.ServerStream
	ctx    context.Context
	daemon *Daemon
	peer   *spiffe.Peer
}

// Context is that of the call, with its session.
func (s *checkedStream) Context() context.Context { return s.ctx }

// RecvMsg refuses a message of a peer that may not stay.
func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.peer.CheckAt(s.daemon.source, time.Now())
}

// told turns what a call ended with into what its caller is told, and logs
// what is for somebody here to look at.
func (d *Daemon) told(ctx context.Context, method string, err error) error {
	_, failure := errors.AsType[*verdict.Failure](err)
	if _, ok := status.FromError(err); ok && !failure && !verdict.Refused(err) {
		// Nil, or a status already: the health service's own. One that is
		// the cause of ours, as the Workload API's may be, is not told.
		return err
	}
	level := slog.LevelDebug
	switch code := verdict.CodeOf(err); code { //nolint:exhaustive // the others are about what callers asked
	case verdict.PeerRole, verdict.PeerTrustDomain, verdict.PeerUntrusted:
		level = slog.LevelInfo
	case verdict.Internal, verdict.LogUnavailable, verdict.HeadConflict:
		if ctx.Err() == nil {
			level = slog.LevelError
		}
	}
	d.log.Log(ctx, level, "call was not answered", "rule", method, "peer", peerID(ctx),
		"code", verdict.CodeOf(err), "err", err)
	return assayv1.Status(err).Err()
}

func peerID(ctx context.Context) string {
	if from, ok := peer.FromContext(ctx); ok {
		if info, ok := from.AuthInfo.(peerInfo); ok {
			return info.peer.ID
		}
	}
	return ""
}

// panicked logs a panic and makes a failure of it. What was being decided is
// not decided.
func panicked(ctx context.Context, log *slog.Logger, v any, stack []byte) error {
	err := fmt.Errorf("panic: %v\n%s", v, stack)
	log.ErrorContext(ctx, "recovered from a panic", "err", err)
	return verdict.Fail(verdict.Internal, "deciding: something that was not foreseen; the daemon's log has it")
}
