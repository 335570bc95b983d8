// SPDX-License-Identifier: Apache-2.0

// Package swtpm runs a software TPM for tests and the demo: swtpm behind a unix
// socket, set up by swtpm_setup with an endorsement key certificate of an authority
// that is made for it. It is harness: no product code imports it.
//
// [Start] is the entry point. Everything is below the folder that it is given. A TPM
// that the host runs proves nothing about the host.
package swtpm

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Programs are what must be installed. Debian has them in swtpm and swtpm-tools.
var Programs = []string{"swtpm", "swtpm_setup", "swtpm_localca"}

// Limits.
const (
	// setupTimeout bounds swtpm_setup, which makes two RSA keys.
	setupTimeout = time.Minute
	// startTimeout bounds the wait for swtpm's socket.
	startTimeout = 10 * time.Second
	startPause   = 10 * time.Millisecond
	stopTimeout  = 5 * time.Second
	// maxSocketPath is the longest path of a unix socket on Linux.
	maxSocketPath = 107
)

// Missing names the programs that are not installed, nil when all are there.
func Missing() error {
	var missing []string
	for _, program := range Programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not installed: %s (apt-get install swtpm swtpm-tools)", strings.Join(missing, ", "))
	}
	return nil
}

// Helper is the part of testing.TB that Require needs.
type Helper interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Require skips a test visibly when swtpm is not installed; with CI=true in the
// environment it fails it.
func Require(t Helper) {
	t.Helper()
	err := Missing()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("swtpm: %v", err)
	default:
		t.Skipf("swtpm: %v", err)
	}
}

// A TPM is one swtpm with its state. Its methods are not for concurrent use.
type TPM struct {
	// Dir is the folder of its state.
	Dir string
	// Socket is the path of its data socket, which speaks raw TPM commands and
	// takes one connection at a time.
	Socket string

	cmd  *exec.Cmd
	done chan struct{}
	once sync.Once
	log  *os.File
}

// Start runs a TPM whose state is in dir, which must exist and have a short path.
// A folder without state is set up first. The caller must call Stop or Kill.
func Start(ctx context.Context, dir string) (*TPM, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("starting swtpm: %w", err)
	}
	t := &TPM{Dir: dir, Socket: filepath.Join(dir, "tpm.sock")}
	if len(t.Socket) > maxSocketPath {
		return nil, fmt.Errorf("starting swtpm: path %s has %d bytes, want at most %d", t.Socket, len(t.Socket), maxSocketPath)
	}
	if err := SetUp(ctx, dir); err != nil {
		return nil, err
	}
	if err := t.start(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// SetUp makes the state of a TPM in dir, unless it has some. Start does so too.
func SetUp(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("setting up swtpm: %w", err)
	}
	t := &TPM{Dir: dir}
	if _, err := os.Stat(filepath.Join(t.stateDir(), "tpm2-00.permall")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return t.setUp(ctx)
}

// StateDir is the folder with the state of a TPM that [SetUp] made in dir, for who
// starts swtpm himself, as for a virtual machine.
func StateDir(dir string) string { return filepath.Join(dir, "state") }

func (t *TPM) stateDir() string { return StateDir(t.Dir) }
func (t *TPM) caDir() string    { return filepath.Join(t.Dir, "ca") }

// setUp makes the TPM's state, its endorsement key and its certificate. All tools
// are given their configuration, so that they do not use the machine's.
func (t *TPM) setUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	for _, dir := range []string{t.stateDir(), t.caDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("setting up swtpm: %w", err)
		}
	}
	localca, err := exec.LookPath("swtpm_localca")
	if err != nil {
		return fmt.Errorf("setting up swtpm: %w", err)
	}
	in := func(name string) string { return filepath.Join(t.caDir(), name) }
	files := map[string]string{
		in("localca.conf"): fmt.Sprintf("statedir = %s\nsigningkey = %s\nissuercert = %s\ncertserial = %s\n",
			t.caDir(), in("signkey.pem"), in("issuercert.pem"), in("certserial")),
		in("options.conf"): "--platform-manufacturer assay\n--platform-version 1\n--platform-model test\n",
		in("setup.conf"): fmt.Sprintf("create_certs_tool = %s\ncreate_certs_tool_config = %s\ncreate_certs_tool_options = %s\n",
			localca, in("localca.conf"), in("options.conf")),
	}
	for path, content := range files {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return fmt.Errorf("setting up swtpm: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, "swtpm_setup", "--tpm2", "--tpmstate", t.stateDir(), "--config", in("setup.conf"),
		"--create-ek-cert", "--lock-nvram", "--pcr-banks", "sha256", "--logfile", filepath.Join(t.Dir, "setup.log"))
	// Its tools write to the home folder and to TMPDIR.
	cmd.Env = append(os.Environ(), "HOME="+t.Dir, "XDG_CONFIG_HOME="+t.Dir, "TMPDIR="+t.Dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		// The log may not be there; it only says more.
		log, _ := os.ReadFile(filepath.Join(t.Dir, "setup.log"))
		return fmt.Errorf("setting up swtpm: %w: %s%s", err, tail(out), tail(log))
	}
	return nil
}

// start runs swtpm and waits for its socket.
func (t *TPM) start(ctx context.Context) error {
	control := filepath.Join(t.Dir, "ctl.sock")
	for _, stale := range []string{t.Socket, control} {
		if err := os.Remove(stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("starting swtpm: %w", err)
		}
	}
	log, err := os.OpenFile(filepath.Join(t.Dir, "swtpm.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("starting swtpm: %w", err)
	}
	// The process outlives ctx: its end is Stop's or Kill's.
	t.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+t.stateDir(), //nolint:noctx // it outlives ctx, and Stop or Kill end it
		"--server", "type=unixio,path="+t.Socket, "--ctrl", "type=unixio,path="+control, "--flags", "startup-clear")
	t.cmd.Stdout, t.cmd.Stderr, t.log = log, log, log
	t.cmd.SysProcAttr = processAttributes()
	started := make(chan error, 1)
	t.done, t.once = make(chan struct{}), sync.Once{}
	go func() {
		defer close(t.done)
		// The parent-death signal is sent when the thread that forked ends.
		runtime.LockOSThread()
		err := t.cmd.Start()
		started <- err
		if err == nil {
			// How it ended is in its log, and of no interest to a test that ended it.
			_ = t.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return errors.Join(fmt.Errorf("starting swtpm: %w", err), log.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		// The socket is there before swtpm listens on it.
		if conn, err := (&net.Dialer{}).DialContext(ctx, "unix", t.Socket); err == nil {
			return conn.Close()
		}
		select {
		case <-t.done:
			return errors.Join(errors.New("starting swtpm: it ended, see "+log.Name()), t.Kill())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("starting swtpm: %w", ctx.Err()), t.Kill())
		case <-time.After(startPause):
		}
	}
}

// Stop ends the TPM as an operating system does that switches its machine off, and
// keeps its state. Nobody may be connected to it.
func (t *TPM) Stop() error {
	// Without TPM2_Shutdown the TPM would not vouch for its clock at the next
	// start. One that is already gone has nothing to be told.
	shutdownErr := t.shutdown()
	if errors.Is(shutdownErr, syscall.ECONNREFUSED) || errors.Is(shutdownErr, fs.ErrNotExist) {
		shutdownErr = nil
	}
	return errors.Join(shutdownErr, t.end(syscall.SIGTERM))
}

// shutdown sends TPM2_Shutdown(CLEAR).
func (t *TPM) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", t.Socket)
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	response := make([]byte, 10)
	err = conn.SetDeadline(deadline)
	if err == nil {
		_, err = conn.Write([]byte{0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0})
	}
	if err == nil {
		_, err = io.ReadFull(conn, response)
	}
	if err == nil && !bytes.Equal(response[6:], make([]byte, 4)) {
		err = fmt.Errorf("shutting swtpm down: response code %x", response[6:])
	}
	return errors.Join(err, conn.Close())
}

// Kill ends the TPM at once.
func (t *TPM) Kill() error { return t.end(syscall.SIGKILL) }

// Restart ends the TPM and starts it again: a reset of the machine.
func (t *TPM) Restart(ctx context.Context) error {
	if err := t.Stop(); err != nil {
		return err
	}
	return t.start(ctx)
}

// end sends the signal and waits. A second call does nothing.
func (t *TPM) end(signal syscall.Signal) (err error) {
	t.once.Do(func() {
		if e := t.cmd.Process.Signal(signal); e != nil && !errors.Is(e, os.ErrProcessDone) {
			err = e
		}
		select {
		case <-t.done:
		case <-time.After(stopTimeout):
			err = errors.Join(err, t.cmd.Process.Kill())
			<-t.done
		}
		err = errors.Join(err, t.log.Close())
	})
	return err
}

// Authorities returns the certificates of the authority that issued the endorsement
// key's: what a relying party is configured with.
func (t *TPM) Authorities() ([]*x509.Certificate, error) {
	data, err := t.AuthoritiesPEM()
	if err != nil {
		return nil, err
	}
	var certificates []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading swtpm's authority: %w", err)
		}
		certificates = append(certificates, c)
	}
	return certificates, nil
}

// AuthoritiesPEM returns the same in PEM.
func (t *TPM) AuthoritiesPEM() ([]byte, error) {
	var all []byte
	for _, name := range []string{"swtpm-localca-rootca-cert.pem", "issuercert.pem"} {
		data, err := os.ReadFile(filepath.Join(t.caDir(), name))
		if err != nil {
			return nil, fmt.Errorf("reading swtpm's authority: %w", err)
		}
		all = append(all, data...)
	}
	return all, nil
}

// tail returns the last 1024 bytes.
func tail(b []byte) []byte { return b[max(0, len(b)-1024):] }
