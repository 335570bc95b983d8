// SPDX-License-Identifier: Apache-2.0

package pid1

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// netlinkTimeout bounds one request to the kernel.
const netlinkTimeout = 5 * time.Second

// configureNetwork brings up loopback and the interface with its address and route. It
// waits until the kernel has found the interface.
func configureNetwork(ctx context.Context, m Machine) (err error) {
	var outside *net.Interface
	for {
		if outside, err = net.InterfaceByName(m.Interface); err == nil {
			break
		}
		if ctxErr := sleep(ctx, poll); ctxErr != nil {
			return fmt.Errorf("looking for interface %s: %w", m.Interface, errors.Join(err, ctxErr))
		}
	}
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		return fmt.Errorf("looking for loopback: %w", err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("asking for a netlink socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	wait := unix.NsecToTimeval(netlinkTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return fmt.Errorf("bounding netlink: %w", err)
	}
	requests := []request{linkUp(loopback.Index), linkUp(outside.Index), addAddress(outside.Index, m.address)}
	if m.gateway.IsValid() {
		requests = append(requests, addGateway(outside.Index, m.gateway))
	}
	for n, r := range requests {
		if err := ask(fd, uint32(n+1), r); err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
	}
	return nil
}

// A request is one of rtnetlink(7).
type request struct {
	what  string
	kind  uint16
	flags uint16
	body  []byte
}

func linkUp(index int) request {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index)) //nolint:gosec // G115: the kernel's own number
	binary.NativeEndian.PutUint32(b[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(b[12:], unix.IFF_UP) // the mask of what changes
	return request{fmt.Sprintf("bringing up interface %d", index), unix.RTM_NEWLINK, 0, b}
}

func addAddress(index int, p netip.Prefix) request {
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1] = family(p.Addr()), byte(p.Bits())       //nolint:gosec // G115: at most 128
	binary.NativeEndian.PutUint32(b[4:], uint32(index)) //nolint:gosec // G115: the kernel's own number
	b = appendAttribute(b, unix.IFA_LOCAL, p.Addr().AsSlice())
	b = appendAttribute(b, unix.IFA_ADDRESS, p.Addr().AsSlice())
	return request{fmt.Sprintf("adding address %s", p), unix.RTM_NEWADDR, unix.NLM_F_CREATE | unix.NLM_F_EXCL, b}
}

func addGateway(index int, gateway netip.Addr) request {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[4], b[5], b[6], b[7] = family(gateway), unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST
	b = appendAttribute(b, unix.RTA_GATEWAY, gateway.AsSlice())
	b = appendAttribute(b, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(index))) //nolint:gosec // G115: the kernel's own number
	return request{fmt.Sprintf("adding a route by %s", gateway), unix.RTM_NEWROUTE, unix.NLM_F_CREATE | unix.NLM_F_EXCL, b}
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// appendAttribute appends an attribute, filled up to 4 bytes.
func appendAttribute(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(data))) //nolint:gosec // G115: at most 20
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	return append(b, make([]byte, -len(b)&3)...)
}

// ask sends a request and reads its acknowledgement.
func ask(fd int, sequence uint32, r request) error {
	message := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(r.body))
	ne := binary.NativeEndian
	ne.PutUint32(message, uint32(unix.SizeofNlMsghdr+len(r.body))) //nolint:gosec // G115: below 100
	ne.PutUint16(message[4:], r.kind)
	ne.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|r.flags)
	ne.PutUint32(message[8:], sequence)
	if err := unix.Sendto(fd, append(message, r.body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || ne.Uint16(answer[4:]) != unix.NLMSG_ERROR || ne.Uint32(answer[8:]) != sequence {
		return errors.New("the kernel gave no acknowledgement")
	}
	if code := int32(ne.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 { //nolint:gosec // G115: a negative errno
		return unix.Errno(-code) //nolint:gosec // G115: it is negative
	}
	return nil
}
