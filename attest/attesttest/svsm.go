// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"encoding/hex"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// SVSM is the evidence of a guest of SEV-SNP with an SVSM before it is signed and
// encoded. Each part may be changed before Collection is called.
type SVSM struct {
	// SNP is the platform. REPORT_DATA is filled in where it is zero.
	SNP *SNP
	// TPM is what the SVSM runs. Its EK is the manifest.
	TPM *TPM
	// OnManifest changes the manifest before the SVSM hashes it, OnEvidence the parts of
	// the evidence after everything is signed.
	OnManifest func(manifest []byte) []byte
	OnEvidence func(items map[string]attest.Item)
}

// NewSVSM returns evidence for a statement and one nonce.
func NewSVSM(t testing.TB, statement verdict.Statement, nonce [verdict.NonceSize]byte) *SVSM {
	t.Helper()
	s := &SVSM{TPM: NewTPM(t, statement, nonce)}
	s.SNP = NewSNP(t, attest.SNP, s.TPM.Statement, nonce)
	s.TPM.EKTemplate = nil // the SVSM makes the key when the machine starts
	s.TPM.PCRs[4] = [32]byte{4}
	return s
}

// Collection signs everything and returns the parts of the collection.
func (s *SVSM) Collection(t testing.TB) attest.Collection {
	t.Helper()
	manifest := tpm2.Marshal(s.TPM.EK)
	if s.OnManifest != nil {
		manifest = s.OnManifest(manifest)
	}
	said := s.SNP.Report.ReportData
	if said == [64]byte{} {
		s.SNP.Report.ReportData = attest.SVSMReportData(verdict.ReportData(s.TPM.Statement, s.TPM.Nonces), manifest)
	}
	hardware := s.SNP.Collection(t)
	s.SNP.Report.ReportData = said
	c := s.TPM.Collection(t)
	items := maps.Clone(c.Items[attest.LabelEvidence].Nested.Items)
	items[attest.LabelSVSMReport] = hardware.Items[attest.LabelEvidence]
	items[attest.LabelSVSMManifest] = attest.Item{MediaType: attest.TypeTPMPublic, Value: manifest, Indicator: attest.IndicatorEvidence}
	if s.OnEvidence != nil {
		s.OnEvidence(items)
	}
	c.Items[attest.LabelEvidence] = attest.Item{Nested: &attest.Collection{Type: attest.TypeSVSM, Items: items}}
	c.Items[attest.LabelEndorsements] = hardware.Items[attest.LabelEndorsements]
	return c
}

// Bytes returns the encoded collection.
func (s *SVSM) Bytes(t testing.TB) []byte { t.Helper(); return marshal(t, s.Collection(t)) }

// Input returns what accepts the evidence as it is now: the platform's roots, chip and
// measurement, what was started, the nonce, and proof of the attestation key.
func (s *SVSM) Input(t testing.TB) attest.Input {
	t.Helper()
	in := s.SNP.Input(t)
	in.Trust.Kinds, in.Known = []attest.Kind{attest.SVSM}, []attest.KnownAK{s.TPM.Known(t)}
	e := &in.References.Entries[0]
	e.Kind, e.Events, e.Registers = verdict.KindSVSM, "pcr14", map[string]string{"pcr11": hex.EncodeToString(s.TPM.PCRs[11][:])}
	for i, name := range map[int]string{4: "pcr4", 12: "pcr12", 13: "pcr13"} {
		e.Registers[name] = hex.EncodeToString(s.TPM.PCRs[i][:])
	}
	in.References.Entries = slices.Clone(in.References.Entries)
	return in
}
