// SPDX-License-Identifier: Apache-2.0

// Package dialguard keeps a client from the network that it stands in: where a
// name came from an input, its address has to be a public one.
//
// [Public] is a Control function for a [net.Dialer]: it runs after name
// resolution, for each address, so that no answer of a name server gets around it.
package dialguard

import (
	"errors"
	"net/netip"
	"syscall"
)

// ErrAddress is how [Public] refuses.
var ErrAddress = errors.New("the address is not a public one")

// special are not private by RFC 1918 and not public either: "this network",
// carrier NAT (RFC 6598), protocol assignments, relays of 6to4, benchmarks,
// reserved; and of IPv6 what embeds IPv4 (IPv4-compatible, Teredo, NAT64, 6to4)
// and site-local addresses of old.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("fec0::/10"),
}

// Public returns [ErrAddress] for an address (host:port, the host an IP address)
// inside the network that we stand in: loopback, private, link-local (where most
// clouds hand out credentials, 169.254.169.254), multicast, unspecified or
// reserved. The connection is not used, and may be nil.
func Public(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	// No prefix contains an address with a zone.
	a := ap.Addr().Unmap().WithZone("")
	if err != nil || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return ErrAddress
	}
	for _, p := range special {
		if p.Contains(a) {
			return ErrAddress
		}
	}
	return nil
}
