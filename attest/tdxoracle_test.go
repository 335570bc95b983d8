// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-tdx-guest/abi"
	"github.com/google/go-tdx-guest/pcs"
	tdxvalidate "github.com/google/go-tdx-guest/validate"
	tdxverify "github.com/google/go-tdx-guest/verify"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
)

// A tdxOracle is a question to go-tdx-guest: what we are asked, in its words.
type tdxOracle struct {
	quote      []byte
	collateral attest.TDXCollateral
	trust      attest.TDXTrust
	expected   attest.TDXExpected
	at         time.Time
}

// Get serves the collateral in place of Intel's service.
func (o *tdxOracle) Get(address string) (map[string][]string, []byte, error) {
	_, chain := pem.Decode(o.quote[bytes.Index(o.quote, []byte("-----BEGIN")):])
	for _, served := range []struct {
		address, header string
		chain, body     []byte
	}{
		{pcs.TcbInfoURL("00806f050000"), pcs.TcbInfoIssuerChainPhrase, o.collateral.TCBInfoChain, o.collateral.TCBInfo},
		{pcs.QeIdentityURL(), pcs.SgxQeIdentityIssuerChainPhrase, o.collateral.QEIdentityChain, o.collateral.QEIdentity},
		{pcs.PckCrlURL("platform"), pcs.SgxPckCrlIssuerChainPhrase, bytes.TrimRight(chain, "\x00"), o.collateral.PCKCRL},
		{attesttest.TDXRootCRL, "", nil, o.collateral.RootCRL},
	} {
		if address == served.address {
			return map[string][]string{served.header: {url.QueryEscape(string(served.chain))}}, served.body, nil
		}
	}
	return nil, nil, errors.New("no such collateral: " + address)
}

// ask verifies and validates.
func (o *tdxOracle) ask() error { return o.askWith(o.verify(), o.validate()) }

// askWith does so with other options. Each question has a quote of its own: the
// library writes into it.
func (o *tdxOracle) askWith(verify *tdxverify.Options, validate *tdxvalidate.Options) error {
	quote, err := abi.QuoteToProto(o.quote)
	if err != nil {
		return err
	}
	if err := tdxverify.TdxQuote(quote, verify); err != nil || validate == nil {
		return err
	}
	return tdxvalidate.TdxQuote(quote, validate)
}

// bare are the options of a caller who names root and time, and else trusts the
// defaults.
func (o *tdxOracle) bare() *tdxverify.Options {
	pool := x509.NewCertPool()
	pool.AddCert(o.trust.Root)
	return &tdxverify.Options{TrustedRoots: pool, Now: &tdxverify.TimeSet{PckCertChain: o.at, TcbInfo: o.at, QeIdentity: o.at, PckCrl: o.at, RootCaCrl: o.at}}
}

func (o *tdxOracle) verify() *tdxverify.Options {
	options := o.bare()
	options.GetCollateral, options.CheckRevocations, options.Getter = true, true, o
	return options
}

func (o *tdxOracle) validate() *tdxvalidate.Options {
	q, err := attest.ParseTDXQuote(o.quote)
	if err != nil {
		return &tdxvalidate.Options{}
	}
	le := func(n uint64) []byte {
		b := make([]byte, 8)
		for i := range b {
			b[i] = byte(n >> (8 * i))
		}
		return b
	}
	config := func(name string) []byte { v := o.trust.Config[name]; return v[:] }
	options := &tdxvalidate.Options{
		HeaderOptions: tdxvalidate.HeaderOptions{QeVendorID: []byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}},
		TdQuoteBodyOptions: tdxvalidate.TdQuoteBodyOptions{
			MinimumTeeTcbSvn: make([]byte, 16), // the collateral has the floor
			// Of what is judged by masks or lists, that which was accepted.
			MrSeam: q.MRSEAM[:], TdAttributes: le(q.TDAttributes), Xfam: le(q.XFAM), MrTd: q.MRTD[:],
			MrConfigID: config("MRCONFIGID"), MrOwner: config("MROWNER"), MrOwnerConfig: config("MROWNERCONFIG"),
			ReportData: o.expected.ReportData[:],
		},
	}
	for _, m := range o.expected.MRTD {
		options.TdQuoteBodyOptions.AnyMrTd = append(options.TdQuoteBodyOptions.AnyMrTd, m[:])
	}
	for i := range q.RTMR {
		value, ok := o.expected.RTMR[i]
		if !ok {
			value = q.RTMR[i]
		}
		options.TdQuoteBodyOptions.Rtmrs = append(options.TdQuoteBodyOptions.Rtmrs, value[:])
	}
	return options
}

// TestOracleTDXOptions holds that each option of go-tdx-guest is one that we set, or
// leave out for a reason.
func TestOracleTDXOptions(t *testing.T) {
	x := attesttest.NewTDX(t, tdxAt)
	o := tdxOracle{quote: x.QuoteBytes(), collateral: x.Collateral(), trust: x.Trust(), expected: x.Expected(), at: tdxAt}
	verify, validate := o.verify(), o.validate()
	checkOptions(t, nil, *verify)
	checkOptions(t, nil, *verify.Now)
	checkOptions(t, nil, *validate)
	checkOptions(t, map[string]string{
		"MinimumQeSvn":  "the library reads it where others read the PCESVN, and the QE identity has the floor",
		"MinimumPceSvn": "the same: TCB info has the floor, of the certificate's PCESVN",
	}, validate.HeaderOptions)
	checkOptions(t, nil, validate.TdQuoteBodyOptions)
}

// checkOptions holds that each option of a library is set in one of these examples, or
// left out for a reason: a new one may be a check that we lack.
func checkOptions[T any](t *testing.T, left map[string]string, examples ...T) {
	t.Helper()
	options := reflect.TypeFor[T]()
	for field := range options.Fields() {
		if !field.IsExported() { // state of the library's
			continue
		}
		set := false
		for _, example := range examples {
			set = set || !reflect.ValueOf(example).FieldByIndex(field.Index).IsZero()
		}
		switch reason, out := left[field.Name]; {
		case out && set:
			t.Errorf("%s: option %s is set, and left out since %s", options, field.Name, reason)
		case !out && !set:
			t.Errorf("%s has an option %s that is not set: find out whether it is a check that we lack", options, field.Name)
		}
	}
	for name := range left {
		if _, ok := options.FieldByName(name); !ok {
			t.Errorf("%s has no option %s any more", options, name)
		}
	}
}

// TestOracleTDX holds that go-tdx-guest accepts what is accepted here, under the same
// policy. Exceptions: it reads no quote of version 5 and no certificate of the
// Processor CA, and accepts no status but UpToDate and none of our relaxations.
func TestOracleTDX(t *testing.T) {
	accepted := 0
	for _, tt := range tdxCases(t) {
		x := attesttest.NewTDX(t, tdxAt)
		if tt.change != nil {
			tt.change(x)
		}
		o := tdxOracle{quote: x.QuoteBytes(), collateral: x.Collateral(), trust: x.Trust(), expected: x.Expected(), at: tdxAt.Add(tt.at)}
		if tt.after != nil {
			tt.after(&o.collateral)
		}
		if tt.trust != nil {
			tt.trust(&o.trust)
		}
		if tt.expect != nil {
			tt.expect(&o.expected)
		}
		got, err := attest.AppraiseTDX(o.quote, o.collateral, o.trust, o.expected, o.at)
		if err != nil {
			continue
		}
		accepted++
		theirs := o.ask()
		if x.Version == 5 || got.PCK.ProcessorCA || got.Status != attest.TDXUpToDate || len(got.Relaxed) > 1 {
			continue
		}
		if theirs != nil {
			t.Errorf("%s: accepted here, and go-tdx-guest says %v", tt.name, theirs)
		}
	}
	t.Logf("accepted %d", accepted)
	if accepted < 10 {
		t.Errorf("too little was accepted to compare: %d", accepted)
	}
}
