// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/swtpm"
	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// TestAzure: a daemon whose TPM is set up as that of Azure's paravisor records each head
// in PCR 14, and who trusts the chip's maker and names paravisor and PCRs accepts its
// statement.
func TestAzure(t *testing.T) {
	slow(t)
	swtpm.Require(t)
	// The path of a unix socket is short.
	dir, err := os.MkdirTemp("", "tpm")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	tpm, err := swtpm.Start(t.Context(), dir)
	must(t, err)
	t.Cleanup(func() { _ = tpm.Kill() }) // what it has is of no interest

	z := attesttest.NewAzureSNP(t, nil).State(t, attesttest.Statement(t), attesttest.Nonce(0))
	for _, c := range []*x509.Certificate{z.SNP.ARK, z.SNP.ASK, z.SNP.ASVK, z.SNP.Leaf} {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	z.SNP.CRLThisUpdate, z.SNP.CRLNextUpdate = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	conn, err := linuxudstpm.Open(tpm.Socket)
	must(t, err)
	made := z.SetUp(t, conn, nil)
	must(t, conn.Close())
	endorsements := t.TempDir()
	for label, name := range map[string]string{attest.LabelVCEK: "amd-vcek.der", attest.LabelCRL: "amd-crl.der"} {
		must(t, os.WriteFile(filepath.Join(endorsements, name), made.Items[attest.LabelEndorsements].Nested.Items[label].Value, 0o600))
	}
	executable, err := os.Executable()
	must(t, err)
	pcr4, err := enclave.MeasureInto(t.Context(), tpm.Socket, 4, executable)
	must(t, err)

	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	text := strings.Replace(w.configText(""), "tee: {kind: sim-snp, dir: "+w.simulator+"}", "tee: {kind: azure-snp, socket: "+tpm.Socket+", endorsements: "+endorsements+"}", 1)
	c, err := daemon.ParseConfig("assayd.yaml", []byte(text))
	must(t, err)
	r := w.startConfig(c)
	node := r.as("node/dev/node-a")
	if !waitHealthy(t, r, true) {
		t.Fatal("got not ready")
	}
	in := z.Input(t)
	in.Trust.AllowDevelopment = true
	e := &in.References.Entries[0]
	zeros := strings.Repeat("0", 64)
	e.Profile, e.Configs, e.Registers = verdict.Development, []verdict.Digest{c.Digest()}, map[string]string{"pcr4": pcr4, "pcr12": zeros, "pcr13": zeros}
	e.NotBefore, e.NotAfter = time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
	accept := func(events int, head uint64) {
		t.Helper()
		mine := nonce(verdict.NonceSize)
		answer, err := node.GetStatement(t.Context(), &assayv1.GetStatementRequest{Nonce: mine})
		must(t, err)
		in.MyNonce = [verdict.NonceSize]byte(mine)
		got, err := attest.Appraise(answer.GetCollection(), in, time.Now())
		must(t, err)
		if got.Kind != attest.AzureSNP || got.Binding != attest.BindingHCL || got.Simulated || len(got.Events) != events || got.Statement.Head.Counter != head {
			t.Errorf("got %+v", got)
		}
		in.Known = []attest.KnownAK{got.AK}
	}
	accept(1, 1)
	_, err = put(node, w.head(headSpec{counter: 2}))
	must(t, err)
	accept(2, 2)
	// Nobody needs a challenge, and nobody gets an answer to one.
	_, err = node.ActivateCredential(t.Context(), &assayv1.ActivateCredentialRequest{CredentialBlob: []byte("x"), EncryptedSecret: []byte("x")})
	if verdict.CodeOf(assayv1.FromStatus(err)) != verdict.EvidenceKind {
		t.Errorf("got %v, want %s", err, verdict.EvidenceKind)
	}
}
