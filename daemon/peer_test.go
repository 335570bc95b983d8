// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/spiffe/spiffetest"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// methods returns all methods that the daemon serves, and whether the client
// sends a stream or receives one.
func methods() map[string]*grpc.StreamDesc {
	out := map[string]*grpc.StreamDesc{}
	for _, s := range []grpc.ServiceDesc{assayv1.AssayService_ServiceDesc, grpc_health_v1.Health_ServiceDesc} {
		for _, m := range s.Methods {
			out["/"+s.ServiceName+"/"+m.MethodName] = nil
		}
		for _, m := range s.Streams {
			out["/"+s.ServiceName+"/"+m.StreamName] = &m
		}
	}
	return out
}

// TestVerbTableIsComplete: a method that is added without a right fails here,
// and until then nobody may call it.
func TestVerbTableIsComplete(t *testing.T) {
	for name := range methods() {
		if len(daemon.Verbs[name]) == 0 {
			t.Errorf("method %s has no entry in the verb table", name)
		}
	}
	for name := range daemon.Verbs {
		if _, ok := methods()[name]; !ok {
			t.Errorf("the verb table has %s, which is no method", name)
		}
	}
}

// TestEveryVerbByEveryRole calls each method as each role, on a real
// connection.
func TestEveryVerbByEveryRole(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	r := w.start("")
	for _, role := range spiffe.AllRoles() {
		conn := r.dial("spiffe://" + trustDomain + "/assay/" + string(role) + "/dev/x")
		for name, stream := range methods() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err := call(ctx, conn, name, stream)
			cancel()
			denied := status.Code(err) == codes.PermissionDenied
			if want := !slices.Contains(daemon.Verbs[name], role); denied != want {
				t.Errorf("%s as %s: got %v, want denied %t", name, role, err, want)
			}
			if denied {
				wantCode[*verdict.Refusal](t, assayv1.FromStatus(err), verdict.PeerRole)
			}
		}
	}
}

// call calls a method with an empty message and returns its first error.
func call(ctx context.Context, conn *grpc.ClientConn, name string, stream *grpc.StreamDesc) error {
	if stream == nil {
		return conn.Invoke(ctx, name, &emptypb.Empty{}, &emptypb.Empty{})
	}
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	s, err := conn.NewStream(ctx, stream, name)
	if err != nil {
		return err
	}
	if err := s.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	return s.RecvMsg(&emptypb.Empty{})
}

// TestStrangers: no handshake for who has no SVID of ours, or no role.
func TestStrangers(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	r := w.start("")
	for _, tc := range []struct {
		name string
		svid spiffetest.SVID
	}{
		{"no role", w.authority.SVID(t, "spiffe://dev.assay.invalid/assay/boss/dev/x")},
		{"the daemon itself", w.authority.SVID(t, daemonID)},
		{"another trust domain", spiffetest.NewAuthority(t, "other.invalid").SVID(t, "spiffe://other.invalid/assay/node/dev/x").WithBundle(w.authority)},
		{"another authority", spiffetest.NewAuthority(t, trustDomain).SVID(t, nodeA).WithBundle(w.authority)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := spiffetest.Start(t, tc.svid).Open(t)
			cfg, err := spiffe.ClientTLS(src, daemonID)
			must(t, err)
			wantHandshakeRefused(t, r.Addr(), cfg)
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		wantHandshakeRefused(t, r.Addr(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	})
}

// wantHandshakeRefused fails unless the server ends the connection. In TLS 1.3
// the client learns it with the first read.
func wantHandshakeRefused(t *testing.T, addr string, cfg *tls.Config) {
	t.Helper()
	cfg.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	for err == nil {
		_, err = conn.Read(make([]byte, 64))
		if err == nil {
			t.Fatal("got an answer, want the connection ended")
		}
	}
	if ne, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && ne.Timeout() {
		t.Error("got silence, want the connection ended")
	}
}

// TestR56RawPath: a :path without its slash, or written otherwise, runs no
// handler, whoever asks.
func TestR56RawPath(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	r := w.start("")
	src := spiffetest.Start(t, w.authority.SVID(t, "spiffe://dev.assay.invalid/assay/auditor/dev/x")).Open(t)
	cfg, err := spiffe.ClientTLS(src, daemonID)
	must(t, err)
	cfg.NextProtos = []string{"h2"}
	verifyPath := assayv1.AssayService_Verify_FullMethodName
	for _, path := range []string{verifyPath, verifyPath[1:], "/" + verifyPath, verifyPath + "/", strings.ToLower(verifyPath), "//assay.v1.AssayService/Verify", "/assay.v1.AssayService//Verify", "assay.v1.AssayService/GetHead"} {
		if got := rawCall(t, r.Addr(), cfg, path); got == answered {
			t.Errorf("path %q: got an answer, want it refused", path)
		}
	}
	if got := rawCall(t, r.Addr(), cfg, assayv1.AssayService_GetHead_FullMethodName); got != answered {
		t.Errorf("got %s for a verb that it may call, want an answer: this test would prove nothing", got)
	}
}

// answered is what rawCall returns for a call whose handler ran.
const answered = "a message"

// rawCall makes a gRPC call by hand, HTTP/2 frame by frame (RFC 9113), and
// returns how it was answered.
func rawCall(t *testing.T, addr string, cfg *tls.Config, path string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, cfg)
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	frame := func(kind, flags byte, stream uint32, payload []byte) []byte {
		b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
		return append(binary.BigEndian.AppendUint32(b, stream), payload...)
	}
	var block []byte
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":path", path}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		// RFC 7541 §6.2.3: literal, never indexed, new name, no Huffman code.
		block = append(block, 0x10, byte(len(f[0])))
		block = append(block, f[0]...)
		block = append(block, byte(len(f[1])))
		block = append(block, f[1]...)
	}
	out := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	out = append(out, frame(4, 0, 0, nil)...)                   // SETTINGS
	out = append(out, frame(1, 4, 1, block)...)                 // HEADERS, END_HEADERS
	out = append(out, frame(0, 1, 1, []byte{0, 0, 0, 0, 0})...) // DATA, END_STREAM: an empty message
	_, err = conn.Write(out)
	must(t, err)
	for {
		var head [9]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return "connection ended: " + err.Error()
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(conn, payload); err != nil {
			return "connection ended: " + err.Error()
		}
		switch head[3] {
		case 1:
			// END_STREAM on the first HEADERS: there is no message.
			if head[4]&1 != 0 {
				return "trailers only"
			}
		case 0:
			return answered
		case 3:
			return "stream reset"
		case 7:
			return "connection given up"
		}
	}
}

func health(tb testing.TB, r *running) grpc_health_v1.HealthClient {
	tb.Helper()
	return grpc_health_v1.NewHealthClient(r.dial("spiffe://" + trustDomain + "/assay/admin/dev/admin"))
}

func healthy(tb testing.TB, r *running) bool {
	tb.Helper()
	got, err := health(tb, r).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{Service: "assay.v1.AssayService"})
	must(tb, err)
	return got.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING
}

// waitHealthy waits until readiness is what is wanted.
func waitHealthy(tb testing.TB, r *running, want bool) bool {
	tb.Helper()
	c := health(tb, r)
	for range 200 {
		got, err := c.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
		must(tb, err)
		if (got.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING) == want {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

// TestHealthOfAnotherService: the health service's own errors stay what they
// are.
func TestHealthOfAnotherService(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	r := w.start("")
	_, err := health(t, r).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "other"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("got %v, want not found", err)
	}
}

// TestOwnSVIDWithdrawn: a daemon that is nobody any more answers nobody.
func TestOwnSVIDWithdrawn(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI)
	r := w.start("")
	node := r.as("node/dev/node-a")
	_, err := verify(node, image)
	must(t, err)
	w.api.Withdraw()
	deadline := time.Now().Add(10 * time.Second)
	for err == nil && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
		_, err = verify(node, image)
	}
	// A connection that had to be made anew has no SVID to be made with.
	if _, ok := errors.AsType[*verdict.Failure](err); !ok || !slices.Contains([]verdict.Code{verdict.SVIDMissing, verdict.DaemonUnreachable}, verdict.CodeOf(err)) {
		t.Errorf("got %v, want a failure %s or %s", err, verdict.SVIDMissing, verdict.DaemonUnreachable)
	}
}

// TestStreamEndsWithSVID: a stream does not outlive its peer's SVID.
func TestStreamEndsWithSVID(t *testing.T) {
	slow(t)
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	r := w.start("")
	now := time.Now()
	api := spiffetest.Start(t, w.authority.Issue(t, nodeA, now.Add(-time.Minute), now.Add(6*time.Second)))
	cfg, err := spiffe.ClientTLS(api.Open(t), daemonID)
	must(t, err)
	conn, err := grpc.NewClient(r.Addr(), grpc.WithTransportCredentials(credentialsOf(cfg)))
	must(t, err)
	defer func() { must(t, conn.Close()) }()
	stream, err := assayv1.NewAssayServiceClient(conn).WatchStatus(t.Context())
	must(t, err)
	must(t, stream.Send(&assayv1.WatchStatusRequest{Nonce: nonce(16)}))
	_, err = stream.Recv()
	must(t, err)
	_, err = stream.Recv()
	wantCode[*verdict.Refusal](t, assayv1.FromStatus(err), verdict.PeerUntrusted)
	if late := time.Since(now); late > time.Minute {
		t.Errorf("got the end after %s, want it with the SVID", late)
	}
}
