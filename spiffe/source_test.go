// SPDX-License-Identifier: Apache-2.0

package spiffe_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/spiffe/spiffetest"
	"github.com/assayd/assay/verdict"
)

// eventually polls a condition that another process' stream brings about.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not happen within a minute: %s", what)
		case <-tick.C:
		}
	}
}

func TestSource(t *testing.T) {
	ca := spiffetest.NewAuthority(t, td)
	svid := ca.SVID(t, nodeID)
	src := spiffetest.Start(t, svid).Open(t)

	now := time.Now()
	if err := src.Healthy(now); err != nil {
		t.Error(err)
	}
	if id, err := src.ID(); id != nodeID || err != nil {
		t.Errorf("got ID %q, %v, want %q", id, err, nodeID)
	}
	if got := src.NotAfter().Sub(now); got < 59*time.Minute || got > time.Hour {
		t.Errorf("got an SVID for %s, want about an hour", got)
	}
	for _, tt := range []struct {
		name string
		at   time.Time
		want verdict.Code
	}{
		{"begins", src.NotAfter().Add(-61*time.Minute + time.Second), ""},
		{"before it begins", src.NotAfter().Add(-61*time.Minute - time.Second), verdict.SVIDExpired},
		{"margin", src.NotAfter().Add(-spiffe.ExpiryMargin), ""},
		{"inside the margin", src.NotAfter().Add(-spiffe.ExpiryMargin + time.Second), verdict.SVIDExpired},
		{"an hour later", src.NotAfter().Add(time.Hour), verdict.SVIDExpired},
	} {
		if err := src.Healthy(tt.at); verdict.CodeOf(err) != tt.want {
			t.Errorf("%s: got %v, want code %q", tt.name, err, tt.want)
		}
	}
}

func TestCheckID(t *testing.T) {
	ca := spiffetest.NewAuthority(t, td)
	src := spiffetest.Start(t, ca.SVID(t, nodeID)).Open(t)
	for _, tt := range []struct {
		name, want string
		code       verdict.Code
	}{
		{"itself", nodeID, ""},
		{"another node", "spiffe://dev.assay.invalid/assay/node/demo/node-b", verdict.PeerRole},
		{"wrong role", "spiffe://dev.assay.invalid/assay/admin/demo/node-a", verdict.PeerRole},
		{"wrong trust domain", "spiffe://prod.assay.invalid/assay/node/demo/node-a", verdict.PeerTrustDomain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := src.CheckID(tt.want)
			if verdict.CodeOf(err) != tt.code {
				t.Errorf("got %v, want code %q", err, tt.code)
			}
			if _, refused := errors.AsType[*verdict.Refusal](err); err != nil && !refused {
				t.Errorf("got %T, want a refusal", err)
			}
		})
	}
	for _, bad := range []string{"", "node-a", "spiffe://dev.assay.invalid"} {
		if _, ok := errors.AsType[*verdict.Misuse](src.CheckID(bad)); !ok {
			t.Errorf("%q: got %v, want a misuse", bad, src.CheckID(bad))
		}
	}
}

// TestSourceRotates: a new SVID takes the place of the old one.
func TestSourceRotates(t *testing.T) {
	ca := spiffetest.NewAuthority(t, td)
	api := spiffetest.Start(t, ca.SVID(t, nodeID))
	src := api.Open(t)
	now := time.Now()
	end := now.Add(2 * time.Hour).Truncate(time.Second).UTC()
	api.Set(ca.Issue(t, nodeID, now.Add(-time.Minute), end))
	eventually(t, "the new SVID", func() bool { return src.NotAfter().Equal(end) })
}

// TestSourceWithdrawn: when the Workload API takes the identity away, nothing
// is given out, although the SVID would be valid for another hour. It comes back
// with the next SVID.
func TestSourceWithdrawn(t *testing.T) {
	ca := spiffetest.NewAuthority(t, td)
	svid := ca.SVID(t, nodeID)
	api := spiffetest.Start(t, svid)
	src := api.Open(t)
	if err := src.Healthy(time.Now()); err != nil {
		t.Fatal(err)
	}
	api.Withdraw()
	eventually(t, "the withdrawal", func() bool { return src.Healthy(time.Now()) != nil })
	err := src.Healthy(time.Now())
	if verdict.CodeOf(err) != verdict.SVIDMissing || !strings.Contains(err.Error(), "no identity issued") {
		t.Errorf("got %v, want code %q and the Workload API's words", err, verdict.SVIDMissing)
	}
	if _, failed := errors.AsType[*verdict.Failure](err); !failed {
		t.Errorf("got %T, want a failure", err)
	}
	if _, err := src.GetX509SVID(); verdict.CodeOf(err) != verdict.SVIDMissing {
		t.Errorf("asking for the SVID: got %v, want code %q", err, verdict.SVIDMissing)
	}
	if _, err := src.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString(td)); verdict.CodeOf(err) != verdict.SVIDMissing {
		t.Errorf("asking for the trust bundle: got %v, want code %q", err, verdict.SVIDMissing)
	}
	api.Set(svid)
	eventually(t, "the return", func() bool { return src.Healthy(time.Now()) == nil })
}

// TestSourceExpired: an expired SVID that the Workload API pushes is not used.
func TestSourceExpired(t *testing.T) {
	ca := spiffetest.NewAuthority(t, td)
	now := time.Now()
	src := spiffetest.Start(t, ca.Issue(t, nodeID, now.Add(-time.Hour), now.Add(-time.Second))).Open(t)
	if err := src.Healthy(now); verdict.CodeOf(err) != verdict.SVIDExpired {
		t.Errorf("got %v, want code %q", err, verdict.SVIDExpired)
	}
	if _, err := src.GetX509SVID(); verdict.CodeOf(err) != verdict.SVIDExpired {
		t.Errorf("asking for the SVID: got %v, want code %q", err, verdict.SVIDExpired)
	}
	if _, err := src.ID(); verdict.CodeOf(err) != verdict.SVIDExpired {
		t.Errorf("asking for the ID: got %v, want code %q", err, verdict.SVIDExpired)
	}
}

// TestSourceWithoutAgent: while the Workload API is gone, what it gave counts
// until it expires.
func TestSourceWithoutAgent(t *testing.T) {
	ca := spiffetest.NewAuthority(t, td)
	now := time.Now()
	api := spiffetest.Start(t, ca.Issue(t, nodeID, now.Add(-time.Minute), now.Add(3*time.Second)))
	src := api.Open(t)
	api.Stop(t)
	if _, err := src.GetX509SVID(); err != nil {
		t.Errorf("with the agent just gone: %v", err)
	}
	eventually(t, "its end", func() bool { _, err := src.GetX509SVID(); return err != nil })
	if err := src.Healthy(time.Now()); verdict.CodeOf(err) != verdict.SVIDExpired {
		t.Errorf("got %v, want code %q", err, verdict.SVIDExpired)
	}
}

func TestSourceClosed(t *testing.T) {
	ca := spiffetest.NewAuthority(t, td)
	src := spiffetest.Start(t, ca.SVID(t, nodeID)).Open(t)
	for range 2 {
		if err := src.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := src.Healthy(time.Now()); verdict.CodeOf(err) != verdict.SVIDMissing {
		t.Errorf("got %v, want code %q", err, verdict.SVIDMissing)
	}
}

// TestMissingSVID: without an identity, or without a Workload API, opening ends
// with the context, and says which.
func TestMissingSVID(t *testing.T) {
	api := spiffetest.StartEmpty(t)
	for _, tt := range []struct{ name, socket, want string }{
		{"no identity", api.Socket(), "no identity issued"},
		{"address form", "unix://" + api.Socket(), "no identity issued"},
		{"no socket", filepath.Join(t.TempDir(), "none.sock"), "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			src, err := spiffe.OpenSource(ctx, tt.socket)
			if verdict.CodeOf(err) != verdict.SVIDMissing || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want code %q and %q", err, verdict.SVIDMissing, tt.want)
			}
			if src != nil {
				t.Error("got a source beside an error")
			}
		})
	}
}

func TestOpenSourceMisuse(t *testing.T) {
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "")
	for _, socket := range []string{"", "relative.sock", "tcp://127.0.0.1:8081", "unix:relative.sock", "unix://host/path", "npipe:spire"} {
		src, err := spiffe.OpenSource(t.Context(), socket)
		if _, ok := errors.AsType[*verdict.Misuse](err); !ok || src != nil {
			t.Errorf("%q: got %v, want a misuse", socket, err)
		}
	}
}

// TestOpenSourceEnvironment: the standard's variable is the default.
func TestOpenSourceEnvironment(t *testing.T) {
	ca := spiffetest.NewAuthority(t, td)
	api := spiffetest.Start(t, ca.SVID(t, nodeID))
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "unix://"+api.Socket())
	src, err := spiffe.OpenSource(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
}
