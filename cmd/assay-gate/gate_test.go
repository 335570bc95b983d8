// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// binary is the gate as `make build` makes it, built once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "assay-gate")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "assay-gate")
	out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=test", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

// TestMain builds first: what the tests sign must not grow old meanwhile.
func TestMain(m *testing.M) {
	path, err := binary()
	if err != nil {
		panic(err)
	}
	status := m.Run()
	_ = os.RemoveAll(filepath.Dir(path))
	os.Exit(status)
}

const (
	nodeID     = "spiffe://dev.assay.invalid/assay/node/dev/node-a"
	repository = "registry.example:5000/team/app"
)

var (
	image       = verdict.SHA256([]byte("index"))
	descriptor  = `{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"` + string(image) + `","size":7}` + "\n"
	measurement = strings.Repeat("ab", 48)
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A node is a folder with what a gate needs, and an agent that answers.
type node struct {
	t      testing.TB
	dir    string
	config gate.Config
	ticket *verdict.Key
	claims verdict.Ticket
	answer gate.Answer
	listen net.Listener
}

func newNode(t testing.TB) *node {
	t.Helper()
	now := time.Now()
	dir, err := os.MkdirTemp("", "ag") // a socket's path is short
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	owner, err := verdict.GenerateKey(verdict.UseOwner)
	check(t, err)
	signer, err := verdict.GenerateKey(verdict.UseTicket)
	check(t, err)
	decider, err := verdict.GenerateKey(verdict.UseVerdict)
	check(t, err)

	owners := verdict.Owners{V: 1, Threshold: 1, Keys: []verdict.JWK{owner.JWK()}}
	ownersFile, err := owners.Encode()
	check(t, err)
	config := verdict.SHA256([]byte("assayd.yaml"))
	refs, err := verdict.References{V: 1, Entries: []verdict.ReferenceEntry{{
		Name: "assayd", Kind: verdict.KindSimulatedSNP, Measurement: measurement, Configs: []verdict.Digest{config}, Flavours: verdict.Flavours,
		Events: "none", Profile: verdict.Development, NotBefore: 1, NotAfter: now.Add(time.Hour).Unix(),
	}}}.Encode()
	check(t, err)
	denied, err := verdict.DenyList{}.Encode()
	check(t, err)
	head := verdict.Head{
		Counter: 1, NotAfter: now.Add(24 * time.Hour).Unix(), Policy: verdict.SHA256([]byte("policy")), Roots: verdict.SHA256([]byte("roots")),
		Owners: verdict.SHA256(ownersFile), References: verdict.SHA256(refs), Deny: verdict.SHA256(denied),
	}
	signed, err := verdict.SignHead(head, owner)
	check(t, err)
	set := verdict.HeadSet{V: 1, Head: signed, Files: [][]byte{ownersFile, refs, denied}}
	opened, err := verdict.OpenHead(set, owners)
	check(t, err)
	data, err := set.Encode()
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, gate.HeadFile), data, 0o600))

	boot := strings.Repeat("01", 16)
	statement := verdict.Statement{
		V: 1, Issuer: "spiffe://dev.assay.invalid/assay/d/dev/assayd", Boot: boot, Seq: 1,
		Build:  verdict.Build{Version: "1", Crypto: verdict.Crypto{Module: "go", Version: "1"}},
		Config: config, Policy: head.Policy, Roots: head.Roots, Head: verdict.HeadRef{Counter: 1, Digest: opened.Digest},
		Keys: []verdict.JWK{signer.JWK(), decider.JWK()}, Log: verdict.LogRef{Origin: "log.example/1", Keys: []string{vkey(t, "log.example/1")}},
		NotBefore: now.Add(-time.Hour).Unix(), NotAfter: now.Add(20 * time.Hour).Unix(),
	}
	raw, err := statement.Encode()
	check(t, err)
	n := &node{t: t, dir: dir, ticket: signer}
	n.config = gate.Config{
		V: 1, Profile: verdict.Development, Node: nodeID, Cluster: "dev", Socket: filepath.Join(dir, "agent.sock"), State: dir, Owners: owners,
		MinHead: 1, Quorum: 1, StatusAge: gate.Duration(time.Minute), Offline: gate.OfflineLastKnown, MaxOffline: gate.Duration(time.Hour),
		AgentUID: uint32(os.Geteuid()), Mode: gate.Enforce, Deadline: gate.Duration(3 * time.Second), AllowUnwitnessed: true,
	}
	n.claims = verdict.Ticket{
		Iss: statement.Issuer, Stmt: verdict.SHA256(raw), Aud: nodeID, Cluster: "dev", Repo: repository, Sub: image,
		Res: map[string]verdict.Outcome{"*": verdict.OutcomePass}, Iat: now.Unix(), Nbf: now.Unix(), Exp: now.Add(time.Hour).Unix(), Jti: boot,
		Head: 1, Deny: verdict.DenyDigest(nil), Policy: head.Policy, Core: verdict.SHA256([]byte("core")), By: decider.Kid(),
		Log: &verdict.TicketLog{Origin: "log.example/1", Index: 1},
	}
	n.answer.Statements = []verdict.Issuer{{Digest: verdict.SHA256(raw), Statement: statement, Kind: verdict.KindSimulatedSNP, Measurement: measurement}}
	n.answer.Status, err = verdict.SignStatus(verdict.Status{
		Iss: statement.Issuer, Stmt: verdict.SHA256(raw), Iat: now.Unix(), Nonce: boot, Head: verdict.HeadRef{Counter: 1, Digest: opened.Digest},
	}, signer)
	check(t, err)
	n.write()
	return n
}

func vkey(t testing.TB, origin string) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	check(t, err)
	id := sha256.Sum256(spki)
	return origin + "+" + hex.EncodeToString(id[:4]) + "+" + base64.StdEncoding.EncodeToString(append([]byte{2}, spki...))
}

func (n *node) write() {
	n.t.Helper()
	data, err := n.config.Encode()
	check(n.t, err)
	check(n.t, os.WriteFile(filepath.Join(n.dir, "gate.json"), data, 0o600))
}

// agent answers gates with the node's ticket.
func (n *node) agent() {
	n.t.Helper()
	token, err := verdict.SignTicket(n.claims, n.ticket)
	check(n.t, err)
	n.answer.Tickets = []string{token}
	var lc net.ListenConfig
	n.listen, err = lc.Listen(n.t.Context(), "unix", n.config.Socket)
	check(n.t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := n.listen.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				if _, err := gate.ReadRequest(conn); err == nil {
					_ = gate.WriteAnswer(conn, n.answer)
				}
			})
		}
	})
	n.t.Cleanup(func() {
		_ = n.listen.Close()
		serving.Wait()
	})
}

func (n *node) args(more ...string) []string {
	return append([]string{"-config", filepath.Join(n.dir, "gate.json"), "-name", repository + ":v1", "-digest", string(image),
		"-stdin-media-type", gate.DescriptorType}, more...)
}

// run starts the gate as containerd does, and returns its status and line.
func (n *node) run(stdin io.Reader, env []string, args ...string) (int, string) {
	n.t.Helper()
	path, err := binary()
	check(n.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Env = stdin, env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() < 0) {
		n.t.Fatalf("%v: %s", err, stderr.Bytes())
	}
	line := stdout.String()
	if strings.Count(line, "\n") != 1 || len(line) > 1025 {
		n.t.Errorf("got %q on stdout, want one line of at most 1 KiB", line)
	}
	return cmd.ProcessState.ExitCode(), strings.TrimSuffix(line, "\n")
}

func TestProtocol(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*node)
		stdin  string
		args   func([]string) []string
		status int
		line   string
	}{
		{name: "good", line: "pass: "},
		{name: "another node's ticket", change: func(n *node) { n.claims.Aud += "2" }, status: 1, line: "ticket.audience: "},
		{name: "no ticket", change: func(n *node) { n.claims.Sub = verdict.SHA256(nil) }, status: 1, line: "ticket.subject: "},
		{name: "audit", change: func(n *node) { n.claims.Aud += "2"; n.config.Mode = gate.Audit; n.write() }, line: "audit-fail ticket.audience: "},
		{name: "off", change: func(n *node) { n.config.Mode = gate.Off; n.write() }, line: "unchecked policy.off: "},
		{name: "head gone", change: func(n *node) { check(n.t, os.Remove(filepath.Join(n.dir, gate.HeadFile))) }, status: 3, line: "head.missing: "},
		{name: "another descriptor", stdin: `{"digest":"` + string(verdict.SHA256(nil)) + `"}`, status: 1, line: "subject.mismatch: "},
		{name: "no descriptor", stdin: "-", status: 1, line: "input.malformed: "},
		{name: "huge descriptor", stdin: strings.Repeat(" ", 1<<20), status: 1, line: "input.malformed: "},
		{name: "no configuration", change: func(n *node) { check(n.t, os.Remove(filepath.Join(n.dir, "gate.json"))) }, status: 2, line: "misuse: "},
		{name: "configuration of everyone", change: func(n *node) { check(n.t, os.Chmod(filepath.Join(n.dir, "gate.json"), 0o666)) }, status: 2, line: "misuse: "},
		{name: "relative configuration", args: func(a []string) []string { a[1] = "gate.json"; return a }, status: 2, line: "misuse: "},
		{name: "unknown flag", args: func(a []string) []string { return append(a, "-force") }, status: 2, line: "misuse: "},
		{name: "argument", args: func(a []string) []string { return append(a, "yes") }, status: 2, line: "misuse: "},
		{name: "no name", args: func(a []string) []string { return a[:2] }, status: 2, line: "misuse: "},
		{name: "version", args: func([]string) []string { return []string{"-version"} }, line: "assay-gate test, crypto "},
		{name: "line feeds in the name", args: func(a []string) []string { a[3] = "a\nb\npass: yes"; return a }, status: 1, line: "input.malformed: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t)
			if test.change != nil {
				test.change(n)
			}
			n.agent()
			stdin, args := test.stdin, n.args()
			if stdin == "" {
				stdin = descriptor
			}
			if test.args != nil {
				args = test.args(args)
			}
			status, line := n.run(strings.NewReader(strings.TrimPrefix(stdin, "-")), nil, args...)
			if status != test.status || !strings.HasPrefix(line, test.line) {
				t.Errorf("got %d, %q; want %d, %q", status, line, test.status, test.line)
			}
		})
	}
}

// The environment is containerd's, and nobody's business here. (GODEBUG=fips140=off
// is not in the list: a FIPS build refuses to run under it, which denies.)
func TestEnvironmentChangesNothing(t *testing.T) {
	hostile := []string{
		"GODEBUG=tlsmaxrsasize=1,x509sha1=1,rsa1024min=0,panicnil=1,gctrace=1,netdns=cgo,execerrdot=0", "GOGC=1", "GOMAXPROCS=1", "GOMEMLIMIT=1",
		"GOTRACEBACK=crash", "GORACE=exitcode=0", "GOCOVERDIR=/nonexistent", "LD_PRELOAD=/nonexistent/evil.so", "LD_LIBRARY_PATH=/nonexistent",
		"SSL_CERT_FILE=/nonexistent", "SSL_CERT_DIR=/nonexistent", "HOME=/nonexistent", "TMPDIR=/nonexistent", "PATH=", "TZ=:/etc/passwd",
		"HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1", "ALL_PROXY=socks5://127.0.0.1:1", "SPIFFE_ENDPOINT_SOCKET=unix:///nonexistent",
		"DOCKER_CONFIG=/nonexistent", "ASSAY_MODE=off", "ASSAY_CONFIG=/nonexistent", "XDG_CONFIG_HOME=/nonexistent",
	}
	for _, test := range []struct {
		name   string
		change func(*node)
	}{
		{"pass", func(*node) {}},
		{"denial", func(n *node) { n.claims.Aud += "2" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t)
			test.change(n)
			n.agent()
			wantStatus, wantLine := n.run(strings.NewReader(descriptor), []string{}, n.args()...)
			status, line := n.run(strings.NewReader(descriptor), hostile, n.args()...)
			if status != wantStatus || line != wantLine {
				t.Errorf("got %d, %q; without the environment %d, %q", status, line, wantStatus, wantLine)
			}
		})
	}
}

// A descriptor that never ends, and an agent that never answers, cost the deadline
// and no more.
func TestDeadline(t *testing.T) {
	t.Run("stdin", func(t *testing.T) {
		n := newNode(t)
		n.config.Deadline = gate.Duration(500 * time.Millisecond)
		n.write()
		n.agent()
		r, w, err := os.Pipe()
		check(t, err)
		defer func() { check(t, errors.Join(r.Close(), w.Close())) }()
		begin := time.Now()
		status, line := n.run(r, nil, n.args()...)
		if took := time.Since(begin); status != 3 || !strings.HasPrefix(line, "input.limit: ") || took > 5*time.Second {
			t.Errorf("got %d, %q after %s", status, line, took)
		}
	})
	t.Run("agent", func(t *testing.T) {
		n := newNode(t)
		n.config.Deadline = gate.Duration(800 * time.Millisecond)
		n.write()
		var lc net.ListenConfig
		l, err := lc.Listen(t.Context(), "unix", n.config.Socket)
		check(t, err)
		defer func() { check(t, l.Close()) }()
		begin := time.Now()
		status, line := n.run(strings.NewReader(descriptor), nil, n.args()...)
		if took := time.Since(begin); status == 0 || took > 5*time.Second {
			t.Errorf("got %d, %q after %s", status, line, took)
		}
	})
}

// BenchmarkGate is a pull as containerd sees it: process start to exit with a warm
// agent. The budget is 10 ms, median.
func BenchmarkGate(b *testing.B) {
	n := newNode(b)
	n.agent()
	path, err := binary()
	check(b, err)
	var times []time.Duration
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), path, n.args()...)
		cmd.Stdin = strings.NewReader(descriptor)
		begin := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2]), "median-ns")
}
