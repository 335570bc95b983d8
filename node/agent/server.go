// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// Limits of the socket.
const (
	// maxGates bounds the gates that are served at once.
	maxGates = 256
	// requestTimeout is how long a gate may take to send its request.
	requestTimeout = 2 * time.Second
	// answerMargin is kept of the gate's deadline for its own check.
	answerMargin = 500 * time.Millisecond
)

// listen makes the socket: for the agent's user alone, in place of one that an
// earlier agent left. The lock on the state folder says that none runs.
func (a *agent) listen(ctx context.Context) (*net.UnixListener, error) {
	path := a.config.Socket
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, verdict.Misused("give socket a place that the agent may write", "listening: %w", err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, verdict.Misused("remove it, or name another socket in trust.yaml", "listening: %s exists and is no socket", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, verdict.Misused("give socket a place that the agent may write", "listening: %w", err)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, verdict.Misused("a socket's path has at most 107 bytes", "listening: %w", err)
	}
	// A gate of another user is refused by SO_PEERCRED; the mode is the first wall.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(verdict.Misused("", "listening: %w", err), l.Close())
	}
	unix, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(verdict.Misused("", "listening: %s is no unix socket", path), l.Close())
	}
	return unix, nil
}

// serve answers gates until ctx ends, and waits for those that it is answering.
func (a *agent) serve(ctx context.Context, l *net.UnixListener) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	closing := context.AfterFunc(ctx, func() {
		if err := l.Close(); err != nil {
			a.log.WarnContext(ctx, "closing socket", "err", err)
		}
	})
	defer closing()
	slots := make(chan struct{}, maxGates)
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return verdict.Fail(verdict.Internal, "serving gates: %w", err)
		}
		select {
		case slots <- struct{}{}:
		default:
			// A gate without an answer looks into the folder.
			if err := conn.Close(); err != nil {
				a.log.DebugContext(ctx, "closing connection", "err", err)
			}
			continue
		}
		serving.Go(func() {
			defer func() { <-slots }()
			a.serveOne(ctx, conn)
		})
	}
}

func (a *agent) serveOne(ctx context.Context, conn net.Conn) {
	defer func() {
		if err := conn.Close(); err != nil {
			a.log.DebugContext(ctx, "closing connection", "err", err)
		}
	}()
	defer func() {
		// One bad question must not take the agent from all others.
		if p := recover(); p != nil {
			a.log.ErrorContext(ctx, "answering a gate: panic", "err", p)
		}
	}()
	uid, err := gate.PeerUID(conn)
	if err != nil || uid != 0 && int64(uid) != int64(os.Geteuid()) {
		a.log.WarnContext(ctx, "stranger on the socket", "peer", uid, "err", err)
		return
	}
	begin := time.Now()
	if err := conn.SetDeadline(begin.Add(requestTimeout)); err != nil {
		return
	}
	q, err := gate.ReadRequest(conn)
	answer := gate.Answer{Code: verdict.CodeOf(err)}
	if err != nil {
		answer.Text = verdict.ReasonOf(err).Text
	} else {
		bounded, cancel := context.WithDeadline(ctx, begin.Add(max(a.config.Deadline-answerMargin, a.config.Deadline/2)))
		answer = a.answer(bounded, q)
		cancel()
	}
	if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return
	}
	if err := gate.WriteAnswer(conn, answer); err != nil {
		a.log.DebugContext(ctx, "gate is gone", "err", err)
	}
}
