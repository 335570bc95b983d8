// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A kernelFS is what is used of the kernel's file systems, by absolute path. Calls may
// block for as long as the kernel likes.
type kernelFS interface {
	mkdir(path string) error
	remove(path string) error
	// read reads a file of at most limit bytes whole.
	read(path string, limit int64) ([]byte, error)
	// write writes data to a file that is there, in one call of the kernel.
	write(path string, data []byte) error
	// stat fails where there is no file.
	stat(path string) error
	// ask sends a request to the processor's firmware through the device at path.
	ask(path string, r *guestRequest) error
}

// testingOnlyKernel takes the place of the kernel, unless it is nil.
var testingOnlyKernel kernelFS

func kernel() kernelFS {
	if testingOnlyKernel != nil {
		return testingOnlyKernel
	}
	return osKernel{}
}

// osKernel is the kernel that runs.
type osKernel struct{}

func (osKernel) mkdir(path string) error { return os.Mkdir(path, 0o700) }

func (osKernel) remove(path string) error { return os.Remove(path) }

func (osKernel) stat(path string) error {
	_, err := os.Stat(path)
	return err
}

func (osKernel) ask(path string, r *guestRequest) error { return askDevice(path, r) }

func (osKernel) read(path string, limit int64) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, err
}

func (osKernel) write(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// A kernelTurn lets one call into the kernel happen at a time, and its caller give up
// waiting. The call itself cannot be ended: the next one waits for it, and so does
// close.
type kernelTurn struct {
	turn    lock
	timeout time.Duration
}

func newKernelTurn(timeout time.Duration) kernelTurn {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return kernelTurn{turn: newLock(), timeout: timeout}
}

// do calls f, which may retry what the kernel refuses for the moment until its context
// ends. It returns at the latest when ctx ends, or after the timeout.
func do[T any](ctx context.Context, k kernelTurn, f func(ctx context.Context) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var zero T
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	if err := k.turn.acquire(ctx); err != nil {
		return zero, fmt.Errorf("waiting for an earlier call into the kernel: %w", err)
	}
	done := make(chan outcome, 1)
	go func() {
		defer k.turn.release()
		value, err := f(ctx)
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-done: // both came
		return o.value, o.err
	default:
		return zero, fmt.Errorf("the kernel has not answered: %w", ctx.Err())
	}
}

// close waits for the call that somebody may have given up.
func (k kernelTurn) close() error { return k.turn.acquire(context.Background()) }
