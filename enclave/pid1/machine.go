// SPDX-License-Identifier: Apache-2.0

package pid1

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/assayd/assay/internal/strictyaml"
)

// MaxMachine bounds machine.yaml, in bytes.
const MaxMachine = 16 << 10

// maxNameservers is how many a resolver asks (resolv.conf(5)).
const maxNameservers = 3

// A Machine is machine.yaml: how the machine reaches others. It is not measured.
type Machine struct {
	// Interface is the network interface. Default eth0.
	Interface string `yaml:"interface"`
	// Address is its address with the length of the network's prefix, as
	// 10.0.2.15/24. Required.
	Address string `yaml:"address"`
	// Gateway is where everything else is reached. Absent: only that network is.
	Gateway string `yaml:"gateway"`
	// Nameservers are at most three addresses of resolvers. Absent: names are not
	// resolved.
	Nameservers []string `yaml:"nameservers"`
	// WorkloadAPI is the address and port of a Workload API outside of the machine,
	// which the socket /run/assay/workload.sock leads to. Whoever runs it, or
	// listens on the way, has the daemon's SVID and its key; what a daemon signs
	// rests on neither (docs/image.md). Absent: there is no such socket.
	WorkloadAPI string `yaml:"workload-api"`

	address     netip.Prefix
	gateway     netip.Addr
	nameservers []netip.Addr
}

// ParseMachine decodes a machine.yaml, strictly. name is for messages. Its error is a
// *verdict.Misuse with file:line:column.
func ParseMachine(name string, data []byte) (Machine, error) {
	if len(data) > MaxMachine {
		return Machine{}, strictyaml.Named(name).Misuse("", "", "%d bytes, want at most %d", len(data), MaxMachine)
	}
	m := Machine{Interface: "eth0"}
	f, err := strictyaml.Decode(name, data, &m)
	if err != nil {
		return Machine{}, err
	}
	// IFNAMSIZ without the NUL at its end.
	if m.Interface == "" || len(m.Interface) > 15 || m.Interface == "." || m.Interface == ".." || !printable(m.Interface) {
		return Machine{}, f.Misuse("interface", "write its name, as eth0", "interface is %.64q", m.Interface)
	}
	if m.address, err = netip.ParsePrefix(m.Address); err != nil || !usable(m.address.Addr()) {
		return Machine{}, f.Misuse("address", "write it as 10.0.2.15/24", "address is %.64q, want an address and the length of its network's prefix", m.Address)
	}
	if m.Gateway != "" {
		if m.gateway, err = netip.ParseAddr(m.Gateway); err != nil || !m.address.Contains(m.gateway) || m.gateway == m.address.Addr() {
			return Machine{}, f.Misuse("gateway", "", "gateway is %.64q, want another address of %s", m.Gateway, m.address.Masked())
		}
	}
	if len(m.Nameservers) > maxNameservers {
		return Machine{}, f.Misuse("nameservers", "", "%d nameservers, want at most %d", len(m.Nameservers), maxNameservers)
	}
	for i, text := range m.Nameservers {
		addr, err := netip.ParseAddr(text)
		if err != nil || !usable(addr) {
			return Machine{}, f.Misuse(fmt.Sprintf("nameservers[%d]", i), "", "nameservers: %.64q is no address", text)
		}
		m.nameservers = append(m.nameservers, addr)
	}
	if m.WorkloadAPI != "" {
		host, port, err := net.SplitHostPort(m.WorkloadAPI)
		addr, addrErr := netip.ParseAddr(host)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || addrErr != nil || portErr != nil || !usable(addr) || n == 0 {
			return Machine{}, f.Misuse("workload-api", "write it as 10.0.2.100:8081", "workload-api is %.64q, want an address and a port", m.WorkloadAPI)
		}
	}
	return m, nil
}

// usable tells whether addr is one of another machine, without a zone.
func usable(addr netip.Addr) bool {
	return addr.IsValid() && addr.Zone() == "" && !addr.Is4In6() && !addr.IsUnspecified() && !addr.IsMulticast() && !addr.IsLoopback()
}

// printable tells whether text is of letters, digits and punctuation that a name of an
// interface may have (Linux dev_valid_name: no slash, colon or space).
func printable(text string) bool {
	for _, c := range text {
		if c <= ' ' || c > '~' || c == '/' || c == ':' {
			return false
		}
	}
	return true
}

// resolvConf is the text of /etc/resolv.conf.
func (m Machine) resolvConf() []byte {
	var b []byte
	for _, addr := range m.nameservers {
		b = fmt.Appendf(b, "nameserver %s\n", addr)
	}
	return b
}
