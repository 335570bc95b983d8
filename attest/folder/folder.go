// SPDX-License-Identifier: Apache-2.0

// Package folder appraises evidence that was recorded as a folder: evidence,
// endorsements, roots, policy and time in files that case.json names. What one
// appraiser refused in the field another can look at, and it becomes a test.
//
// [Appraise] is the entry point. Where assay's own policy is strict, a folder
// demands what its policy names and nothing else, and relaxes what it names.
//
// Kinds tdx, snp and tpm are appraised. What a folder asks for and this package does
// not do yet (kinds azure-snp and azure-tdx) is evidence.unsupported, which decides
// nothing.
package folder

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// Limits of a folder.
const (
	// CaseName is the file that says what the others are.
	CaseName     = "case.json"
	maxFileSize  = 1 << 20 // bytes
	maxFileCount = 64
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
	ReportData *string `json:"report_data"`
	RequireCRL bool    `json:"require_crl"`
	AllowDebug bool    `json:"allow_debug"`
	// Of SNP.
	Products                 []string         `json:"products"`
	Signers                  []string         `json:"signers"`
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
	// Of a TPM.
	PolicyTPM
}

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
}

// A Report is what was found.
type Report struct {
	Case Case
	// Status is the converged status of a TDX platform, Measurement MRTD or the
	// launch measurement in hex. Both are empty where nothing was accepted.
	Status      attest.TDXStatus
	Advisories  []string
	Measurement string
	Claims      attest.Claims
	// Relaxed are the relaxations that SNP evidence needed, what the policy does not
	// demand among them.
	Relaxed []string
	// OwnRoots says that the folder brings its roots along: who made it chose whom
	// to believe. Where it does not, those count that Intel and AMD publish.
	OwnRoots bool
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
	f := &reader{fsys: fsys}
	data, err := f.read(CaseName)
	if err != nil {
		return Report{}, err
	}
	var r Report
	if err := decode(CaseName, data, &r.Case); err != nil {
		return Report{}, err
	}
	if r.Case.At.IsZero() || r.Case.Evidence == "" {
		return r, malformed("%s names no time or no evidence", CaseName)
	}
	r.OwnRoots = len(r.Case.Roots) > 0
	switch r.Case.Kind + " " + r.Case.Format {
	case "tdx tdx-quote":
		err = f.tdx(&r)
	case "snp snp-report", "snp snp-report+cert-table":
		err = f.snp(&r)
	case "tpm tpm-quote":
		err = f.tpm(&r)
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

// A reader reads the files of a folder.
type reader struct {
	fsys  fs.FS
	count int
}

func (f *reader) read(name string) ([]byte, error) {
	if !fs.ValidPath(name) || strings.Contains(name, "/") {
		return nil, malformed("%s is no name of a file in it", quote(name))
	}
	if f.count++; f.count > maxFileCount {
		return nil, malformed("more than %d files", maxFileCount)
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
	data, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, malformed("%w", err)
	}
	if len(data) > maxFileSize {
		return nil, malformed("%s has more than %d bytes", quote(name), maxFileSize)
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

func (f *reader) tdx(r *Report) error {
	c, p := &r.Case, &r.Case.Policy
	if err := known("endorsements", c.Endorsements, "tdx-tcb-info", "tdx-qe-identity", "sgx-pck-crl", "sgx-root-crl"); err != nil {
		return err
	}
	if err := known("roots", c.Roots, "intel-sgx-root"); err != nil {
		return err
	}
	evidence, err := f.read(c.Evidence)
	if err != nil {
		return err
	}
	trust := attest.TDXTrust{
		AcceptStatus: p.AcceptTCBStatus, AnyAdvisory: true, MinEvaluation: p.MinEvaluation,
		AllowNoCollateral: !p.RequireCollateral, AllowNoCRL: !p.RequireCRL, AllowDebug: p.AllowDebug, AllowSeptVE: !p.RequireSeptVEDisable,
	}
	if trust.Root, err = f.root(c.Roots, "intel-sgx-root"); err != nil {
		return err
	}
	if trust.Root == nil {
		trust.Root = attest.IntelRoot()
	}
	var collateral attest.TDXCollateral
	if p.RequireCollateral {
		if collateral.TCBInfo, collateral.TCBInfoChain, err = f.take(c.Endorsements, "tdx-tcb-info"); err != nil {
			return err
		}
		if collateral.QEIdentity, collateral.QEIdentityChain, err = f.take(c.Endorsements, "tdx-qe-identity"); err != nil {
			return err
		}
	}
	if p.RequireCRL {
		if collateral.PCKCRL, _, err = f.take(c.Endorsements, "sgx-pck-crl"); err != nil {
			return err
		}
		if collateral.RootCRL, _, err = f.take(c.Endorsements, "sgx-root-crl"); err != nil {
			return err
		}
	}
	// What the policy does not demand is what the quote has.
	q, err := attest.ParseTDXQuote(evidence)
	if err != nil {
		return err
	}
	trust.Config = map[string][48]byte{"MRCONFIGID": q.MRConfigID, "MROWNER": q.MROwner, "MROWNERCONFIG": q.MROwnerConfig}
	expected := attest.TDXExpected{ReportData: q.ReportData, RTMR: map[int][48]byte{}, FromLog: p.RequireEventLogOfRTMR}
	if p.ReportData != nil {
		if err := unhex("report_data", *p.ReportData, expected.ReportData[:]); err != nil {
			return err
		}
	}
	for _, text := range p.MRTD {
		var mrtd [48]byte
		if err := unhex("mrtd", text, mrtd[:]); err != nil {
			return err
		}
		expected.MRTD = append(expected.MRTD, mrtd)
	}
	for index, text := range p.RTMR {
		i := strings.Index("0123", index)
		if len(index) != 1 || i < 0 {
			return malformed("there is no RTMR %s", quote(index))
		}
		var value [48]byte
		if err := unhex("rtmr", text, value[:]); err != nil {
			return err
		}
		expected.RTMR[i] = value
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
	if p.AcceptTCBStatus != nil && result.Status != "" && !slices.Contains(p.AcceptTCBStatus, result.Status) {
		return verdict.Refuse(verdict.TCBStatus, "appraising evidence folder: the platform is %s, which the policy does not name", result.Status)
	}
	r.Status, r.Advisories, r.Claims, r.Measurement = result.Status, result.Advisories, result.Claims, hex.EncodeToString(result.Quote.MRTD[:])
	return nil
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

func (f *reader) tpm(r *Report) error {
	c, p := &r.Case, &r.Case.Policy
	if err := known("endorsements", c.Endorsements, "tpm-ak-cert", "tpm-intermediate"); err != nil {
		return err
	}
	if err := known("roots", c.Roots, "tpm-ca"); err != nil {
		return err
	}
	if p.Bank != "" && p.Bank != "sha256" {
		return verdict.Refuse(verdict.TPMBank, "appraising evidence folder: the policy is about bank %s, want sha256", quote(p.Bank))
	}
	var data pcrFile
	parts := map[string][]byte{}
	for _, name := range []string{"signature", "pcrs", "ak_public", "event_log"} {
		if c.Parts[name] == "" {
			continue
		}
		var err error
		if parts[name], err = f.read(c.Parts[name]); err != nil {
			return err
		}
	}
	if parts["signature"] == nil || parts["pcrs"] == nil || parts["ak_public"] == nil {
		return verdict.Fail(verdict.EvidenceMissing, "appraising evidence folder: a quote wants the parts signature, pcrs and ak_public")
	}
	if err := decode("pcrs", parts["pcrs"], &data); err != nil {
		return err
	}
	if data.Bank != "sha256" {
		return verdict.Refuse(verdict.TPMBank, "appraising evidence folder: the values are of bank %s, want sha256", quote(data.Bank))
	}
	evidence, err := f.read(c.Evidence)
	if err != nil {
		return err
	}
	values, err := pcrsOf("pcrs", data.Values)
	if err != nil {
		return err
	}
	expected := attest.TPMExpected{Required: p.RequiredPCRs, EventLog: parts["event_log"], FromLog: p.RequireEventLogFor, ResetCount: p.ResetCount, RestartCount: p.RestartCount, RequireSafe: p.RequireSafe}
	if expected.Values, err = pcrsOf("pcr_values", p.PCRValues); err != nil {
		return err
	}
	if p.TPMNonce != nil {
		if expected.Nonce, err = hex.DecodeString(*p.TPMNonce); err != nil {
			return malformed("nonce: %w", err)
		}
	}
	trust := attest.Trust{Kinds: []attest.Kind{attest.TPM}}
	ca, err := f.root(c.Roots, "tpm-ca")
	if err != nil {
		return err
	}
	if ca == nil {
		return malformed("a TPM wants a root of type tpm-ca: nobody is trusted without")
	}
	trust.AKCAs = []*x509.Certificate{ca}
	endorsements := attest.Collection{Type: attest.TypeEndorsements, Items: map[string]attest.Item{}}
	for kind, item := range map[string][2]string{
		"tpm-ak-cert": {attest.LabelAKCertificate, attest.TypeCertificate}, "tpm-intermediate": {attest.LabelIntermediates, attest.TypeCertificates},
	} {
		der, _, err := f.take(c.Endorsements, kind)
		if err != nil {
			return err
		}
		if der != nil {
			endorsements.Items[item[0]] = attest.Item{MediaType: item[1], Value: der}
		}
	}
	quoted := attest.Collection{Type: attest.TypeTPMQuote, Items: map[string]attest.Item{
		attest.LabelQuote: {MediaType: attest.TypeTPMAttest, Value: evidence}, attest.LabelSignature: {MediaType: attest.TypeTPMSignature, Value: parts["signature"]},
		attest.LabelAKPublic: {MediaType: attest.TypeTPMPublic, Value: parts["ak_public"]}, attest.LabelPCRs: {MediaType: attest.TypeTPMPCRs, Value: values.Concatenate()},
	}}
	items := map[string]attest.Item{attest.LabelEvidence: {Nested: &quoted}}
	if len(endorsements.Items) > 0 {
		items[attest.LabelEndorsements] = attest.Item{Nested: &endorsements}
	}
	collection, err := attest.Collection{Type: attest.CollectionType, Items: items}.Marshal()
	if err != nil {
		return malformed("%w", err)
	}
	result, err := attest.AppraiseQuote(collection, expected, trust, c.At)
	if err != nil {
		return err
	}
	// The quote says which PCRs they are; a file that says otherwise means something
	// else.
	if !maps.Equal(result.PCRs, values) {
		return verdict.Refuse(verdict.TPMSelection, "appraising evidence folder: the values are named as other PCRs than the quote selects")
	}
	r.Claims = result.Claims
	return nil
}
