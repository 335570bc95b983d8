// SPDX-License-Identifier: Apache-2.0

// Package workload is the serving side of the SPIFFE Workload API, as far as
// X.509 SVIDs go, and the certificate authority behind it: the common part of
// the development Workload API and of the fake for tests.
//
// A [Server] serves one identity to whoever may open its socket; it attests
// nobody. [Authority] makes certificates as the X509-SVID specification wants
// them. Nothing of this is for production.
package workload

import (
	"errors"
	"net"
	"sync"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// header is the metadata that a client must send, so that no request forged
// by a confused proxy reaches the API (SPIFFE Workload Endpoint §3).
const header = "workload.spiffe.io"

// A Server answers FetchX509SVID on one listener with one SVID, and pushes each
// new one to the streams that are open. Every other method is unimplemented.
type Server struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	grpc *grpc.Server
	done chan struct{} // closed when Serve has returned
	err  error         // what Serve returned; read after done

	mu      sync.Mutex    // guards the rest
	svid    *SVID         // nil: no identity issued
	changed chan struct{} // closed and replaced on each change
}

// Start serves on l until [Server.Close], which closes l too.
// There is no identity before the first [Server.Set].
func Start(l net.Listener) *Server {
	s := &Server{grpc: grpc.NewServer(), done: make(chan struct{}), changed: make(chan struct{})}
	workload.RegisterSpiffeWorkloadAPIServer(s.grpc, s)
	go func() {
		defer close(s.done)
		// Close may come before Serve has begun.
		if err := s.grpc.Serve(l); !errors.Is(err, grpc.ErrServerStopped) {
			s.err = err
		}
	}()
	return s
}

// Close ends all streams and waits for them. It returns what had ended the
// server before, if anything had.
func (s *Server) Close() error {
	s.grpc.Stop()
	<-s.done
	return s.err
}

// Done is closed when the server no longer serves.
func (s *Server) Done() <-chan struct{} { return s.done }

// Set replaces the SVID, and tells all streams. Nil withdraws it: streams end
// with PermissionDenied, as SPIRE's do when a registration entry is deleted.
func (s *Server) Set(svid *SVID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.svid = svid
	close(s.changed)
	s.changed = make(chan struct{})
}

// FetchX509SVID implements the Workload API.
func (s *Server) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if v := md.Get(header); len(v) != 1 || v[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	for {
		s.mu.Lock()
		svid, changed := s.svid, s.changed
		s.mu.Unlock()
		if svid == nil {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		var bundle []byte
		for _, c := range svid.Bundle {
			bundle = append(bundle, c.Raw...)
		}
		err := stream.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
			SpiffeId: svid.ID, X509Svid: svid.Chain, X509SvidKey: svid.Key, Bundle: bundle,
		}}})
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}
