// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"math/bits"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// A shard is a log in memory with proofs of RFC 6962.
type shard struct {
	origin, vkey string
	key          *ecdsa.PrivateKey
	hash         uint32
	leaves       [][]byte
	objects      [][]byte
}

func newShard(t testing.TB, origin string) *shard {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	check(t, err)
	vkey, err := proof.FormatECDSAKey(origin, &key.PublicKey)
	check(t, err)
	return &shard{origin: origin, vkey: vkey, key: key, hash: proof.ECDSAKeyHash(spki)}
}

// Name, KeyHash and Sign make a shard a note.Signer.
func (l *shard) Name() string    { return l.origin }
func (l *shard) KeyHash() uint32 { return l.hash }
func (l *shard) Sign(msg []byte) ([]byte, error) {
	sum := sha256.Sum256(msg)
	return ecdsa.SignASN1(rand.Reader, l.key, sum[:])
}

func (l *shard) append(leaf verdict.Leaf, object []byte) uint64 {
	l.leaves, l.objects = append(l.leaves, leaf.Encode()), append(l.objects, object)
	return uint64(len(l.leaves) - 1)
}

func merkle(leaves [][]byte) proof.Hash {
	switch len(leaves) {
	case 0:
		return proof.EmptyRoot()
	case 1:
		return proof.LeafHash(leaves[0])
	}
	k := 1 << (bits.Len(uint(len(leaves)-1)) - 1)
	left, right := merkle(leaves[:k]), merkle(leaves[k:])
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

func path(index int, leaves [][]byte) []proof.Hash {
	if len(leaves) <= 1 {
		return nil
	}
	k := 1 << (bits.Len(uint(len(leaves)-1)) - 1)
	if index < k {
		return append(path(index, leaves[:k]), merkle(leaves[k:]))
	}
	return append(path(index-k, leaves[k:]), merkle(leaves[:k]))
}

func (l *shard) checkpoint() ([]byte, error) {
	c := proof.Checkpoint{Origin: l.origin, Size: uint64(len(l.leaves)), Root: merkle(l.leaves)}
	return note.Sign(&note.Note{Text: c.Text()}, l)
}

// A fake is a daemon that decides as its test says. What it serves is genuine but
// for what the test changes.
type fake struct {
	assayv1.UnimplementedAssayServiceServer

	t       testing.TB
	id      string
	address string
	server  *grpc.Server
	roles   *spiffe.Roles
	served  sync.WaitGroup

	mu        sync.Mutex
	snp       *attesttest.SNP
	head      verdict.CheckedHead
	set       []byte
	statement verdict.Statement
	raw       []byte
	ticket    *verdict.Key
	verdict   *verdict.Key
	shard     *shard
	watchers  map[chan struct{}]bool
	verified  map[verdict.Digest]int
	asked     int // for a statement
	batches   int
	puts      int
	reported  []*assayv1.ReportExceptionRequest
	life      time.Duration
	change    changes
}

// changes are what a test makes a daemon do wrong. All are called with mu held.
type changes struct {
	decide     func(repository string, d verdict.Digest) (verdict.Outcome, verdict.Code, error)
	ticket     func(*verdict.Ticket)
	status     func(*verdict.Status)
	statement  func(*verdict.Statement)
	collection func([]byte) []byte
	nonce      func([]byte) []byte
	proof      func(*assayv1.GetProofResponse)
	leaf       func(*verdict.Leaf)
	id         func(string) string // of an answer in a batch
	noProof    bool
	noNews     bool // never tells of a newer head
	hang       chan struct{}
}

func newFake(t testing.TB, w *world, name string) *fake {
	t.Helper()
	f := &fake{
		t: t, id: "spiffe://dev.assay.invalid/assay/d/dev/" + name, ticket: key(t, verdict.UseTicket), verdict: key(t, verdict.UseVerdict),
		watchers: map[chan struct{}]bool{}, verified: map[verdict.Digest]int{}, life: 10 * time.Hour,
	}
	boot := make([]byte, 16)
	_, err := rand.Read(boot)
	check(t, err)
	f.shard = newShard(t, "log.dev.assay.invalid/"+hex.EncodeToString(boot))
	f.snp = attesttest.NewSNP(t, attest.SimulatedSNP, nil, [verdict.NonceSize]byte{})
	now := time.Now()
	for _, c := range []*x509.Certificate{f.snp.ARK, f.snp.ASK, f.snp.Leaf} {
		c.NotBefore, c.NotAfter = now.Add(-48*time.Hour), now.Add(48*time.Hour)
	}
	f.snp.CRLThisUpdate, f.snp.CRLNextUpdate = now.Add(-48*time.Hour), now.Add(48*time.Hour)
	f.statement = verdict.Statement{
		V: 1, Issuer: f.id, Boot: hex.EncodeToString(boot), Build: verdict.Build{Version: "test", Crypto: verdict.Crypto{Module: "go", Version: "1"}},
		Config: attesttest.Digest("config"), Keys: []verdict.JWK{f.ticket.JWK(), f.verdict.JWK()}, Log: verdict.LogRef{Origin: f.shard.origin, Keys: []string{f.shard.vkey}},
	}
	svid := w.authority.SVID(t, f.id)
	f.roles, err = spiffe.NewRoles("dev.assay.invalid", spiffe.Patterns{spiffe.RoleNode: {"spiffe://dev.assay.invalid/assay/node/*/*"}})
	check(t, err)
	f.server = grpc.NewServer(grpc.Creds(credentials.NewTLS(spiffe.ServerTLS(w.source(svid), f.roles))), grpc.MaxRecvMsgSize(20<<20),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			out, err := next(ctx, req)
			return out, assayv1.Status(err).Err()
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			return assayv1.Status(next(srv, ss)).Err()
		}))
	assayv1.RegisterAssayServiceServer(f.server, f)
	return f
}

// root is the digest of the simulator's root.
func (f *fake) root() string {
	root, _ := f.snp.Chain(f.t)
	return string(verdict.SHA256(root.ARK.Raw))
}

// load takes a head and makes a statement under it, as a daemon does at PutHead.
func (f *fake) load(set verdict.HeadSet, owners verdict.Owners) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var h verdict.CheckedHead
	var err error
	if f.head.Counter == 0 {
		h, err = verdict.OpenHead(set, owners)
	} else {
		h, err = f.head.OpenNewer(set, time.Now())
	}
	if err != nil {
		return err
	}
	f.head = h
	if f.set, err = h.Set.Encode(); err != nil {
		return err
	}
	s := f.statement
	s.Seq++
	s.Head, s.Policy, s.Roots = verdict.HeadRef{Counter: h.Counter, Digest: h.Digest}, h.Policy, h.Roots
	s.NotBefore, s.NotAfter = time.Now().Add(-time.Minute).Unix(), time.Now().Add(20*time.Hour).Unix()
	if f.change.statement != nil {
		f.change.statement(&s)
	}
	if f.raw, err = s.Encode(); err != nil {
		return err
	}
	f.statement = s
	if len(f.shard.leaves) == 0 {
		collection := f.evidence(nil)
		leaf := verdict.Leaf{Kind: verdict.LeafStatement, Time: time.Now()}
		leaf.Object, leaf.Statement, leaf.Policy = sha256.Sum256(collection), sha256.Sum256(f.raw), digestBytes(s.Policy)
		if f.change.leaf != nil {
			f.change.leaf(&leaf)
		}
		f.shard.append(leaf, collection)
	}
	for c := range f.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	return nil
}

// evidence makes a collection. The caller holds mu.
func (f *fake) evidence(nonces []byte) []byte {
	f.snp.Statement, f.snp.Nonces = f.raw, nonces
	return f.snp.Bytes(f.t)
}

func digestBytes(d verdict.Digest) [32]byte { b, _ := d.Bytes(); return b }

// start listens, on the same port as before after a stop.
func (f *fake) start() {
	f.t.Helper()
	address := f.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	var config net.ListenConfig
	l, err := config.Listen(f.t.Context(), "tcp", address)
	check(f.t, err)
	f.address = l.Addr().String()
	f.served.Go(func() { _ = f.server.Serve(l) })
	f.t.Cleanup(f.stop)
}

func (f *fake) stop() {
	f.server.Stop()
	f.served.Wait()
}

func (f *fake) with(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fake) GetStatement(_ context.Context, q *assayv1.GetStatementRequest) (*assayv1.GetStatementResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	nonce := q.GetNonce()
	if f.change.nonce != nil {
		nonce = f.change.nonce(nonce)
	}
	collection := f.evidence(nonce)
	if f.change.collection != nil {
		collection = f.change.collection(collection)
	}
	return &assayv1.GetStatementResponse{Collection: collection, HeadCounter: f.head.Counter, NewerHead: f.news(q.GetHeadCounter())}, nil
}

// news is the head set where the caller has an older one. The caller holds mu.
func (f *fake) news(counter uint64) []byte {
	if counter >= f.head.Counter || f.change.noNews {
		return nil
	}
	return f.set
}

func (f *fake) GetHead(context.Context, *assayv1.GetHeadRequest) (*assayv1.GetHeadResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &assayv1.GetHeadResponse{HeadCounter: f.head.Counter, HeadSet: f.set}, nil
}

func (f *fake) PutHead(stream assayv1.AssayService_PutHeadServer) error {
	f.with(func(f *fake) { f.puts++ })
	r := assayv1.HeadReader{Limit: verdict.MaxHeadSet}
	for {
		q, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = r.Add(q)
		}
		if err != nil {
			return err
		}
	}
	set, err := verdict.ParseHeadSet(r.Bytes())
	if err != nil {
		return err
	}
	if err := f.load(set, verdict.Owners{}); err != nil {
		return err
	}
	return stream.SendAndClose(&assayv1.PutHeadResponse{HeadCounter: f.statement.Head.Counter})
}

func (f *fake) WatchStatus(stream assayv1.AssayService_WatchStatusServer) error {
	news := make(chan struct{}, 1)
	f.with(func(f *fake) { f.watchers[news] = true })
	defer f.with(func(f *fake) { delete(f.watchers, news) })
	requests := make(chan *assayv1.WatchStatusRequest)
	go func() {
		defer close(requests)
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- m:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	var last *assayv1.WatchStatusRequest
	for {
		changed := false
		select {
		case m, ok := <-requests:
			if !ok {
				return nil
			}
			last = m
		case <-news:
			changed = true
		}
		if last == nil {
			continue
		}
		f.mu.Lock()
		checkpoint, err := f.shard.checkpoint()
		if err != nil {
			f.mu.Unlock()
			return err
		}
		s := verdict.Status{
			Iss: f.id, Stmt: verdict.SHA256(f.raw), Iat: time.Now().Unix(), Nonce: hex.EncodeToString(last.GetNonce()),
			Head: verdict.HeadRef{Counter: f.head.Counter, Digest: f.head.Digest}, Checkpoint: string(checkpoint),
		}
		for _, d := range f.head.Docs {
			s.Deny = append(s.Deny, verdict.DenyMark{Owner: d.Owner, Counter: d.Counter})
		}
		if f.change.status != nil {
			f.change.status(&s)
		}
		token, err := verdict.SignStatus(s, f.ticket)
		out := &assayv1.WatchStatusResponse{Status: token, NewerHead: f.news(last.GetHeadCounter())}
		if changed && !f.change.noNews {
			out.NewerHead = f.set
		}
		f.mu.Unlock()
		if err == nil {
			err = stream.Send(out)
		}
		if err != nil {
			return err
		}
	}
}

func (f *fake) Verify(ctx context.Context, q *assayv1.VerifyRequest) (*assayv1.VerifyResponse, error) {
	f.mu.Lock()
	hang := f.change.hang
	f.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	info, ok := peer.FromContext(ctx)
	if !ok {
		return nil, errors.New("no peer")
	}
	tlsInfo, ok := info.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil, errors.New("no TLS")
	}
	who, err := spiffe.PeerFromTLS(tlsInfo.State, f.roles)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d := verdict.Digest(q.GetDigest())
	f.verified[d]++
	outcome, code := verdict.OutcomePass, verdict.Code("")
	if f.change.decide != nil {
		if outcome, code, err = f.change.decide(q.GetRepository(), d); err != nil {
			return nil, err
		}
	}
	life := f.life
	if outcome == verdict.OutcomeFail {
		life = time.Minute
	}
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return nil, err
	}
	core := verdict.SHA256(salt)
	leaf := verdict.Leaf{Kind: verdict.LeafVerdict, Time: time.Now(), Object: digestBytes(core), Policy: digestBytes(f.head.Policy), Statement: sha256.Sum256(f.raw), Result: verdict.ResultFailed}
	if outcome == verdict.OutcomePass {
		leaf.Result = verdict.ResultPassed
	}
	if f.change.leaf != nil {
		f.change.leaf(&leaf)
	}
	now := time.Now()
	t := verdict.Ticket{
		Iss: f.id, Stmt: verdict.SHA256(f.raw), Aud: who.ID, Cluster: who.Cluster, Repo: q.GetRepository(), Sub: d, Res: map[string]verdict.Outcome{"*": outcome}, Code: code,
		Iat: now.Unix(), Nbf: now.Unix(), Exp: now.Add(life).Unix(), Jti: hex.EncodeToString(salt), Head: f.head.Counter, Policy: f.head.Policy,
		Deny: verdict.DenyDigest(f.head.ActiveDocs(now)), Core: core, By: f.verdict.Kid(), Log: &verdict.TicketLog{Origin: f.shard.origin, Index: f.shard.append(leaf, salt)},
	}
	if f.change.ticket != nil {
		f.change.ticket(&t)
	}
	token, err := verdict.SignTicket(t, f.ticket)
	if err != nil {
		return nil, err
	}
	return &assayv1.VerifyResponse{HeadCounter: f.head.Counter, Ticket: token, NewerHead: f.news(q.GetHeadCounter())}, nil
}

func (f *fake) VerifyBatch(stream assayv1.AssayService_VerifyBatchServer) error {
	f.with(func(f *fake) { f.batches++ })
	for {
		q, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out, err := f.Verify(stream.Context(), q.GetRequest())
		if err != nil {
			out = &assayv1.VerifyResponse{Reasons: []*assayv1.Reason{assayv1.ReasonOf(err)}}
		}
		id := q.GetId()
		f.with(func(f *fake) {
			if f.change.id != nil {
				id = f.change.id(id)
			}
		})
		if err := stream.Send(&assayv1.VerifyBatchResponse{Id: id, Response: out}); err != nil {
			return err
		}
	}
}

func (f *fake) GetProof(_ context.Context, q *assayv1.GetProofRequest) (*assayv1.GetProofResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := int(q.GetIndex())
	if q.GetOrigin() != f.shard.origin || i >= len(f.shard.leaves) || f.change.noProof && i > 0 {
		return nil, verdict.Refuse(verdict.LogMissing, "no such leaf")
	}
	checkpoint, err := f.shard.checkpoint()
	if err != nil {
		return nil, err
	}
	p := proof.TLogProof{Index: q.GetIndex(), Hashes: path(i, f.shard.leaves), Checkpoint: checkpoint}
	out := &assayv1.GetProofResponse{Proof: p.Marshal(), Leaf: f.shard.leaves[i], Object: f.shard.objects[i]}
	if f.change.proof != nil {
		f.change.proof(out)
	}
	return out, nil
}

func (f *fake) ReportException(_ context.Context, q *assayv1.ReportExceptionRequest) (*assayv1.ReportExceptionResponse, error) {
	f.with(func(f *fake) { f.reported = append(f.reported, q) })
	return &assayv1.ReportExceptionResponse{Log: &assayv1.LogPosition{Origin: f.shard.origin, Index: 1}}, nil
}
