// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/ci/swtpm"
	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// TestSWTPMDies is TestTEEDies with a TPM that is a real process, and the way
// of its attestation key's proof before that.
func TestSWTPMDies(t *testing.T) {
	slow(t)
	swtpm.Require(t)
	// The path of a unix socket is short.
	dir, err := os.MkdirTemp("", "tpm")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	tpm, err := swtpm.Start(t.Context(), dir)
	must(t, err)
	t.Cleanup(func() { _ = tpm.Kill() }) // it may be dead already

	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI)
	text := strings.Replace(w.configText(""), "tee: {kind: sim-snp, dir: "+w.simulator+"}", "tee: {kind: tpm, socket: "+tpm.Socket+"}", 1)
	c, err := daemon.ParseConfig("assayd.yaml", []byte(text))
	must(t, err)
	r := w.startConfig(c)
	node := r.as("node/dev/node-a")
	issuer := r.issuer(node)
	if !waitHealthy(t, r, true) {
		t.Fatal("got not ready")
	}
	collection := r.collection(node).GetCollection()
	challenge, err := attest.NewChallenge(collection)
	must(t, err)
	secret, err := node.ActivateCredential(t.Context(), &assayv1.ActivateCredentialRequest{CredentialBlob: challenge.Credential, EncryptedSecret: challenge.EncryptedSecret})
	must(t, err)
	if _, err := challenge.Prove(secret.GetSecret()); err != nil {
		t.Error(err)
	}
	// A newer head is a second event in the register.
	_, err = put(node, w.head(headSpec{counter: 2}))
	must(t, err)
	issuer = r.issuer(node)
	events, err := attest.ParseEventList(mustCollection(t, r.collection(node).GetCollection()).Items["registers"].Value)
	must(t, err)
	if len(events.Events) != 2 || !issuer.Statement.SameEvent(events.Events[1]) {
		t.Errorf("got events %+v, want two, the last as the statement says", events.Events)
	}

	must(t, tpm.Kill())
	deadline := time.Now().Add(30 * time.Second)
	for err = nil; err == nil && time.Now().Before(deadline); {
		_, err = node.GetStatement(t.Context(), &assayv1.GetStatementRequest{Nonce: nonce(32)})
	}
	if verdict.CodeOf(assayv1.FromStatus(err)) == "" {
		t.Errorf("got %v, want a failure without a TPM", err)
	}
	if !waitHealthy(t, r, false) {
		t.Error("got ready without a TPM")
	}
	got, err := verify(node, image)
	must(t, err)
	if _, _, err := verdict.OpenTicket(got.GetTicket(), []verdict.Issuer{issuer}); err != nil {
		t.Error(err)
	}
	pulse(t, watchStatus(t, node), issuer, 2)
}

func mustCollection(t *testing.T, data []byte) attest.Collection {
	t.Helper()
	c, err := attest.ParseCollection(data)
	must(t, err)
	return c
}
