// SPDX-License-Identifier: Apache-2.0

package folder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// FormatCollection is a collection as a daemon sent it (RFC 9999). A recording has it
// where the parts would not give its bytes back: what is malformed is kept as it is.
const FormatCollection = "cmw"

// PolicyDaemon says that the evidence is a daemon's, and that its issuer statement is
// appraised as one relying party did: under its own trust and head, with the strict
// demands of assay. It stands alone, but for report_data or nonce, which are then what
// the statement and its nonces say.
type PolicyDaemon struct {
	// Trust is the file with trust.yaml, Head the one with the head set that was in
	// force there.
	Trust string `json:"trust"`
	Head  string `json:"head"`
	// Nonce is what the relying party asked with, 64 hex digits; empty for published
	// evidence, which answers nobody.
	Nonce string `json:"nonce,omitempty"`
	// KnownKeys is what it knew of attestation keys of TPMs.
	KnownKeys []attest.KnownAK `json:"known_keys,omitempty"`
}

// A Recording is a folder with the appraisal of an issuer statement. All of it is
// untrusted: who made it chose trust and head.
type Recording struct {
	Case       Case
	Collection []byte
	// Trust is trust.yaml, and Head an encoded head set.
	Trust, Head []byte
	// Nonce is zero for published evidence.
	Nonce [verdict.NonceSize]byte
}

// recordedItems are the records of a collection that are files of their own. Records of
// other labels or types are not taken apart.
var (
	recordedItems = map[string]recordedItem{
		attest.LabelStatement: {"statement.json", attest.TypeStatement, 0},
		attest.LabelNonces:    {"nonces.bin", attest.TypeNonces, 0},
		attest.LabelRegisters: {"registers.json", attest.TypeRegisters, attest.IndicatorEvidence},
	}
	recordedQuote = map[string]recordedItem{
		attest.LabelQuote:        {"quote.bin", attest.TypeTPMAttest, attest.IndicatorEvidence},
		attest.LabelSignature:    {"signature.bin", attest.TypeTPMSignature, attest.IndicatorEvidence},
		attest.LabelAKPublic:     {"ak.bin", attest.TypeTPMPublic, attest.IndicatorEvidence},
		attest.LabelHCLReport:    {"hcl.bin", attest.TypeHCLReport, attest.IndicatorEvidence},
		attest.LabelTDQuote:      {"td.bin", attest.TypeTDXQuote, attest.IndicatorEvidence},
		attest.LabelSVSMReport:   {"report.bin", attest.TypeSNPReport, attest.IndicatorEvidence},
		attest.LabelSVSMManifest: {"manifest.bin", attest.TypeTPMPublic, attest.IndicatorEvidence},
	}
	// quoteParts are the names of parts by the labels in the collection of a quote, and
	// quoteKinds the kinds whose evidence is one, with the labels that it has.
	quoteParts = map[string]string{
		attest.LabelSignature: "signature", attest.LabelAKPublic: "ak_public", attest.LabelHCLReport: "hcl_report", attest.LabelTDQuote: "td_quote",
		attest.LabelSVSMReport: "svsm_report", attest.LabelSVSMManifest: "svsm_manifest",
	}
	quoteKinds = map[string]quoteKind{
		attest.TypeTPMQuote: {attest.TPM, []string{attest.LabelQuote, attest.LabelSignature, attest.LabelAKPublic}},
		attest.TypeAzureSNP: {attest.AzureSNP, []string{attest.LabelQuote, attest.LabelSignature, attest.LabelAKPublic, attest.LabelHCLReport}},
		attest.TypeAzureTDX: {attest.AzureTDX, []string{attest.LabelQuote, attest.LabelSignature, attest.LabelAKPublic, attest.LabelHCLReport, attest.LabelTDQuote}},
		attest.TypeSVSM:     {attest.SVSM, []string{attest.LabelQuote, attest.LabelSignature, attest.LabelAKPublic, attest.LabelSVSMReport, attest.LabelSVSMManifest}},
	}
	// The types of the files are the labels, but for those in endorsementTypes.
	recordedEndorsements = map[string]recordedItem{
		attest.LabelVCEK:          {"vcek.der", attest.TypeCertificate, attest.IndicatorEndorsements},
		attest.LabelVLEK:          {"vlek.der", attest.TypeCertificate, attest.IndicatorEndorsements},
		attest.LabelASK:           {"ask.der", attest.TypeCertificate, attest.IndicatorEndorsements},
		attest.LabelASVK:          {"asvk.der", attest.TypeCertificate, attest.IndicatorEndorsements},
		attest.LabelARK:           {"ark.der", attest.TypeCertificate, attest.IndicatorEndorsements},
		attest.LabelCRL:           {"crl.der", attest.TypeCRL, attest.IndicatorEndorsements},
		attest.LabelEKCertificate: {"ek-cert.der", attest.TypeCertificate, attest.IndicatorEndorsements},
		attest.LabelEKPublic:      {"ek.bin", attest.TypeTPMPublic, attest.IndicatorEndorsements},
		attest.LabelAKCertificate: {"ak-cert.der", attest.TypeCertificate, attest.IndicatorEndorsements},
		attest.LabelIntermediates: {"intermediates.der", attest.TypeCertificates, attest.IndicatorEndorsements},
		attest.LabelTCBInfo:       {"tcb-info.json", attest.TypeCollateral, attest.IndicatorEndorsements},
		attest.LabelQEIdentity:    {"qe-identity.json", attest.TypeCollateral, attest.IndicatorEndorsements},
		attest.LabelPCKCRL:        {"pck-crl.der", attest.TypeCRL, attest.IndicatorEndorsements},
		attest.LabelSGXRootCRL:    {"root-crl.der", attest.TypeCRL, attest.IndicatorEndorsements},
		attest.LabelSGXRoot:       {"sgx-root.der", attest.TypeCertificate, attest.IndicatorEndorsements},
	}
	// Of what is signed beside a chain, the chain by the label of what it is of.
	recordedChains = map[string]recordedChain{
		attest.LabelTCBInfo:    {attest.LabelTCBInfoChain, recordedItem{"tcb-info-chain.pem", attest.TypePEMChain, attest.IndicatorEndorsements}},
		attest.LabelQEIdentity: {attest.LabelQEIdentityChain, recordedItem{"qe-identity-chain.pem", attest.TypePEMChain, attest.IndicatorEndorsements}},
	}
	endorsementTypes = map[string]string{
		attest.LabelEKCertificate: "tpm-ek-cert", attest.LabelAKCertificate: "tpm-ak-cert", attest.LabelIntermediates: "tpm-intermediate",
	}
	// recordedKinds are those whose evidence is one record, by its media type.
	recordedKinds = map[string]recordedKind{
		attest.TypeSNPReport:    {attest.SNP, "snp-report", "report.bin"},
		attest.TypeSimSNPReport: {attest.SimulatedSNP, "snp-report", "report.bin"},
		attest.TypeTDXQuote:     {attest.TDX, "tdx-quote", "quote.bin"},
		attest.TypeSimTDXQuote:  {attest.SimulatedTDX, "tdx-quote", "quote.bin"},
	}
)

type recordedKind struct {
	kind         attest.Kind
	format, file string
}

type quoteKind struct {
	kind   attest.Kind
	labels []string
}

type recordedChain struct {
	label string
	recordedItem
}

type recordedItem struct {
	file, mediaType string
	indicator       attest.Indicator
}

func (i recordedItem) item(value []byte) attest.Item {
	return attest.Item{MediaType: i.mediaType, Value: value, Indicator: i.indicator}
}

// endorsementType is the type of an endorsement with a label.
func endorsementType(label string) string {
	if kind, ok := endorsementTypes[label]; ok {
		return kind
	}
	return label
}

// Record makes the files of a folder from the collection of an issuer statement and
// what the relying party brought. c has the members that are not about files; so has
// its policy, of which Daemon names no files yet. The error is a *verdict.Misuse where
// the files would not be those of a folder.
func Record(c Case, r Recording) (map[string][]byte, error) {
	files, ok := split(&c, r.Collection)
	if !ok {
		files = map[string][]byte{"collection.cmw": r.Collection}
		c.Kind, c.Format, c.Evidence, c.Parts, c.Endorsements = kindOf(r.Collection), FormatCollection, "collection.cmw", nil, nil
		c.Statement, c.Nonce, c.Registers = "", "", ""
	}
	daemon := PolicyDaemon{Trust: "trust.yaml", Head: "head.json"}
	if r.Nonce != [verdict.NonceSize]byte{} {
		daemon.Nonce = hex.EncodeToString(r.Nonce[:])
	}
	if c.Policy.Daemon != nil {
		daemon.KnownKeys = c.Policy.Daemon.KnownKeys
	}
	files[daemon.Trust], files[daemon.Head] = r.Trust, r.Head
	c.Policy = Policy{Daemon: &daemon}
	if c.Statement != "" {
		c.bind(files[c.Statement], files[c.Nonce])
	}
	c.At = c.At.UTC()
	data, err := encodeCase(&c)
	if err != nil {
		return nil, err
	}
	files[CaseName] = data
	for name, data := range files {
		if limit := limitOf(&c, name); len(data) > limit {
			return nil, verdict.Misused("", "recording evidence folder: %s has %d bytes, want at most %d", name, len(data), limit)
		}
	}
	return files, nil
}

// limitOf is how large a file may be, in bytes: a head may carry owners from years.
func limitOf(c *Case, name string) int {
	if c.Policy.Daemon != nil && name == c.Policy.Daemon.Head {
		return verdict.MaxHeadSet
	}
	return maxFileSize
}

// encodeCase leaves out what is not set, so that a reader sees what the case is about.
func encodeCase(c *Case) ([]byte, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, malformed("%s: %w", CaseName, err)
	}
	var members map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&members); err != nil {
		return nil, malformed("%s: %w", CaseName, err)
	}
	prune(members)
	if data, err = json.MarshalIndent(members, "", "  "); err != nil {
		return nil, malformed("%s: %w", CaseName, err)
	}
	return append(data, '\n'), nil
}

// prune takes members out that say nothing.
func prune(members map[string]any) {
	maps.DeleteFunc(members, func(_ string, v any) bool {
		switch v := v.(type) {
		case nil:
			return true
		case bool:
			return !v
		case string:
			return v == ""
		case json.Number:
			return v == "0"
		case []any:
			for _, one := range v {
				if m, ok := one.(map[string]any); ok {
					prune(m)
				}
			}
			return len(v) == 0
		case map[string]any:
			prune(v)
			return len(v) == 0
		}
		return false
	})
}

// kindOf names the kind of what cannot be taken apart, as far as it says.
func kindOf(collection []byte) string {
	c, err := attest.ParseCollection(collection)
	if err != nil {
		return "unknown"
	}
	evidence := c.Items[attest.LabelEvidence]
	if k, ok := recordedKinds[evidence.MediaType]; ok {
		return string(k.kind)
	}
	if evidence.Nested != nil {
		if k, ok := quoteKinds[evidence.Nested.Type]; ok {
			return string(k.kind)
		}
	}
	return "unknown"
}

// split takes a collection apart, and tells whether joining gives its bytes back.
func split(c *Case, collection []byte) (map[string][]byte, bool) {
	parsed, err := attest.ParseCollection(collection)
	if err != nil {
		return nil, false
	}
	files, evidence := map[string][]byte{}, parsed.Items[attest.LabelEvidence]
	for label, into := range map[string]*string{attest.LabelStatement: &c.Statement, attest.LabelNonces: &c.Nonce, attest.LabelRegisters: &c.Registers} {
		if item, ok := parsed.Items[label]; ok {
			*into = recordedItems[label].file
			files[*into] = item.Value
		}
	}
	kind, alone := recordedKinds[evidence.MediaType]
	switch {
	case alone:
		c.Kind, c.Format, c.Evidence = string(kind.kind), kind.format, kind.file
		files[c.Evidence] = evidence.Value
	case evidence.Nested != nil && quoteKinds[evidence.Nested.Type].kind != "":
		k := quoteKinds[evidence.Nested.Type]
		c.Kind, c.Format, c.Evidence, c.Parts = string(k.kind), "tpm-quote", recordedQuote[attest.LabelQuote].file, map[string]string{"pcrs": "pcrs.json"}
		for _, label := range k.labels {
			file := recordedQuote[label].file
			files[file] = evidence.Nested.Items[label].Value
			if part, ok := quoteParts[label]; ok {
				c.Parts[part] = file
			}
		}
		if files["pcrs.json"], err = pcrFileOf(files[c.Evidence], evidence.Nested.Items[attest.LabelPCRs].Value); err != nil {
			return nil, false
		}
	default:
		return nil, false
	}
	if nested := parsed.Items[attest.LabelEndorsements].Nested; nested != nil {
		for _, label := range slices.Sorted(maps.Keys(recordedEndorsements)) {
			if item, ok := nested.Items[label]; ok {
				one := File{Type: endorsementType(label), File: recordedEndorsements[label].file}
				files[one.File] = item.Value
				if chain, ok := recordedChains[label]; ok && len(nested.Items[chain.label].Value) > 0 {
					one.IssuerChain = chain.file
					files[chain.file] = nested.Items[chain.label].Value
				}
				c.Endorsements = append(c.Endorsements, one)
			}
		}
	}
	joined, err := join(c, func(name string) ([]byte, error) { return files[name], nil })
	return files, err == nil && bytes.Equal(joined, collection)
}

// selected are the PCRs that a quote is over, in order, and nil where it is none.
func selected(message []byte) (pcrs []int) {
	quote, err := attest.ParseQuote(message)
	if err != nil {
		return nil
	}
	for _, bank := range quote.Banks {
		for i := range 8 * len(bank.Bitmap) {
			if bank.Bitmap[i/8]>>(i%8)&1 == 1 {
				pcrs = append(pcrs, i)
			}
		}
	}
	return pcrs
}

// pcrFileOf names values by the PCRs that the quote selects, as far as there are any.
func pcrFileOf(message, values []byte) ([]byte, error) {
	out := pcrFile{Bank: "sha256", Values: map[string]string{}}
	for _, i := range selected(message) {
		if len(values) >= sha256.Size {
			out.Values[strconv.Itoa(i)], values = hex.EncodeToString(values[:sha256.Size]), values[sha256.Size:]
		}
	}
	return json.MarshalIndent(out, "", "  ")
}

// join makes the collection of the files.
func join(c *Case, read func(string) ([]byte, error)) ([]byte, error) {
	items := map[string]attest.Item{}
	for label, name := range map[string]string{attest.LabelStatement: c.Statement, attest.LabelNonces: c.Nonce, attest.LabelRegisters: c.Registers} {
		if name == "" {
			continue
		}
		data, err := read(name)
		if err != nil {
			return nil, err
		}
		items[label] = recordedItems[label].item(data)
	}
	evidence, err := joinEvidence(c, read)
	if err != nil {
		return nil, err
	}
	items[attest.LabelEvidence] = evidence
	types := []string{}
	for label := range recordedEndorsements {
		types = append(types, endorsementType(label))
	}
	if err := known("endorsements", c.Endorsements, types...); err != nil {
		return nil, err
	}
	endorsements := map[string]attest.Item{}
	for label, item := range recordedEndorsements {
		data, chain, err := (&reader{of: read}).take(c.Endorsements, endorsementType(label))
		if err != nil {
			return nil, err
		}
		if data != nil {
			endorsements[label] = item.item(data)
		}
		if of, ok := recordedChains[label]; ok && chain != nil {
			endorsements[of.label] = of.item(chain)
		}
	}
	if len(endorsements) > 0 {
		items[attest.LabelEndorsements] = attest.Item{Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: endorsements}}
	}
	data, err := attest.Collection{Type: attest.CollectionType, Items: items}.Marshal()
	if err != nil {
		return nil, malformed("%w", err)
	}
	return data, nil
}

// joinEvidence makes the item of the evidence.
func joinEvidence(c *Case, read func(string) ([]byte, error)) (attest.Item, error) {
	for mediaType, k := range recordedKinds {
		if c.Kind == string(k.kind) && c.Format == k.format {
			data, err := read(c.Evidence)
			return attest.Item{MediaType: mediaType, Value: data, Indicator: attest.IndicatorEvidence}, err
		}
	}
	collectionType := ""
	for name, k := range quoteKinds {
		if c.Kind == string(k.kind) && c.Format == "tpm-quote" {
			collectionType = name
		}
	}
	if collectionType == "" {
		return attest.Item{}, unsupported("a statement of kind %s in format %s is not appraised by this version", quote(c.Kind), quote(c.Format))
	}
	items := map[string]attest.Item{}
	for _, label := range quoteKinds[collectionType].labels {
		name := c.Evidence
		if part, ok := quoteParts[label]; ok {
			name = c.Parts[part]
		}
		data, err := read(name)
		if err != nil {
			return attest.Item{}, err
		}
		items[label] = recordedQuote[label].item(data)
	}
	data, err := read(c.Parts["pcrs"])
	if err != nil {
		return attest.Item{}, err
	}
	var values pcrFile
	if err := decode("pcrs", data, &values); err != nil {
		return attest.Item{}, err
	}
	pcrs, err := pcrsOf("pcrs", values.Values)
	if err != nil {
		return attest.Item{}, err
	}
	if values.Bank != "sha256" {
		return attest.Item{}, malformed("pcrs: the values are of bank %s, want sha256", quote(values.Bank))
	}
	// What is not named as the quote selects means something else.
	if names := slices.Sorted(maps.Keys(pcrs)); !slices.Equal(names, selected(items[attest.LabelQuote].Value)) {
		return attest.Item{}, verdict.Refuse(verdict.TPMSelection, "appraising evidence folder: the values are named as other PCRs than the quote selects")
	}
	items[attest.LabelPCRs] = attest.Item{MediaType: attest.TypeTPMPCRs, Value: pcrs.Concatenate(), Indicator: attest.IndicatorEvidence}
	return attest.Item{Nested: &attest.Collection{Type: collectionType, Items: items}}, nil
}

// bind demands what a statement and its nonces say of the evidence.
func (c *Case) bind(statement, nonces []byte) {
	var bound string
	switch c.Kind {
	case string(attest.TPM), string(attest.AzureSNP), string(attest.AzureTDX), string(attest.SVSM):
		data := verdict.QuoteData(statement, nonces)
		bound = hex.EncodeToString(data[:])
		c.Policy.TPMNonce = &bound
	default:
		data := verdict.ReportData(statement, nonces)
		bound = hex.EncodeToString(data[:])
		c.Policy.ReportData = &bound
	}
}

// ReadRecording reads a folder whose policy is a relying party's own, and false for
// another, of which it says nothing else. The error is a *verdict.Misuse where the
// folder is not readable, and a *verdict.Refusal or *verdict.Failure where it says
// something else than its parts; the recording then has the case as far as it was read.
func ReadRecording(fsys fs.FS) (r Recording, ok bool, err error) {
	f := newReader(fsys)
	if r.Case, err = f.readCase(); err != nil {
		return Recording{}, false, err
	}
	c, d := &r.Case, r.Case.Policy.Daemon
	if d == nil {
		return Recording{}, false, nil
	}
	others := c.Policy
	others.Daemon, others.ReportData, others.TPMNonce = nil, nil, nil
	if !reflect.DeepEqual(others, Policy{}) || len(c.Roots) > 0 {
		return r, true, unsupported("policy.daemon stands alone: its trust.yaml has the demands and roots")
	}
	if d.Nonce != "" {
		if err := unhex("policy.daemon.nonce", d.Nonce, r.Nonce[:]); err != nil {
			return r, true, err
		}
	}
	if r.Trust, err = f.read(d.Trust); err != nil {
		return r, true, err
	}
	if r.Head, err = f.readUpTo(d.Head, limitOf(c, d.Head)); err != nil {
		return r, true, err
	}
	if c.Format == FormatCollection {
		r.Collection, err = f.read(c.Evidence)
		return r, true, err
	}
	if r.Collection, err = join(c, f.read); err != nil {
		return r, true, err
	}
	if c.Statement != "" { // without one the appraisal refuses it
		_, err = f.checkBound(c)
	}
	return r, true, err
}

// checkBound refuses a policy that demands another binding than the statement has, and
// returns one that demands that.
func (f *reader) checkBound(c *Case) (Policy, error) {
	switch attest.Kind(c.Kind) {
	case attest.SNP, attest.SimulatedSNP, attest.TDX, attest.SimulatedTDX, attest.TPM, attest.AzureSNP, attest.AzureTDX, attest.SVSM:
	default:
		return Policy{}, unsupported("a statement of kind %s is not looked at by this version", quote(c.Kind))
	}
	statement, err := f.read(c.Statement)
	if err != nil {
		return Policy{}, err
	}
	var nonces []byte
	if c.Nonce != "" {
		if nonces, err = f.read(c.Nonce); err != nil {
			return Policy{}, err
		}
	}
	bound := *c
	bound.Policy.ReportData, bound.Policy.TPMNonce = nil, nil
	bound.bind(statement, nonces)
	same := func(demand, has *string) bool {
		return demand == nil || has != nil && strings.EqualFold(*demand, *has)
	}
	if !same(c.Policy.ReportData, bound.Policy.ReportData) || !same(c.Policy.TPMNonce, bound.Policy.TPMNonce) {
		return Policy{}, verdict.Refuse(verdict.EvidenceBinding, "appraising evidence folder: its policy demands another binding than its statement and nonces have")
	}
	return bound.Policy, nil
}

// Appraised is the report of a recording that a relying party appraised again.
func (r *Recording) Appraised(result attest.Result) Report {
	report := Report{Case: r.Case, Measurement: result.Measurement, Claims: result.Claims, Relaxed: result.Relaxed, GCE: result.GCE, Azure: result.Azure, OwnRoots: true, Simulated: result.Simulated,
		Status: result.Status, Advisories: result.Advisories, Entry: result.Entry.Name}
	if result.ProductLine != "" {
		report.SNP = platform(&result)
	}
	return report
}
