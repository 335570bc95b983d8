// SPDX-License-Identifier: Apache-2.0

package folder

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"strconv"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// PolicyTPM are the demands on a TPM's quote.
type PolicyTPM struct {
	TPMNonce           *string           `json:"nonce"`
	Bank               string            `json:"bank"`
	RequiredPCRs       []int             `json:"required_pcrs"`
	PCRValues          map[string]string `json:"pcr_values"`
	RequireEventLogFor []int             `json:"require_event_log_for"`
	ResetCount         *uint32           `json:"reset_count"`
	RestartCount       *uint32           `json:"restart_count"`
	RequireSafe        bool              `json:"require_safe"`
	GCE                *PolicyGCE        `json:"gce"`
}

// PolicyGCE is the instance of Compute Engine that the certificate of the attestation
// key has to name: members that are there, and at least project or instance. Numbers
// are text, for they have more digits than JSON's readers keep.
type PolicyGCE struct {
	Zone          string `json:"zone"`
	ProjectNumber uint64 `json:"project_number,string"`
	ProjectID     string `json:"project_id"`
	InstanceID    uint64 `json:"instance_id,string"`
	InstanceName  string `json:"instance_name"`
}

// pcrFile is the part with the values of a bank.
type pcrFile struct {
	Bank   string            `json:"bank"`
	Values map[string]string `json:"values"`
}

// pcrsOf reads values by the numbers of PCRs.
func pcrsOf(what string, values map[string]string) (attest.PCRs, error) {
	out := attest.PCRs{}
	for name, text := range values {
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i > 23 || name != strconv.Itoa(i) {
			return nil, malformed("%s: there is no PCR %s", what, quote(name))
		}
		var value [sha256.Size]byte
		if err := unhex(what, text, value[:]); err != nil {
			return nil, err
		}
		out[i] = value
	}
	return out, nil
}

// A quotation is the quote of a TPM with what it is compared with.
type quotation struct {
	items    map[string]attest.Item
	values   attest.PCRs
	expected attest.TPMExpected
}

// quotation reads the quote and the parts beside it. Of these ak_public may be left
// out.
func (f *reader) quotation(c *Case, p *Policy) (q quotation, err error) {
	if p.Bank != "" && p.Bank != "sha256" {
		return q, verdict.Refuse(verdict.TPMBank, "appraising evidence folder: the policy is about bank %s, want sha256", quote(p.Bank))
	}
	parts := map[string][]byte{}
	for _, name := range []string{"signature", "pcrs", "ak_public", "event_log"} {
		if c.Parts[name] == "" {
			continue
		}
		if parts[name], err = f.read(c.Parts[name]); err != nil {
			return q, err
		}
	}
	if parts["signature"] == nil || parts["pcrs"] == nil {
		return q, verdict.Fail(verdict.EvidenceMissing, "appraising evidence folder: a quote wants the parts signature and pcrs")
	}
	var data pcrFile
	if err := decode("pcrs", parts["pcrs"], &data); err != nil {
		return q, err
	}
	if data.Bank != "sha256" {
		return q, verdict.Refuse(verdict.TPMBank, "appraising evidence folder: the values are of bank %s, want sha256", quote(data.Bank))
	}
	evidence, err := f.read(c.Evidence)
	if err != nil {
		return q, err
	}
	if q.values, err = pcrsOf("pcrs", data.Values); err != nil {
		return q, err
	}
	q.expected = attest.TPMExpected{Required: p.RequiredPCRs, EventLog: parts["event_log"], FromLog: p.RequireEventLogFor, ResetCount: p.ResetCount, RestartCount: p.RestartCount, RequireSafe: p.RequireSafe}
	if q.expected.Values, err = pcrsOf("pcr_values", p.PCRValues); err != nil {
		return q, err
	}
	if p.TPMNonce != nil {
		if q.expected.Nonce, err = hex.DecodeString(*p.TPMNonce); err != nil {
			return q, malformed("nonce: %w", err)
		}
	}
	q.items = map[string]attest.Item{
		attest.LabelQuote: {MediaType: attest.TypeTPMAttest, Value: evidence}, attest.LabelSignature: {MediaType: attest.TypeTPMSignature, Value: parts["signature"]},
		attest.LabelPCRs: {MediaType: attest.TypeTPMPCRs, Value: q.values.Concatenate()},
	}
	if parts["ak_public"] != nil {
		q.items[attest.LabelAKPublic] = attest.Item{MediaType: attest.TypeTPMPublic, Value: parts["ak_public"]}
	}
	return q, nil
}

// checkNames compares the PCRs of the quote with the file of values: the quote says
// which they are, and a file that says otherwise means something else.
func (q *quotation) checkNames(quoted attest.PCRs) error {
	if !maps.Equal(quoted, q.values) {
		return verdict.Refuse(verdict.TPMSelection, "appraising evidence folder: the values are named as other PCRs than the quote selects")
	}
	return nil
}

func (f *reader) tpm(r *Report) error {
	c, p := &r.Case, &r.Case.Policy
	if err := known("endorsements", c.Endorsements, "tpm-ak-cert", "tpm-intermediate"); err != nil {
		return err
	}
	if err := known("roots", c.Roots, "tpm-ca"); err != nil {
		return err
	}
	q, err := f.quotation(c, p)
	if err != nil {
		return err
	}
	if _, ok := q.items[attest.LabelAKPublic]; !ok {
		return verdict.Fail(verdict.EvidenceMissing, "appraising evidence folder: a quote wants the part ak_public")
	}
	trust := attest.Trust{Kinds: []attest.Kind{attest.TPM}}
	ca, err := f.root(c.Roots, "tpm-ca")
	if err != nil {
		return err
	}
	if p.GCE != nil {
		trust.GCE = &attest.GCEInstance{Zone: p.GCE.Zone, ProjectNumber: p.GCE.ProjectNumber, ProjectID: p.GCE.ProjectID, ID: p.GCE.InstanceID, Name: p.GCE.InstanceName}
		if ca == nil {
			ca = attest.GCERoot()
		}
	}
	if ca == nil {
		return malformed("a TPM wants a root of type tpm-ca, or gce in its policy: nobody is trusted without")
	}
	trust.AKCAs = []*x509.Certificate{ca}
	endorsements := map[string]attest.Item{}
	for kind, item := range map[string][2]string{
		"tpm-ak-cert": {attest.LabelAKCertificate, attest.TypeCertificate}, "tpm-intermediate": {attest.LabelIntermediates, attest.TypeCertificates},
	} {
		der, _, err := f.take(c.Endorsements, kind)
		if err != nil {
			return err
		}
		if der != nil {
			endorsements[item[0]] = attest.Item{MediaType: item[1], Value: der}
		}
	}
	data, err := collection(attest.Item{Nested: &attest.Collection{Type: attest.TypeTPMQuote, Items: q.items}}, endorsements)
	if err != nil {
		return err
	}
	result, err := attest.AppraiseQuote(data, q.expected, trust, c.At)
	if err != nil {
		return err
	}
	if err := q.checkNames(result.PCRs); err != nil {
		return err
	}
	r.Claims, r.GCE = result.Claims, result.GCE
	return nil
}
