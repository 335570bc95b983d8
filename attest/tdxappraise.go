// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/assayd/assay/verdict"
)

// appraiseTDX appraises a quote of TDX or of its simulator, with the collateral that
// comes beside it: whoever brought it, Intel signed it, and a relying party need ask
// nobody.
func appraiseTDX(c Collection, kind Kind, in *evidenceInput, at time.Time) (Result, error) {
	endorsements, err := tdxEndorsements(c)
	if err != nil {
		return Result{}, err
	}
	collateral, err := collateralOf(endorsements)
	if err != nil {
		return Result{}, err
	}
	trust := in.trust.TDX.floored(in.expected.Floors.TDX)
	if kind == SimulatedTDX {
		if trust.Root, err = simulatedTDXRoot(endorsements, in.trust); err != nil {
			return Result{}, err
		}
	}
	found, err := judgeTDX(c.Items[LabelEvidence].Value, collateral, &trust, in.expected.ReportData, at)
	if err != nil {
		return Result{}, err
	}
	measurement, registers := hex.EncodeToString(found.Quote.MRTD[:]), found.Quote.registers()
	entry, err := chooseEntry(in, kind, at, func(e verdict.ReferenceEntry) error { return checkTDEntry(e, measurement, registers) })
	if err != nil {
		return Result{}, err
	}
	result := Result{
		Kind: kind, Binding: BindingHardware, Measurement: measurement, Registers: registers, Entry: entry,
		PCK: found.PCK, Status: found.Status, Advisories: found.Advisories, Evaluation: found.Evaluation, Relaxed: found.Relaxed, Claims: found.Claims,
	}
	if kind == SimulatedTDX {
		result.Binding, result.Simulated = BindingSimulated, true
		result.Claims.InstanceIdentity, result.Claims.Hardware, result.Claims.RuntimeOpaque = NoClaim, NoClaim, NoClaim
	}
	if in.statement == nil {
		return result, nil
	}
	result.Events, err = checkEvents(c, "rtmr3", func(l EventList) bool { return l.ReplayRTMR() == found.Quote.RTMR[EventRTMR] }, in.statement)
	return result, err
}

// tdxEndorsements returns the endorsements, empty where none come: what is missing of
// them is for the trust to say.
func tdxEndorsements(c Collection) (Collection, error) {
	if _, ok := c.Items[LabelEndorsements]; !ok {
		return Collection{}, nil
	}
	endorsements, err := c.nested(LabelEndorsements, TypeEndorsements)
	if err != nil {
		return Collection{}, asEndorsement(err)
	}
	return endorsements, nil
}

// collateralOf takes Intel's collateral out of endorsements. A part that is not there
// is empty.
func collateralOf(endorsements Collection) (TDXCollateral, error) {
	var out TDXCollateral
	for _, part := range out.parts() {
		if _, ok := endorsements.Items[part.label]; !ok {
			continue
		}
		value, err := endorsements.record(part.label, part.mediaType)
		if err != nil {
			return TDXCollateral{}, asEndorsement(err)
		}
		*part.value = value
	}
	return out, nil
}

// A collateralPart is a part of the collateral, and what it is in a collection.
type collateralPart struct {
	label, mediaType string
	value            *[]byte
}

func (c *TDXCollateral) parts() []collateralPart {
	return []collateralPart{
		{LabelTCBInfo, TypeCollateral, &c.TCBInfo}, {LabelTCBInfoChain, TypePEMChain, &c.TCBInfoChain},
		{LabelQEIdentity, TypeCollateral, &c.QEIdentity}, {LabelQEIdentityChain, TypePEMChain, &c.QEIdentityChain},
		{LabelPCKCRL, TypeCRL, &c.PCKCRL}, {LabelSGXRootCRL, TypeCRL, &c.RootCRL},
	}
}

// Endorsements returns the items of a collection of endorsements that hold c. What is
// empty is left out.
func (c TDXCollateral) Endorsements() map[string]Item {
	out := map[string]Item{}
	for _, part := range c.parts() {
		if len(*part.value) > 0 {
			out[part.label] = Item{MediaType: part.mediaType, Value: *part.value, Indicator: IndicatorEndorsements}
		}
	}
	return out
}

// simulatedTDXRoot returns the root of a simulator, if t pins it.
func simulatedTDXRoot(endorsements Collection, t *Trust) (*x509.Certificate, error) {
	root, err := endorsements.certificate(LabelSGXRoot)
	if err != nil {
		return nil, err
	}
	refuse := func(format string, args ...any) (*x509.Certificate, error) {
		return nil, verdict.Refuse(verdict.EndorsementUntrusted, "verifying PCK chain: "+format, args...)
	}
	if digest := verdict.SHA256(root.Raw); !slices.Contains(t.SimulatorRoots, digest) {
		return refuse("simulator root %s is not pinned", digest)
	}
	// A production anchor pinned here by mistake must not turn genuine evidence into
	// simulated evidence, nor the other way round.
	if root.Equal(IntelRoot()) {
		return refuse("the simulator's root is a production root")
	}
	return root, nil
}

// registers returns the RTMRs in hex by name.
func (q *TDXQuote) registers() map[string]string {
	out := map[string]string{}
	for i, value := range q.RTMR {
		out[fmt.Sprintf("rtmr%d", i)] = hex.EncodeToString(value[:])
	}
	return out
}

// checkTDEntry compares what a TD was started from with an entry.
func checkTDEntry(e verdict.ReferenceEntry, measurement string, registers map[string]string) error {
	if e.Measurement != measurement {
		return verdict.Refuse(verdict.GuestMeasurement, "appraising TDX quote: MRTD %s is none of the references", measurement)
	}
	for _, name := range verdict.TDXRegisters {
		if want, named := e.Registers[name]; named && registers[name] != want {
			return verdict.Refuse(verdict.GuestRegister, "appraising TDX quote: %s is %s, want %s of entry %q", name, registers[name], want, e.Name)
		}
	}
	return nil
}
