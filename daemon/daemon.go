// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/enclave/endorse"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
	"github.com/assayd/assay/verdict/flavour"
	"github.com/assayd/assay/verifier"
)

// Limits of the transport that no configuration changes.
const (
	// maxRequest bounds a message of a caller: the largest is that of an
	// exception. gRPC reads a message before anybody can refuse its sender.
	maxRequest = maxException + messageSlack
	// messageSlack is what a message may have beside its one large field.
	messageSlack = 64 << 10
	// maxStreams is how many calls one connection may have.
	maxStreams = 512
	// maxConnections is how many there may be, half-open ones included.
	maxConnections = 8192
	// handshakeTimeout bounds how long one may take to become a peer.
	handshakeTimeout = 10 * time.Second
	// connectionGrace is how long calls may go on when their connection is
	// too old.
	connectionGrace = 30 * time.Second
	// closeTimeout bounds closing the log.
	closeTimeout = 10 * time.Second
)

// Periods of what the daemon does by itself.
const (
	// keepEvery is how often readiness is judged and due work looked for.
	keepEvery = time.Second
	// retryEvery is how long after a failure that work is tried again.
	retryEvery = 5 * time.Second
	// probeEvery is how old the newest piece of evidence may get.
	probeEvery = 10 * time.Second
)

// A Daemon is assayd, started: measured, with its keys, evidence and log.
// [Open] makes one, and [Daemon.Serve] serves and closes it.
type Daemon struct {
	config Config
	log    *slog.Logger

	source  *spiffe.Source
	tee     enclave.Attester
	keeper  *endorse.Keeper // of endorsements; nil where evidence wants none
	shard   *audit.Shard
	archive *audit.Archive
	images  *verifier.Registry
	// fetchAt is when trust roots are fetched next; d.updates guards it.
	fetchAt   time.Time
	store     *headStore
	issuer    *issuer
	collector *collector
	decider   *decider
	callers   *callers
	listener  net.Listener
	server    *grpc.Server
	health    *health.Server

	// epoch is what requests are answered by. It is stored by whoever holds
	// updates, and read by everyone.
	epoch atomic.Pointer[epoch]
	// updates is held, by a value in it, while head or statement change. It
	// guards newest and measured.
	updates chan struct{}
	// newest is the newest head with its deny documents. The epoch lags behind
	// it while the TEE or the log cannot do their part.
	newest verdict.CheckedHead
	// offered is newest's counter, for everyone.
	offered atomic.Uint64
	// measured is the counter of the last head that was extended.
	measured uint64

	// draining is closed when the daemon is told to stop: it ends streams.
	draining chan struct{}
	// receivers are the goroutines that read streams.
	receivers sync.WaitGroup
	// work are verifications; base is the context of all of them.
	work         sync.WaitGroup
	base         context.Context
	archiveSlots chan struct{}
	activations  *turns
	heads        oneEach

	// unready is the code that readiness was last withheld for, judged that
	// there was a last time. The start owns them, and then keep.
	unready verdict.Code
	judged  bool

	// closers undo Open, in reverse order.
	closers []func() error
}

// Run starts assayd and serves until ctx ends; then it drains and closes. It
// returns nil after an orderly end, a [*verdict.Misuse] for a configuration that
// cannot be served, and else a [*verdict.Failure] or [*verdict.Refusal].
func Run(ctx context.Context, config Config, log *slog.Logger) error {
	d, err := Open(ctx, config, log)
	if err != nil {
		return err
	}
	return d.Serve(ctx)
}

// Open starts assayd: everything up to, but not, serving. Its errors are those
// of [Run]. ctx bounds the start only.
func Open(ctx context.Context, config Config, log *slog.Logger) (_ *Daemon, err error) {
	if err := errors.Join(config.unchanged(), flavour.Check()); err != nil {
		return nil, err
	}
	for _, text := range config.Relaxations() {
		log.WarnContext(ctx, "not for production", "rule", text)
	}
	d := &Daemon{
		config: config, log: log, updates: make(chan struct{}, 1), draining: make(chan struct{}),
		archiveSlots: make(chan struct{}, archiveReaders), activations: newTurns(),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	lock, err := lockState(config.StateDir)
	if err != nil {
		return nil, err
	}
	d.onClose(lock.Close)
	// What decides, before anything is made that depends on it.
	if err := d.findHead(ctx); err != nil {
		return nil, err
	}
	if err := d.openSource(ctx); err != nil {
		return nil, err
	}
	first, err := d.firstEpoch(ctx)
	if err != nil {
		return nil, err
	}
	// Measure, then keys, then the log, then evidence (design.md §4.1).
	if err := d.openTEE(ctx); err != nil {
		return nil, err
	}
	if err := d.openLog(ctx); err != nil {
		return nil, err
	}
	if first.statement, err = d.issuer.issue(ctx, first.head, nil); err != nil {
		return nil, err
	}
	d.epoch.Store(first)
	return d, d.openServer(ctx)
}

func (d *Daemon) onClose(f func() error) { d.closers = append(d.closers, f) }

// close undoes Open. It is called once.
func (d *Daemon) close() error {
	var errs []error
	for _, f := range slices.Backward(d.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// findHead finds the newest head, and keeps it.
func (d *Daemon) findHead(ctx context.Context) error {
	anchor, err := d.config.anchor()
	if err != nil {
		return err
	}
	d.store = &headStore{
		path: filepath.Join(d.config.StateDir, headName), anchor: anchor,
		limit: int64(d.config.Limits.HeadSet), log: d.log,
	}
	now := time.Now()
	if d.newest, err = d.store.load(ctx, d.config.Head, now); err != nil {
		return err
	}
	if err := checkClock(d.newest, now); err != nil {
		return err
	}
	if err := d.newest.CheckAt(now); err != nil {
		// A renewal or a newer head may be put; until then nothing is signed.
		d.log.ErrorContext(ctx, "head has expired", "head", d.newest.Counter, "err", err)
	}
	d.offered.Store(d.newest.Counter)
	return d.store.save(d.newest)
}

// openSource gets the daemon's own SVID.
func (d *Daemon) openSource(ctx context.Context) error {
	// It may take a while, and then nothing else says what is waited for.
	d.log.InfoContext(ctx, "asking for the own identity", "path", d.config.WorkloadAPI)
	src, err := spiffe.OpenSource(ctx, d.config.WorkloadAPI)
	if err != nil {
		return err
	}
	d.source = src
	d.onClose(src.Close)
	return src.CheckID(d.config.SPIFFEID)
}

// firstEpoch makes the verifier out of the head's files. The statement comes
// later.
func (d *Daemon) firstEpoch(ctx context.Context) (*epoch, error) {
	images, err := verifier.NewRegistry(d.config.registry())
	if err != nil {
		return nil, err
	}
	d.images = images
	d.onClose(func() error { images.Close(); return nil })
	e, err := d.makeEpoch(ctx, nil, d.newest, nil, time.Now())
	if err != nil {
		return nil, err
	}
	// Verifiers that share with the first are closed with it.
	d.onClose(func() error { e.verifier.Close(); return nil })
	return e, nil
}

// makeEpoch makes the epoch of a head. It shares what is known about signatures
// with the epoch before, which is nil at the start.
func (d *Daemon) makeEpoch(ctx context.Context, before *epoch, head verdict.CheckedHead, s *statement, at time.Time) (*epoch, error) {
	set, err := head.Set.Encode()
	if err != nil {
		return nil, err
	}
	e := &epoch{
		head: head, set: set, docs: head.ActiveDocs(at), denyFile: head.Deny, statement: s,
		replaced: make(chan struct{}),
	}
	e.deny = verdict.DenyDigest(e.docs)
	deny := head.DenyAt(at)
	if before != nil && before.head.Digest == head.Digest {
		e.verifier, err = before.verifier.WithDeny(deny)
		return e, err
	}
	policy, roots, err := d.filesOf(head)
	if err != nil {
		return nil, err
	}
	roots = d.fetchRoots(ctx, roots, at)
	if before == nil {
		e.verifier, err = verifier.New(verifier.Config{
			Policy: policy, Roots: roots, Source: d.images, Deny: deny, CacheSize: d.config.Limits.Verdicts,
			AllowUnvalidated: d.config.AllowUnvalidated,
			Revocation:       verifier.Revocation{Online: true, Hosts: d.config.Sources.RevocationHosts, Folder: filepath.Join(d.config.StateDir, revocationsName), Log: d.log},
		})
		return e, err
	}
	v, err := before.verifier.WithPolicy(policy, roots)
	if err != nil {
		return nil, err
	}
	e.verifier, err = v.WithDeny(deny)
	return e, err
}

// fetchRoots fetches what the roots file points to. What cannot be fetched now is
// told, and what rests on it is trust.stale until it can.
func (d *Daemon) fetchRoots(ctx context.Context, roots *verifier.Roots, at time.Time) *verifier.Roots {
	if !roots.Fetched() {
		return roots
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	next, err := roots.Refresh(ctx, verifier.Refreshing{Folder: filepath.Join(d.config.StateDir, rootsName)}, at)
	if err != nil {
		d.log.WarnContext(ctx, "trust roots could not be fetched", "code", verdict.CodeOf(err), "err", err)
	}
	return next
}

// refreshRoots fetches trust roots anew, and decides by them when they changed or
// count for longer. d.updates is held.
func (d *Daemon) refreshRoots(ctx context.Context, at time.Time) error {
	e := d.epoch.Load()
	roots := e.verifier.Roots()
	if !roots.Fetched() || at.Before(d.fetchAt) {
		return nil
	}
	d.fetchAt = at.Add(fetchEvery)
	v, err := e.verifier.WithPolicy(e.verifier.Policy(), d.fetchRoots(ctx, roots, at))
	if err != nil {
		return err
	}
	next := *e
	next.verifier, next.replaced = v, make(chan struct{})
	d.swap(ctx, &next)
	return nil
}

// How often trust roots are fetched, and how long that may take: less than
// updateTimeout.
const (
	fetchEvery   = time.Hour
	fetchTimeout = 30 * time.Second
)

// filesOf parses what a head decides by.
func (d *Daemon) filesOf(head verdict.CheckedHead) (*verifier.Policy, *verifier.Roots, error) {
	file, err := head.Set.File("policy", head.Policy)
	if err != nil {
		return nil, nil, err
	}
	policy, err := verifier.ParsePolicy(policyURI, file)
	if err != nil {
		return nil, nil, err
	}
	if file, err = head.Set.File("roots", head.Roots); err != nil {
		return nil, nil, err
	}
	roots, err := verifier.ParseRoots(file)
	if err != nil {
		return nil, nil, err
	}
	return policy, roots, nil
}

// openTEE measures what is about to be decided by, and then makes the keys.
func (d *Daemon) openTEE(ctx context.Context) error {
	config := d.config.enclave()
	config.Log = d.log
	if err := d.openKeeper(); err != nil {
		return err
	}
	tee, err := testingOnlyTEE(ctx, config)
	if err != nil {
		return err
	}
	d.tee = tee
	if d.keeper != nil {
		d.tee = observedTEE{tee, d.keeper.Observe}
	}
	d.onClose(tee.Close)
	source := tee.Kind()
	if s, ok := tee.(enclave.Sourced); ok {
		source = s.Source()
	}
	d.log.InfoContext(ctx, "evidence comes from a TEE", "tee", tee.Kind(), "source", source)
	d.issuer = &issuer{config: d.config, boot: randomHex(16), tee: d.tee, log: d.log}
	if err := d.issuer.measure(ctx, d.newest); err != nil {
		return err
	}
	d.measured = d.newest.Counter
	if d.issuer.ticket, err = verdict.GenerateKey(verdict.UseTicket); err != nil {
		return err
	}
	d.issuer.verdict, err = verdict.GenerateKey(verdict.UseVerdict)
	return err
}

// openLog opens the log shard of this boot.
func (d *Daemon) openLog(ctx context.Context) error {
	dir := filepath.Join(d.config.StateDir, logName)
	shard, err := audit.OpenShard(ctx, audit.Config{
		Dir: dir, Boot: d.issuer.boot, OriginPrefix: d.config.trustDomain(), Logger: d.log,
		AllowUnvalidatedEd25519: d.config.allowEd25519(),
	})
	if err != nil {
		return err
	}
	d.shard, d.issuer.shard, d.issuer.ref = shard, shard, shard.Log()
	d.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		return shard.Close(ctx)
	})
	d.archive, err = audit.OpenArchive(audit.ArchiveConfig{Dir: dir, AllowUnvalidatedEd25519: d.config.allowEd25519()})
	return err
}

// openServer makes the gRPC server and takes the address.
func (d *Daemon) openServer(ctx context.Context) error {
	roles, err := spiffe.NewRoles(d.config.trustDomain(), d.config.Roles)
	if err != nil {
		return err
	}
	if d.callers, err = newCallers(d.config.Limits); err != nil {
		return err
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.base = base
	d.onClose(func() error {
		cancel()
		d.work.Wait()
		d.receivers.Wait()
		return nil
	})
	if d.decider, err = newDecider(base, &d.work, d.config, d.issuer.verdict, d.shard, d.log); err != nil {
		return err
	}
	d.collector = newCollector(d.tee, func() *statement { return d.epoch.Load().statement })
	d.onClose(func() error { d.collector.close(); return nil })

	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", d.config.Listen)
	if err != nil {
		return verdict.Misused("choose another listen address, or stop who has it", "listening: %w", err)
	}
	d.listener = newLimitListener(listener, maxConnections)
	d.onClose(func() error {
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	d.server = grpc.NewServer(
		grpc.Creds(peerCredentials{credentials.NewTLS(spiffe.ServerTLS(d.source, roles)), roles}),
		grpc.ChainUnaryInterceptor(d.unary), grpc.ChainStreamInterceptor(d.stream),
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxSendMsgSize(verdict.MaxHeadSet+audit.MaxObject+messageSlack),
		grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 10 * time.Minute, MaxConnectionAge: d.config.Limits.ConnectionAge, MaxConnectionAgeGrace: connectionGrace,
			Time: 30 * time.Second, Timeout: 10 * time.Second,
		}),
	)
	assayv1.RegisterAssayServiceServer(d.server, service{d: d})
	d.health = health.NewServer()
	grpc_health_v1.RegisterHealthServer(d.server, d.health)
	d.setReady(ctx, d.ready(time.Now()))
	return nil
}

// Addr is the address that the daemon serves on.
func (d *Daemon) Addr() string { return d.listener.Addr().String() }

// Serve serves until ctx ends. Then readiness is withdrawn, streams end, calls
// under way have the configured time to finish, and everything is closed. It is
// called once.
func (d *Daemon) Serve(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, d.close()) }()
	keeping, stop := context.WithCancel(d.base)
	var own sync.WaitGroup
	own.Go(func() { d.keep(keeping) })
	own.Go(func() { d.probe(keeping) })
	if d.keeper != nil {
		own.Go(func() { d.keeper.Run(keeping) })
	}
	defer own.Wait()
	defer stop()
	served := make(chan error, 1)
	own.Go(func() { served <- d.server.Serve(d.listener) })
	d.log.InfoContext(ctx, "serving", "node", d.Addr(), "head", d.epoch.Load().head.Counter)
	select {
	case err := <-served:
		return verdict.Fail(verdict.Internal, "serving: %w", err)
	case <-ctx.Done():
	}
	d.drain(ctx)
	d.log.InfoContext(ctx, "drained")
	return nil
}

// drain ends what runs: gracefully as long as the configuration allows, and
// then at once.
func (d *Daemon) drain(ctx context.Context) {
	d.log.InfoContext(ctx, "draining")
	d.health.Shutdown()
	close(d.draining)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.server.GracefulStop()
	}()
	timer := time.NewTimer(d.config.Limits.Drain)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	d.log.WarnContext(ctx, "calls were cut off by the end of the drain time")
	d.server.Stop()
	<-done
}

// safely runs f and makes a failure of its panic.
func (d *Daemon) safely(ctx context.Context, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked(ctx, d.log, v, debug.Stack())
		}
	}()
	return f()
}
