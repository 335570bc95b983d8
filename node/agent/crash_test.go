// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/assayd/assay/node/agent"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// TestMain lets the test binary be an agent of its own, which can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "agent" {
		c, err := trust.Load(os.Args[2])
		if err == nil {
			err = agent.Run(context.Background(), c, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// spawn starts an agent as a process.
func (w *world) spawn() *exec.Cmd {
	w.t.Helper()
	data, err := w.config.Encode()
	check(w.t, err)
	path := filepath.Join(w.dir, "trust.yaml")
	check(w.t, os.WriteFile(path, data, 0o600))
	self, err := os.Executable()
	check(w.t, err)
	cmd := exec.Command(self, "agent", path)
	cmd.Stderr = w.log
	check(w.t, cmd.Start())
	return cmd
}

// What a gate let through stays let through, and what it denied stays denied, whenever
// the agent dies; what a reader sees in the folder at any moment is whole.
func TestKill9(t *testing.T) {
	if testing.Short() {
		t.Skip("kills 20 agents")
	}
	w := newWorld(t)
	w.config.Deadline = 2 * time.Second
	w.config.StatusInterval = 50 * time.Millisecond // many writes
	f := w.daemon("assayd")
	f.change.decide = func(_ string, d verdict.Digest) (verdict.Outcome, verdict.Code, error) {
		if d == image("bad") {
			return verdict.OutcomeFail, verdict.SigNone, nil
		}
		return verdict.OutcomePass, "", nil
	}
	reader, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	reading.Go(func() {
		for reader.Err() == nil {
			state, err := gate.OpenState(w.config.StateDir)
			if errors.Is(err, fs.ErrNotExist) {
				continue // before the first agent
			}
			if err != nil {
				t.Errorf("folder: %v", err)
				return
			}
			if _, err := state.Marks(); err != nil {
				t.Errorf("marks: %v", err)
				return
			}
			if data, err := state.Read(gate.IssuersFile, gate.MaxIssuersFile); err == nil {
				if _, err := gate.ParseIssuers(data); err != nil {
					t.Errorf("issuers: %v", err)
					return
				}
			}
			if data, err := state.Read(gate.HeadFile, gate.MaxHeadFile); err == nil {
				if _, err := verdict.ParseHeadSet(data); err != nil {
					t.Errorf("head: %v", err)
					return
				}
			}
			if data, err := state.Read(gate.StatusFile, gate.MaxRecord); err == nil {
				if _, err := gate.ParseStatusRecord(data); err != nil {
					t.Errorf("status: %v", err)
					return
				}
			}
		}
	})
	defer reading.Wait()
	defer stop()
	passed := map[verdict.Digest]bool{}
	for round := range 20 {
		cmd := w.spawn()
		// A different moment of the agent's life in each round; in every other one
		// after it has answered.
		begin, answered := time.Now(), round%2 == 0
		for i := 0; time.Since(begin) < time.Duration(20*round)*time.Millisecond || !answered; i++ {
			if time.Since(begin) > time.Minute {
				t.Fatalf("round %d: no image passes\n%s", round, w.log)
			}
			d := image(fmt.Sprintf("%d/%d", round, i))
			if w.gate(d).Allowed() {
				passed[d], answered = true, true
			}
			if dec := w.gate(image("bad")); dec.Allowed() {
				t.Fatalf("round %d: %s", round, dec.Line())
			}
		}
		check(t, cmd.Process.Kill())
		if err := cmd.Wait(); err == nil {
			t.Fatal("the agent ended by itself")
		}
		for d := range passed {
			if dec := w.gate(d); !dec.Allowed() {
				t.Fatalf("round %d: image that passed: %s\n%s", round, dec.Line(), w.log)
			}
		}
	}
	if len(passed) < 10 {
		t.Errorf("only %d images passed, want at least one in every other round", len(passed))
	}
	// What kills left behind is swept.
	w.log = &logs{}
	w.start()
	w.want(w.gate(image("last")), "")
	w.stop()
	check(t, filepath.WalkDir(w.config.StateDir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".tmp") {
			t.Errorf("%s is left", path)
		}
		return err
	}))
}

// A full disk: the agent goes on from memory, says so, and writes when it can.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for seconds")
	}
	w := newWorld(t)
	check(t, os.MkdirAll(w.config.StateDir, 0o700))
	if err := syscall.Mount("tmpfs", w.config.StateDir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Skipf("a small file system needs mount(2): %v", err)
	}
	defer func() { check(t, syscall.Unmount(w.config.StateDir, 0)) }()
	w.daemon("assayd")
	w.start()
	defer w.stop()
	w.want(w.gate(image("before")), "")
	w.settled(image("before"))
	// Fill it to the last byte.
	filler := filepath.Join(w.config.StateDir, "filler")
	file, err := os.Create(filler)
	check(t, err)
	for size := 4096; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, size))
		}
	}
	check(t, errors.Join(file.Close()))
	w.want(w.gate(image("while")), "")
	w.logged("state folder cannot be written", "no space left")
	w.want(w.gate(image("before")), "")
	if _, ok := w.record(image("while")); ok {
		t.Error("got a record on a full disk")
	}
	check(t, os.Remove(filler))
	w.eventually("the record", func() bool { _, ok := w.record(image("while")); return ok })
	w.stop()
	w.want(w.gate(image("while")), "")
}

// The agent answers root and its own user and nobody else.
func TestStrangerOnTheSocket(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("another user needs root")
	}
	w := newWorld(t)
	w.daemon("assayd")
	w.start()
	w.want(w.gate(image("a")), "")
	check(t, os.Chmod(filepath.Dir(w.config.Socket), 0o755))
	check(t, os.Chmod(w.config.Socket, 0o666)) // by mistake
	conn, err := dialAs(4711, w.config.Socket)
	check(t, err)
	defer func() { check(t, conn.Close()) }()
	check(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("got %d bytes, want the connection closed", n)
	}
	w.logged("stranger on the socket", "peer=4711")
}

// dialAs connects as another user: SO_PEERCRED has the user of connect(2).
func dialAs(uid int, path string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		// Credentials are a thread's own; this thread is thrown away.
		runtime.LockOSThread()
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0))
		if errno != 0 {
			done <- result{nil, errno}
			return
		}
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err == nil {
			err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
		}
		if err != nil {
			done <- result{nil, err}
			return
		}
		file := os.NewFile(uintptr(fd), path)
		conn, err := net.FileConn(file)
		done <- result{conn, errors.Join(err, file.Close())}
	}()
	r := <-done
	return r.conn, r.err
}
