// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// renewTick is how often one looks for tickets that are due.
const renewTick = time.Second

// renew asks for new tickets before the old ones end.
func (a *agent) renew(ctx context.Context) {
	every(ctx, renewTick, func() {
		due := a.takeDue(time.Now())
		for batch := range slices.Chunk(due, maxBatch) {
			a.renewBatch(ctx, batch)
		}
	})
}

// takeDue returns the images whose ticket is due, and moves them to the next try.
func (a *agent) takeDue(now time.Time) []gate.Image {
	a.mu.Lock()
	defer a.mu.Unlock()
	var due []gate.Image
	for _, e := range a.images {
		if !e.due.IsZero() && !now.Before(e.due) && now.Sub(e.asked) < keep {
			due = append(due, e.image)
			e.due = now.Add(renewRetry)
		}
	}
	return due
}

// renewBatch renews with as many daemons as the quorum wants.
func (a *agent) renewBatch(ctx context.Context, batch []gate.Image) {
	distinct := map[string]bool{}
	for _, s := range a.sessions {
		conn, err := s.ready()
		if err != nil || conn == nil {
			continue
		}
		by := a.counts(s)
		if by == "" || distinct[by] {
			continue
		}
		if err := a.renewWith(ctx, s, conn, batch); err != nil {
			a.log.WarnContext(ctx, "tickets were not renewed", "peer", s.address, "code", verdict.CodeOf(err), "err", err)
			continue
		}
		if distinct[by] = true; len(distinct) >= a.gate.Quorum {
			return
		}
	}
}

func (a *agent) renewWith(ctx context.Context, s *session, conn *trust.Conn, batch []gate.Image) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	stream, err := conn.VerifyBatch(ctx)
	if err != nil {
		return conn.Err(err)
	}
	// A batch is small enough that the daemon reads it before it has to answer.
	for i, image := range batch {
		if err := stream.Send(&assayv1.VerifyBatchRequest{Id: strconv.Itoa(i), Request: a.request(image)}); err != nil && !errors.Is(err, io.EOF) {
			return conn.Err(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return conn.Err(err)
	}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return conn.Err(err)
		}
		i, err := strconv.Atoi(answer.GetId())
		if err != nil || i < 0 || i >= len(batch) {
			return verdict.Refuse(verdict.InputMalformed, "renewing with %s: it answers request %.64q, which was not asked", s.address, answer.GetId())
		}
		if _, err := a.takeAnswer(s, batch[i], answer.GetResponse()); err != nil {
			a.log.WarnContext(ctx, "ticket was not renewed", "image", batch[i].Repository, "digest", batch[i].Digest, "peer", s.address, "code", verdict.CodeOf(err), "err", err)
		}
	}
}

// tidy removes what has ended: statements that no ticket may rest on any more,
// images that nobody asked for, evidence that nothing names.
func (a *agent) tidy() {
	a.checkExceptions()
	now := time.Now()
	a.mu.Lock()
	var gone []string
	for digest, x := range a.accepted {
		if now.After(time.Unix(x.Issuer.Statement.NotAfter, 0).Add(gate.MaxOffline)) {
			delete(a.accepted, digest)
			delete(a.pulses, digest)
		}
	}
	for key, e := range a.images {
		if now.Sub(e.asked) > keep+gate.MaxOffline {
			delete(a.images, key)
			gone = append(gone, filepath.Join(gate.ImagesDir, key+".json"))
		}
	}
	named := map[string]bool{}
	for _, x := range a.accepted {
		named[collectionFile(verdict.SHA256(x.Collection))] = true
	}
	a.mu.Unlock()
	a.saveIssuers()
	names, err := a.store.list(collectionsDir)
	if err != nil {
		a.log.Warn("evidence is not tidied", "err", err)
	}
	for _, name := range names {
		if !named[name] {
			gone = append(gone, name)
		}
	}
	for _, name := range gone {
		a.store.remove(name)
	}
}

// reportUses reports uses of exceptions that gates wrote down, so that a log has
// them. A record is removed once a daemon has it.
func (a *agent) reportUses(ctx context.Context) {
	names, err := a.store.list(gate.UsesDir)
	if err != nil || len(names) == 0 {
		return
	}
	for _, name := range names {
		data, err := a.store.read(name, gate.MaxRecord)
		if err != nil || data == nil {
			continue
		}
		use, err := gate.ParseUseRecord(data)
		if err != nil {
			a.log.ErrorContext(ctx, "record of a use is not readable and is dropped", "path", name, "err", err)
			a.store.remove(name)
			continue
		}
		if a.reportUse(ctx, use) {
			a.store.remove(name)
		}
	}
}

// reportUse tells whether the record is done with.
func (a *agent) reportUse(ctx context.Context, use gate.UseRecord) bool {
	ctx, cancel := context.WithTimeout(ctx, appraiseTimeout)
	defer cancel()
	for _, s := range a.sessions {
		conn, err := s.ready()
		if err != nil || conn == nil {
			continue
		}
		answer, err := conn.ReportException(ctx, &assayv1.ReportExceptionRequest{Exception: use.Exception, Digest: string(use.Digest), UsedAtSeconds: use.UsedAt})
		if err == nil {
			a.log.WarnContext(ctx, "use of an exception was reported", "digest", use.Digest, "peer", s.address, "log_index", answer.GetLog().GetIndex())
			return true
		}
		if err = conn.Err(err); verdict.CodeOf(err) == verdict.ExceptionMalformed || verdict.CodeOf(err) == verdict.ExceptionSignature {
			a.log.ErrorContext(ctx, "use of an exception is not accepted and is dropped", "digest", use.Digest, "peer", s.address, "code", verdict.CodeOf(err), "err", err)
			return true
		}
		a.log.WarnContext(ctx, "use of an exception was not reported yet", "digest", use.Digest, "peer", s.address, "code", verdict.CodeOf(err), "err", err)
	}
	return false
}
