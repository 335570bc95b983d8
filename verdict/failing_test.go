// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/verdict"
)

var errDevice = errors.New("the device is gone")

// A brokenSigner is a key in a device that answers no more.
type brokenSigner struct{ crypto.Signer }

func (brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errDevice
}

// broken is a key whose public part is that of p.
func broken(t *testing.T, p pair, use string) *verdict.Key {
	t.Helper()
	k, err := verdict.NewKey(brokenSigner{p.priv}, use)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSignerFails: where the key does not sign, nothing is returned but its error.
func TestSignerFails(t *testing.T) {
	w := newWorld(t)
	owner, core, ticket, renewal := broken(t, w.owner[1], verdict.UseOwner), broken(t, w.verdictKey, verdict.UseVerdict), broken(t, w.ticketKey, verdict.UseTicket), broken(t, w.renewal, verdict.UseRenewal)
	head, err := verdict.SignHead(w.head, w.owner[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	exception, err := verdict.SignException(goodException(w), w.owner[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, sign := range map[string]func() (any, error){
		"core": func() (any, error) {
			c, err := verdict.SignCore(goodCore(w), core)
			return c.Envelope, err
		},
		"deny document": func() (any, error) {
			return verdict.SignDeny(verdict.DenyDocument{Counter: 1, Entries: w.deny, Iat: unix(0), NotAfter: unix(time.Hour)}, owner)
		},
		"exception":         func() (any, error) { return verdict.SignException(goodException(w), owner) },
		"exception, second": func() (any, error) { return verdict.AddExceptionSignature(exception, owner) },
		"head":              func() (any, error) { return verdict.SignHead(w.head, owner) },
		"head, second":      func() (any, error) { return verdict.AddHeadSignature(head, owner) },
		"renewal": func() (any, error) {
			return verdict.SignRenewal(verdict.Renewal{Counter: 7, Head: w.head.Deny, Iat: unix(0), NotAfter: unix(time.Hour)}, renewal)
		},
		"status": func() (any, error) { return verdict.SignStatus(goodStatus(w, w.open(t)), ticket) },
		"ticket": func() (any, error) { return verdict.SignTicket(w.ticket, ticket) },
	} {
		out, err := sign()
		if !errors.Is(err, errDevice) {
			t.Errorf("%s: got %v, want %v", name, err, errDevice)
		}
		if b, _ := out.([]byte); len(b) > 0 {
			t.Errorf("%s: got %q beside the error", name, b)
		}
		if s, _ := out.(string); s != "" {
			t.Errorf("%s: got %q beside the error", name, s)
		}
	}
}

// TestKeyThatIsNone: a point that is not on the curve is no key.
func TestKeyThatIsNone(t *testing.T) {
	w := newWorld(t)
	if k, err := verdict.NewJWK(&ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, verdict.UseOwner); err == nil { //nolint:staticcheck // SA1019: what else makes such a key?
		t.Errorf("got %+v", k)
	}
	k := w.owner[0].JWK()
	k.X = k.Y
	if out, err := k.PEM(); err == nil || out != nil {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestSpoiled: an envelope of which a known key's signature does not verify is told
// apart from one that it has not signed.
func TestSpoiled(t *testing.T) {
	w := newWorld(t)
	spoil := func(raw []byte) []byte {
		t.Helper()
		var env struct {
			Payload     []byte `json:"payload"`
			PayloadType string `json:"payloadType"`
			Signatures  []struct {
				Keyid string `json:"keyid"`
				Sig   []byte `json:"sig"`
			} `json:"signatures"`
		}
		if err := json.Unmarshal(raw, &env); err != nil {
			t.Fatal(err)
		}
		env.Signatures[0].Sig[len(env.Signatures[0].Sig)-1] ^= 1
		out, err := json.Marshal(env)
		if err != nil || bytes.Equal(out, raw) {
			t.Fatal(err)
		}
		return out
	}
	core, err := verdict.SignCore(goodCore(w), w.verdictKey.Key)
	if err != nil {
		t.Fatal(err)
	}
	set := w.set(t)
	renewal, err := verdict.SignRenewal(verdict.Renewal{Counter: w.head.Counter, Head: w.open(t).Digest, Iat: unix(0), NotAfter: unix(time.Hour)}, w.renewal.Key)
	if err != nil {
		t.Fatal(err)
	}
	set.Renewal = renewal
	if _, err := verdict.OpenHead(set, w.owners); err != nil {
		t.Fatal(err)
	}
	exception, err := verdict.SignException(goodException(w), w.owner[0].Key, w.owner[1].Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (verdict.Code, error){
		"core": func() (verdict.Code, error) {
			_, err := verdict.OpenCore(spoil(core.Envelope), []verdict.JWK{w.verdictKey.JWK()})
			return verdict.SigInvalid, err
		},
		"deny document": func() (verdict.Code, error) {
			_, err := verdict.OpenDeny(spoil(w.denyDoc(t, 0, 1, w.deny, 0, time.Hour)), w.owners)
			return verdict.HeadSignature, err
		},
		"exception": func() (verdict.Code, error) {
			_, err := verdict.OpenException(spoil(exception), w.owners)
			return verdict.ExceptionSignature, err
		},
		"head": func() (verdict.Code, error) {
			set := w.set(t)
			set.Head = spoil(set.Head)
			_, err := verdict.OpenHead(set, w.owners)
			return verdict.HeadSignature, err
		},
		"renewal": func() (verdict.Code, error) {
			set := set
			set.Renewal = spoil(set.Renewal)
			_, err := verdict.OpenHead(set, w.owners)
			return verdict.HeadSignature, err
		},
	} {
		want, err := open()
		if verdict.CodeOf(err) != want || !strings.Contains(err.Error(), "does not verify") {
			t.Errorf("%s: got %v, want %s and that a signature does not verify", name, err, want)
		}
	}
}
