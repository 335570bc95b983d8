// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/subtle"
	"time"

	"github.com/assayd/assay/verdict"
)

// TPMExpected is what a TPM's quote must be bound to and say. Of a member that is
// not set nothing is demanded.
type TPMExpected struct {
	// Nonce is the extraData, of any length; nil is no demand.
	Nonce []byte
	// Required are PCRs that have to be selected, and Values what some of them have
	// to be.
	Required []int
	Values   PCRs
	// EventLog is the machine's log, and FromLog the PCRs that it has to replay to.
	EventLog []byte
	FromLog  []int
	// ResetCount and RestartCount are exact.
	ResetCount, RestartCount *uint32
	// RequireSafe demands a TPM that vouches for its clock.
	RequireSafe bool
}

// A TPMResult is what was found. The zero value says nothing.
type TPMResult struct {
	Quote Quote
	PCRs  PCRs
	// GCE is the instance of Compute Engine that the attestation key's certificate is
	// for, nil where it names none.
	GCE    *GCEInstance
	Claims Claims
}

// AppraiseQuote appraises the quote of a TPM whose attestation key the authorities
// of trust certify, without an issuer statement. Whoever runs the TPM, which may be
// the host of the guest, can say what he likes: nothing is affirmed of hardware.
// Errors are as those of AppraiseEvidence.
func AppraiseQuote(collection []byte, expected TPMExpected, trust Trust, at time.Time) (result TPMResult, err error) {
	defer func() {
		if err != nil {
			result = TPMResult{}
		}
	}()
	defer recoverMalformed(&err)
	if err := trust.check(verdict.Floors{}); err != nil {
		return TPMResult{}, err
	}
	c, err := ParseCollection(collection)
	if err != nil {
		return TPMResult{}, err
	}
	kind, err := kindOf(c)
	if err != nil {
		return TPMResult{}, err
	}
	if kind != TPM {
		return TPMResult{}, verdict.Refuse(verdict.EvidenceKind, "appraising quote: evidence is of kind %s", kind)
	}
	keys, err := tpmKeysOf(c)
	if err != nil {
		return TPMResult{}, err
	}
	_, instance, err := verifyAttestationKey(c, keys, &evidenceInput{trust: &trust}, at)
	if err != nil {
		return TPMResult{}, err
	}
	evidence, err := c.nested(LabelEvidence, TypeTPMQuote)
	if err != nil {
		return TPMResult{}, err
	}
	quote, pcrs, err := expected.appraise(evidence, keys.ak)
	if err != nil {
		return TPMResult{}, err
	}
	claims := Claims{InstanceIdentity: Affirming, RuntimeOpaque: Warning}
	if len(expected.Values) > 0 {
		claims.Executables = Affirming
	}
	return TPMResult{Quote: quote, PCRs: pcrs, GCE: instance, Claims: claims}, nil
}

// appraise verifies the quote of a collection by ak, and compares it with what is
// expected. Where ak lives is not its question.
func (e *TPMExpected) appraise(evidence Collection, ak *tpmKey) (Quote, PCRs, error) {
	quote, pcrs, err := verifyQuote(evidence, ak)
	if err != nil {
		return Quote{}, nil, err
	}
	if e.Nonce != nil && subtle.ConstantTimeCompare(quote.ExtraData, e.Nonce) != 1 {
		return Quote{}, nil, verdict.Refuse(verdict.EvidenceNonce, "appraising quote: extraData is not what is expected")
	}
	if err := e.checkClock(quote); err != nil {
		return Quote{}, nil, err
	}
	if err := e.checkPCRs(pcrs); err != nil {
		return Quote{}, nil, err
	}
	return quote, pcrs, nil
}

func (e *TPMExpected) checkClock(q Quote) error {
	switch {
	case e.RequireSafe && !q.Safe:
		return verdict.Refuse(verdict.TPMReset, "appraising quote: the TPM lost power and does not vouch for its clock")
	case e.ResetCount != nil && *e.ResetCount != q.ResetCount, e.RestartCount != nil && *e.RestartCount != q.RestartCount:
		return verdict.Refuse(verdict.TPMReset, "appraising quote: %d resets and %d restarts, which is not what was recorded", q.ResetCount, q.RestartCount)
	}
	return nil
}

func (e *TPMExpected) checkPCRs(pcrs PCRs) error {
	for _, i := range e.Required {
		if _, ok := pcrs[i]; !ok {
			return verdict.Refuse(verdict.TPMSelection, "appraising quote: %s is not selected", pcrName(i))
		}
	}
	for i, want := range e.Values {
		if got, ok := pcrs[i]; !ok || got != want {
			return verdict.Refuse(verdict.GuestRegister, "appraising quote: %s is %x, want %x", pcrName(i), got, want)
		}
	}
	if len(e.FromLog) == 0 {
		return nil
	}
	events, err := presentLog(e.EventLog)
	if err != nil {
		return err
	}
	for _, i := range e.FromLog {
		got, ok := pcrs[i]
		if !ok {
			return verdict.Refuse(verdict.TPMSelection, "appraising quote: %s is not selected", pcrName(i))
		}
		value, err := replayPCR(events, i)
		if err != nil {
			return err
		}
		if value != got {
			return verdict.Refuse(verdict.EventLogReplay, "appraising event log: it replays %s to %x, which is %x", pcrName(i), value, got)
		}
	}
	return nil
}

// Concatenate encodes PCR values as collections have them: ascending, one after the
// other.
func (p PCRs) Concatenate() []byte {
	var b bytes.Buffer
	for i := range pcrCount {
		if value, ok := p[i]; ok {
			b.Write(value[:])
		}
	}
	return b.Bytes()
}
