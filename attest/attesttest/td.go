// SPDX-License-Identifier: Apache-2.0

package attesttest

import (
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// A TD is the evidence of a TD for an issuer statement, before it is signed and
// encoded. Each field may be changed before Collection is called.
type TD struct {
	*TDX
	// Kind is TDX or SimulatedTDX.
	Kind attest.Kind
	// Statement and Nonces are what the quote is bound to.
	Statement, Nonces []byte
	// Events are the register events, of which RTMR3 of the quote is the fold.
	Events []verdict.RegisterEvent
	// OnCollection changes the collection before it is encoded.
	OnCollection func(c *attest.Collection, endorsements map[string]attest.Item)
}

// NewTD returns evidence of a TD for a statement and one nonce, with the event of the
// statement after one of the head before. It is good At.
func NewTD(t testing.TB, kind attest.Kind, statement verdict.Statement, nonce [verdict.NonceSize]byte) *TD {
	t.Helper()
	d := &TD{TDX: NewTDX(t, At), Kind: kind, Statement: Encode(t, statement), Nonces: nonce[:]}
	before := Event(statement)
	before.Head--
	d.Events = []verdict.RegisterEvent{before, Event(statement)}
	d.Quote.RTMR[attest.EventRTMR] = d.list().ReplayRTMR()
	d.Quote.ReportData = verdict.ReportData(d.Statement, d.Nonces)
	d.PCK.PPID = [16]byte{1, 2, 3}
	return d
}

func (d *TD) list() attest.EventList {
	d.t.Helper()
	var list attest.EventList
	for _, e := range d.Events {
		var err error
		if list, err = list.Append(e); err != nil {
			d.t.Fatalf("encoding register event: %v", err)
		}
	}
	return list
}

// T is the test that d belongs to.
func (d *TD) T() testing.TB { return d.t }

// Extend records another event.
func (d *TD) Extend(e verdict.RegisterEvent) {
	d.Events = append(d.Events, e)
	d.Quote.RTMR[attest.EventRTMR] = d.list().ReplayRTMR()
}

// Bind gives d another statement.
func (d *TD) Bind(statement verdict.Statement) {
	d.t.Helper()
	d.Statement = Encode(d.t, statement)
	d.Quote.ReportData = verdict.ReportData(d.Statement, d.Nonces)
}

// Collection signs everything and returns the parts of the collection.
func (d *TD) Collection() attest.Collection {
	d.t.Helper()
	mediaType := attest.TypeTDXQuote
	endorsements := d.Collateral().Endorsements()
	if d.Kind == attest.SimulatedTDX {
		mediaType = attest.TypeSimTDXQuote
		endorsements[attest.LabelSGXRoot] = attest.Item{MediaType: attest.TypeCertificate, Value: d.Root().Raw, Indicator: attest.IndicatorEndorsements}
	}
	c := attest.Collection{Type: attest.CollectionType, Items: map[string]attest.Item{
		attest.LabelStatement:    {MediaType: attest.TypeStatement, Value: d.Statement},
		attest.LabelNonces:       {MediaType: attest.TypeNonces, Value: d.Nonces},
		attest.LabelEvidence:     {MediaType: mediaType, Value: d.QuoteBytes(), Indicator: attest.IndicatorEvidence},
		attest.LabelEndorsements: {Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: endorsements}},
		attest.LabelRegisters:    {MediaType: attest.TypeRegisters, Value: d.list().Marshal(), Indicator: attest.IndicatorEvidence},
	}}
	if d.OnCollection != nil {
		d.OnCollection(&c, endorsements)
	}
	return c
}

// Bytes returns the encoded collection.
func (d *TD) Bytes() []byte { d.t.Helper(); return marshal(d.t, d.Collection()) }

// Input returns what accepts the evidence as it is now: its root, its platform, MRTD
// and RTMR0 to RTMR2, and its nonce.
func (d *TD) Input() attest.Input {
	d.t.Helper()
	e := entry(d.Kind)
	e.Events, e.Measurement, e.Registers = "rtmr3", hex.EncodeToString(d.Quote.MRTD[:]), map[string]string{}
	for i, value := range d.Quote.RTMR[:attest.EventRTMR] {
		e.Registers[fmt.Sprintf("rtmr%d", i)] = hex.EncodeToString(value[:])
	}
	in := attest.Input{
		References: verdict.References{V: 1, Entries: []verdict.ReferenceEntry{e}, Floors: verdict.Floors{TDX: &verdict.TDXFloor{Evaluation: 17}}},
		Trust:      attest.Trust{Kinds: []attest.Kind{d.Kind}, TDX: attest.TDXTrust{Root: d.Root(), Platforms: [][16]byte{d.PCK.PPID}}},
	}
	if d.Kind == attest.SimulatedTDX {
		in.References.Entries[0].Profile = verdict.Development
		in.Trust.AllowDevelopment, in.Trust.TDX.Root = true, nil
		in.Trust.SimulatorRoots = []verdict.Digest{verdict.SHA256(d.Root().Raw)}
	}
	copy(in.MyNonce[:], d.Nonces)
	return in
}
