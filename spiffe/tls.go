// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"github.com/assayd/assay/verdict"
)

// maxChain bounds the certificates that a peer may present.
const maxChain = 8

// ServerTLS returns the configuration of a server: TLS 1.3, no session tickets,
// and a client certificate that is an SVID of the roles' trust domain with a
// role. With nil roles nobody has one. What a role may call is for [Verbs].
func ServerTLS(src *Source, roles *Roles) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: tlsconfig.GetCertificate(src),
		// The certificate is verified in VerifyConnection, which unlike
		// ClientAuth's own verification and VerifyPeerCertificate is also called
		// for a resumed session.
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			// The name first: that the chain is unknown here would be true of
			// another trust domain too, and say less.
			p, err := peerOfChain(state.PeerCertificates, roles)
			if err != nil {
				return err
			}
			return p.CheckAt(src, time.Now())
		},
	}
}

// ClientTLS returns the configuration of a client that talks to the servers
// with the given SPIFFE IDs and to no others: TLS 1.3, no session resumption. An
// ID may be a pattern as in [Patterns], "*" standing for cluster or name. It
// returns a [*verdict.Misuse] when there is no ID or a malformed one.
//
// Which server it is matters for who may withhold and listen, and no further:
// what a daemon says counts by its evidence.
func ClientTLS(src *Source, servers ...string) (*tls.Config, error) {
	if len(servers) == 0 {
		return nil, verdict.Misused("name the SPIFFE IDs of the daemons", "connecting: no server is trusted")
	}
	accepted := make([]pattern, len(servers))
	for i, id := range servers {
		p, err := parseServer(id)
		if err != nil {
			return nil, err
		}
		accepted[i] = p
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetClientCertificate:   tlsconfig.GetClientCertificate(src),
		SessionTicketsDisabled: true,
		// SVIDs name no hosts. VerifyConnection checks the chain against the
		// trust bundle and the SPIFFE ID, for a resumed session too.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies chain and SPIFFE ID.
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := checkChain(state.PeerCertificates); err != nil {
				return err
			}
			id, _, _, err := src.verify(state.PeerCertificates, time.Now())
			if err != nil {
				return err
			}
			for _, p := range accepted {
				if p.matchesID(id) {
					return nil
				}
			}
			return verdict.Refuse(verdict.PeerRole, "connecting: the server is %s, want one of %.512q", id, servers)
		},
	}, nil
}

// parseServer reads a whole SPIFFE ID, of any length, or a pattern.
func parseServer(text string) (pattern, error) {
	if strings.Contains(text, wildcard) {
		return parsePattern(text)
	}
	id, err := parseID(text)
	if err != nil {
		return pattern{}, err
	}
	return pattern{text: text, trustDomain: id.TrustDomain(), segments: segmentsOf(id)}, nil
}

func checkChain(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return verdict.Refuse(verdict.PeerUntrusted, "reading the peer's SVID: it presented no certificate")
	}
	if len(chain) > maxChain {
		return verdict.Refuse(verdict.PeerUntrusted, "reading the peer's SVID: it presented %d certificates, want at most %d", len(chain), maxChain)
	}
	return nil
}

// A Peer is the authenticated caller of one connection. Its fields are facts
// once [PeerFromTLS] has returned it. It is safe for concurrent use.
type Peer struct {
	// ID is the SPIFFE ID.
	ID string
	// Role is the role that the measured configuration gives to the ID.
	Role Role
	// Cluster and Name are the last two segments of the ID's path.
	Cluster, Name string

	chain []*x509.Certificate

	mu         sync.Mutex // guards the result of the last verification
	until      time.Time  // the chain stands until then
	generation uint64     // under this generation of the source
}

// PeerFromTLS returns the peer of a connection that was made with [ServerTLS].
// It returns a [*verdict.Refusal] peer.untrusted, peer.trust-domain or peer.role
// where the handshake would have, too: a connection of another configuration
// has no peer.
//
// The chain itself is verified by the handshake, and again by [Peer.CheckAt].
func PeerFromTLS(state tls.ConnectionState, roles *Roles) (*Peer, error) {
	if !state.HandshakeComplete {
		return nil, verdict.Refuse(verdict.PeerUntrusted, "reading the peer's SVID: the handshake is not complete")
	}
	return peerOfChain(state.PeerCertificates, roles)
}

// peerOfChain returns the peer that the leaf names. It does not verify the
// chain.
func peerOfChain(chain []*x509.Certificate, roles *Roles) (*Peer, error) {
	if err := checkChain(chain); err != nil {
		return nil, err
	}
	uris := chain[0].URIs
	if len(uris) != 1 {
		return nil, verdict.Refuse(verdict.PeerUntrusted, "reading the peer's SVID: it has %d URI names, want 1", len(uris))
	}
	p, err := roles.peerOf(uris[0].String())
	if err != nil {
		return nil, err
	}
	p.chain = chain
	return p, nil
}

// CheckAt verifies the peer's chain against the trust bundle as it is now, at
// the given time. A server calls it for each message of a long stream, and ends
// the stream when it returns an error: a [*verdict.Refusal] peer.untrusted when
// the SVID has expired or its authority has left the bundle, or a
// [*verdict.Failure] when the own SVID is withdrawn or has expired.
//
// It costs a signature verification only after the bundle has changed.
func (p *Peer) CheckAt(src *Source, at time.Time) error {
	if p == nil || len(p.chain) == 0 {
		return verdict.Refuse(verdict.PeerUntrusted, "checking the peer: it did not come from a connection")
	}
	if err := src.usableAt(at); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.generation != 0 && at.After(p.until) {
		return verdict.Refuse(verdict.PeerUntrusted, "checking the peer: the SVID of %s ended at %s", p.ID, p.until.UTC().Format(time.RFC3339))
	}
	if p.generation != 0 && p.generation == src.currentGeneration() {
		return nil
	}
	id, until, generation, err := src.verify(p.chain, at)
	if err != nil {
		return err
	}
	if id.String() != p.ID {
		return verdict.Refuse(verdict.PeerUntrusted, "checking the peer: its SVID names %s, want %s", id, p.ID)
	}
	p.until, p.generation = until, generation
	return nil
}

// NotAfter returns the end of the peer's leaf certificate: the time at which a
// server cuts the connection at the latest. It is zero for a Peer that did not
// come from a connection.
func (p *Peer) NotAfter() time.Time {
	if p == nil || len(p.chain) == 0 {
		return time.Time{}
	}
	return p.chain[0].NotAfter
}
