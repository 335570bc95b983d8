// SPDX-License-Identifier: Apache-2.0

package pid1

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestConfigureNetwork sets up loopback of a network name space of its own, where the
// test may make one. The thread is thrown away with it.
func TestConfigureNetwork(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
		loopback         bool
	}{
		{"address", "interface: lo\naddress: 10.9.8.7/24\n", "", true},
		{"address of IPv6", "interface: lo\naddress: 2001:db8::7/64\n", "", true},
		{"gateway that is not there", "interface: lo\naddress: 2001:db8::7/64\ngateway: 2001:db8::1\n", "adding a route by 2001:db8::1: no route to host", true},
		{"no such interface", "interface: eth7\naddress: 10.9.8.7/24\n", "looking for interface eth7", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := ParseMachine("machine.yaml", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			type result struct {
				err, unshared error
				addresses     []string
			}
			done := make(chan result)
			go func() {
				runtime.LockOSThread() // and never unlocked: the thread ends with its name space
				var r result
				if r.unshared = unix.Unshare(unix.CLONE_NEWNET); r.unshared == nil {
					ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
					r.err = configureNetwork(ctx, m)
					cancel()
					if i, err := net.InterfaceByName("lo"); err == nil && i.Flags&net.FlagUp != 0 {
						list, _ := i.Addrs()
						for _, a := range list {
							r.addresses = append(r.addresses, a.String())
						}
					}
				}
				done <- r
			}()
			r := <-done
			if errors.Is(r.unshared, unix.EPERM) && os.Getenv("CI") != "true" {
				t.Skip("no permission to make a network name space")
			}
			if r.unshared != nil {
				t.Fatal(r.unshared)
			}
			if test.want != "" {
				if r.err == nil || !strings.Contains(r.err.Error(), test.want) || errors.Is(r.err, context.DeadlineExceeded) == test.loopback {
					t.Errorf("got %v, want %q", r.err, test.want)
				}
				return
			}
			if r.err != nil {
				t.Fatal(r.err)
			}
			if !slices.Contains(r.addresses, m.address.String()) {
				t.Errorf("got addresses %q, want %s", r.addresses, m.address)
			}
		})
	}
}

// TestReap holds that a process that nobody waits for does not stay, and that reaping
// ends with its context.
func TestReap(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	died, ended := make(chan os.Signal), make(chan struct{})
	go func() {
		defer close(ended)
		reap(ctx, died)
	}()
	child, err := os.StartProcess("/proc/self/exe", []string{"test", "-test.run=^$"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	// The kernel sends a signal for each end; here is one for each look.
	for deadline := time.Now().Add(30 * time.Second); !errors.Is(unix.Kill(child.Pid, 0), unix.ESRCH); {
		if time.Now().After(deadline) {
			t.Fatal("the process is still there")
		}
		died <- unix.SIGCHLD
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
}

// TestMountAll holds that a file system that cannot be mounted is named.
func TestMountAll(t *testing.T) {
	err := mountAll([]mount{{"no-such-file-system", t.TempDir(), "", 0}})
	if err == nil || !strings.HasPrefix(err.Error(), "mounting ") {
		t.Errorf("got %v", err)
	}
}
