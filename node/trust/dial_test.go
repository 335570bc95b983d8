// SPDX-License-Identifier: Apache-2.0

package trust_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/spiffe/spiffetest"
	"github.com/assayd/assay/verdict"
)

// TestWhyThereIsNoConnection: a daemon that refuses this node's SVID is not one that is
// down.
func TestWhyThereIsNoConnection(t *testing.T) {
	src := spiffetest.Start(t, spiffetest.NewAuthority(t, "dev.assay.invalid").SVID(t, good(t).Node)).Open(t)
	conn := trust.ConnOf(nil, src)
	for text, test := range map[string]struct {
		code    verdict.Code
		refused bool
	}{
		"connection error: remote error: tls: bad certificate": {verdict.PeerUntrusted, true},
		"connection refused": {verdict.DaemonUnreachable, false},
	} {
		err := conn.Err(status.Error(codes.Unavailable, text))
		if verdict.CodeOf(err) != test.code || verdict.Refused(err) != test.refused {
			t.Errorf("%s: got %v, want %s", text, err, test.code)
		}
	}
	if err := conn.Err(nil); err != nil {
		t.Errorf("got %v, want no error", err)
	}
}
