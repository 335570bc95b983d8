// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tdx-guest/abi"
	tdxverify "github.com/google/go-tdx-guest/verify"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

// tdxAt is when the simulated quotes are appraised.
var tdxAt = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// sharedFile reads a file of the shared test data, or skips.
func sharedFile(t testing.TB, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{"../../shared/testdata"}, elem...)...))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("shared testdata is absent")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Log("shared testdata: used")
	return data
}

// A tdxCase changes one thing of what is otherwise accepted.
type tdxCase struct {
	name   string
	change func(*attesttest.TDX)
	trust  func(*attest.TDXTrust)
	expect func(*attest.TDXExpected)
	after  func(*attest.TDXCollateral)
	at     time.Duration // after tdxAt
	code   verdict.Code
	text   string
}

type object = map[string]any

// level is one of a list of levels.
func level(o any, i int) object { return o.([]any)[i].(object) }

func identity(x *attesttest.TDX) object { return level(x.TCBInfo["tdxModuleIdentities"], 0) }

func svns(x *attesttest.TDX, i int, list string) []any {
	return level(x.TCBInfo["tcbLevels"], i)["tcb"].(object)[list].([]any)
}

func setStatus(o object, status attest.TDXStatus, advisories ...string) {
	o["tcbStatus"] = string(status)
	if advisories != nil {
		o["advisoryIDs"] = advisories
	}
}

func replaced(old, by string) func([]byte) []byte {
	return func(b []byte) []byte {
		out := bytes.Replace(b, []byte(old), []byte(by), 1)
		if bytes.Equal(out, b) {
			panic("tdx_test: nothing to change: " + old)
		}
		return out
	}
}

func tdxCases(t *testing.T) []tdxCase {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	on := func(name string, f func(*x509.Certificate)) func(*attesttest.TDX) {
		return func(x *attesttest.TDX) {
			x.OnCertificate = func(n string, c *x509.Certificate) {
				if n == name {
					f(c)
				}
			}
		}
	}
	const day = 24 * time.Hour
	return []tdxCase{
		{name: "good"},
		{name: "of the Processor CA", change: func(x *attesttest.TDX) { x.CAName = "Intel SGX PCK Processor CA" }},
		{name: "version 5", change: func(x *attesttest.TDX) { x.Version = 5 }},
		{name: "of the first generation", change: func(x *attesttest.TDX) {
			x.Quote.TEETCBSVN = [16]byte{5, 0, 6}
			svns(x, 0, "tdxtcbcomponents")[1].(object)["svn"] = 0
		}},

		{name: "another root", trust: func(tr *attest.TDXTrust) { tr.Root = attest.IntelRoot() }, code: verdict.EndorsementUntrusted, text: "is not"},
		{name: "a CA of another name", change: func(x *attesttest.TDX) { x.CAName = "Intel SGX PCK Other CA" }, code: verdict.EndorsementUntrusted, text: "no certificate of"},
		{name: "a leaf of another name", change: on("pck", func(c *x509.Certificate) { c.Subject.CommonName = "somebody" }), code: verdict.EndorsementUntrusted, text: "the first certificate is of"},
		{name: "a CA that is none", change: on("ca", func(c *x509.Certificate) { c.IsCA = false }), code: verdict.EndorsementUntrusted, text: "may not be used for this"},
		{name: "a leaf that issues", change: on("pck", func(c *x509.Certificate) { c.IsCA = true }), code: verdict.EndorsementUntrusted, text: "may not be used for this"},
		{name: "a PCK of yesterday", change: on("pck", func(c *x509.Certificate) { c.NotAfter = tdxAt.Add(-day) }), code: verdict.EndorsementExpired, text: "valid until"},
		{name: "a PCK of tomorrow", change: on("pck", func(c *x509.Certificate) { c.NotBefore = tdxAt.Add(day) }), code: verdict.EndorsementNotYetValid, text: "valid from"},
		{name: "no SGX extensions", change: on("pck", func(c *x509.Certificate) { c.ExtraExtensions = nil }), code: verdict.EndorsementMalformed, text: "no SGX extensions"},
		{name: "no quote's signature", change: func(x *attesttest.TDX) { x.Forged = "quote" }, code: verdict.EvidenceSignature, text: "not signed by the attestation key"},
		{name: "no enclave's signature", change: func(x *attesttest.TDX) { x.Forged = "qe" }, code: verdict.EvidenceSignature, text: "not signed by the PCK"},
		{name: "another attestation key", change: func(x *attesttest.TDX) { x.Forged = "key" }, code: verdict.EvidenceSignature, text: "about another attestation key"},
		{name: "another report data", expect: func(e *attest.TDXExpected) { e.ReportData[63] ^= 1 }, code: verdict.EvidenceBinding, text: "REPORTDATA"},

		{name: "a module of another signer", change: func(x *attesttest.TDX) { x.Quote.MRSignerSEAM[0] = 1 }, code: verdict.PlatformModule, text: "want Intel's"},
		{name: "a module that Intel signs otherwise", change: func(x *attesttest.TDX) { identity(x)["mrsigner"] = strings.Repeat("1", 96) }, code: verdict.PlatformModule, text: "MRSIGNERSEAM"},
		{name: "a module of other attributes", change: func(x *attesttest.TDX) { x.Quote.SEAMAttributes[7] = 1 }, code: verdict.PlatformModule, text: "SEAMATTRIBUTES"},
		{name: "a module of no identity", change: func(x *attesttest.TDX) { x.Quote.TEETCBSVN[1] = 0x0a }, code: verdict.PlatformModule, text: "no identity TDX_0A"},
		{name: "an old module", change: func(x *attesttest.TDX) { x.Quote.TEETCBSVN[0] = 4 }, code: verdict.TCBStatus, text: "is OutOfDate"},
		{name: "a revoked module", change: func(x *attesttest.TDX) { x.Quote.TEETCBSVN[0] = 1 }, code: verdict.TCBStatus, text: "is Revoked"},
		{name: "a module below all", change: func(x *attesttest.TDX) { x.Quote.TEETCBSVN[0] = 0 }, code: verdict.TCBUnknown, text: "module TDX_01 of version 0"},

		{name: "an enclave of another signer", change: func(x *attesttest.TDX) { x.QE[128] ^= 1 }, code: verdict.PlatformModule, text: "another MRSIGNER"},
		{name: "another enclave", change: func(x *attesttest.TDX) { x.QE[256] = 1 }, code: verdict.PlatformModule, text: "another ISVPRODID"},
		{name: "an enclave of other features", change: func(x *attesttest.TDX) { x.QE[16] = 1 }, code: verdict.PlatformModule, text: "another MISCSELECT"},
		{name: "a debugged enclave", change: func(x *attesttest.TDX) { x.QE[48] |= 2 }, code: verdict.PlatformModule, text: "another ATTRIBUTES"},
		{name: "an old enclave", change: func(x *attesttest.TDX) { x.QE[258] = 7 }, code: verdict.TCBStatus, text: "is OutOfDate"},
		{name: "a revoked enclave", change: func(x *attesttest.TDX) { x.QE[258] = 1 }, code: verdict.TCBStatus, text: "is Revoked"},
		{name: "an enclave below all", change: func(x *attesttest.TDX) { x.QE[258] = 0 }, code: verdict.TCBUnknown, text: "quoting enclave of version 0"},

		{name: "an old platform", change: func(x *attesttest.TDX) { x.PCK.SVN[0] = 6 }, code: verdict.TCBStatus, text: "is OutOfDate"},
		{name: "an old PCE", change: func(x *attesttest.TDX) { x.PCK.PCESVN = 12 }, code: verdict.TCBStatus, text: "is OutOfDate"},
		{name: "an old TDX component", change: func(x *attesttest.TDX) { x.Quote.TEETCBSVN[2] = 5 }, code: verdict.TCBStatus, text: "is OutOfDate"},
		{name: "an old platform, accepted", change: func(x *attesttest.TDX) { x.PCK.SVN[0] = 6 }, trust: func(tr *attest.TDXTrust) { tr.AcceptStatus = []attest.TDXStatus{attest.TDXOutOfDate} }},
		{name: "a platform below all", change: func(x *attesttest.TDX) { x.PCK.SVN[7] = 4 }, code: verdict.TCBUnknown, text: "reaches none of 2 levels"},
		{name: "an advisory", change: func(x *attesttest.TDX) {
			setStatus(level(x.TCBInfo["tcbLevels"], 0), attest.TDXSWHardeningNeeded, "INTEL-SA-1")
		},
			trust: func(tr *attest.TDXTrust) { tr.AcceptStatus = []attest.TDXStatus{attest.TDXSWHardeningNeeded} }, code: verdict.TCBStatus, text: "INTEL-SA-1"},
		{name: "an accepted advisory", change: func(x *attesttest.TDX) {
			setStatus(level(x.TCBInfo["tcbLevels"], 0), attest.TDXSWHardeningNeeded, "INTEL-SA-1")
		},
			trust: func(tr *attest.TDXTrust) {
				tr.AcceptStatus, tr.Advisories = []attest.TDXStatus{attest.TDXSWHardeningNeeded}, []string{"INTEL-SA-1"}
			}},
		{name: "any advisory", change: func(x *attesttest.TDX) {
			setStatus(level(x.TCBInfo["tcbLevels"], 0), attest.TDXSWHardeningNeeded, "INTEL-SA-1")
		},
			trust: func(tr *attest.TDXTrust) {
				tr.AcceptStatus, tr.AnyAdvisory = []attest.TDXStatus{attest.TDXSWHardeningNeeded}, true
			}},

		{name: "of another platform", change: func(x *attesttest.TDX) { x.PCK.FMSPC[0] = 1 }, code: verdict.EndorsementMismatch, text: "FMSPC"},
		{name: "of another PCE", change: func(x *attesttest.TDX) { x.PCK.PCEID[1] = 1 }, code: verdict.EndorsementMismatch, text: "PCE"},
		{name: "an old edition of TCB info", change: func(x *attesttest.TDX) { x.TCBInfo["tcbEvaluationDataNumber"] = 16 }, code: verdict.EndorsementRollback, text: "TCB info: evaluation number 16"},
		{name: "an old edition of QE identity", change: func(x *attesttest.TDX) { x.QEIdentity["tcbEvaluationDataNumber"] = 16 }, code: verdict.EndorsementRollback, text: "QE identity: evaluation number 16"},
		{name: "TCB info of SGX", change: func(x *attesttest.TDX) { x.TCBInfo["id"] = "SGX" }, code: verdict.EndorsementMalformed, text: `"SGX" version 3`},
		{name: "QE identity of SGX", change: func(x *attesttest.TDX) { x.QEIdentity["id"] = "QE" }, code: verdict.EndorsementMalformed, text: `"QE" version 2`},
		{name: "another version", change: func(x *attesttest.TDX) { x.TCBInfo["version"] = 4 }, code: verdict.EndorsementMalformed, text: "version 4"},
		{name: "no evaluation number", change: func(x *attesttest.TDX) { delete(x.TCBInfo, "tcbEvaluationDataNumber") }, code: verdict.EndorsementMalformed, text: "no evaluation number"},
		{name: "expired collateral", change: func(x *attesttest.TDX) { x.ListsAt = tdxAt.AddDate(0, 2, 20) }, at: 90 * day, code: verdict.EndorsementExpired, text: "TCB info"},
		{name: "expired lists", at: 90 * day, code: verdict.EndorsementExpired, text: "root CRL"},
		{name: "collateral of the future", change: func(x *attesttest.TDX) { x.TCBInfo["issueDate"] = tdxAt.Add(5 * day).Format(time.RFC3339) }, code: verdict.EndorsementNotYetValid, text: "TCB info"},
		{name: "identity of the future", change: func(x *attesttest.TDX) { x.QEIdentity["issueDate"] = tdxAt.Add(5 * day).Format(time.RFC3339) }, code: verdict.EndorsementNotYetValid, text: "QE identity"},
		{name: "lists of the future", change: func(x *attesttest.TDX) { x.ListsAt = tdxAt.Add(day) }, code: verdict.EndorsementNotYetValid, text: "root CRL"},

		{name: "a shadow of TCB info", change: func(x *attesttest.TDX) { x.OnTCBInfo = replaced(`,"signature"`, `,"TCBINFO":{},"signature"`) }, code: verdict.EndorsementMalformed, text: "there twice"},
		{name: "a shadow of the identity", change: func(x *attesttest.TDX) {
			x.OnQEIdentity = replaced(`,"signature"`, `,"ENCLAVEIDENTITY":{},"signature"`)
		}, code: verdict.EndorsementMalformed, text: "there twice"},
		{name: "a member more", change: func(x *attesttest.TDX) { x.OnTCBInfo = replaced(`,"signature"`, `,"more":{},"signature"`) }, code: verdict.EndorsementMalformed, text: "alone"},
		{name: "another name", change: func(x *attesttest.TDX) { x.OnTCBInfo = replaced(`"tcbInfo"`, `"TcbInfo"`) }, code: verdict.EndorsementMalformed, text: "alone"},
		{name: "a changed TCB info", change: func(x *attesttest.TDX) {
			x.OnTCBInfo = replaced(`"tcbEvaluationDataNumber":17`, `"tcbEvaluationDataNumber":18`)
		}, code: verdict.EndorsementUntrusted, text: "TCB info: it is not signed"},
		{name: "a changed identity", change: func(x *attesttest.TDX) { x.OnQEIdentity = replaced(`"isvprodid":2`, `"isvprodid":3`) }, code: verdict.EndorsementUntrusted, text: "QE identity: it is not signed"},
		{name: "something behind it", change: func(x *attesttest.TDX) { x.OnTCBInfo = func(b []byte) []byte { return append(b, "{}"...) } }, code: verdict.EndorsementMalformed, text: "behind it"},
		{name: "not UTF-8", change: func(x *attesttest.TDX) { x.OnTCBInfo = func(b []byte) []byte { return append(b, 0xff) } }, code: verdict.EndorsementMalformed, text: "UTF-8"},
		{name: "deep", change: func(x *attesttest.TDX) { x.OnTCBInfo = func([]byte) []byte { return bytes.Repeat([]byte("["), 20) } }, code: verdict.EndorsementMalformed, text: "deeper"},
		{name: "large", change: func(x *attesttest.TDX) {
			x.OnTCBInfo = func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), 64<<10)...) }
		}, code: verdict.EvidenceLimit, text: "want at most"},
		{name: "a short signature", change: func(x *attesttest.TDX) { x.OnTCBInfo = replaced(`"signature":"`, `"signature":"","signature2":"`) }, code: verdict.EndorsementMalformed, text: "alone"},
		{name: "a signature of another length", change: func(x *attesttest.TDX) { x.OnTCBInfo = replaced(`"signature":"`, `"signature":"00`) }, code: verdict.EndorsementMalformed, text: "64 bytes in hex"},
		{name: "SVN 256", change: func(x *attesttest.TDX) { svns(x, 0, "sgxtcbcomponents")[0].(object)["svn"] = 256 }, code: verdict.EndorsementMalformed, text: "TCB info"},
		{name: "SVN 1.5", change: func(x *attesttest.TDX) { svns(x, 0, "sgxtcbcomponents")[0].(object)["svn"] = 1.5 }, code: verdict.EndorsementMalformed, text: "TCB info"},
		{name: "a negative SVN", change: func(x *attesttest.TDX) { svns(x, 0, "sgxtcbcomponents")[0].(object)["svn"] = -1 }, code: verdict.EndorsementMalformed, text: "TCB info"},
		{name: "no SVN", change: func(x *attesttest.TDX) { svns(x, 0, "tdxtcbcomponents")[0] = object{} }, code: verdict.EndorsementMalformed, text: "another form"},
		{name: "an unknown status", change: func(x *attesttest.TDX) { setStatus(level(x.TCBInfo["tcbLevels"], 0), "Fine") }, code: verdict.EndorsementMalformed, text: "another form"},
		{name: "no levels of the enclave", change: func(x *attesttest.TDX) { x.QEIdentity["tcbLevels"] = []any{} }, code: verdict.EndorsementMalformed, text: "another form"},
		{name: "no TCB info", after: func(c *attest.TDXCollateral) { c.TCBInfo = nil }, code: verdict.EndorsementMissing, text: "TCB info"},
		{name: "no QE identity", after: func(c *attest.TDXCollateral) { c.QEIdentity = nil }, code: verdict.EndorsementMissing, text: "QE identity"},
		{name: "no chain", after: func(c *attest.TDXCollateral) { c.TCBInfoChain = nil }, code: verdict.EndorsementMissing, text: "there is no certificate"},
		{name: "no PCK list", after: func(c *attest.TDXCollateral) { c.PCKCRL = nil }, code: verdict.EndorsementMissing, text: "PCK CRL"},
		{name: "no root list", after: func(c *attest.TDXCollateral) { c.RootCRL = nil }, code: verdict.EndorsementMissing, text: "root CRL"},
		{name: "no lists, allowed", after: func(c *attest.TDXCollateral) { c.RootCRL, c.PCKCRL = nil, nil }, trust: func(tr *attest.TDXTrust) { tr.AllowNoCRL = true }},
		{name: "no collateral, a module of other attributes", change: func(x *attesttest.TDX) { x.Quote.SEAMAttributes[7] = 1 }, after: func(c *attest.TDXCollateral) { *c = attest.TDXCollateral{} },
			trust: func(tr *attest.TDXTrust) { tr.AllowNoCRL, tr.AllowNoCollateral = true, true }, code: verdict.PlatformModule, text: "zero without collateral"},
		{name: "text before a chain", after: func(c *attest.TDXCollateral) { c.TCBInfoChain = append([]byte("text\n"), c.TCBInfoChain...) }, code: verdict.EndorsementMalformed, text: "no chain of at most"},
		{name: "no collateral, allowed", after: func(c *attest.TDXCollateral) { *c = attest.TDXCollateral{} }, trust: func(tr *attest.TDXTrust) { tr.AllowNoCRL, tr.AllowNoCollateral = true, true }},
		{name: "a list of another's", change: func(x *attesttest.TDX) { x.ListKey = other }, code: verdict.EndorsementUntrusted, text: "root CRL"},
		{name: "an unreadable list", after: func(c *attest.TDXCollateral) { c.PCKCRL = []byte("x") }, code: verdict.EndorsementMalformed, text: "PCK CRL"},
		{name: "lists exchanged", after: func(c *attest.TDXCollateral) { c.PCKCRL = c.RootCRL }, code: verdict.EndorsementUntrusted, text: "PCK CRL"},
		{name: "a revoked PCK", change: func(x *attesttest.TDX) { x.Revoked = []string{"pck"} }, code: verdict.EndorsementRevoked, text: "PCK Certificate"},
		{name: "a revoked CA", change: func(x *attesttest.TDX) { x.Revoked = []string{"ca"} }, code: verdict.EndorsementRevoked, text: "Platform CA"},
		{name: "a revoked signer", change: func(x *attesttest.TDX) { x.Revoked = []string{"tcb"} }, code: verdict.EndorsementRevoked, text: "TCB Signing"},
		{name: "a signer of another name", change: on("tcb", func(c *x509.Certificate) { c.Subject.CommonName = "somebody" }), code: verdict.EndorsementUntrusted, text: "want Intel SGX TCB Signing"},

		{name: "a debugged TD", change: func(x *attesttest.TDX) { x.Quote.TDAttributes |= attest.TDDebug }, code: verdict.GuestDebug, text: "debugging"},
		{name: "a debugged TD, allowed", change: func(x *attesttest.TDX) { x.Quote.TDAttributes |= attest.TDDebug }, trust: func(tr *attest.TDXTrust) { tr.AllowDebug = true }},
		{name: "a migratable TD", change: func(x *attesttest.TDX) { x.Quote.TDAttributes |= attest.TDMigratable }, code: verdict.GuestMigratable, text: "migration"},
		{name: "a TD with a service TD", change: func(x *attesttest.TDX) { x.Version = 5; x.Quote.MRServiceTD[0] = 1 }, code: verdict.GuestMigratable, text: "MRSERVICETD"},
		{name: "a profiled TD", change: func(x *attesttest.TDX) { x.Quote.TDAttributes |= 1 << 5 }, code: verdict.GuestAttributes, text: "profiling"},
		{name: "a TD with EPT faults", change: func(x *attesttest.TDX) { x.Quote.TDAttributes = 0 }, code: verdict.GuestAttributes, text: "secure EPT"},
		{name: "a TD without SSE", change: func(x *attesttest.TDX) { x.Quote.XFAM = 1 }, code: verdict.GuestAttributes, text: "XFAM"},
		{name: "another MRCONFIGID", change: func(x *attesttest.TDX) { x.Quote.MRConfigID[0] = 1 }, code: verdict.GuestConfig, text: "MRCONFIGID"},
		{name: "another MROWNER", change: func(x *attesttest.TDX) { x.Quote.MROwner[0] = 1 }, code: verdict.GuestConfig, text: "MROWNER"},
		{name: "another MROWNERCONFIG", change: func(x *attesttest.TDX) { x.Quote.MROwnerConfig[0] = 1 }, code: verdict.GuestConfig, text: "MROWNERCONFIG"},
		{name: "the wanted MRCONFIGID", change: func(x *attesttest.TDX) { x.Quote.MRConfigID[0] = 1 }, trust: func(tr *attest.TDXTrust) { tr.Config = map[string][48]byte{"MRCONFIGID": {1}} }},
		{name: "another MRTD", expect: func(e *attest.TDXExpected) { e.MRTD = [][48]byte{{}} }, code: verdict.GuestMeasurement, text: "MRTD"},
		{name: "another RTMR", expect: func(e *attest.TDXExpected) { e.RTMR[3] = [48]byte{} }, code: verdict.GuestRegister, text: "RTMR3"},

		{name: "nothing", change: func(x *attesttest.TDX) { x.OnSigned = func([]byte) []byte { return nil } }, code: verdict.EvidenceMalformed, text: "want a header"},
		{name: "version 3", change: func(x *attesttest.TDX) { x.OnSigned = func(b []byte) []byte { b[0] = 3; return b } }, code: verdict.EvidenceUnsupported, text: "version is 3"},
		{name: "another key type", change: func(x *attesttest.TDX) { x.OnSigned = func(b []byte) []byte { b[2] = 3; return b } }, code: verdict.EvidenceMalformed, text: "key type 3"},
		{name: "a quote of SGX", change: func(x *attesttest.TDX) { x.OnSigned = func(b []byte) []byte { b[4] = 0; return b } }, code: verdict.EvidenceMalformed, text: "TEE type 0x0"},
		{name: "another vendor", change: func(x *attesttest.TDX) { x.OnSigned = func(b []byte) []byte { b[12] ^= 1; return b } }, code: verdict.EvidenceMalformed, text: "of vendor"},
		{name: "a body of another type", change: func(x *attesttest.TDX) { x.Version = 5; x.OnSigned = func(b []byte) []byte { b[48] = 2; return b } }, code: verdict.EvidenceMalformed, text: "body of type 2"},
		{name: "padding", change: func(x *attesttest.TDX) {
			x.OnSigned = func(b []byte) []byte { return append(b, make([]byte, 3000)...) }
		}},
		{name: "padding that says something", change: func(x *attesttest.TDX) { x.OnSigned = func(b []byte) []byte { return append(b, 0, 0, 1) } }, code: verdict.EvidenceMalformed, text: "behind it"},
		{name: "larger than any", change: func(x *attesttest.TDX) {
			x.OnSigned = func(b []byte) []byte { return append(b, make([]byte, 64<<10)...) }
		}, code: verdict.EvidenceLimit, text: "want at most"},
		{name: "less signed data than it has", change: func(x *attesttest.TDX) {
			x.OnSigned = func(b []byte) []byte { b[632]--; return append(b, make([]byte, 4)...) }
		}, code: verdict.EvidenceMalformed, text: "certification data"},
		{name: "a little signed data", change: func(x *attesttest.TDX) {
			x.OnSigned = func(b []byte) []byte { binary.LittleEndian.PutUint32(b[632:], 32); return b[:636+32] }
		}, code: verdict.EvidenceMalformed, text: "certification data"},
		{name: "more signed data than anything", change: func(x *attesttest.TDX) {
			x.OnSigned = func(b []byte) []byte { binary.LittleEndian.PutUint32(b[632:], 0xffffffff); return b }
		}, code: verdict.EvidenceMalformed, text: "ends in its body"},
		{name: "more signed data than there is", change: func(x *attesttest.TDX) { x.OnSigned = func(b []byte) []byte { b[634] = 1; return b } }, code: verdict.EvidenceMalformed, text: "ends in its"},
		{name: "certificates of another type", change: func(x *attesttest.TDX) { x.OnSigned = func(b []byte) []byte { b[1218+2+19] = 4; return b } }, code: verdict.EvidenceMalformed, text: "certificates of type 4"},
	}
}

// TestTDX: each change is refused by the check that is there for it, and where ours
// accepts, go-tdx-guest does.
func TestTDX(t *testing.T) {
	for _, tt := range tdxCases(t) {
		t.Run(tt.name, func(t *testing.T) {
			x := attesttest.NewTDX(t, tdxAt)
			if tt.change != nil {
				tt.change(x)
			}
			quote, collateral, trust, expected := x.QuoteBytes(), x.Collateral(), x.Trust(), x.Expected()
			if tt.after != nil {
				tt.after(&collateral)
			}
			if tt.trust != nil {
				tt.trust(&trust)
			}
			if tt.expect != nil {
				tt.expect(&expected)
			}
			result, err := attest.AppraiseTDX(quote, collateral, trust, expected, tdxAt.Add(tt.at))
			if tt.code == "" && tt.text == "" {
				if err != nil {
					t.Fatalf("the good one: %v", err)
				}
				if result.PCK.FMSPC != x.PCK.FMSPC || result.Quote.MRTD != x.Quote.MRTD || result.Quote.RTMR != x.Quote.RTMR || result.Quote.ReportData != x.Quote.ReportData {
					t.Errorf("got %+v", result)
				}
				return
			}
			if err == nil || verdict.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %s with %q", err, tt.code, tt.text)
			}
			if result.Status != "" || result.Quote.Version != 0 {
				t.Errorf("with the error came %+v", result)
			}
		})
	}
}

// TestTDXConvergence: the status of a platform with a module and enclave of another
// one (Intel QVL).
func TestTDXConvergence(t *testing.T) {
	accepted := []attest.TDXStatus{attest.TDXSWHardeningNeeded, attest.TDXConfigurationNeeded, attest.TDXConfigurationAndSWHardeningNeeded, attest.TDXOutOfDate, attest.TDXOutOfDateConfigurationNeeded}
	all := append([]attest.TDXStatus{attest.TDXUpToDate, attest.TDXRevoked}, accepted...)
	worse := map[attest.TDXStatus]attest.TDXStatus{
		attest.TDXUpToDate: attest.TDXOutOfDate, attest.TDXSWHardeningNeeded: attest.TDXOutOfDate,
		attest.TDXConfigurationNeeded: attest.TDXOutOfDateConfigurationNeeded, attest.TDXConfigurationAndSWHardeningNeeded: attest.TDXOutOfDateConfigurationNeeded,
	}
	for _, platform := range all {
		for module, moduleSVN := range map[attest.TDXStatus]byte{attest.TDXUpToDate: 5, attest.TDXOutOfDate: 4, attest.TDXRevoked: 1} {
			for enclave, enclaveSVN := range map[attest.TDXStatus]byte{attest.TDXUpToDate: 8, attest.TDXOutOfDate: 7, attest.TDXRevoked: 1} {
				want := platform
				if w, ok := worse[platform]; ok && (module == attest.TDXOutOfDate || enclave == attest.TDXOutOfDate) {
					want = w
				}
				if module == attest.TDXRevoked || enclave == attest.TDXRevoked {
					want = attest.TDXRevoked
				}
				x := attesttest.NewTDX(t, tdxAt)
				setStatus(level(x.TCBInfo["tcbLevels"], 0), platform)
				x.Quote.TEETCBSVN[0], x.QE[258] = moduleSVN, enclaveSVN
				trust := x.Trust()
				trust.AcceptStatus = accepted
				result, err := attest.AppraiseTDX(x.QuoteBytes(), x.Collateral(), trust, x.Expected(), tdxAt)
				if want == attest.TDXRevoked { // which nobody can accept
					if verdict.CodeOf(err) != verdict.TCBStatus || !strings.Contains(err.Error(), string(want)) {
						t.Errorf("platform %s, module %s, enclave %s: got %s, %v, want %s", platform, module, enclave, result.Status, err, want)
					}
					continue
				}
				if err != nil || result.Status != want {
					t.Errorf("platform %s, module %s, enclave %s: got %s, %v, want %s", platform, module, enclave, result.Status, err, want)
				}
			}
		}
	}
}

// TestTDXBytes: no byte of a quote can be another, and no prefix is one.
func TestTDXBytes(t *testing.T) {
	for _, version := range []uint16{4, 5} {
		x := attesttest.NewTDX(t, tdxAt)
		x.Version = version
		quote, collateral, trust, expected := x.QuoteBytes(), x.Collateral(), x.Trust(), x.Expected()
		if _, err := attest.AppraiseTDX(quote, collateral, trust, expected, tdxAt); err != nil {
			t.Fatal(err)
		}
		_, chain, ok := bytes.Cut(quote, []byte("-----BEGIN"))
		if !ok {
			t.Fatal("no chain")
		}
		end := len(quote) - len(chain) // certificates have tests of their own
		codes := map[verdict.Code]bool{}
		for i := range end {
			if i >= 8 && i < 12 || i >= 28 && i < 48 {
				continue // signed, and about nothing: changed below
			}
			bad := bytes.Clone(quote)
			bad[i] ^= 1 << (i % 8)
			_, err := attest.AppraiseTDX(bad, collateral, trust, expected, tdxAt)
			if err == nil {
				t.Errorf("version %d: byte %d can be another", version, i)
			}
			codes[verdict.CodeOf(err)] = true
		}
		for _, i := range []int{8, 28, 47} {
			bad := bytes.Clone(quote)
			bad[i] ^= 1
			if _, err := attest.AppraiseTDX(bad, collateral, trust, expected, tdxAt); verdict.CodeOf(err) != verdict.EvidenceSignature {
				t.Errorf("version %d: byte %d of the header: got %v", version, i, err)
			}
		}
		for n := range quote {
			if n%7 != 0 && n > 100 && n < len(quote)-100 {
				continue
			}
			if _, err := attest.ParseTDXQuote(quote[:n]); verdict.CodeOf(err) != verdict.EvidenceMalformed {
				t.Errorf("version %d: the first %d bytes: got %v", version, n, err)
			}
		}
		if want := []verdict.Code{verdict.EndorsementMalformed, verdict.EvidenceMalformed, verdict.EvidenceSignature, verdict.EvidenceUnsupported}; !slices.Equal(slices.Sorted(maps.Keys(codes)), want) {
			t.Errorf("version %d: got codes %q, want %q", version, slices.Sorted(maps.Keys(codes)), want)
		}
	}
}

// TestRealTDX: genuine quotes, of two generations of modules and both versions.
func TestRealTDX(t *testing.T) {
	trust := attest.TDXTrust{Root: attest.IntelRoot(), AllowAnyPlatform: true, AllowNoCollateral: true, AllowNoCRL: true}
	for _, tt := range []struct {
		path    []string
		at      time.Time
		version uint16
		strict  verdict.Code // without relaxations
		relax   func(*attest.TDXTrust)
	}{
		{[]string{"evidence", "tdx-cos113-genuine-accept", "quote.bin"}, time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), 4, "", nil},
		{[]string{"evidence-raw", "trustee", "tdx", "tdx_quote_4.dat"}, time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC), 4, verdict.GuestDebug, func(t *attest.TDXTrust) { t.AllowDebug = true }},
		{[]string{"evidence-raw", "trustee", "tdx", "tdx_quote_5.dat"}, time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC), 5, verdict.GuestMigratable, func(t *attest.TDXTrust) { t.AllowMigratable = true }},
	} {
		name := tt.path[len(tt.path)-1]
		data := sharedFile(t, tt.path...)
		q, err := attest.ParseTDXQuote(data)
		if err != nil || q.Version != tt.version {
			t.Fatalf("%s: got version %d, %v", name, q.Version, err)
		}
		expected := attest.TDXExpected{ReportData: q.ReportData, MRTD: [][48]byte{q.MRTD}}
		if _, err := attest.AppraiseTDX(data, attest.TDXCollateral{}, trust, expected, tt.at); verdict.CodeOf(err) != tt.strict {
			t.Errorf("%s: got %v, want %q", name, err, tt.strict)
		}
		relaxed := trust
		if tt.relax != nil {
			tt.relax(&relaxed)
		}
		if _, err := attest.AppraiseTDX(data, attest.TDXCollateral{}, relaxed, expected, tt.at); err != nil {
			t.Errorf("%s, relaxed: %v", name, err)
		}
		if _, err := attest.AppraiseTDX(data, attest.TDXCollateral{}, relaxed, expected, tt.at.AddDate(30, 0, 0)); verdict.CodeOf(err) != verdict.EndorsementExpired {
			t.Errorf("%s, in thirty years: got %v", name, err)
		}
		if _, err := attest.AppraiseTDX(data, attest.TDXCollateral{}, attest.TDXTrust{Root: attest.IntelRoot(), AllowAnyPlatform: true}, expected, tt.at); verdict.CodeOf(err) != verdict.EndorsementMissing {
			t.Errorf("%s, strictly: got %v", name, err)
		}
	}
}

// sha256Log is a log of one event, of RTMR0, with a digest that no RTMR takes.
var sha256Log = "\x00\x00\x00\x00\x03\x00\x00\x00" + strings.Repeat("\x00", 20) + "\x21\x00\x00\x00Spec ID Event03\x00\x00\x00\x00\x00\x00\x02\x00\x02\x01\x00\x00\x00\x0b\x00\x20\x00\x00" +
	"\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x0b\x00" + strings.Repeat("\x01", 32) + "\x01\x00\x00\x00x"

// TestRealEventLog: a genuine log replays to the registers of its quote, and one that
// is changed does not.
func TestRealEventLog(t *testing.T) {
	data, log := sharedFile(t, "evidence", "tdx-cos113-genuine-accept", "quote.bin"), sharedFile(t, "evidence", "tdx-cos113-genuine-accept", "ccel.bin")
	q, err := attest.ParseTDXQuote(data)
	if err != nil {
		t.Fatal(err)
	}
	events, err := attest.ParseEventLog(log)
	if err != nil {
		t.Fatal(err)
	}
	// Where the first event of RTMR1 is: its digest is the needle.
	i := slices.IndexFunc(events, func(e attest.LogEvent) bool { return e.Index == 2 && e.Type != 3 })
	at := bytes.Index(log, events[i].SHA384)
	spec := 32 + int(binary.LittleEndian.Uint32(log[28:]))
	for name, tt := range map[string]struct {
		log  []byte
		from []int
		code verdict.Code
	}{
		"as it is":             {log, []int{0, 1, 2}, ""},
		"without registers":    {nil, nil, ""},
		"no log":               {nil, []int{0}, verdict.EvidenceMissing},
		"a bit of a digest":    {append(append(bytes.Clone(log[:at]), log[at]^1), log[at+1:]...), []int{0, 1, 2}, verdict.EventLogReplay},
		"another register":     {append(append(bytes.Clone(log[:at]), log[at]^1), log[at+1:]...), []int{0, 2}, ""},
		"its header alone":     {log[:spec], []int{0}, verdict.EventLogIncomplete},
		"a register of no log": {log, []int{3}, verdict.EventLogIncomplete},
		"no header":            {log[spec:], []int{0}, verdict.EventLogMalformed},
		"half a header":        {log[:20], []int{0}, verdict.EventLogMalformed},
		"cut":                  {log[:at+10], []int{0}, verdict.EventLogMalformed},
		"SHA-256 alone":        {[]byte(sha256Log), []int{0}, verdict.EventLogIncomplete},
		"many digests":         {append(bytes.Clone(log[:spec]), 1, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0), []int{0}, verdict.EventLogMalformed},
		"a digest of no name":  {append(bytes.Clone(log[:spec]), 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 9, 0, 0), []int{0}, verdict.EventLogMalformed},
		"filled":               {append(bytes.Clone(log), bytes.Repeat([]byte{0xff}, 100)...), []int{0, 1, 2}, ""},
		"large":                {make([]byte, attest.MaxEventLogSize+1), []int{0}, verdict.EvidenceLimit},
	} {
		expected := attest.TDXExpected{ReportData: q.ReportData, EventLog: tt.log, FromLog: tt.from}
		trust := attest.TDXTrust{Root: attest.IntelRoot(), AllowAnyPlatform: true, AllowNoCollateral: true, AllowNoCRL: true}
		if _, err := attest.AppraiseTDX(data, attest.TDXCollateral{}, trust, expected, time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)); verdict.CodeOf(err) != tt.code {
			t.Errorf("%s: got %v, want %q", name, err, tt.code)
		}
	}
}

func FuzzEventLog(f *testing.F) {
	inputs := fuzz.New(f, []byte("\x00\x00\x00\x00\x03\x00\x00\x00"+strings.Repeat("\x00", 20)+"\x21\x00\x00\x00Spec ID Event03\x00\x00\x00\x00\x00\x00\x02\x00\x02\x01\x00\x00\x00\x0c\x00\x30\x00\x00"+
		"\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x0c\x00"+strings.Repeat("\x01", 48)+"\x01\x00\x00\x00x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(len(data) >= 32+37 && string(data[4:8]) == "\x03\x00\x00\x00" && string(data[32:48]) == "Spec ID Event03\x00")
		events, err := attest.ParseEventLog(data)
		if err == nil && len(events) > len(data) {
			t.Error("more events than bytes")
		}
	})
}

// TestTDXLibrary: what the library lets through by default, we refuse; and what we
// accept without collateral it accepts, where it reads that at all.
func TestTDXLibrary(t *testing.T) {
	library := func(x *attesttest.TDX) error {
		quote, err := abi.QuoteToProto(x.QuoteBytes())
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AddCert(x.Root())
		return tdxverify.TdxQuote(quote, &tdxverify.Options{TrustedRoots: pool, Now: &tdxverify.TimeSet{PckCertChain: tdxAt}})
	}
	ours := func(x *attesttest.TDX) error {
		trust := x.Trust()
		trust.AllowNoCollateral, trust.AllowNoCRL = true, true
		_, err := attest.AppraiseTDX(x.QuoteBytes(), attest.TDXCollateral{}, trust, x.Expected(), tdxAt)
		return err
	}
	for name, tt := range map[string]struct {
		change  func(*attesttest.TDX)
		ours    bool
		library bool
	}{
		"good":                   {func(*attesttest.TDX) {}, true, true},
		"forged":                 {func(x *attesttest.TDX) { x.Forged = "quote" }, false, false},
		"debugged":               {func(x *attesttest.TDX) { x.Quote.TDAttributes |= attest.TDDebug }, false, true},
		"of a module of another": {func(x *attesttest.TDX) { x.Quote.MRSignerSEAM[0] = 1 }, false, true},
		"of an unknown enclave":  {func(x *attesttest.TDX) { x.QE[128] ^= 1 }, true, true}, // nothing says whose, without collateral
		"of the Processor CA":    {func(x *attesttest.TDX) { x.CAName = "Intel SGX PCK Processor CA" }, true, false},
		"version 5":              {func(x *attesttest.TDX) { x.Version = 5 }, true, false},
	} {
		x := attesttest.NewTDX(t, tdxAt)
		tt.change(x)
		if err := ours(x); (err == nil) != tt.ours {
			t.Errorf("%s: got %v, want accepted %v", name, err, tt.ours)
		}
		if err := library(x); (err == nil) != tt.library {
			t.Errorf("%s: the library says %v, want accepted %v", name, err, tt.library)
		}
	}
}

func FuzzTDXQuote(f *testing.F) {
	x := attesttest.NewTDX(f, tdxAt)
	four := x.QuoteBytes()
	x.Version = 5
	inputs := fuzz.New(f, four, x.QuoteBytes())
	collateral, trust, expected := x.Collateral(), x.Trust(), x.Expected()
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		// A header of 48 bytes with a version, ECDSA P-256 and TDX, and a body of 584.
		inputs.Add(len(data) >= 48+584 && len(data) <= attest.MaxTDXQuoteSize && (data[0] == 4 || data[0] == 5) && string(data[1:8]) == "\x00\x02\x00\x81\x00\x00\x00")
		q, err := attest.ParseTDXQuote(data)
		if err != nil {
			if q.Version != 0 && verdict.CodeOf(err) == "" {
				t.Errorf("got %v", err)
			}
			return
		}
		_, err = attest.AppraiseTDX(data, collateral, trust, expected, tdxAt)
		if coded(t, err); err == nil && (q.MRTD != expected.MRTD[0] || q.ReportData != expected.ReportData) {
			t.Error("a quote of something else")
		}
	})
}

func FuzzTDXCollateral(f *testing.F) {
	x := attesttest.NewTDX(f, tdxAt)
	quote, trust, expected := x.QuoteBytes(), x.Trust(), x.Expected()
	collateral := x.Collateral()
	count, infos, identities := fuzz.NewCount(f), fuzz.NewGoods(f, collateral.TCBInfo), fuzz.NewGoods(f, collateral.QEIdentity)
	f.Add([]byte{0xff}, []byte{0xff})
	f.Fuzz(func(t *testing.T, info, qe []byte) {
		info, qe = infos.Of(info), identities.Of(qe)
		count.Add(json.Valid(info))
		c := collateral
		c.TCBInfo, c.QEIdentity = info, qe
		_, err := attest.AppraiseTDX(quote, c, trust, expected, tdxAt)
		coded(t, err)
		var one, two map[string]json.RawMessage
		if err != nil || json.Unmarshal(info, &one) == nil && json.Unmarshal(collateral.TCBInfo, &two) == nil && bytes.Equal(one["tcbInfo"], two["tcbInfo"]) {
			return
		}
		t.Error("accepted with another TCB info")
	})
}
