// SPDX-License-Identifier: Apache-2.0

package spiffe_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/spiffe/spiffetest"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verdict/flavour"
)

// handshake connects a client to a server over loopback, sends a byte each way,
// so that TLS 1.3's client learns what the server thinks of it and takes a
// ticket, and returns both states and both errors.
func handshake(t *testing.T, server, client *tls.Config) (serverState, clientState tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var d net.Dialer
	cc, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	sc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	exchange := func(c *tls.Conn) error {
		err := c.SetDeadline(time.Now().Add(10 * time.Second))
		if err == nil {
			err = c.HandshakeContext(t.Context())
		}
		if err == nil {
			_, err = c.Write([]byte{1})
		}
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
		}
		return err
	}
	s, c := tls.Server(sc, server), tls.Client(cc, client)
	done := make(chan struct{})
	go func() {
		defer close(done)
		serverErr = exchange(s)
		serverState = s.ConnectionState()
		_ = s.Close()
	}()
	clientErr = exchange(c)
	clientState = c.ConnectionState()
	if clientErr != nil {
		_ = cc.Close() // the server must not wait for what never comes
	}
	<-done
	_ = c.Close()
	return serverState, clientState, serverErr, clientErr
}

func clientTLS(t *testing.T, src *spiffe.Source) *tls.Config {
	t.Helper()
	cfg, err := spiffe.ClientTLS(src, daemonID)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestMutualTLS(t *testing.T) {
	ca := spiffetest.NewAuthority(t, td)
	server := spiffetest.Start(t, ca.SVID(t, daemonID)).Open(t)
	client := spiffetest.Start(t, ca.SVID(t, nodeID)).Open(t)
	roles := newRoles(t)
	state, clientState, serverErr, clientErr := handshake(t, spiffe.ServerTLS(server, roles), clientTLS(t, client))
	if serverErr != nil || clientErr != nil {
		t.Fatalf("server: %v; client: %v", serverErr, clientErr)
	}
	if state.Version != tls.VersionTLS13 {
		t.Errorf("got TLS version %#x, want 1.3", state.Version)
	}
	p, err := spiffe.PeerFromTLS(state, roles)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != nodeID || p.Role != spiffe.RoleNode || p.Cluster != "demo" || p.Name != "node-a" {
		t.Errorf("got peer %s, role %s, cluster %s, name %s", p.ID, p.Role, p.Cluster, p.Name)
	}
	if !p.NotAfter().Equal(client.NotAfter()) {
		t.Errorf("got the peer's end %s, want %s", p.NotAfter(), client.NotAfter())
	}
	if err := p.CheckAt(server, time.Now()); err != nil {
		t.Error(err)
	}
	// The daemon is no caller.
	if p, err := spiffe.PeerFromTLS(clientState, roles); verdict.CodeOf(err) != verdict.PeerRole || p != nil {
		t.Errorf("the daemon as a caller: got %v, %v, want code %q", p, err, verdict.PeerRole)
	}
	if p, err := spiffe.PeerFromTLS(tls.ConnectionState{}, roles); verdict.CodeOf(err) != verdict.PeerUntrusted || p != nil {
		t.Errorf("no connection: got %v, %v, want code %q", p, err, verdict.PeerUntrusted)
	}
	if p, err := spiffe.PeerFromTLS(tls.ConnectionState{HandshakeComplete: true}, roles); verdict.CodeOf(err) != verdict.PeerUntrusted || p != nil {
		t.Errorf("no certificate: got %v, %v, want code %q", p, err, verdict.PeerUntrusted)
	}
	if p, err := spiffe.PeerFromTLS(state, nil); verdict.CodeOf(err) != verdict.PeerTrustDomain || p != nil {
		t.Errorf("no roles: got %v, %v, want code %q", p, err, verdict.PeerTrustDomain)
	}
}

// TestTLSInsideModule: where the build has a validated module, TLS takes nothing that
// the module lacks, such as X25519.
func TestTLSInsideModule(t *testing.T) {
	ca := spiffetest.NewAuthority(t, td)
	server := spiffe.ServerTLS(spiffetest.Start(t, ca.SVID(t, daemonID)).Open(t), newRoles(t))
	server.CurvePreferences = []tls.CurveID{tls.X25519}
	client := clientTLS(t, spiffetest.Start(t, ca.SVID(t, nodeID)).Open(t))
	_, _, serverErr, clientErr := handshake(t, server, client)
	if inside, failed := flavour.Current().Module != "go", serverErr != nil && clientErr != nil; inside != failed {
		t.Errorf("module %s: server %v, client %v", flavour.Current().Module, serverErr, clientErr)
	}
}

func TestServerRefuses(t *testing.T) {
	now := time.Now()
	ca, stranger := spiffetest.NewAuthority(t, td), spiffetest.NewAuthority(t, td)
	otherTD := spiffetest.NewAuthority(t, "prod.assay.invalid")
	for _, tt := range []struct {
		name  string
		svid  spiffetest.SVID
		roles *spiffe.Roles
		code  verdict.Code
	}{
		{"control", ca.SVID(t, nodeID), newRoles(t), ""},
		{"wrong role", ca.SVID(t, "spiffe://dev.assay.invalid/assay/root/demo/node-a").WithBundle(ca), newRoles(t), verdict.PeerRole},
		{"the daemon's own ID", ca.SVID(t, daemonID), newRoles(t), verdict.PeerRole},
		{"no roles", ca.SVID(t, nodeID), nil, verdict.PeerTrustDomain},
		{"wrong trust domain", otherTD.SVID(t, "spiffe://prod.assay.invalid/assay/node/demo/node-a").WithBundle(ca), newRoles(t), verdict.PeerTrustDomain},
		{"another authority of the same name", stranger.SVID(t, nodeID).WithBundle(ca), newRoles(t), verdict.PeerUntrusted},
		{"an ID of ours by another trust domain's authority", otherTD.Issue(t, nodeID, now.Add(-time.Minute), now.Add(time.Hour)).WithBundle(ca), newRoles(t), verdict.PeerUntrusted},
		{"expired", ca.Issue(t, nodeID, now.Add(-time.Hour), now.Add(-time.Second)), newRoles(t), verdict.PeerUntrusted},
		{"not yet valid", ca.Issue(t, nodeID, now.Add(time.Hour), now.Add(2*time.Hour)), newRoles(t), verdict.PeerUntrusted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := spiffetest.Start(t, ca.SVID(t, daemonID)).Open(t)
			// A hostile client: it has no source that would keep it from presenting
			// what it has, and takes any server.
			cfg := &tls.Config{
				MinVersion:         tls.VersionTLS13,
				Certificates:       []tls.Certificate{tt.svid.TLSCertificate(t)},
				InsecureSkipVerify: true,
			}
			_, _, serverErr, clientErr := handshake(t, spiffe.ServerTLS(server, tt.roles), cfg)
			if (serverErr == nil) != (clientErr == nil) {
				t.Errorf("server: %v; client: %v; want both or neither to fail", serverErr, clientErr)
			}
			if verdict.CodeOf(serverErr) != tt.code {
				t.Errorf("got %v, want code %q", serverErr, tt.code)
			}
		})
	}

	t.Run("no certificate", func(t *testing.T) {
		server := spiffetest.Start(t, ca.SVID(t, daemonID)).Open(t)
		client := spiffetest.Start(t, ca.SVID(t, nodeID)).Open(t)
		cfg := clientTLS(t, client)
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil }
		if _, _, serverErr, clientErr := handshake(t, spiffe.ServerTLS(server, newRoles(t)), cfg); serverErr == nil || clientErr == nil {
			t.Errorf("server: %v; client: %v; want both to fail", serverErr, clientErr)
		}
	})

	t.Run("TLS 1.2", func(t *testing.T) {
		server := spiffetest.Start(t, ca.SVID(t, daemonID)).Open(t)
		client := spiffetest.Start(t, ca.SVID(t, nodeID)).Open(t)
		cfg := clientTLS(t, client)
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if _, _, serverErr, clientErr := handshake(t, spiffe.ServerTLS(server, newRoles(t)), cfg); serverErr == nil || clientErr == nil {
			t.Errorf("server: %v; client: %v; want both to fail", serverErr, clientErr)
		}
	})
}

func TestClientRefuses(t *testing.T) {
	ca, stranger := spiffetest.NewAuthority(t, td), spiffetest.NewAuthority(t, td)
	for _, tt := range []struct {
		name string
		svid spiffetest.SVID
		code verdict.Code
	}{
		{"another server", ca.SVID(t, "spiffe://dev.assay.invalid/assay/d/demo/other"), verdict.PeerRole},
		{"a node as the server", ca.SVID(t, nodeID), verdict.PeerRole},
		{"another authority", stranger.SVID(t, daemonID).WithBundle(ca), verdict.PeerUntrusted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := spiffetest.Start(t, tt.svid).Open(t)
			client := spiffetest.Start(t, ca.SVID(t, nodeID)).Open(t)
			_, _, _, clientErr := handshake(t, spiffe.ServerTLS(server, newRoles(t)), clientTLS(t, client))
			if verdict.CodeOf(clientErr) != tt.code {
				t.Errorf("got %v, want code %q", clientErr, tt.code)
			}
		})
	}
	server := spiffetest.Start(t, ca.SVID(t, daemonID)).Open(t)
	src := spiffetest.Start(t, ca.SVID(t, nodeID)).Open(t)
	for _, tt := range []struct {
		pattern string
		code    verdict.Code
	}{
		{"spiffe://dev.assay.invalid/assay/d/*/*", ""},
		{"spiffe://dev.assay.invalid/assay/d/demo/*", ""},
		{"spiffe://dev.assay.invalid/assay/d/prod/*", verdict.PeerRole},
		{"spiffe://dev.assay.invalid/assay/node/*/*", verdict.PeerRole},
		{"spiffe://prod.assay.invalid/assay/d/*/*", verdict.PeerRole},
		{"spiffe://dev.assay.invalid/assay/d/x/*/*", verdict.PeerRole},
	} {
		cfg, err := spiffe.ClientTLS(src, "spiffe://dev.assay.invalid/other", tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, clientErr := handshake(t, spiffe.ServerTLS(server, newRoles(t)), cfg)
		if verdict.CodeOf(clientErr) != tt.code {
			t.Errorf("pattern %s: got %v, want code %q", tt.pattern, clientErr, tt.code)
		}
	}
	for _, ids := range [][]string{nil, {""}, {"spiffe://dev.assay.invalid"}, {"spiffe://dev.assay.invalid/assay/*/demo/assayd"}, {"spiffe://*/assay/d/demo/assayd"}, {daemonID, "assayd"}} {
		if cfg, err := spiffe.ClientTLS(src, ids...); err == nil || cfg != nil {
			t.Errorf("servers %q: got %v, want a misuse", ids, err)
		}
	}
}

// TestWithdrawnDoesNotConnect: without an identity of its own neither side
// completes a handshake.
func TestWithdrawnDoesNotConnect(t *testing.T) {
	ca := spiffetest.NewAuthority(t, td)
	for _, side := range []string{"server", "client"} {
		t.Run(side, func(t *testing.T) {
			apis := map[string]*spiffetest.API{
				"server": spiffetest.Start(t, ca.SVID(t, daemonID)),
				"client": spiffetest.Start(t, ca.SVID(t, nodeID)),
			}
			server, client := apis["server"].Open(t), apis["client"].Open(t)
			sources := map[string]*spiffe.Source{"server": server, "client": client}
			apis[side].Withdraw()
			eventually(t, "the withdrawal", func() bool { return sources[side].Healthy(time.Now()) != nil })
			_, _, serverErr, clientErr := handshake(t, spiffe.ServerTLS(server, newRoles(t)), clientTLS(t, client))
			if serverErr == nil || clientErr == nil {
				t.Fatalf("server: %v; client: %v; want both to fail", serverErr, clientErr)
			}
			own := map[string]error{"server": serverErr, "client": clientErr}[side]
			if verdict.CodeOf(own) != verdict.SVIDMissing {
				t.Errorf("got %v, want code %q", own, verdict.SVIDMissing)
			}
		})
	}
}

// TestR34Resumption: a client's saved session does not outlive the authority
// that issued its SVID. SPIRE 1.14.3 resumed it without the check (#6715).
func TestR34Resumption(t *testing.T) {
	ca, newCA := spiffetest.NewAuthority(t, td), spiffetest.NewAuthority(t, td)
	server := spiffetest.Start(t, ca.SVID(t, daemonID))
	serverSrc := server.Open(t)
	// The client keeps an SVID of the old authority and trusts both.
	clientSrc := spiffetest.Start(t, ca.SVID(t, nodeID).WithBundle(ca, newCA)).Open(t)
	roles := newRoles(t)

	for _, tickets := range []string{"off", "on"} {
		t.Run("tickets "+tickets, func(t *testing.T) {
			server.Set(ca.SVID(t, daemonID))
			old := serverSrc.NotAfter()
			serverCfg, clientCfg := spiffe.ServerTLS(serverSrc, roles), clientTLS(t, clientSrc)
			if !serverCfg.SessionTicketsDisabled || !clientCfg.SessionTicketsDisabled || clientCfg.ClientSessionCache != nil {
				t.Fatal("session tickets are not off on both sides")
			}
			// A client that would like to resume, against our server as it is, and
			// against one that gives tickets: then VerifyConnection has to hold.
			clientCfg.SessionTicketsDisabled = false
			clientCfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			clientCfg.ServerName = "assayd"
			serverCfg.SessionTicketsDisabled = tickets == "off"
			eventually(t, "the first connection", func() bool {
				_, _, serverErr, clientErr := handshake(t, serverCfg, clientCfg)
				return serverErr == nil && clientErr == nil
			})
			state, _, serverErr, clientErr := handshake(t, serverCfg, clientCfg)
			if serverErr != nil || clientErr != nil {
				t.Fatalf("control: server: %v; client: %v", serverErr, clientErr)
			}
			if state.DidResume != (tickets == "on") {
				t.Fatalf("control: got a resumed session %t with tickets %s", state.DidResume, tickets)
			}
			p, err := spiffe.PeerFromTLS(state, roles)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.CheckAt(serverSrc, time.Now()); err != nil {
				t.Fatal(err)
			}

			end := old.Add(-time.Minute).Truncate(time.Second)
			server.Set(newCA.Issue(t, daemonID, time.Now().Add(-time.Minute), end))
			eventually(t, "the new authority", func() bool { return serverSrc.NotAfter().Equal(end) })

			_, _, serverErr, clientErr = handshake(t, serverCfg, clientCfg)
			if verdict.CodeOf(serverErr) != verdict.PeerUntrusted || clientErr == nil {
				t.Errorf("server: %v; client: %v; want code %q", serverErr, clientErr, verdict.PeerUntrusted)
			}
			// And the stream that is still open is cut at its next message.
			if err := p.CheckAt(serverSrc, time.Now()); verdict.CodeOf(err) != verdict.PeerUntrusted {
				t.Errorf("the open stream: got %v, want code %q", err, verdict.PeerUntrusted)
			}
		})
	}
}

// TestCheckAt: a long stream ends with its peer's SVID, with the authority, and
// with the own SVID, and survives rotations of the bundle that keep the
// authority.
func TestCheckAt(t *testing.T) {
	ca, second := spiffetest.NewAuthority(t, td), spiffetest.NewAuthority(t, td)
	now := time.Now()
	long := func(a *spiffetest.Authority, life time.Duration) spiffetest.SVID {
		return a.Issue(t, daemonID, now.Add(-time.Minute), now.Add(life))
	}
	server := spiffetest.Start(t, long(ca, 20*time.Hour))
	src := server.Open(t)
	client := spiffetest.Start(t, ca.SVID(t, nodeID)).Open(t)
	roles := newRoles(t)
	state, _, serverErr, clientErr := handshake(t, spiffe.ServerTLS(src, roles), clientTLS(t, client))
	if serverErr != nil || clientErr != nil {
		t.Fatalf("server: %v; client: %v", serverErr, clientErr)
	}
	p, err := spiffe.PeerFromTLS(state, roles)
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string, at time.Time, code verdict.Code) {
		t.Helper()
		if err := p.CheckAt(src, at); verdict.CodeOf(err) != code {
			t.Errorf("%s: got %v, want code %q", what, err, code)
		}
	}
	change := func(svid spiffetest.SVID, life time.Duration) {
		t.Helper()
		server.Set(svid)
		end := now.Add(life).UTC().Truncate(time.Second)
		eventually(t, "the change", func() bool { return src.NotAfter().Equal(end) })
	}
	want("at once", now, "")
	want("its last second", p.NotAfter(), "")
	want("a second after its end", p.NotAfter().Add(time.Second), verdict.PeerUntrusted)
	want("and it is not spoiled", now, "")

	change(long(second, 19*time.Hour).WithBundle(ca, second), 19*time.Hour)
	want("both authorities in the bundle", now, "")
	change(long(second, 18*time.Hour), 18*time.Hour)
	want("its authority gone", now, verdict.PeerUntrusted)
	want("and it stays refused", now, verdict.PeerUntrusted)
	change(long(ca, 17*time.Hour), 17*time.Hour)
	want("its authority back", now, "")
	want("the own SVID over", now.Add(18*time.Hour), verdict.SVIDExpired)

	server.Withdraw()
	eventually(t, "the withdrawal", func() bool { return src.Healthy(now) != nil })
	want("the own SVID withdrawn", now, verdict.SVIDMissing)

	var none *spiffe.Peer
	for _, p := range []*spiffe.Peer{none, {ID: nodeID, Role: spiffe.RoleNode}} {
		if err := p.CheckAt(src, now); verdict.CodeOf(err) != verdict.PeerUntrusted {
			t.Errorf("a made-up peer: got %v, want code %q", err, verdict.PeerUntrusted)
		}
		if !p.NotAfter().IsZero() {
			t.Error("a made-up peer has an end")
		}
	}
}
