// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// maxMessage bounds a message of a daemon, in bytes: the largest is a head set.
const maxMessage = verdict.MaxHeadSet + 1<<20

// A Conn is a connection to one daemon by mutual TLS, made when it is first used and
// again when it breaks. It is safe for concurrent use.
type Conn struct {
	assayv1.AssayServiceClient

	address string
	src     *spiffe.Source
	conn    *grpc.ClientConn
	creds   *handshakes
}

// Dial prepares a connection to the daemon at an address, whose SPIFFE ID must be
// one of those that the configuration names. It does not wait for the daemon.
func Dial(c Config, address string, src *spiffe.Source) (*Conn, error) {
	tlsConfig, err := spiffe.ClientTLS(src, c.Issuers...)
	if err != nil {
		return nil, err
	}
	creds := &handshakes{TransportCredentials: credentials.NewTLS(tlsConfig), why: &why{}}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 10 * time.Second}),
		// The caller has its own delays; gRPC's would add up to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDisableServiceConfig(), grpc.WithNoProxy())
	if err != nil {
		return nil, verdict.Misused("name daemons by host:port", "connecting to %.128q: %w", address, err)
	}
	return &Conn{AssayServiceClient: assayv1.NewAssayServiceClient(conn), address: address, src: src, conn: conn, creds: creds}, nil
}

// Address returns the daemon's address.
func (c *Conn) Address() string { return c.address }

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Err turns the error of a call into a *verdict.Refusal or *verdict.Failure: what the
// daemon answered, or why there is no connection, as far as this side knows:
// svid.missing, svid.expired, peer.*, daemon.unreachable.
func (c *Conn) Err(err error) error {
	if err == nil {
		return nil
	}
	out := assayv1.FromStatus(err)
	if verdict.CodeOf(out) != verdict.DaemonUnreachable {
		return out
	}
	if own := c.src.Healthy(time.Now()); own != nil {
		return own
	}
	if handshake := c.creds.why.last(); handshake != nil {
		if refusal, ok := errors.AsType[*verdict.Refusal](handshake); ok {
			return refusal
		}
	}
	// In TLS 1.3 a client learns of its refusal after its own handshake.
	if text := verdict.ReasonOf(out).Text; strings.Contains(text, "remote error: tls: ") {
		return verdict.Refuse(verdict.PeerUntrusted, "the daemon at %s refuses this node's SVID: %s", c.address, text)
	}
	return verdict.Fail(verdict.DaemonUnreachable, "calling the daemon at %s: %s", c.address, verdict.ReasonOf(out).Text)
}

// handshakes are TLS credentials that remember why the last handshake failed: gRPC
// makes a text of it.
type handshakes struct {
	credentials.TransportCredentials
	why *why
}

type why struct {
	mu  sync.Mutex
	err error
}

func (w *why) set(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *why) last() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// ClientHandshake implements credentials.TransportCredentials.
func (h *handshakes) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, raw)
	h.why.set(err)
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (h *handshakes) Clone() credentials.TransportCredentials {
	return &handshakes{TransportCredentials: h.TransportCredentials.Clone(), why: h.why}
}
