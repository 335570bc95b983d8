// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"net"
	"sync"
)

// A limitListener has a bounded number of connections: those that have not
// proven who they are included, so that strangers can use up no more than
// that.
type limitListener struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	close func() error
}

func newLimitListener(l net.Listener, most int) *limitListener {
	done := make(chan struct{})
	return &limitListener{Listener: l, slots: make(chan struct{}, most), done: done, close: sync.OnceValue(func() error {
		close(done)
		return l.Close()
	})}
}

// Accept waits for a connection and for room for it.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close closes the listener. Connections go on.
func (l *limitListener) Close() error { return l.close() }

// A limitConn gives its place back when it is closed.
type limitConn struct {
	net.Conn
	free func()
}

// Close closes the connection.
func (c *limitConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}
