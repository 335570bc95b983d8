// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// maxTPMResponse is the largest response of a TPM, in bytes.
const maxTPMResponse = 4096

// tpmHeader is the size of a response's header: tag, size, code.
const tpmHeader = 10

// Response codes that say to send the command again (TPM 2.0 Part 2 §6.6.3).
const (
	tpmRCYielded = 0x908
	tpmRCTesting = 0x90A
	tpmRCRetry   = 0x922
)

// retryPause is the pause before a command is sent again.
const retryPause = 10 * time.Millisecond

// errBroken is the answer after a command whose outcome is not known.
var errBroken = errors.New("the connection broke at an earlier command")

// A lock is a mutex whose waiters can give up.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

// acquire waits for the lock, at most until ctx ends.
func (l lock) acquire(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l lock) release() { <-l }

// A tpmConn sends commands to a TPM, one at a time, each within its deadline. It is
// a transport.TPM for whoever holds turn.
//
// A context ends the wait for the turn, never a command: the answer of one that was
// given up would be taken for that of the next, so that a caller who hangs up would
// break the connection for all.
type tpmConn struct {
	device  tpmDevice
	timeout time.Duration
	turn    lock
	// broken is set, by the holder of turn, after a command whose answer may still
	// come.
	broken bool
}

// A tpmDevice is one way to a TPM.
type tpmDevice interface {
	// exchange sends a whole command and returns the whole response. It returns
	// at the deadline of ctx.
	exchange(ctx context.Context, command []byte) ([]byte, error)
	io.Closer
}

// dialTPM connects to the device or socket at path.
func dialTPM(ctx context.Context, path string, timeout time.Duration) (*tpmConn, error) {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var device tpmDevice
	switch mode := info.Mode(); {
	case mode&os.ModeSocket != 0:
		dialer := net.Dialer{Timeout: timeout}
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		device = &socketDevice{conn: conn}
	case mode&os.ModeDevice != 0:
		if device, err = openDevice(path); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%s is neither device nor socket", path)
	}
	return &tpmConn{device: device, timeout: timeout, turn: newLock()}, nil
}

// with runs f, which sends commands, when it is its turn.
func (c *tpmConn) with(ctx context.Context, f func() error) error {
	if err := c.turn.acquire(ctx); err != nil {
		return err
	}
	defer c.turn.release()
	return f()
}

// Send implements transport.TPM. It is called below with.
func (c *tpmConn) Send(command []byte) ([]byte, error) {
	if c.broken {
		return nil, errBroken
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		response, err := c.device.exchange(ctx, command)
		if err != nil {
			c.broken = true
			return nil, err
		}
		switch binary.BigEndian.Uint32(response[6:]) {
		case tpmRCYielded, tpmRCTesting, tpmRCRetry:
			select {
			case <-ctx.Done():
			case <-time.After(retryPause):
			}
			continue
		}
		return response, nil
	}
}

// Close closes the device. It waits for the command in flight.
func (c *tpmConn) Close() error {
	return c.with(context.Background(), func() error {
		c.broken = true
		return c.device.Close()
	})
}

// checkResponse checks the size in a response's header.
func checkResponse(response []byte) error {
	if len(response) < tpmHeader {
		return fmt.Errorf("response has %d bytes, want at least %d", len(response), tpmHeader)
	}
	if size := binary.BigEndian.Uint32(response[2:]); int64(size) != int64(len(response)) {
		return fmt.Errorf("response has %d bytes and says %d", len(response), size)
	}
	return nil
}

// A socketDevice speaks the raw commands of swtpm's data socket.
type socketDevice struct{ conn net.Conn }

// exchange implements tpmDevice.
func (s *socketDevice) exchange(ctx context.Context, command []byte) ([]byte, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil, errors.New("no deadline")
	}
	if err := s.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := s.conn.Write(command); err != nil {
		return nil, err
	}
	response := make([]byte, tpmHeader, maxTPMResponse)
	if _, err := io.ReadFull(s.conn, response); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(response[2:])
	if size < tpmHeader || size > maxTPMResponse {
		return nil, fmt.Errorf("response says %d bytes, want %d to %d", size, tpmHeader, maxTPMResponse)
	}
	response = response[:size]
	if _, err := io.ReadFull(s.conn, response[tpmHeader:]); err != nil {
		return nil, err
	}
	return response, checkResponse(response)
}

// Close implements tpmDevice.
func (s *socketDevice) Close() error { return s.conn.Close() }
