// SPDX-License-Identifier: Apache-2.0

package enclave_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/verdict"
)

// fakeTPM answers each command on a socket with the same bytes, or with nothing.
func fakeTPM(t *testing.T, answer []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		command := make([]byte, 4096)
		for {
			if _, err := conn.Read(command); err != nil {
				break
			}
			if _, err := conn.Write(answer); err != nil {
				break
			}
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return path
}

// TestBadTPM holds that a TPM which hangs or talks nonsense is a failure within its
// time.
func TestBadTPM(t *testing.T) {
	for name, answer := range map[string][]byte{
		"silence":               nil,
		"part of a header":      {0x80, 1, 0, 0},
		"a size of zero":        make([]byte, 10),
		"a size without bytes":  {0x80, 1, 0, 0, 0x10, 0, 0, 0, 0, 0},
		"a size of 4 GiB":       {0x80, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0},
		"failure mode":          {0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1},
		"retry for ever":        {0x80, 1, 0, 0, 0, 10, 0, 0, 9, 0x22},
		"success without bytes": {0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			_, err := enclave.Open(t.Context(), enclave.Config{
				Kind: enclave.KindSWTPM, TPM: fakeTPM(t, answer), StateDir: t.TempDir(), Timeout: 200 * time.Millisecond,
			})
			if !isFailure(err) {
				t.Errorf("got %v, want a failure", err)
			}
			if took := time.Since(begin); took > time.Minute {
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestCallerGivesUp holds that a caller whose context ends gets a failure, and
// breaks nothing for the next.
func TestCallerGivesUp(t *testing.T) {
	_, config := startTPM(t)
	a := open(t, config)
	statement := now(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	raw := attesttest.Encode(t, statement)
	for range 20 {
		// A context that has ended may still get its turn, which is as good.
		if _, err := a.Evidence(ended, raw, nil); err != nil && !isFailure(err) {
			t.Fatalf("evidence: got %v, want a failure", err)
		}
		if _, err := a.ActivateCredential(ended, []byte("x"), []byte("x")); verdict.CodeOf(err) != verdict.TPMAK && !isFailure(err) {
			t.Fatalf("activation: got %v, want a failure", err)
		}
	}
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1 << 20, 1 << 11, 1 << 10, 100, 1} {
		if _, err := a.ActivateCredential(t.Context(), make([]byte, size), make([]byte, size)); verdict.CodeOf(err) != verdict.TPMAK && verdict.CodeOf(err) != verdict.EvidenceLimit {
			t.Errorf("a challenge of %d bytes: got %v, want %s or %s", size, err, verdict.TPMAK, verdict.EvidenceLimit)
		}
	}
	collection, err := a.Evidence(t.Context(), raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	activate(t, a, collection)
}

// TestDevice holds that a command to a device ends with its response or at its
// deadline. A socket that keeps records stands for the device.
func TestDevice(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Close(fds[0]), unix.Close(fds[1])); err != nil {
			t.Error(err)
		}
	})
	good := []byte{0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 1, 2}
	for _, test := range []struct {
		name   string
		answer []byte
		want   []byte
	}{
		{"whole", good, good},
		{"short", good[:11], nil},
		{"no header", good[:4], nil},
	} {
		if err := unix.Sendmsg(fds[1], test.answer, nil, nil, 0); err != nil {
			t.Fatal(err)
		}
		got, err := enclave.Exchange(t.Context(), fds[0], []byte("command"))
		if (err == nil) != (test.want != nil) || err == nil && !bytes.Equal(got, test.want) {
			t.Errorf("%s: got %x, %v, want %x", test.name, got, err, test.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := enclave.Exchange(ctx, fds[0], []byte("command")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: got %v, want %v", err, context.DeadlineExceeded)
	}
	if _, err := enclave.Exchange(t.Context(), -1, []byte("command")); !errors.Is(err, syscall.EBADF) {
		t.Errorf("no device: got %v, want %v", err, syscall.EBADF)
	}
}
