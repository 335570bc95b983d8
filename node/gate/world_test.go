// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// at is when the tests happen, by the node's clock.
var at = time.Unix(1_800_000_000, 0)

const (
	node       = "spiffe://dev.assay.invalid/assay/node/dev/node-a"
	repository = "registry.example:5000/team/app"
	name       = repository + ":v1"
)

var (
	image       = verdict.SHA256([]byte("index"))
	manifest    = verdict.SHA256([]byte("manifest"))
	measurement = hex.EncodeToString(make([]byte, 48))
	configFile  = verdict.SHA256([]byte("assayd.yaml"))
)

// A daemon is an accepted issuer with its keys.
type daemon struct {
	issuer          verdict.Issuer
	ticket, verdict *verdict.Key
}

// A world is a node with an owner, a head and a daemon, all good. A test changes one
// thing in it.
type world struct {
	t      testing.TB
	owner  *verdict.Key
	head   verdict.Head
	deny   [][]byte
	refs   verdict.References
	daemon *daemon
	config gate.Config
	marks  gate.Marks
	answer gate.Answer
	dir    string
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func key(t testing.TB, use string) *verdict.Key {
	t.Helper()
	k, err := verdict.GenerateKey(use)
	check(t, err)
	return k
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, owner: key(t, verdict.UseOwner), dir: t.TempDir()}
	check(t, os.Chmod(w.dir, 0o700))
	w.refs = verdict.References{V: 1, Entries: []verdict.ReferenceEntry{{
		Name: "assayd", Kind: verdict.KindSimulatedSNP, Measurement: measurement, Configs: []verdict.Digest{configFile}, Flavours: verdict.Flavours,
		Events: "none", Profile: verdict.Development, NotBefore: 1, NotAfter: at.Add(1000 * time.Hour).Unix(),
	}}}
	w.head = verdict.Head{Counter: 7, Grace: 60, NotAfter: at.Add(240 * time.Hour).Unix(), Policy: verdict.SHA256([]byte("policy")), Roots: verdict.SHA256([]byte("roots"))}
	w.daemon = w.newDaemon()
	w.config = gate.Config{
		V: 1, Profile: verdict.Development, Node: node, Cluster: "dev", Socket: filepath.Join(w.dir, "agent.sock"), State: w.dir,
		Owners: verdict.Owners{V: 1, Threshold: 1, Keys: []verdict.JWK{w.owner.JWK()}}, MinHead: 1, Quorum: 1,
		StatusAge: gate.Duration(gate.DefaultStatusAge), Offline: gate.OfflineLastKnown, MaxOffline: gate.Duration(gate.DefaultMaxOffline),
		AgentUID: uint32(os.Geteuid()), Mode: gate.Enforce, Deadline: gate.Duration(2 * time.Second), AllowUnwitnessed: true,
	}
	w.answer = gate.Answer{Tickets: []string{w.ticket(w.daemon, nil)}, Statements: []verdict.Issuer{w.daemon.issuer}, Status: w.status(w.daemon, nil)}
	return w
}

func (w *world) newDaemon() *daemon {
	w.t.Helper()
	d := &daemon{ticket: key(w.t, verdict.UseTicket), verdict: key(w.t, verdict.UseVerdict)}
	boot := make([]byte, 16)
	_, err := rand.Read(boot)
	check(w.t, err)
	s := verdict.Statement{
		V: 1, Issuer: "spiffe://dev.assay.invalid/assay/d/dev/assayd", Boot: hex.EncodeToString(boot), Seq: 1,
		Build:  verdict.Build{Version: "1", Crypto: verdict.Crypto{Module: "go", Version: "1"}},
		Config: configFile, Policy: w.head.Policy, Roots: w.head.Roots, Head: verdict.HeadRef{Counter: 7, Digest: verdict.SHA256(nil)},
		Keys: []verdict.JWK{d.ticket.JWK(), d.verdict.JWK()}, Log: verdict.LogRef{Origin: "log.example/" + hex.EncodeToString(boot)},
		NotBefore: at.Add(-time.Hour).Unix(), NotAfter: at.Add(20 * time.Hour).Unix(),
	}
	s.Log.Keys = []string{vkey(w.t, s.Log.Origin)}
	d.set(w.t, s)
	return d
}

// set gives the daemon another statement.
func (d *daemon) set(t testing.TB, s verdict.Statement) {
	t.Helper()
	data, err := s.Encode()
	check(t, err)
	d.issuer = verdict.Issuer{Digest: verdict.SHA256(data), Statement: s, Kind: verdict.KindSimulatedSNP, Measurement: measurement}
}

// vkey makes a verifier key of type 0x02 (c2sp.org/signed-note).
func vkey(t testing.TB, origin string) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	check(t, err)
	id := sha256.Sum256(spki)
	return origin + "+" + hex.EncodeToString(id[:4]) + "+" + base64.StdEncoding.EncodeToString(append([]byte{2}, spki...))
}

// ticket makes a good ticket of d after change.
func (w *world) ticket(d *daemon, change func(*verdict.Ticket)) string {
	w.t.Helper()
	jti := make([]byte, 16)
	_, err := rand.Read(jti)
	check(w.t, err)
	t := verdict.Ticket{
		Iss: d.issuer.Statement.Issuer, Stmt: d.issuer.Digest, Aud: node, Cluster: "dev", Repo: repository, Sub: image,
		Dig: verdict.TicketDigests{Index: image, Manifest: manifest}, Res: map[string]verdict.Outcome{"*": verdict.OutcomePass},
		Iat: at.Add(-time.Minute).Unix(), Nbf: at.Add(-time.Minute).Unix(), Exp: at.Add(10 * time.Hour).Unix(), Jti: hex.EncodeToString(jti),
		Head: w.head.Counter, Deny: verdict.DenyDigest(nil), Policy: w.head.Policy, Core: verdict.SHA256([]byte("core")), By: d.verdict.Kid(),
		Log: &verdict.TicketLog{Origin: d.issuer.Statement.Log.Origin, Index: 3},
	}
	if change != nil {
		change(&t)
	}
	token, err := verdict.SignTicket(t, d.ticket)
	check(w.t, err)
	return token
}

func (w *world) status(d *daemon, change func(*verdict.Status)) string {
	w.t.Helper()
	s := verdict.Status{
		Iss: d.issuer.Statement.Issuer, Stmt: d.issuer.Digest, Iat: at.Add(-10 * time.Second).Unix(), Nonce: hex.EncodeToString(make([]byte, 16)),
		Head: verdict.HeadRef{Counter: w.head.Counter, Digest: w.open().Digest},
	}
	if change != nil {
		change(&s)
	}
	token, err := verdict.SignStatus(s, d.ticket)
	check(w.t, err)
	return token
}

// set builds the head set that the owners signed.
func (w *world) set() verdict.HeadSet {
	w.t.Helper()
	owners, err := verdict.Owners{V: 1, Threshold: 1, Keys: []verdict.JWK{w.owner.JWK()}}.Encode()
	check(w.t, err)
	refs, err := w.refs.Encode()
	check(w.t, err)
	denied, err := verdict.DenyList{}.Encode()
	check(w.t, err)
	h := w.head
	h.Owners, h.References, h.Deny = verdict.SHA256(owners), verdict.SHA256(refs), verdict.SHA256(denied)
	signed, err := verdict.SignHead(h, w.owner)
	check(w.t, err)
	return verdict.HeadSet{V: 1, Head: signed, Files: [][]byte{owners, refs, denied}, Deny: w.deny}
}

func (w *world) open() verdict.CheckedHead {
	w.t.Helper()
	h, err := verdict.OpenHead(w.set(), w.config0())
	check(w.t, err)
	return h
}

func (w *world) config0() verdict.Owners {
	return verdict.Owners{V: 1, Threshold: 1, Keys: []verdict.JWK{w.owner.JWK()}}
}

// document signs a deny document.
func (w *world) document(list verdict.DenyList) []byte {
	w.t.Helper()
	d, err := verdict.SignDeny(verdict.DenyDocument{Counter: 1, Iat: at.Add(-time.Second).Unix(), NotAfter: at.Add(time.Hour).Unix(), Entries: list}, w.owner)
	check(w.t, err)
	return d
}

func (w *world) exception(change func(*verdict.Exception)) []byte {
	w.t.Helper()
	e := verdict.Exception{
		Cluster: "dev", Digests: []verdict.Digest{image}, ID: "x-1", Owner: "on call", Reason: "registry is down",
		NotBefore: at.Add(-time.Hour).Unix(), NotAfter: at.Add(time.Hour).Unix(),
	}
	if change != nil {
		change(&e)
	}
	data, err := verdict.SignException(e, w.owner)
	check(w.t, err)
	return data
}

func (w *world) file(name string, data []byte) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	check(w.t, os.MkdirAll(filepath.Dir(path), 0o700))
	check(w.t, os.WriteFile(path, data, 0o600))
}

func (w *world) json(name string, v any) {
	w.t.Helper()
	data, err := json.Marshal(v)
	check(w.t, err)
	w.file(name, data)
}

// write fills the state folder as an agent leaves it.
func (w *world) write() {
	w.t.Helper()
	set, err := w.set().Encode()
	check(w.t, err)
	w.file(gate.HeadFile, set)
	w.marks.V = 1
	w.json(gate.MarksFile, w.marks)
	accepted := gate.Issuers{V: 1}
	for _, i := range w.answer.Statements {
		accepted.Issuers = append(accepted.Issuers, gate.AcceptedIssuer{Issuer: i})
	}
	w.json(gate.IssuersFile, accepted)
	w.json(gate.StatusFile, gate.StatusRecord{V: 1, Status: w.answer.Status})
	record := gate.ImageRecord{V: 1, Repository: repository, Digest: image, Tickets: w.answer.Tickets}
	if w.answer.Known != 0 {
		record.Known = map[string]int64{"": w.answer.Known}
	}
	w.json(filepath.Join(gate.ImagesDir, gate.ImageKey(repository, image)+".json"), record)
}

// serve answers with raw bytes on the agent's socket until the test ends: with the next
// ones each time, and from then on with the last. It counts the questions.
func (w *world) serve(answers ...[]byte) (asked *atomic.Int32) {
	w.t.Helper()
	asked = new(atomic.Int32)
	var config net.ListenConfig
	l, err := config.Listen(w.t.Context(), "unix", w.config.Socket)
	check(w.t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := gate.ReadRequest(conn); err == nil {
				n := int(asked.Add(1))
				_, _ = conn.Write(answers[min(n, len(answers))-1])
			}
			_ = conn.Close()
		}
	})
	w.t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return asked
}

// agent serves the world's answer.
func (w *world) agent() {
	w.t.Helper()
	var buf bytes.Buffer
	check(w.t, gate.WriteAnswer(&buf, w.answer))
	w.serve(buf.Bytes())
}

// silent accepts connections and never answers.
func (w *world) silent() {
	w.t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(w.t.Context(), "unix", w.config.Socket)
	check(w.t, err)
	w.t.Cleanup(func() { _ = l.Close() })
}

func frame(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func query() gate.Query {
	return gate.Query{
		Name: name, Digest: string(image), MediaType: gate.DescriptorType,
		Descriptor: []byte(`{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"` + string(image) + `","size":123}` + "\n"),
	}
}

func (w *world) decide(q gate.Query, at time.Time) gate.Decision {
	w.t.Helper()
	g, err := gate.New(w.config)
	check(w.t, err)
	return g.Decide(w.t.Context(), q, at)
}

// code is what a decision says: the code of its refusal or note.
func code(d gate.Decision) verdict.Code {
	if d.Allowed() {
		return d.Note.Code
	}
	return verdict.CodeOf(d.Err)
}
