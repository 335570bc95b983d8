// SPDX-License-Identifier: Apache-2.0

package dialguard_test

import (
	"errors"
	"testing"

	"github.com/assayd/assay/verifier/internal/dialguard"
)

func TestPublic(t *testing.T) {
	for _, a := range []string{
		"", "example.org:80", "127.0.0.1:80", "[::1]:80", "10.0.0.1:80", "172.16.0.1:443", "192.168.1.1:80",
		"169.254.169.254:80", "[fe80::1]:80", "[fd00:ec2::254]:80", "0.0.0.0:80", "[::]:80", "100.64.0.1:80",
		"224.0.0.1:80", "[ff02::1]:80", "255.255.255.255:80", "240.0.0.1:80", "198.18.0.1:80", "192.0.0.8:80",
		"[::ffff:127.0.0.1]:80", "[::ffff:169.254.169.254]:80", "[::127.0.0.1]:80", "[64:ff9b::7f00:1]:80",
		"[2002:7f00:1::]:80", "[2001::1]:80", "[fec0::1]:80", "192.88.99.1:80",
		"[64:ff9b::7f00:1%eth0]:80", "[::127.0.0.1%1]:80", "[fe80::1%eth0]:80", "[::1%lo]:80",
	} {
		if err := dialguard.Public("tcp", a, nil); !errors.Is(err, dialguard.ErrAddress) {
			t.Errorf("%s: got %v, want it refused", a, err)
		}
	}
	for _, a := range []string{"8.8.8.8:80", "[2606:4700::1111]:443", "[::ffff:8.8.8.8]:80", "172.32.0.1:80"} {
		if err := dialguard.Public("tcp", a, nil); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}
