// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/assayd/assay/enclave/simsnp"
	"github.com/assayd/assay/spiffe/spiffetest"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// BenchmarkIdle reports the resident memory of an assayd that serves and is
// asked nothing, a few seconds after its start.
func BenchmarkIdle(b *testing.B) {
	dir := b.TempDir()
	binary := filepath.Join(dir, "assayd")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".").CombinedOutput(); err != nil {
		b.Fatalf("building: %v\n%s", err, out)
	}
	config := idleConfig(b, dir)
	cmd := exec.Command(binary, "--config", config)
	stderr, err := cmd.StderrPipe()
	must(b, err)
	must(b, cmd.Start())
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), `"msg":"serving"`) {
	}
	for b.Loop() {
		time.Sleep(3 * time.Second)
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		must(b, err)
		b.ReportMetric(rss(b, status), "MiB")
	}
	must(b, cmd.Process.Signal(syscall.SIGTERM))
	for lines.Scan() { // until it has closed it
	}
	if err := cmd.Wait(); err != nil {
		b.Errorf("got %v, want an orderly end", err)
	}
}

// rss reads VmRSS out of /proc/PID/status, in MiB.
func rss(tb testing.TB, status []byte) float64 {
	tb.Helper()
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(string(rest)), " kB"), 64)
			must(tb, err)
			return kb / 1024
		}
	}
	tb.Fatal("no VmRSS")
	return 0
}

// idleConfig makes all that a daemon needs to start, and returns the path of
// its configuration.
func idleConfig(tb testing.TB, dir string) string {
	tb.Helper()
	const id = "spiffe://dev.assay.invalid/assay/d/dev/assayd"
	api := spiffetest.Start(tb, spiffetest.NewAuthority(tb, "dev.assay.invalid").SVID(tb, id))
	simulator := filepath.Join(dir, "simulator")
	must(tb, os.Mkdir(simulator, 0o700))
	_, err := simsnp.InitCA(simulator)
	must(tb, err)
	key, err := verdict.GenerateKey(verdict.UseOwner)
	must(tb, err)
	pub, err := key.JWK().PublicKey(verdict.UseOwner)
	must(tb, err)
	der, err := x509.MarshalPKIXPublicKey(pub)
	must(tb, err)
	block := strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	text := strings.NewReplacer(
		"unix:///run/assay.sock", "unix://"+api.Socket(),
		"/var/lib/assay", filepath.Join(dir, "state")+"\nhead: "+filepath.Join(dir, "head.json"),
		"/etc/assay/simulator", simulator,
		owners, "owners:\n  threshold: 1\n  keys:\n    - |\n      "+strings.ReplaceAll(block, "\n", "\n      ")+"\n",
	).Replace(good)
	config := filepath.Join(dir, "assayd.yaml")
	text = flavoured(tb, text)
	must(tb, os.WriteFile(config, []byte(text), 0o600))

	now := time.Now()
	stuff, err := sigstoretest.New(sigstoretest.Config{At: now})
	must(tb, err)
	roots, err := stuff.TrustedRoot()
	must(tb, err)
	policy := []byte("version: 1\nauthorities:\n  release:\n    keyless: {issuer: \"https://issuer.example\", subject: \"https://git.example/app\"}\nrules:\n  - {name: all, repositories: [\"**\"], authorities: [release]}\n")
	ownersFile, err := verdict.Owners{Keys: []verdict.JWK{key.JWK()}, Threshold: 1}.Encode()
	must(tb, err)
	deny, err := verdict.DenyList{V: 1}.Encode()
	must(tb, err)
	references, err := verdict.References{Entries: []verdict.ReferenceEntry{{
		Name: "idle", Kind: verdict.KindSimulatedSNP, Profile: verdict.Development, Events: "none", Flavours: verdict.Flavours,
		Measurement: strings.Repeat("0", 96), Configs: []verdict.Digest{verdict.SHA256([]byte(text))},
		NotBefore: now.Unix(), NotAfter: now.Add(time.Hour).Unix(),
	}}}.Encode()
	must(tb, err)
	head, err := verdict.SignHead(verdict.Head{
		Counter: 1, Deny: verdict.SHA256(deny), Owners: verdict.SHA256(ownersFile), Policy: verdict.SHA256(policy),
		References: verdict.SHA256(references), Roots: verdict.SHA256(roots), NotAfter: now.Add(time.Hour).Unix(),
	}, key)
	must(tb, err)
	set, err := verdict.HeadSet{Head: head, Files: [][]byte{policy, roots, ownersFile, deny, references}}.Encode()
	must(tb, err)
	must(tb, os.WriteFile(filepath.Join(dir, "head.json"), set, 0o600))
	return config
}

// TestServeAndStop starts the command as a person does, and ends it
// as a signal does.
func TestServeAndStop(t *testing.T) {
	config := idleConfig(t, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r, w, err := os.Pipe()
	must(t, err)
	done := make(chan int, 1)
	go func() {
		status := report(run(ctx, []string{"--config", config}, os.Stdout, w), w)
		done <- status
		_ = w.Close() // the reader notices
	}()
	var said []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var line struct{ Level, Msg string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Errorf("got %q, want a JSON line", lines.Text())
		}
		said = append(said, line.Msg)
		if line.Msg == "serving" {
			stop()
		}
	}
	if status := <-done; status != 0 {
		t.Errorf("got status %d, want 0 after an orderly end", status)
	}
	for _, want := range []string{"not for production", "statement issued", "ready", "serving", "draining", "drained"} {
		if !strings.Contains(strings.Join(said, "\n"), want) {
			t.Errorf("got log %q, want %q in it", said, want)
		}
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
