// SPDX-License-Identifier: Apache-2.0

// Package folder appraises evidence that was recorded as a folder: evidence,
// endorsements, roots, policy and time in files that case.json names. What one
// appraiser refused in the field another can look at, and it becomes a test.
//
// [Appraise] is the entry point. Where assay's own policy is strict, a folder
// demands what its policy names and nothing else, and relaxes what it names.
//
// Kinds tdx, snp, tpm, azure-snp and azure-tdx are appraised. What a folder asks for
// and this package does not do is evidence.unsupported, which decides nothing.
package folder

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// Limits of a folder.
const (
	// CaseName is the file that says what the others are.
	CaseName    = "case.json"
	maxFileSize = 1 << 20 // bytes
)

// A Case is case.json. Unknown members are an error.
type Case struct {
	Name         string            `json:"name"`
	Kind         string            `json:"kind"`
	Origin       string            `json:"origin"`
	Format       string            `json:"format"`
	Evidence     string            `json:"evidence"`
	Parts        map[string]string `json:"parts"`
	Endorsements []File            `json:"endorsements"`
	Roots        []File            `json:"roots"`
	At           time.Time         `json:"at"`
	Policy       Policy            `json:"policy"`
	Expect       string            `json:"expect"`
	ErrorKind    verdict.Code      `json:"error_kind"`
	Why          string            `json:"why"`
	Statement    string            `json:"statement"`
	Nonce        string            `json:"nonce"`
	Registers    string            `json:"registers"`
}

// A File is an endorsement or a root.
type File struct {
	Type        string `json:"type"`
	File        string `json:"file"`
	IssuerChain string `json:"issuer_chain"`
}

// A Policy is what evidence has to be like. Of a member that is not there nothing is
// demanded, and nothing is relaxed.
type Policy struct {
	ReportData *string  `json:"report_data"`
	RequireCRL bool     `json:"require_crl"`
	AllowDebug bool     `json:"allow_debug"`
	Products   []string `json:"products"`
	Signers    []string `json:"signers"`
	// Of SNP.
	CSPIDs                   []string         `json:"csp_ids"`
	AllowMigrationAgent      bool             `json:"allow_migration_agent"`
	AllowSMT                 bool             `json:"allow_smt"`
	AllowProvisionalFirmware *bool            `json:"allow_provisional_firmware"`
	AllowMaskedChipID        bool             `json:"allow_masked_chip_id"`
	RequireAliasCheck        bool             `json:"require_alias_check"`
	MinTCB                   map[string]uint8 `json:"min_tcb"`
	Measurements             []string         `json:"measurements"`
	VMPL                     []uint32         `json:"vmpl"`
	// Of TDX.
	MRTD                  []string           `json:"mrtd"`
	RTMR                  map[string]string  `json:"rtmr"`
	RequireSeptVEDisable  bool               `json:"require_sept_ve_disable"`
	RequireCollateral     bool               `json:"require_collateral"`
	AcceptTCBStatus       []attest.TDXStatus `json:"accept_tcb_status"`
	MinEvaluation         uint32             `json:"min_tcb_evaluation_data_number"`
	RequireEventLogOfRTMR []int              `json:"require_event_log_for_rtmr"`
	MRSEAM                []string           `json:"mrseam"`
	AllowTDAttributes     []uint             `json:"allow_td_attributes"`
	AllowXFAM             []uint             `json:"allow_xfam"`
	// Of a TPM.
	PolicyTPM
	// Of a confidential VM of Azure, beside those of its platform and its TPM.
	PolicyAzure
	// Of a daemon's statement: [ReadRecording].
	Daemon *PolicyDaemon `json:"daemon"`
}

// A Report is what was found.
type Report struct {
	Case Case
	// Status is the converged status of a TDX platform, Measurement MRTD or the
	// launch measurement in hex. Both are empty where nothing was accepted.
	Status      attest.TDXStatus
	Advisories  []string
	Measurement string
	// Claims is the trustworthiness vector; Grounds says what it was made on.
	Claims attest.Claims
	// Relaxed are the relaxations that SNP or TDX evidence needed, what the policy does not
	// demand among them.
	Relaxed []string
	// SNP says who vouches for an SNP report; nil for others.
	SNP *SNPPlatform
	// GCE is the instance of Compute Engine that a TPM's certificate names, and Azure
	// what the paravisor of a confidential VM of Azure says; nil for others.
	GCE   *attest.GCEInstance
	Azure *attest.HCLData
	// OwnRoots says that the folder brings its roots along: who made it chose whom
	// to believe. Where it does not, those count that Intel, AMD and Google publish.
	OwnRoots bool
	// Simulated says that nothing but a simulator vouches for it.
	Simulated bool
	// Entry is the reference entry that a recorded daemon met, empty for others.
	Entry string
}

// Grounds is what the claims were made on.
func (r *Report) Grounds() attest.Grounds {
	return attest.Grounds{Kind: attest.Kind(r.Case.Kind), Entry: r.Entry, Relaxed: r.Relaxed, Status: r.Status, Advisories: r.Advisories}
}

// An SNPPlatform is what the certificate of a report's key and the report itself say of
// the platform.
type SNPPlatform struct {
	Product attest.ProductLine
	Signer  attest.SNPSigner
	// CSPID is the provider of a VLEK, and empty for a VCEK.
	CSPID string
	// ChipID is zeros where it is masked.
	ChipID [64]byte
}

// platform is what was found of it.
func platform(r *attest.Result) *SNPPlatform {
	return &SNPPlatform{Product: r.ProductLine, Signer: r.Signer, CSPID: r.CSPID, ChipID: r.ChipID}
}

func malformed(format string, args ...any) error {
	return verdict.Misused("see docs/evidence-folder.md", "reading evidence folder: "+format, args...)
}

func unsupported(format string, args ...any) error {
	return verdict.Fail(verdict.EvidenceUnsupported, "appraising evidence folder: "+format, args...)
}

// Appraise reads a folder and appraises what is in it, at the time that it names.
// The error is a *verdict.Misuse where the folder is not readable, a
// *verdict.Refusal or a *verdict.Failure; the report then has the case, as far as
// it was read.
func Appraise(fsys fs.FS) (Report, error) {
	f := newReader(fsys)
	var r Report
	var err error
	if r.Case, err = f.readCase(); err != nil {
		return r, err
	}
	if r.Case.Policy.Daemon != nil {
		return r, unsupported("policy.daemon is for a relying party with a trust.yaml")
	}
	if r.Case.Statement != "" { // evidence that is bound to it, of which more is not asked
		if r.Case.Policy, err = f.checkBound(&r.Case); err != nil {
			return r, err
		}
	}
	r.OwnRoots = len(r.Case.Roots) > 0
	if !strings.HasPrefix(r.Case.Kind, "azure-") && r.Case.Policy.demanded() || r.Case.Kind != "tpm" && r.Case.Policy.GCE != nil {
		return r, unsupported("the policy has demands that are not for kind %s", quote(r.Case.Kind))
	}
	switch r.Case.Kind + " " + r.Case.Format {
	case "tdx tdx-quote":
		err = f.tdx(&r)
	case "snp snp-report", "snp snp-report+cert-table":
		err = f.snp(&r)
	case "tpm tpm-quote":
		err = f.tpm(&r)
	case "azure-snp tpm-quote":
		err = f.azureSNP(&r)
	case "azure-tdx tpm-quote":
		err = f.azureTDX(&r)
	default:
		err = unsupported("kind %s in format %s is not appraised by this version", quote(r.Case.Kind), quote(r.Case.Format))
	}
	return r, err
}

// decode reads one document of known members.
func decode(what string, data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return malformed("%s: %w", what, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return malformed("%s: there is something behind it", what)
	}
	return nil
}

func quote(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return fmt.Sprintf("%q", s)
}

// A reader reads the files of a folder: at most one of each type and each part.
type reader struct {
	fsys fs.FS
	of   func(name string) ([]byte, error)
}

func newReader(fsys fs.FS) *reader {
	f := &reader{fsys: fsys}
	f.of = func(name string) ([]byte, error) { return f.readUpTo(name, maxFileSize) }
	return f
}

// readCase reads case.json. With an error comes what was read of it.
func (f *reader) readCase() (c Case, err error) {
	data, err := f.read(CaseName)
	if err != nil {
		return Case{}, err
	}
	if err := decode(CaseName, data, &c); err != nil {
		return Case{}, err
	}
	if c.At.IsZero() || c.Evidence == "" {
		return c, malformed("%s names no time or no evidence", CaseName)
	}
	return c, nil
}

func (f *reader) read(name string) ([]byte, error) { return f.of(name) }

func (f *reader) readUpTo(name string, limit int) ([]byte, error) {
	if !fs.ValidPath(name) || strings.Contains(name, "/") {
		return nil, malformed("%s is no name of a file in it", quote(name))
	}
	info, err := fs.Stat(f.fsys, name)
	if err != nil {
		return nil, malformed("%w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, malformed("%s is no regular file", quote(name))
	}
	file, err := f.fsys.Open(name)
	if err != nil {
		return nil, malformed("%w", err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err != nil {
		return nil, malformed("%w", err)
	}
	if len(data) > limit {
		return nil, malformed("%s has more than %d bytes", quote(name), limit)
	}
	return data, nil
}

// take reads the only file of a type, and nothing where there is none.
func (f *reader) take(files []File, kind string) (data, chain []byte, err error) {
	for _, one := range files {
		if one.Type != kind {
			continue
		}
		if data != nil {
			return nil, nil, malformed("%s is there twice", quote(kind))
		}
		if data, err = f.read(one.File); err != nil {
			return nil, nil, err
		}
		if one.IssuerChain != "" {
			if chain, err = f.read(one.IssuerChain); err != nil {
				return nil, nil, err
			}
		}
	}
	return data, chain, nil
}

// root is the only root of a type, and nil where there is none.
func (f *reader) root(files []File, kind string) (*x509.Certificate, error) {
	der, _, err := f.take(files, kind)
	if err != nil || der == nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, malformed("%s: %w", quote(kind), err)
	}
	return c, nil
}

// known refuses types of files that are not looked at: whoever recorded them meant
// something by them.
func known(what string, files []File, kinds ...string) error {
	for _, one := range files {
		if !slices.Contains(kinds, one.Type) {
			return unsupported("%s of type %s are not looked at by this version", what, quote(one.Type))
		}
	}
	return nil
}

func unhex(what, text string, into []byte) error {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(into) {
		return malformed("%s %s is not %d bytes in hex", what, quote(text), len(into))
	}
	copy(into, b)
	return nil
}

// tdxPlatform is the trust that the policy makes of a quote, and the collateral that
// it wants.
func (f *reader) tdxPlatform(c *Case, p *Policy, q *attest.TDXQuote) (trust attest.TDXTrust, collateral attest.TDXCollateral, err error) {
	if err := known("endorsements", c.Endorsements, "tdx-tcb-info", "tdx-qe-identity", "sgx-pck-crl", "sgx-root-crl"); err != nil {
		return trust, collateral, err
	}
	if err := known("roots", c.Roots, "intel-sgx-root"); err != nil {
		return trust, collateral, err
	}
	// UpToDate needs no acceptance; namedStatus refuses it where only others are named.
	accepted := slices.DeleteFunc(slices.Clone(p.AcceptTCBStatus), func(s attest.TDXStatus) bool { return s == attest.TDXUpToDate })
	trust = attest.TDXTrust{
		AcceptStatus: accepted, AnyAdvisory: len(accepted) > 0, MinEvaluation: p.MinEvaluation,
		AllowNoCollateral: !p.RequireCollateral, AllowNoCRL: !p.RequireCRL, AllowDebug: p.AllowDebug, AllowSeptVE: !p.RequireSeptVEDisable, AllowAnyPlatform: true,
	}
	if trust.Modules, err = digests("mrseam", p.MRSEAM); err != nil {
		return trust, collateral, err
	}
	for _, b := range []struct {
		what    string
		numbers []uint
		into    *uint64
	}{{"allow_td_attributes", p.AllowTDAttributes, &trust.AllowAttributes}, {"allow_xfam", p.AllowXFAM, &trust.AllowXFAM}} {
		for _, n := range b.numbers {
			if n > 63 {
				return trust, collateral, malformed("%s: there is no bit %d", b.what, n)
			}
			*b.into |= 1 << n
		}
	}
	if trust.Root, err = f.root(c.Roots, "intel-sgx-root"); err != nil {
		return trust, collateral, err
	}
	if trust.Root == nil {
		trust.Root = attest.IntelRoot()
	}
	if p.RequireCollateral {
		if collateral.TCBInfo, collateral.TCBInfoChain, err = f.take(c.Endorsements, "tdx-tcb-info"); err != nil {
			return trust, collateral, err
		}
		if collateral.QEIdentity, collateral.QEIdentityChain, err = f.take(c.Endorsements, "tdx-qe-identity"); err != nil {
			return trust, collateral, err
		}
	}
	if p.RequireCRL {
		if collateral.PCKCRL, _, err = f.take(c.Endorsements, "sgx-pck-crl"); err != nil {
			return trust, collateral, err
		}
		if collateral.RootCRL, _, err = f.take(c.Endorsements, "sgx-root-crl"); err != nil {
			return trust, collateral, err
		}
	}
	// What the policy does not demand is what the quote has.
	trust.Config = map[string][48]byte{"MRCONFIGID": q.MRConfigID, "MROWNER": q.MROwner, "MROWNERCONFIG": q.MROwnerConfig}
	return trust, collateral, nil
}

func (f *reader) tdx(r *Report) error {
	c, p := &r.Case, &r.Case.Policy
	evidence, err := f.read(c.Evidence)
	if err != nil {
		return err
	}
	q, err := attest.ParseTDXQuote(evidence)
	if err != nil {
		return err
	}
	trust, collateral, err := f.tdxPlatform(c, p, &q)
	if err != nil {
		return err
	}
	expected := attest.TDXExpected{ReportData: q.ReportData, FromLog: p.RequireEventLogOfRTMR}
	if p.ReportData != nil {
		if err := unhex("report_data", *p.ReportData, expected.ReportData[:]); err != nil {
			return err
		}
	}
	if expected.MRTD, err = digests("mrtd", p.MRTD); err != nil {
		return err
	}
	if expected.RTMR, err = rtmrs(p.RTMR); err != nil {
		return err
	}
	if name := c.Parts["event_log"]; name != "" {
		if expected.EventLog, err = f.read(name); err != nil {
			return err
		}
	}
	result, err := attest.AppraiseTDX(evidence, collateral, trust, expected, c.At)
	if err != nil {
		return err
	}
	if err := namedStatus(p, result.Status); err != nil {
		return err
	}
	r.Status, r.Advisories, r.Claims, r.Relaxed = result.Status, result.Advisories, result.Claims, result.Relaxed
	r.Measurement = hex.EncodeToString(result.Quote.MRTD[:])
	return nil
}

// namedStatus refuses UpToDate where the policy names others alone.
func namedStatus(p *Policy, status attest.TDXStatus) error {
	if p.AcceptTCBStatus != nil && status != "" && !slices.Contains(p.AcceptTCBStatus, status) {
		return verdict.Refuse(verdict.TCBStatus, "appraising evidence folder: the platform is %s, which the policy does not name", status)
	}
	return nil
}

// digests reads values of SHA-384.
func digests(what string, texts []string) ([][48]byte, error) {
	var out [][48]byte
	for _, text := range texts {
		var value [48]byte
		if err := unhex(what, text, value[:]); err != nil {
			return nil, err
		}
		out = append(out, value)
	}
	return out, nil
}

// rtmrs reads values by the numbers of registers.
func rtmrs(values map[string]string) (map[int][48]byte, error) {
	out := map[int][48]byte{}
	for index, text := range values {
		i := strings.Index("0123", index)
		if len(index) != 1 || i < 0 {
			return nil, malformed("there is no RTMR %s", quote(index))
		}
		value, err := digests("rtmr", []string{text})
		if err != nil {
			return nil, err
		}
		out[i] = value[0]
	}
	return out, nil
}

// collection puts evidence and endorsements together.
func collection(evidence attest.Item, endorsements map[string]attest.Item) ([]byte, error) {
	items := map[string]attest.Item{attest.LabelEvidence: evidence}
	if len(endorsements) > 0 {
		items[attest.LabelEndorsements] = attest.Item{Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: endorsements}}
	}
	data, err := attest.Collection{Type: attest.CollectionType, Items: items}.Marshal()
	if err != nil {
		return nil, malformed("%w", err)
	}
	return data, nil
}
