// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// Times of a session.
const (
	backoffLeast = 100 * time.Millisecond
	backoffMost  = 10 * time.Second
	// backoffDown is the longest wait for a daemon that is not there: it may be
	// back at any moment. One that is refused will be refused again.
	backoffDown = 2 * time.Second
	// appraiseTimeout bounds one appraisal: a TPM may take a second for a quote.
	appraiseTimeout = 30 * time.Second
	// pokeLeast is the least time between two nonces.
	pokeLeast = 200 * time.Millisecond
	// statusPatience is how many intervals may pass without an answer.
	statusPatience = 3
)

// A session is the connection to one daemon.
type session struct {
	a       *agent
	address string
	poked   chan struct{} // of capacity 1: ask for a status now

	mu     sync.Mutex
	conn   *trust.Conn    // nil until there is an SVID
	issuer verdict.Digest // the statement in force, empty while not ready
	err    error          // why it is not ready, nil while it is being tried first
	code   verdict.Code   // what was logged last
}

func newSession(a *agent, address string) *session {
	return &session{a: a, address: address, poked: make(chan struct{}, 1)}
}

// ready returns the connection of a session whose daemon is accepted, else why it is
// not, and nil twice while it is being tried first.
func (s *session) ready() (*trust.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issuer == "" {
		return nil, s.err
	}
	return s.conn, nil
}

// connected returns the connection, ready or not.
func (s *session) connected() *trust.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

func (s *session) fail(err error) {
	s.mu.Lock()
	s.issuer, s.err = "", err
	code := verdict.CodeOf(err)
	news := code != s.code
	s.code = code
	s.mu.Unlock()
	if news {
		// A refusal is an alarm: somebody shows this node something that is not so.
		level := slog.LevelWarn
		if verdict.Refused(err) {
			level = slog.LevelError
		}
		s.a.log.Log(context.Background(), level, "daemon is not usable", "peer", s.address, "code", code, "err", withHint(err))
	}
	s.a.notify()
}

func (s *session) succeed(issuer verdict.Digest) {
	s.mu.Lock()
	news := s.issuer != issuer
	s.issuer, s.err, s.code = issuer, nil, ""
	s.mu.Unlock()
	if news {
		s.a.log.Info("daemon is accepted", "peer", s.address, "digest", issuer)
	}
	s.a.notify()
}

// poke asks for a status soon.
func (s *session) poke() {
	select {
	case s.poked <- struct{}{}:
	default:
	}
}

// errAgain ends a round without a delay: the daemon has another statement.
var errAgain = errors.New("the daemon has another statement")

// keep appraises the daemon and watches its status, again and again.
func (s *session) keep(ctx context.Context, src *spiffe.Source) {
	conn, err := trust.Dial(s.a.config, s.address, src)
	if err != nil {
		s.fail(err)
		return
	}
	s.mu.Lock()
	s.conn = conn
	s.mu.Unlock()
	defer func() {
		if err := conn.Close(); err != nil {
			s.a.log.WarnContext(ctx, "closing connection", "peer", s.address, "err", err)
		}
	}()
	backoff := backoffLeast
	for ctx.Err() == nil {
		begin := time.Now()
		err := src.Healthy(begin)
		if err == nil {
			err = s.round(ctx, conn)
		}
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.Is(err, errAgain):
			if !wait(ctx, backoffLeast) {
				return
			}
			continue
		case time.Since(begin) > backoffMost:
			backoff = backoffLeast
		}
		s.fail(err)
		if !wait(ctx, backoff) {
			return
		}
		most := backoffMost
		if verdict.CodeOf(err) == verdict.DaemonUnreachable {
			most = backoffDown
		}
		backoff = min(2*backoff, most)
	}
}

// round appraises once and then watches until something ends it.
func (s *session) round(ctx context.Context, conn *trust.Conn) error {
	bounded, cancel := context.WithTimeout(ctx, appraiseTimeout)
	defer cancel()
	before, _, _ := s.a.heads.Current()
	s.a.mu.Lock()
	known := slices.Clone(s.a.known)
	s.a.mu.Unlock()
	x, made, err := s.a.config.AskDaemon(bounded, conn, s.a.heads, known)
	if after, _, _ := s.a.heads.Current(); after.Digest != before.Digest || !after.Until.Equal(before.Until) || len(after.Docs) != len(before.Docs) {
		s.a.headChanged()
	}
	s.keepAttempt(made, err)
	if err == nil {
		err = s.a.accept(x)
	}
	if err != nil {
		return err
	}
	return s.watch(ctx, conn)
}

// watch sends a nonce at each interval, and sooner when poked, and takes what comes
// back.
func (s *session) watch(ctx context.Context, conn *trust.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	var receiving sync.WaitGroup
	defer receiving.Wait()
	defer cancel()
	stream, err := conn.WatchStatus(ctx)
	if err != nil {
		return conn.Err(err)
	}
	type received struct {
		message *assayv1.WatchStatusResponse
		err     error
	}
	messages := make(chan received)
	receiving.Go(func() {
		for {
			m, err := stream.Recv()
			select {
			case messages <- received{m, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	interval := s.a.config.StatusInterval
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	silence := time.NewTimer(statusPatience*interval + backoffMost)
	defer silence.Stop()
	var nonce, before string // the last two that were sent
	var sent time.Time
	send := func() error {
		var raw [verdict.StatusNonceSize]byte
		_, _ = rand.Read(raw[:]) // it never returns an error
		before, nonce, sent = nonce, hex.EncodeToString(raw[:]), time.Now()
		head, _, _ := s.a.heads.Current()
		if err := stream.Send(&assayv1.WatchStatusRequest{Nonce: raw[:], HeadCounter: head.Counter}); err != nil {
			return conn.Err(err)
		}
		return nil
	}
	select {
	case <-s.poked: // what was asked for is done by the first nonce
	default:
	}
	if err := send(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			if err := send(); err != nil {
				return err
			}
		case <-s.poked:
			if !wait(ctx, pokeLeast-time.Since(sent)) {
				return ctx.Err()
			}
			if err := send(); err != nil {
				return err
			}
		case <-silence.C:
			return verdict.Fail(verdict.DaemonUnreachable, "watching the status of %s: no answer for %s", s.address, statusPatience*interval+backoffMost)
		case got := <-messages:
			if got.err != nil {
				return conn.Err(got.err)
			}
			silence.Reset(statusPatience*interval + backoffMost)
			if err := s.take(ctx, conn, got.message, nonce, before); err != nil {
				return err
			}
		}
	}
}

// take handles one message: a newer head first, since the status that comes with it
// is under it.
func (s *session) take(ctx context.Context, conn *trust.Conn, m *assayv1.WatchStatusResponse, nonces ...string) error {
	if set := m.GetNewerHead(); len(set) > 0 {
		if err := s.a.offerHead(set, s.address); err != nil {
			return err
		}
	}
	now := time.Now()
	issuers := s.a.issuers()
	status, err := verdict.OpenStatus(m.GetStatus(), issuers)
	if err != nil {
		if verdict.CodeOf(err) == verdict.StatusSignature {
			return errAgain // of a newer statement, or forged: the appraisal tells
		}
		return err
	}
	i := slices.IndexFunc(issuers, func(i verdict.Issuer) bool { return i.Digest == status.Stmt })
	issuer := issuers[i]
	if err := issuer.Statement.CheckAt(now); err != nil {
		return errAgain
	}
	if !slices.Contains(nonces, status.Nonce) {
		return nil // an answer to an older nonce; those that come answer newer ones
	}
	if err := checkSkew("the status of "+s.address, status.Iat, now); err != nil {
		return err
	}
	if err := s.checkCheckpoint(issuer, status); err != nil {
		return err
	}
	head, _, _ := s.a.heads.Current()
	switch err := status.CheckHead(head, now); verdict.CodeOf(err) {
	case "":
	case verdict.StatusRollback:
		// The daemon is behind. What it says is no pulse; it is given the head.
		bounded, cancel := context.WithTimeout(ctx, appraiseTimeout)
		defer cancel()
		if err := trust.PutHead(bounded, conn, head); err != nil {
			return err
		}
		s.poke()
		return nil
	default:
		return err
	}
	s.a.takeStatus(m.GetStatus(), status)
	// Only a daemon with a pulse is asked: without one its tickets do not count.
	s.succeed(status.Stmt)
	return nil
}

// checkCheckpoint checks the checkpoint that a status carries: signed by the log's
// keys, and not behind what was seen of that log.
func (s *session) checkCheckpoint(issuer verdict.Issuer, status verdict.Status) error {
	if status.Checkpoint == "" {
		return nil
	}
	ref := issuer.Statement.Log
	log, err := proof.New(proof.Config{Origin: ref.Origin, Keys: ref.Keys, AllowUnvalidatedEd25519: slices.Contains(s.a.config.AllowUnvalidated, "ed25519")})
	if err != nil {
		return err
	}
	c, err := log.Checkpoint([]byte(status.Checkpoint))
	if err != nil {
		return err
	}
	return s.a.markLog(verdict.LogMark{Origin: c.Origin, Size: c.Size, Root: rootText(c.Root)})
}

func rootText(root proof.Hash) string { return base64.StdEncoding.EncodeToString(root[:]) }

// takeStatus keeps the newest status of any accepted daemon.
func (a *agent) takeStatus(token string, s verdict.Status) {
	a.seen(s.Iat)
	a.mu.Lock()
	a.pulses[s.Stmt] = pulse{token, s.Iat, s.Stmt}
	newer := s.Iat >= a.status.at
	if newer {
		a.status = a.pulses[s.Stmt]
		a.generation++
	}
	a.mu.Unlock()
	if !newer {
		return
	}
	a.saveStatus()
	a.saveMarks()
}
