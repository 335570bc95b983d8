// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/node/agent"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/spiffe/spiffetest"
	"github.com/assayd/assay/verdict"
)

const (
	nodeID     = "spiffe://dev.assay.invalid/assay/node/dev/node-a"
	repository = "registry.example:5000/team/app"
	name       = repository + ":v1"
)

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

func image(text string) verdict.Digest { return verdict.SHA256([]byte(text)) }

// A world is one owner, one trust domain and one node, with as many daemons as a test
// starts.
type world struct {
	t         testing.TB
	authority *spiffetest.Authority
	api       *spiffetest.API // the node's
	owner     *verdict.Key
	refs      verdict.References
	grace     int64
	notAfter  int64 // of every head
	docs      [][]byte
	config    trust.Config
	dir       string
	log       *logs
	running   bool
	cancel    context.CancelFunc
	done      chan error
}

// logs collects what an agent logs.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, authority: spiffetest.NewAuthority(t, "dev.assay.invalid"), owner: key(t, verdict.UseOwner), dir: t.TempDir(), log: &logs{}, notAfter: time.Now().Add(100 * time.Hour).Unix()}
	check(t, os.Chmod(w.dir, 0o700))
	// Unix sockets have short paths.
	short, err := os.MkdirTemp("", "an")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(short)) })
	w.api = spiffetest.Start(t, w.authority.SVID(t, nodeID))
	pem, err := w.owner.JWK().PEM()
	check(t, err)
	w.config = trust.Config{
		Profile: verdict.Development, Node: nodeID, Cluster: "dev", Issuers: []string{"spiffe://dev.assay.invalid/assay/d/dev/*"},
		WorkloadAPI: "unix://" + w.api.Socket(), Owners: trust.Owners{Threshold: 1, Keys: []string{string(pem)}}, MinHead: 1,
		TEE: trust.TEE{Kinds: []string{verdict.KindSimulatedSNP}}, Quorum: 1, Mode: gate.Enforce, Offline: gate.OfflineLastKnown,
		StatusAge: 2 * time.Minute, StatusInterval: 300 * time.Millisecond, MaxOffline: 8 * time.Hour, Deadline: 4 * time.Second,
		StateDir: filepath.Join(w.dir, "state"), Socket: filepath.Join(short, "agent.sock"), AgentUID: uint32(os.Geteuid()), AllowUnwitnessed: true,
	}
	t.Cleanup(w.stop)
	return w
}

func (w *world) source(svid spiffetest.SVID) *spiffe.Source {
	w.t.Helper()
	return spiffetest.Start(w.t, svid).Open(w.t)
}

// daemon starts a daemon with head 3 that the node accepts.
func (w *world) daemon(name string) *fake {
	w.t.Helper()
	f := w.prepare(name)
	check(w.t, f.load(w.set(3), w.owners()))
	f.start()
	w.config.Daemons = append(w.config.Daemons, f.address)
	return f
}

// prepare makes a daemon that the references and trust.yaml know, not started.
func (w *world) prepare(name string) *fake {
	w.t.Helper()
	f := newFake(w.t, w, name)
	in := f.snp.Input(w.t)
	if w.refs.V == 0 {
		w.refs = in.References
		w.refs.Entries[0].NotBefore, w.refs.Entries[0].NotAfter = 1, time.Now().Add(1000*time.Hour).Unix()
	}
	w.config.TEE.SimulatorRoots = append(w.config.TEE.SimulatorRoots, f.root())
	return f
}

func (w *world) owners() verdict.Owners {
	return verdict.Owners{V: 1, Threshold: 1, Keys: []verdict.JWK{w.owner.JWK()}}
}

// set signs a head.
func (w *world) set(counter uint64) verdict.HeadSet {
	w.t.Helper()
	owners, err := w.owners().Encode()
	check(w.t, err)
	refs, err := w.refs.Encode()
	check(w.t, err)
	denied, err := verdict.DenyList{}.Encode()
	check(w.t, err)
	policy, roots := []byte("policy of the test"), []byte("roots of the test")
	h := verdict.Head{
		Counter: counter, Grace: w.grace, NotAfter: w.notAfter, Policy: verdict.SHA256(policy), Roots: verdict.SHA256(roots),
		Owners: verdict.SHA256(owners), References: verdict.SHA256(refs), Deny: verdict.SHA256(denied),
	}
	signed, err := verdict.SignHead(h, w.owner)
	check(w.t, err)
	return verdict.HeadSet{V: 1, Head: signed, Files: [][]byte{owners, refs, denied, policy, roots}, Deny: w.docs}
}

// deny signs a deny document, which the next sets carry.
func (w *world) deny(list verdict.DenyList) {
	w.t.Helper()
	d, err := verdict.SignDeny(verdict.DenyDocument{
		Counter: uint64(len(w.docs) + 1), Iat: time.Now().Unix(), NotAfter: time.Now().Add(time.Hour).Unix(), Entries: list,
	}, w.owner)
	check(w.t, err)
	w.docs = append(w.docs, d)
}

// start runs the agent.
func (w *world) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.done, w.running = cancel, make(chan error, 1), true
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() { w.done <- agent.Run(ctx, w.config, log) }()
	w.eventually("the socket", func() bool {
		select {
		case err := <-w.done:
			w.t.Fatalf("agent ended: %v\n%s", err, w.log)
		default:
		}
		_, err := os.Stat(w.config.Socket)
		return err == nil && strings.Contains(w.log.String(), "serving gates")
	})
}

// stop ends the agent and waits for it.
func (w *world) stop() {
	if !w.running {
		return
	}
	w.running = false
	w.cancel()
	select {
	case err := <-w.done:
		if err != nil {
			w.t.Errorf("agent ended with %v", err)
		}
	case <-time.After(time.Minute):
		w.t.Errorf("agent did not end\n%s", w.log)
	}
}

// eventually waits for what an agent does in the background.
func (w *world) eventually(what string, done func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain for %s\n%s", what, w.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// logged waits for a line of the log with all words.
func (w *world) logged(words ...string) {
	w.t.Helper()
	w.eventually("a line with "+strings.Join(words, ", "), func() bool {
		for line := range strings.Lines(w.log.String()) {
			all := true
			for _, word := range words {
				all = all && strings.Contains(line, word)
			}
			if all {
				return true
			}
		}
		return false
	})
}

// gate decides as assay-gate does.
func (w *world) gate(d verdict.Digest) gate.Decision { return w.gateAt(d, time.Now()) }

func (w *world) gateAt(d verdict.Digest, at time.Time) gate.Decision {
	w.t.Helper()
	c, err := w.config.Gate()
	check(w.t, err)
	g, err := gate.New(c)
	check(w.t, err)
	return g.Decide(w.t.Context(), gate.Query{Name: name, Digest: string(d), MediaType: gate.DescriptorType, Descriptor: []byte(`{"digest":"` + string(d) + `"}`)}, at)
}

// want asserts a decision: a code, or none for a pass.
func (w *world) want(d gate.Decision, code verdict.Code) {
	w.t.Helper()
	got := verdict.CodeOf(d.Err)
	if d.Allowed() {
		got = d.Note.Code
	}
	if d.Allowed() != (code == "") || got != code {
		w.t.Fatalf("got allowed %t, %s; want %q\n%s", d.Allowed(), d.Line(), code, w.log)
	}
}

// a digest that stands for the config of attesttest, so that a changed one differs.
var otherConfig = attesttest.Digest("another config")
