// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/spiffe/spiffetest"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
	"github.com/assayd/assay/verifier"
)

// buildDaemon builds the real binary.
func buildDaemon(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "assayd")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/assayd/assay/cmd/assayd").CombinedOutput()
	if err != nil {
		t.Fatalf("building assayd: %v\n%s", err, out)
	}
	return path
}

// A process is an assayd that serves at addr.
type process struct {
	cmd  *exec.Cmd
	addr string
	// log is what it wrote to stderr, once it has ended.
	log strings.Builder
}

// launch starts assayd and waits until it serves.
func launch(t *testing.T, binary, config string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary, "--config", config)}
	stderr, err := p.cmd.StderrPipe()
	must(t, err)
	must(t, p.cmd.Start())
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		p.log.WriteString(lines.Text() + "\n")
		var line struct{ Msg, Node string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			p.addr = line.Node
			break
		}
	}
	if p.addr == "" {
		_ = p.cmd.Wait()
		t.Fatalf("assayd did not serve:\n%s", p.log.String())
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	return p
}

// An acknowledged ticket is what must be found again.
type acknowledged struct {
	origin string
	index  uint64
	core   verdict.Digest
}

// TestKillStorm kills assayd under load, again and again. Whatever a node has
// been answered with is in the log, at its index, with its core, and each
// checkpoint that was ever given out is an earlier state of the same tree.
func TestKillStorm(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 1
	}
	const atLeast, workers, pictures = 100, 16, 150
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	images := make([]verifier.Image, pictures)
	for i := range images {
		if i%10 == 0 {
			images[i] = w.image("acme/app", fmt.Sprint("signed ", i), signerURI)
		} else {
			images[i] = w.image("acme/app", fmt.Sprint("unsigned ", i))
		}
	}
	binary := buildDaemon(t)
	config := filepath.Join(w.dir, "assayd.yaml")
	must(t, os.WriteFile(config, []byte(w.configText("limits: {verifications: 64, caller-misses: 1000000, caller-miss-burst: 1000000}")), 0o600))
	src := spiffetest.Start(t, w.authority.SVID(t, nodeA)).Open(t)
	tlsConfig, err := spiffe.ClientTLS(src, daemonID)
	must(t, err)

	var all []acknowledged
	checkpoints := map[string][]proof.Checkpoint{}
	for range rounds {
		p := launch(t, binary, config)
		conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(credentialsOf(tlsConfig)))
		must(t, err)
		client := assayv1.NewAssayServiceClient(conn)
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var got []acknowledged
		var next atomic.Int64
		var wg sync.WaitGroup
		enough := make(chan struct{})
		for range workers {
			wg.Go(func() {
				for ctx.Err() == nil {
					image := images[int(next.Add(1))%len(images)]
					answer, err := client.Verify(ctx, &assayv1.VerifyRequest{Repository: image.Repository, Digest: string(image.Digest)})
					if err != nil {
						return // it is dead
					}
					var c verdict.Ticket
					if json.Unmarshal([]byte(claims(t, answer.GetTicket())), &c) != nil || c.Log == nil {
						t.Error("got a ticket without a place in the log")
						return
					}
					mu.Lock()
					got = append(got, acknowledged{c.Log.Origin, c.Log.Index, c.Core})
					if len(got) == atLeast {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				if answer, err := client.GetCheckpoint(ctx, &assayv1.GetCheckpointRequest{}); err == nil {
					c, err := proof.ParseSignedInsecure(answer.GetCheckpoint())
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					checkpoints[c.Origin] = append(checkpoints[c.Origin], c)
					mu.Unlock()
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
		select {
		case <-enough:
		case <-time.After(time.Minute):
			t.Fatalf("fewer than %d tickets in a minute", atLeast)
		}
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
		must(t, p.cmd.Process.Kill())
		_ = p.cmd.Wait() // killed
		cancel()
		wg.Wait()
		must(t, conn.Close())
		all = append(all, got...)
	}

	archive, err := audit.OpenArchive(audit.ArchiveConfig{Dir: filepath.Join(w.stateDir(), "log"), AllowUnvalidatedEd25519: boring})
	must(t, err)
	shards := map[string]*audit.Reader{}
	seen := map[acknowledged]bool{}
	for _, a := range all {
		if seen[a] {
			continue
		}
		seen[a] = true
		if shards[a.origin] == nil {
			shards[a.origin], err = archive.Shard(t.Context(), a.origin)
			must(t, err)
		}
		leaf, err := shards[a.origin].Leaf(t.Context(), a.index)
		if err != nil || verdict.DigestFromBytes(leaf.Object) != a.core {
			t.Fatalf("leaf %d of %s: got %+v, %v, want core %s", a.index, a.origin, leaf, err, a.core)
		}
		object, err := shards[a.origin].Object(t.Context(), a.core)
		if err != nil {
			t.Fatal(err)
		}
		if core, err := verdict.ParseCoreInsecure(object); err != nil || core.Digest != a.core {
			t.Fatalf("core %s: got %s, %v", a.core, core.Digest, err)
		}
	}
	given := 0
	for origin, list := range checkpoints {
		for _, c := range list {
			given++
			if err := shards[origin].Extends(t.Context(), c); err != nil {
				t.Fatalf("checkpoint of size %d: %v", c.Size, err)
			}
		}
	}
	if len(shards) != rounds {
		t.Errorf("got %d shards, want one for each of %d boots", len(shards), rounds)
	}
	t.Logf("%d rounds, %d tickets acknowledged, %d leaves found, %d checkpoints consistent", rounds, len(all), len(seen), given)
}
