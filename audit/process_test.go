// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/verdict"
)

// Exit statuses of children.
const (
	exitRefused = 10 // the folder is held by another
	exitSkip    = 11 // the machine does not permit what the test needs
)

// child is what the re-executed binary does. Its result is the exit status.
func child(role, dir string) int {
	var err error
	switch role {
	case "open":
		_, err = audit.OpenShard(context.Background(), testConfig(dir))
		if isMisuse(err) && strings.Contains(err.Error(), dir) {
			return exitRefused
		}
		if err == nil {
			err = errors.New("it opened")
		}
	case "storm":
		err = storm(dir)
	case "full":
		err = fillDisk(dir)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if errors.Is(err, errSkip) {
		fmt.Fprintln(os.Stderr, err)
		return exitSkip
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

var errSkip = errors.New("not permitted here")

// reexec prepares the test binary in a role.
func reexec(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), roleVar+"="+role, dirVar+"="+dir)
	return cmd
}

func exitCode(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return -1
}

func TestSecondDaemonIsRefused(t *testing.T) {
	config := testConfig(newDir(t))
	d := start(t, config)
	second := testConfig(config.Dir)
	if _, err := audit.OpenShard(t.Context(), second); !isMisuse(err) || !strings.Contains(err.Error(), config.Dir) {
		t.Errorf("same process: got %v, want a misuse that names the folder", err)
	}
	out, err := reexec(t, "open", config.Dir).CombinedOutput()
	if got := exitCode(err); got != exitRefused {
		t.Errorf("other process: got exit status %d, want %d: %s", got, exitRefused, out)
	}
	if _, _, err := d.decide(t.Context()); err != nil {
		t.Errorf("the first daemon: %v", err)
	}
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	start(t, second) // once it is free
}

// storm appends until it is killed and prints what was acknowledged.
func storm(dir string) error {
	ctx := context.Background()
	config := testConfig(dir)
	d, err := openDaemon(ctx, config)
	if err != nil {
		return err
	}
	if err := d.begin(ctx); err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if _, err := fmt.Fprintf(os.Stdout, format+"\n", args...); err != nil {
			panic("audit_test: " + err.Error())
		}
	}
	say("origin %s", d.Origin())
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for {
				index, leaf, err := d.decide(ctx)
				if err != nil {
					say("stopped by %v", err)
					return
				}
				say("leaf %d %s", index, hex.EncodeToString(leaf.Encode()))
				if index%16 == 0 {
					_, signed, err := d.Checkpoint(ctx)
					if err != nil {
						say("stopped by %v", err)
						return
					}
					say("checkpoint %s", base64.StdEncoding.EncodeToString(signed))
				}
			}
		})
	}
	wg.Wait()
	return errors.New("the storm ended before it was killed")
}

// A round is what a killed child had acknowledged.
type round struct {
	origin      string
	leaves      map[uint64]verdict.Leaf
	checkpoints [][]byte
}

// killRound starts a storm in dir and kills it after at least 100
// acknowledgements and a random time.
func killRound(t *testing.T, dir string) round {
	t.Helper()
	cmd := reexec(t, "storm", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := round{leaves: map[uint64]verdict.Leaf{}}
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // the last line may be cut off by the kill
		}
		fields := strings.Fields(line)
		switch fields[0] {
		case "origin":
			r.origin = fields[1]
		case "leaf":
			index, err1 := strconv.ParseUint(fields[1], 10, 64)
			data, err2 := hex.DecodeString(fields[2])
			leaf, err3 := verdict.ParseLeaf(data)
			if err := errors.Join(err1, err2, err3); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if _, twice := r.leaves[index]; twice {
				t.Errorf("index %d was acknowledged twice", index)
			}
			r.leaves[index] = leaf
			if len(r.leaves) == 100 {
				time.AfterFunc(time.Duration(rand.IntN(150))*time.Millisecond, func() { _ = cmd.Process.Kill() }) // it is dead in any case after Wait
			}
		case "checkpoint":
			signed, err := base64.StdEncoding.DecodeString(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			r.checkpoints = append(r.checkpoints, signed)
		default:
			t.Errorf("child: %s", line)
		}
	}
	err = cmd.Wait()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("child: %v: %s", err, stderr.String())
	}
	if len(r.leaves) < 100 {
		t.Fatalf("got %d acknowledgements, want at least 100", len(r.leaves))
	}
	return r
}

// TestKillNoAcknowledgedVerdictLost: no acknowledged verdict is lost, each is
// provable from files, and a consistency proof from every earlier signed
// checkpoint verifies.
func TestKillNoAcknowledgedVerdictLost(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	dir := newDir(t)
	var all []round
	for range rounds {
		all = append(all, killRound(t, dir))
	}
	// The next boot cleans up and leaves the rest alone.
	if err := start(t, testConfig(dir)).Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	acknowledged, checkpoints := 0, 0
	for _, r := range all {
		reader := reader(t, dir, r.origin)
		at, _ := reader.Checkpoint()
		for index, want := range r.leaves {
			got, err := reader.Leaf(t.Context(), index)
			if err != nil || got != want {
				t.Fatalf("%s leaf %d: got %v, %v, want %v", r.origin, index, got, err, want)
			}
			name := verdict.DigestFromBytes(want.Object)
			if data, err := reader.Object(t.Context(), name); err != nil || !proof.Names(name, data) {
				t.Fatalf("%s object of leaf %d: %v", r.origin, index, err)
			}
			hashes, err := reader.InclusionProof(t.Context(), index, at.Size)
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.CheckInclusion(at, index, want.Encode(), hashes); err != nil {
				t.Fatal(err)
			}
			acknowledged++
		}
		for _, signed := range r.checkpoints {
			earlier, err := reader.Log().Checkpoint(signed)
			if err != nil {
				t.Fatal(err)
			}
			if err := reader.Extends(t.Context(), earlier); err != nil {
				t.Fatal(err)
			}
			checkpoints++
		}
	}
	t.Logf("%d rounds, %d acknowledged leaves, %d checkpoints", rounds, acknowledged, checkpoints)
	if left := orphans(t, dir); len(left) != 0 {
		t.Errorf("temporary files are left: %q", left)
	}
}

// orphans lists files that look temporary.
func orphans(t testing.TB, dir string) []string {
	t.Helper()
	var left []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.Type().IsRegular() && audit.TestingOrphan(filepath.Base(filepath.Dir(path)), d.Name()) {
			left = append(left, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// TestDiskFull runs in a child with a file system of its own.
func TestDiskFull(t *testing.T) {
	cmd := reexec(t, "full", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, fs.ErrPermission) || exitCode(err) == exitSkip {
		t.Skipf("mounting a tmpfs is not permitted here: %v: %s", err, out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}

// fillDisk fills a small file system to the last page and gives one page back
// at a time to a caller that tries again, so that each of the writes of an
// append fails in turn: the object, the bundle, the tile, the state, the
// checkpoint.
func fillDisk(base string) error {
	const size = 4 << 20
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("%w: %w", errSkip, err)
	}
	if err := syscall.Mount("tmpfs", base, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		return fmt.Errorf("%w: %w", errSkip, err)
	}
	ctx := context.Background()
	config := testConfig(filepath.Join(base, "log"))
	d, err := openDaemon(ctx, config)
	if err != nil {
		return err
	}
	if err := d.begin(ctx); err != nil {
		return err
	}
	acknowledged := map[uint64]verdict.Leaf{}
	for range 20 {
		index, leaf, err := d.decide(ctx)
		if err != nil {
			return err
		}
		acknowledged[index] = leaf
	}

	ballast, err := os.Create(filepath.Join(base, "ballast"))
	if err != nil {
		return err
	}
	filled := 0
	for filled < size { // until it does not fit
		n, err := ballast.Write(make([]byte, 4096))
		filled += n
		if err != nil {
			break
		}
	}
	refused, unhealthy := 0, 0
	leaf, object, err := d.verdictLeaf()
	if err != nil {
		return err
	}
	for pages := 0; ; pages++ {
		if pages > 200 {
			return fmt.Errorf("no append succeeded with %d pages free", pages)
		}
		if err := ballast.Truncate(int64(max(filled-pages*4096, 0))); err != nil {
			return err
		}
		index, err := d.Append(ctx, leaf, object)
		if err == nil {
			acknowledged[index] = leaf
			break
		}
		if verdict.CodeOf(err) != verdict.LogUnavailable {
			return fmt.Errorf("got %w, want code %s", err, verdict.LogUnavailable)
		}
		refused++
		fmt.Fprintln(os.Stderr, err)
		if d.Healthy() != nil {
			unhealthy++
		}
	}
	if refused == 0 || unhealthy == 0 {
		return fmt.Errorf("%d appends refused on a full disk, unhealthy after %d", refused, unhealthy)
	}
	if err := ballast.Truncate(0); err != nil {
		return err
	}
	for range 20 {
		index, leaf, err := d.decide(ctx)
		if err != nil {
			return fmt.Errorf("after there is space again: %w", err)
		}
		acknowledged[index] = leaf
	}
	if err := d.Healthy(); err != nil {
		return fmt.Errorf("after there is space again: %w", err)
	}
	if err := d.Close(ctx); err != nil {
		return err
	}
	a, err := audit.OpenArchive(audit.ArchiveConfig{Dir: config.Dir})
	if err != nil {
		return err
	}
	r, err := a.Boot(ctx, config.Boot)
	if err != nil {
		return err
	}
	for index, want := range acknowledged {
		if got, err := r.Leaf(ctx, index); err != nil || got != want {
			return fmt.Errorf("leaf %d: got %v, %w, want %v", index, got, err, want)
		}
		if _, err := r.Object(ctx, verdict.DigestFromBytes(want.Object)); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "%d appends refused while the disk was full, %d acknowledged\n", refused, len(acknowledged))
	return nil
}
