// SPDX-License-Identifier: Apache-2.0

package pid1_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/enclave/pid1"
	"github.com/assayd/assay/verdict"
)

const machine = `interface: ens3
address: 10.0.2.15/24
gateway: 10.0.2.2
nameservers: [10.0.2.3, "2001:db8::53"]
workload-api: 10.0.2.100:8081
`

func TestParseMachine(t *testing.T) {
	m, err := pid1.ParseMachine("machine.yaml", []byte(machine))
	if err != nil {
		t.Fatal(err)
	}
	if m.Interface != "ens3" || m.Address != "10.0.2.15/24" || m.WorkloadAPI != "10.0.2.100:8081" {
		t.Errorf("got %+v", m)
	}
	if got, want := string(pid1.ResolvConf(m)), "nameserver 10.0.2.3\nnameserver 2001:db8::53\n"; got != want {
		t.Errorf("got resolv.conf %q, want %q", got, want)
	}
	m, err = pid1.ParseMachine("machine.yaml", []byte("address: 2001:db8::2/64\n"))
	if err != nil || m.Interface != "eth0" || m.Gateway != "" || len(pid1.ResolvConf(m)) != 0 {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestParseMachineRefuses(t *testing.T) {
	for _, test := range []struct{ name, old, with, want string }{
		{"unknown key", "gateway", "gatway", `unknown key "gatway"`},
		{"no address", "address: 10.0.2.15/24\n", "", "want an address and the length"},
		{"address without length", "10.0.2.15/24", "10.0.2.15", "want an address and the length"},
		{"address is loopback", "10.0.2.15/24", "127.0.0.1/8", "want an address and the length"},
		{"long length", "10.0.2.15/24", "10.0.2.15/33", "want an address and the length"},
		{"gateway of another network", "10.0.2.2\n", "10.0.3.2\n", "want another address of 10.0.2.0/24"},
		{"gateway is the address", "10.0.2.2\n", "10.0.2.15\n", "want another address of 10.0.2.0/24"},
		{"nameserver by name", "10.0.2.3", "ns.example", "is no address"},
		{"many nameservers", "[10.0.2.3, ", "[10.0.2.3, 10.0.2.4, 10.0.2.5, ", "4 nameservers, want at most 3"},
		{"interface is a path", "ens3", "../ens3", `interface is "../ens3"`},
		{"interface is long", "ens3", "enp0000000000000", "interface is"},
		{"workload API by name", "10.0.2.100:8081", "api:8081", "want an address and a port"},
		{"workload API without port", "10.0.2.100:8081", "10.0.2.100", "want an address and a port"},
		{"workload API at port 0", "10.0.2.100:8081", "10.0.2.100:0", "want an address and a port"},
		{"large", "interface: ens3\n", "interface: ens3\n" + strings.Repeat("#\n", pid1.MaxMachine), "want at most 16384"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(machine, test.old, test.with, 1)
			if text == machine {
				t.Fatal("the text was not changed")
			}
			got, err := pid1.ParseMachine("machine.yaml", []byte(text))
			if m, ok := errors.AsType[*verdict.Misuse](err); !ok || !strings.Contains(m.Error(), test.want) {
				t.Errorf("got %v, want a misuse with %q", err, test.want)
			}
			if !reflect.DeepEqual(got, pid1.Machine{}) {
				t.Errorf("got %+v beside an error", got)
			}
		})
	}
}

func FuzzParseMachine(f *testing.F) {
	text, first := fuzz.YAML(f, []byte(machine))
	inputs := fuzz.New(f, []byte(machine), text, text, text, []byte("address: 2001:db8::2/64\n"), []byte("address: [\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data) || bytes.HasPrefix(data, first))
		m, err := pid1.ParseMachine("machine.yaml", data)
		if err != nil {
			if !reflect.DeepEqual(m, pid1.Machine{}) {
				t.Errorf("got %+v beside an error", m)
			}
			return
		}
		// What becomes a file of the system has only lines that we made.
		for line := range strings.Lines(string(pid1.ResolvConf(m))) {
			if !strings.HasPrefix(line, "nameserver ") || strings.Count(line, " ") != 1 {
				t.Errorf("got line %q", line)
			}
		}
	})
}
