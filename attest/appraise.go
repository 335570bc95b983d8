// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
)

// A Kind is a kind of TEE.
type Kind string

// The kinds that are appraised.
const (
	// SNP is AMD SEV-SNP.
	SNP Kind = verdict.KindSNP
	// SimulatedSNP is assay's simulator of it. It proves nothing about hardware.
	SimulatedSNP Kind = verdict.KindSimulatedSNP
	// TPM is a TPM 2.0 without a claim about the machine around it.
	TPM Kind = verdict.KindTPM
	// TDX is Intel TDX.
	TDX Kind = verdict.KindTDX
	// SimulatedTDX is assay's simulator of it. It proves nothing about hardware.
	SimulatedTDX Kind = verdict.KindSimulatedTDX
	// AzureSNP is a confidential VM of Azure on SEV-SNP: a paravisor that the hardware
	// measures, and the TPM that it runs.
	AzureSNP Kind = verdict.KindAzureSNP
	// AzureTDX is the same on TDX.
	AzureTDX Kind = verdict.KindAzureTDX
	// SVSM is AMD SEV-SNP with an SVSM, which the hardware measures and which runs the
	// guest's TPM where the guest cannot reach it.
	SVSM Kind = verdict.KindSVSM
)

// A Binding says what ties evidence to hardware.
type Binding string

// The bindings.
const (
	// BindingHardware: a key of the processor signed the evidence.
	BindingHardware Binding = "hardware"
	// BindingCA: an authority vouches for the TPM. Whoever runs the TPM, which may
	// be the host of the guest, can say what he likes.
	BindingCA Binding = "ca"
	// BindingHCL: the hardware's report names the data that names the attestation key
	// of the TPM, and the paravisor (Azure's HCL) that it measures runs that TPM.
	BindingHCL Binding = "hcl"
	// BindingSVSM: the hardware's report, which only the SVSM can ask for, names the
	// endorsement key of the TPM, and the SVSM that it measures runs that TPM.
	BindingSVSM Binding = "svsm"
	// BindingSimulated: nothing.
	BindingSimulated Binding = "simulated"
)

// Trust is what a relying party accepts. The zero value accepts nothing.
type Trust struct {
	// Kinds are the accepted kinds. A simulator stands alone.
	Kinds []Kind
	// SNPRoots are the trust anchors for SNP, such as AMDRoots. What is said of SNP and
	// TDX here holds for the platforms of Azure's VMs too.
	SNPRoots []SNPRoot
	// SimulatorRoots are the SHA-256 digests of simulators' root certificates in
	// DER.
	SimulatorRoots []verdict.Digest
	// EKCAs are authorities for the certificates of endorsement keys.
	EKCAs []*x509.Certificate
	// AKCAs are authorities that certify attestation keys themselves. Where one
	// has, no activation is needed.
	AKCAs []*x509.Certificate
	// GCE, unless nil, is the instance of Compute Engine, or all of a project, that
	// the certificate of an attestation key has to be for. Of AKCAs with GCERoot it
	// is what keeps other customers' instances out.
	GCE *GCEInstance
	// MinTCB is the lowest TCB that is accepted, besides that of the references.
	MinTCB TCB
	// SNP is what else is demanded of SNP evidence, the simulator's included.
	SNP SNPTrust
	// TDX is what is demanded of TDX evidence, the simulator's included. Nothing but
	// AllowDevelopment and AllowNoFloor here relaxes it.
	TDX TDXTrust
	// Azure is what else is demanded of a VM of Azure.
	Azure AzureTrust

	// AllowDevelopment accepts reference entries of profile development.
	AllowDevelopment bool
	// AllowDebug accepts an SNP guest whose memory its host may read.
	AllowDebug bool
	// AllowMigratable accepts an SNP guest that a migration agent may move.
	AllowMigratable bool
	// AllowSMT accepts an SNP guest that may share a core with a stranger.
	AllowSMT bool
	// AllowVMPLs are accepted privilege levels besides 0. On Azure and with an SVSM 0 is
	// the paravisor's or the SVSM's, and no other is accepted.
	AllowVMPLs []uint32
	// AllowMaskedChipID accepts a report whose host hides the chip's ID.
	AllowMaskedChipID bool
	// AllowNoCRL accepts SNP endorsements without a revocation list.
	AllowNoCRL bool
	// AllowNoFloor accepts SNP evidence when neither the references nor MinTCB, nor
	// SNP.MinTCBOf for each line, set a floor, and TDX evidence when neither the
	// references nor TDX.MinEvaluation do.
	AllowNoFloor bool
	// AllowUnsafeClock accepts a TPM that lost power and cannot vouch for its
	// clock.
	AllowUnsafeClock bool
}

// check refuses a trust that could not mean what it says, together with the owners'
// floors.
func (t *Trust) check(floors verdict.Floors) error {
	if len(t.Kinds) == 0 {
		return verdict.Misused("name the accepted kinds: snp, snp-svsm, tdx, tpm, azure-snp, azure-tdx, or a simulator (sim-snp, sim-tdx) alone", "appraising: no kind of TEE is accepted")
	}
	for _, kind := range t.Kinds {
		missing := ""
		switch kind.platform() {
		case SNP:
			if len(t.SNPRoots) == 0 {
				missing = "no root of SNP is trusted"
			}
			// A floor of zeros is no floor.
			if !t.AllowNoFloor && t.MinTCB == (TCB{}) && (floors.SNP == nil || *floors.SNP == verdict.SNPTCB{}) && !t.SNP.hasFloor(t.SNPRoots) {
				missing = "neither the references nor the trust set a lowest TCB"
			}
		case TDX:
			if !t.AllowNoFloor && t.TDX.MinEvaluation == 0 && floors.TDX == nil {
				missing = "neither the references nor the trust set a lowest tcbEvaluationDataNumber"
			}
		case SimulatedSNP, SimulatedTDX:
			if len(t.SimulatorRoots) == 0 {
				missing = "no root of a simulator is pinned"
			}
			if len(t.Kinds) != 1 {
				missing = "a simulator is accepted beside other kinds"
			}
		case TPM:
			if len(t.EKCAs) == 0 && len(t.AKCAs) == 0 {
				missing = "no authority of TPMs is trusted"
			}
		default:
			missing = fmt.Sprintf("unknown kind %q", kind)
		}
		if missing != "" {
			return verdict.Misused("", "appraising kind %s: %s", kind, missing)
		}
		var err error
		switch platform := kind.platform(); platform {
		case SNP, SimulatedSNP:
			err = t.SNP.Check(platform, t.SNPRoots)
		case TDX, SimulatedTDX:
			err = t.TDX.Check(platform)
		default:
		}
		if err != nil {
			return verdict.Misused("", "appraising kind %s: %w", kind, err)
		}
	}
	if t.GCE != nil {
		if err := t.GCE.Check(); err != nil {
			return verdict.Misused("name the project", "appraising kind %s: %w", TPM, err)
		}
	}
	if err := t.Azure.Check(); err != nil {
		return verdict.Misused("", "appraising: %w", err)
	}
	for _, root := range t.SNPRoots {
		if root.ARK == nil || root.ASK == nil && root.ASVK == nil || root.Line == "" {
			return verdict.Misused("", "appraising kind %s: a root lacks its line, its ARK, or both ASK and ASVK", SNP)
		}
	}
	return nil
}

// checkBare does so for evidence without an issuer statement, which alone names a
// configuration.
func (t *Trust) checkBare(floors verdict.Floors) error {
	if err := t.check(floors); err != nil {
		return err
	}
	if t.SNP.HostDataIsConfig {
		return verdict.Misused("name values of HOST_DATA", "appraising: HOST_DATA is demanded to be the configuration's digest, and there is no issuer statement that names one")
	}
	return nil
}

// Input is what a relying party brings to an appraisal.
type Input struct {
	// MyNonce is the nonce that the caller sent for this evidence.
	MyNonce [verdict.NonceSize]byte
	// AllowPublished accepts evidence that answers no nonce of the caller. It is
	// for auditors; a node never sets it. MyNonce must then be zero.
	AllowPublished bool
	// References are the owners' reference values.
	References verdict.References
	// Trust is what the caller accepts.
	Trust Trust
	// Known is what the caller has kept of attestation keys, at most one per key.
	Known []KnownAK
}

// check refuses an input that would make the answer meaningless.
func (in *Input) check() error {
	if err := in.Trust.check(in.References.Floors); err != nil {
		return err
	}
	if len(in.References.Entries) == 0 {
		return verdict.Misused("the head names the references", "appraising: there are no reference values")
	}
	if zero := in.MyNonce == [verdict.NonceSize]byte{}; zero != in.AllowPublished {
		return verdict.Misused("", "appraising: want either a nonce or AllowPublished")
	}
	return nil
}

// A Result is what was found. The zero value says nothing.
type Result struct {
	// Kind is the kind of TEE, and Binding what ties it to hardware.
	Kind    Kind
	Binding Binding
	// Simulated is true when nothing but a simulator vouches for the evidence.
	Simulated bool
	// Measurement is what was started, in lower-case hex: MEASUREMENT of an SNP
	// report or MRTD of a TD (96 digits), on Azure the paravisor's, or of a TPM PCR 11,
	// and where the entry does not pin it the lowest PCR that it pins (64 digits).
	Measurement string
	// Registers are the quoted PCRs or RTMRs in hex, by name like pcr11 and rtmr1. Nil
	// for SNP.
	Registers map[string]string
	// Entry is the reference entry that the evidence meets.
	Entry verdict.ReferenceEntry
	// Statement is the issuer statement that the evidence is bound to, and
	// StatementDigest the digest of its bytes.
	Statement       verdict.Statement
	StatementDigest verdict.Digest
	// Events are the register events since the machine booted. Nil for SNP.
	Events []verdict.RegisterEvent
	// TCB is the reported TCB of an SNP platform, ProductLine its line.
	TCB         TCB
	ProductLine ProductLine
	// Signer is the kind of key that signed an SNP report, CSPID the provider of a
	// VLEK, and ChipID what the report says of the chip, zeros where it is masked.
	Signer SNPSigner
	CSPID  string
	ChipID [64]byte
	// PCK is what the certificate of a TDX platform says. Status, Advisories and
	// Evaluation are what Intel says about it, as TDXResult has them.
	PCK        PCK
	Status     TDXStatus
	Advisories []string
	Evaluation uint32
	// Relaxed are the relaxations of Trust, SNPTrust and TDXTrust without which SNP or
	// TDX evidence would have been refused, sorted, by name: allow-smt is AllowSMT.
	Relaxed []string
	// Azure is what the paravisor of a VM of Azure says of the machine, nil for others.
	Azure *HCLData
	// AK is what to keep of the attestation key for the next appraisal.
	AK KnownAK
	// GCE is the instance of Compute Engine that the attestation key's certificate is
	// for, nil where it names none.
	GCE *GCEInstance
	// Claims is the trustworthiness vector.
	Claims Claims
}

// Chip names the processor or TPM that vouches, in lower-case hex: CHIP_ID of an SNP
// report (128 digits), PPID of a TDX platform (32 digits), or the SHA-256 of a TPM's
// endorsement key (64 digits). It is empty where a report masks it or a certificate
// took the endorsement key's place.
func (r Result) Chip() string {
	if r.ChipID != [64]byte{} {
		return hex.EncodeToString(r.ChipID[:])
	}
	if r.PCK.PPID != [16]byte{} {
		return hex.EncodeToString(r.PCK.PPID[:])
	}
	return r.AK.EK
}

// Grounds is what the claims of r were made on.
func (r Result) Grounds() Grounds {
	return Grounds{Kind: r.Kind, Entry: r.Entry.Name, Relaxed: r.Relaxed, Status: r.Status, Advisories: r.Advisories}
}

// Expected is what evidence must be bound to and measure.
type Expected struct {
	// ReportData is what an SNP report or a TDX quote carries, QuoteData what a TPM
	// quote does.
	ReportData [64]byte
	QuoteData  [32]byte
	// Entries are the candidates: entries of any kind, of which one must fit.
	Entries []verdict.ReferenceEntry
	// Floors are the owners' floors.
	Floors verdict.Floors
}

// Appraise decides whether the evidence in a collection says that a build and
// configuration of the references made the issuer statement in it, and made it for
// the caller's nonce.
//
// The order is: form, chain, signature, binding, platform, guest, registers,
// statement. Errors are a *verdict.Refusal, a *verdict.Failure, or for an input
// that accepts nothing or anything a *verdict.Misuse; the result is then zero.
// Appraise may be called concurrently.
//
// The head that the statement names, its policy and roots, the issuer's SPIFFE ID
// and the deny list are the caller's to check.
func Appraise(collection []byte, in Input, at time.Time) (result Result, err error) {
	defer func() {
		if err != nil {
			result = Result{}
		}
	}()
	defer recoverMalformed(&err)
	if err := in.check(); err != nil {
		return Result{}, err
	}
	c, err := ParseCollection(collection)
	if err != nil {
		return Result{}, err
	}
	if c.Type != CollectionType {
		return Result{}, malformed("appraising: collection type is %s, want %s", quoteShort(c.Type), CollectionType)
	}
	raw, err := c.record(LabelStatement, TypeStatement)
	if err != nil {
		return Result{}, err
	}
	statement, err := verdict.ParseStatement(raw)
	if err != nil {
		return Result{}, err
	}
	nonces, err := c.record(LabelNonces, TypeNonces)
	if err != nil {
		return Result{}, err
	}
	if len(nonces)%verdict.NonceSize != 0 || len(nonces) > verdict.MaxNonces*verdict.NonceSize {
		return Result{}, malformed("appraising: %d bytes of nonces, want a multiple of %d up to %d", len(nonces), verdict.NonceSize, verdict.MaxNonces*verdict.NonceSize)
	}
	result, err = appraiseEvidence(c, &evidenceInput{
		expected: Expected{
			ReportData: verdict.ReportData(raw, nonces), QuoteData: verdict.QuoteData(raw, nonces),
			Entries: in.References.Entries, Floors: in.References.Floors,
		},
		trust: &in.Trust, known: in.Known, statement: &statement,
	}, at)
	if err != nil {
		return Result{}, err
	}
	if !in.AllowPublished && !verdict.HasNonce(nonces, in.MyNonce) {
		return Result{}, verdict.Refuse(verdict.EvidenceNonce, "appraising: the evidence answers %d nonces, and not the caller's", len(nonces)/verdict.NonceSize)
	}
	if err := statement.CheckAt(at); err != nil {
		return Result{}, err
	}
	result.Statement, result.StatementDigest = statement, verdict.SHA256(raw)
	return result, nil
}

// AppraiseEvidence appraises the evidence and endorsements of a collection against
// what the caller expects them to be bound to, without an issuer statement: it
// says what runs, and nothing of what it decides by. The event list of a TPM or TD is
// not looked at, so its result has no Events.
func AppraiseEvidence(collection []byte, expected Expected, trust Trust, known []KnownAK, at time.Time) (result Result, err error) {
	defer func() {
		if err != nil {
			result = Result{}
		}
	}()
	defer recoverMalformed(&err)
	if err := trust.checkBare(expected.Floors); err != nil {
		return Result{}, err
	}
	if len(expected.Entries) == 0 {
		return Result{}, verdict.Misused("", "appraising: there are no reference values")
	}
	c, err := ParseCollection(collection)
	if err != nil {
		return Result{}, err
	}
	return appraiseEvidence(c, &evidenceInput{expected: expected, trust: &trust, known: known}, at)
}

// evidenceInput is what appraising evidence needs. statement is nil when only the
// evidence is asked about.
type evidenceInput struct {
	expected  Expected
	trust     *Trust
	known     []KnownAK
	statement *verdict.Statement
}

// appraiseEvidence appraises by the kind of the evidence, which is chosen by its
// label and must be accepted; the kind is never guessed from what matches.
func appraiseEvidence(c Collection, in *evidenceInput, at time.Time) (Result, error) {
	kind, err := kindOf(c)
	if err != nil {
		return Result{}, err
	}
	if !slices.Contains(in.trust.Kinds, kind) {
		return Result{}, verdict.Refuse(verdict.EvidenceKind, "appraising: evidence is of kind %s, accepted are %v", kind, in.trust.Kinds)
	}
	switch kind {
	case TPM:
		return appraiseTPM(c, in, at)
	case TDX, SimulatedTDX:
		return appraiseTDX(c, kind, in, at)
	case AzureSNP, AzureTDX:
		return appraiseAzure(c, kind, in, at)
	case SVSM:
		return appraiseSVSM(c, in, at)
	case SNP, SimulatedSNP:
	}
	return appraiseSNP(c, kind, in, at)
}

// kindOf returns the kind that the evidence is labelled with.
func kindOf(c Collection) (Kind, error) {
	item, ok := c.Items[LabelEvidence]
	if !ok {
		return "", verdict.Fail(verdict.EvidenceMissing, "appraising: no %q", LabelEvidence)
	}
	switch {
	case item.Nested != nil && item.Nested.Type == TypeTPMQuote:
		return TPM, nil
	case item.Nested != nil && item.Nested.Type == TypeAzureSNP:
		return AzureSNP, nil
	case item.Nested != nil && item.Nested.Type == TypeAzureTDX:
		return AzureTDX, nil
	case item.Nested != nil && item.Nested.Type == TypeSVSM:
		return SVSM, nil
	case item.MediaType == TypeSNPReport:
		return SNP, nil
	case item.MediaType == TypeSimSNPReport:
		return SimulatedSNP, nil
	case item.MediaType == TypeTDXQuote:
		return TDX, nil
	case item.MediaType == TypeSimTDXQuote:
		return SimulatedTDX, nil
	}
	return "", verdict.Refuse(verdict.EvidenceKind, "appraising: unknown evidence type %s", quoteShort(item.MediaType))
}

// appraiseTPM appraises the quote of a TPM.
func appraiseTPM(c Collection, in *evidenceInput, at time.Time) (Result, error) {
	keys, err := tpmKeysOf(c)
	if err != nil {
		return Result{}, err
	}
	known, instance, err := verifyAttestationKey(c, keys, in, at)
	if err != nil {
		return Result{}, err
	}
	evidence, err := c.nested(LabelEvidence, TypeTPMQuote)
	if err != nil {
		return Result{}, err
	}
	quote, pcrs, err := verifyQuote(evidence, keys.ak)
	if err != nil {
		return Result{}, err
	}
	if err := checkFresh(quote, &known, in); err != nil {
		return Result{}, err
	}
	entry, err := chooseEntry(in, TPM, at, func(e verdict.ReferenceEntry) error { return checkRegisters(e, pcrs) })
	if err != nil {
		return Result{}, err
	}
	result := Result{
		Kind: TPM, Binding: BindingCA, Entry: entry, AK: known, GCE: instance,
		Measurement: tpmMeasurement(entry), Registers: pcrs.names(),
		Claims: Claims{InstanceIdentity: Affirming, Configuration: Affirming, Executables: Affirming, RuntimeOpaque: Warning},
	}
	if in.statement == nil {
		result.Claims.Configuration = NoClaim
		return result, nil
	}
	result.Events, err = pcrs.checkEvents(c, in.statement)
	return result, err
}

// checkFresh refuses a quote that is about another statement or other nonces, or of a
// TPM whose state was set back. known gets the counters of an accepted one.
func checkFresh(quote Quote, known *KnownAK, in *evidenceInput) error {
	if subtle.ConstantTimeCompare(quote.ExtraData, in.expected.QuoteData[:]) != 1 {
		return verdict.Refuse(verdict.EvidenceBinding, "appraising quote: extraData is not that of this statement and these nonces")
	}
	if !quote.Safe && !in.trust.AllowUnsafeClock {
		return verdict.Refuse(verdict.TPMReset, "appraising quote: the TPM lost power and does not vouch for its clock")
	}
	if known.before(quote) {
		return verdict.Refuse(verdict.TPMReset, "appraising quote: resets %d, restarts %d, clock %d, seen before were %d, %d, %d",
			quote.ResetCount, quote.RestartCount, quote.Clock, known.Resets, known.Restarts, known.Clock)
	}
	known.Resets, known.Restarts, known.Clock = quote.ResetCount, quote.RestartCount, quote.Clock
	return nil
}

// names are the values in hex by the names of the registers.
func (p PCRs) names() map[string]string {
	out := map[string]string{}
	for i, value := range p {
		out[pcrName(i)] = hex.EncodeToString(value[:])
	}
	return out
}

// checkEvents does so for the event list of a TPM.
func (p PCRs) checkEvents(c Collection, statement *verdict.Statement) ([]verdict.RegisterEvent, error) {
	return checkEvents(c, pcrName(EventRegister), func(l EventList) bool {
		value, ok := p[EventRegister]
		return ok && value == l.Replay()
	}, statement)
}

// verifyQuote verifies the quote of a collection before it decodes it, and returns
// the PCR values that the quote is over.
func verifyQuote(evidence Collection, ak *tpmKey) (Quote, PCRs, error) {
	message, err := evidence.record(LabelQuote, TypeTPMAttest)
	if err != nil {
		return Quote{}, nil, err
	}
	signature, err := evidence.record(LabelSignature, TypeTPMSignature)
	if err != nil {
		return Quote{}, nil, err
	}
	hash, err := ak.verifyQuote(message, signature)
	if err != nil {
		return Quote{}, nil, err
	}
	quote, err := ParseQuote(message)
	if err != nil {
		return Quote{}, nil, err
	}
	values, err := evidence.record(LabelPCRs, TypeTPMPCRs)
	if err != nil {
		return Quote{}, nil, err
	}
	pcrs, err := quote.values(hash, values)
	return quote, pcrs, err
}

// checkRegisters compares the quoted PCRs with those that e names. A PCR that is
// not in the selection says nothing, whatever value comes beside the quote.
func checkRegisters(e verdict.ReferenceEntry, pcrs PCRs) error {
	for i := range pcrCount {
		name := pcrName(i)
		want, named := e.Registers[name]
		if !named && e.Events != name {
			continue
		}
		got, selected := pcrs[i]
		if !selected {
			return verdict.Refuse(verdict.TPMSelection, "appraising quote: %s is not selected, and entry %q names it", name, e.Name)
		}
		if named && hex.EncodeToString(got[:]) != want {
			return verdict.Refuse(verdict.GuestRegister, "appraising quote: %s is %x, want %s of entry %q", name, got, want, e.Name)
		}
	}
	return nil
}

// checkEvents replays the event list into the register of events, of which replays
// knows the value, and compares its last event with the statement.
func checkEvents(c Collection, register string, replays func(EventList) bool, statement *verdict.Statement) ([]verdict.RegisterEvent, error) {
	data, err := c.record(LabelRegisters, TypeRegisters)
	if err != nil {
		return nil, err
	}
	list, err := ParseEventList(data)
	if err != nil {
		return nil, err
	}
	if len(list.Events) == 0 {
		return nil, verdict.Refuse(verdict.GuestRegister, "appraising register events: the list is empty")
	}
	if !replays(list) {
		return nil, verdict.Refuse(verdict.GuestRegister, "appraising register events: the list does not replay to %s", register)
	}
	if last := list.Events[len(list.Events)-1]; !statement.SameEvent(last) {
		return nil, verdict.Refuse(verdict.GuestRegister, "appraising register events: the last event is not what the statement says")
	}
	return list.Events, nil
}

// tpmMeasurement returns the pinned value that stands for what was started.
func tpmMeasurement(e verdict.ReferenceEntry) string {
	if value, ok := e.Registers[pcrName(measuredRegister)]; ok {
		return value
	}
	for i := range pcrCount {
		if value, ok := e.Registers[pcrName(i)]; ok {
			return value
		}
	}
	return ""
}

// measuredRegister is the PCR that holds what was started: the sections of a UKI,
// or the file that a starter measured.
const measuredRegister = 11

// pcrName names a PCR as reference entries do.
func pcrName(i int) string { return fmt.Sprintf("pcr%d", i) }

// chooseEntry returns the first entry that fits: kind, what was measured,
// validity, profile, and where there is a statement its crypto flavour and
// configuration. The refusal is about the entry that came furthest, so that a
// wrong configuration of a known build is not called an unknown build.
func chooseEntry(in *evidenceInput, kind Kind, at time.Time, measured func(verdict.ReferenceEntry) error) (verdict.ReferenceEntry, error) {
	furthest, refusal := -1, error(verdict.Refuse(verdict.EvidenceKind, "appraising: no reference entry is of kind %s", kind))
	for _, e := range in.expected.Entries {
		if Kind(e.Kind) != kind {
			continue
		}
		stage, err := fitEntry(e, in, at, measured)
		if err == nil {
			return e, nil
		}
		if stage > furthest {
			furthest, refusal = stage, err
		}
	}
	return verdict.ReferenceEntry{}, refusal
}

// fitEntry compares e with the evidence, and tells at which stage it does not fit.
func fitEntry(e verdict.ReferenceEntry, in *evidenceInput, at time.Time, measured func(verdict.ReferenceEntry) error) (int, error) {
	if err := measured(e); err != nil {
		if verdict.CodeOf(err) == verdict.GuestRegister { // of the right firmware
			return 1, err
		}
		return 0, err
	}
	if !e.Valid(at) {
		return 2, verdict.Refuse(verdict.GuestMeasurement, "appraising: reference entry %q is valid from %s to %s", e.Name,
			time.Unix(e.NotBefore, 0).UTC().Format(time.RFC3339), time.Unix(e.NotAfter, 0).UTC().Format(time.RFC3339))
	}
	if e.Profile != verdict.Production && !in.trust.AllowDevelopment {
		return 3, verdict.Refuse(verdict.IssuerProfile, "appraising: reference entry %q is of profile %s, want %s", e.Name, e.Profile, verdict.Production)
	}
	if in.statement == nil {
		return 0, nil
	}
	if module := in.statement.Build.Crypto.Module; !slices.Contains(e.Flavours, module) {
		return 4, verdict.Refuse(verdict.IssuerConfig, "appraising: crypto module is %s, reference entry %q accepts %s", module, e.Name, strings.Join(e.Flavours, ", "))
	}
	if !slices.Contains(e.Configs, in.statement.Config) {
		return 5, verdict.Refuse(verdict.IssuerConfig, "appraising: config %s is none that reference entry %q names", in.statement.Config, e.Name)
	}
	return 0, nil
}

// recoverMalformed turns a panic on hostile input into a refusal. It is the edge
// of the package: nothing below it may take the daemon or the agent down.
func recoverMalformed(err *error) {
	if r := recover(); r != nil {
		*err = malformed("appraising: %s", quoteShort(fmt.Sprint(r)))
	}
}
