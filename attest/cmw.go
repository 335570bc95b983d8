// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/assayd/assay/verdict"
)

// Limits of a collection.
const (
	// MaxCollectionSize is the largest collection, in bytes of JSON. A genuine
	// one has about 10 KiB.
	MaxCollectionSize = 1 << 20
	// MaxCollectionItems is the largest number of records and collections in a
	// collection, nested ones included.
	MaxCollectionItems = 32
	// MaxCollectionDepth is how deep collections may nest. The outermost is 1.
	MaxCollectionDepth = 3
	// maxCollectionName bounds a label, a media type and a collection type, in
	// bytes.
	maxCollectionName = 128
)

// collectionTypeMember names the type of a collection. RFC 9999 §3.3.
const collectionTypeMember = "__cmwc_t"

// CollectionType is the type of the collections that a daemon sends.
const CollectionType = "tag:github.com,2026:assayd/assay/evidence/v1"

// Labels of the outermost collection.
const (
	// LabelStatement is the issuer statement that the evidence is bound to.
	LabelStatement = "statement"
	// LabelNonces is the concatenation of the 32-byte nonces of those who asked,
	// empty in a published statement.
	LabelNonces = "nonces"
	// LabelEvidence is the evidence: an SNP report, a TDX quote, or the collection of
	// a TPM's quote.
	LabelEvidence = "evidence"
	// LabelEndorsements is the collection of certificates and CRLs.
	LabelEndorsements = "endorsements"
	// LabelRegisters is the list of register events.
	LabelRegisters = "registers"
)

// Labels of the endorsements.
const (
	// LabelVCEK is the certificate of the key that signed an SNP report.
	LabelVCEK = "amd-vcek"
	// LabelASK is the certificate of the VCEK's issuer.
	LabelASK = "amd-ask"
	// LabelVLEK is the certificate of a provider's key that signed an SNP report.
	LabelVLEK = "amd-vlek"
	// LabelASVK is the certificate of the VLEK's issuer.
	LabelASVK = "amd-asvk"
	// LabelARK is the root of an SNP chain. It is looked at for the simulator
	// only, whose root is pinned by digest.
	LabelARK = "amd-ark"
	// LabelCRL is a revocation list issued by the ARK.
	LabelCRL = "amd-crl"
	// LabelTCBInfo and LabelQEIdentity are what Intel signs about TDX platforms and
	// quoting enclaves, LabelTCBInfoChain and LabelQEIdentityChain who signed them.
	LabelTCBInfo         = "tdx-tcb-info"
	LabelTCBInfoChain    = "tdx-tcb-info-chain"
	LabelQEIdentity      = "tdx-qe-identity"
	LabelQEIdentityChain = "tdx-qe-identity-chain"
	// LabelPCKCRL is the revocation list of the authority that issued the platform's
	// certificate, LabelSGXRootCRL that of the root.
	LabelPCKCRL     = "sgx-pck-crl"
	LabelSGXRootCRL = "sgx-root-crl"
	// LabelSGXRoot is the root of a PCK chain. It is looked at for the simulator
	// only, whose root is pinned by digest.
	LabelSGXRoot = "sgx-root"
	// LabelEKCertificate is the certificate of a TPM's endorsement key.
	LabelEKCertificate = "tpm-ek-certificate"
	// LabelEKPublic is the endorsement key as TPMT_PUBLIC.
	LabelEKPublic = "tpm-ek-public"
	// LabelAKCertificate is the certificate of a TPM's attestation key.
	LabelAKCertificate = "tpm-ak-certificate"
	// LabelIntermediates are DER certificates, one after the other, between a
	// TPM's certificates and the configured authorities.
	LabelIntermediates = "tpm-intermediates"
)

// Labels of the collection of a quote.
const (
	// LabelQuote is the TPMS_ATTEST.
	LabelQuote = "quote"
	// LabelSignature is the TPMT_SIGNATURE over it.
	LabelSignature = "signature"
	// LabelAKPublic is the attestation key as TPMT_PUBLIC.
	LabelAKPublic = "ak"
	// LabelPCRs are the values of the selected PCRs of the SHA-256 bank in
	// ascending order, 32 bytes each.
	LabelPCRs = "pcrs"
)

// Labels of the collection of a confidential VM of Azure, beside those of a quote, of
// which LabelAKPublic may be left out.
const (
	// LabelHCLReport is the report of the paravisor.
	LabelHCLReport = "hcl-report"
	// LabelTDQuote is the TDX quote of the TDREPORT in it.
	LabelTDQuote = "td-quote"
)

// Labels of the collection of a guest with an SVSM, beside those of a quote.
const (
	// LabelSVSMReport is the SNP report that the SVSM asked for.
	LabelSVSMReport = "svsm-report"
	// LabelSVSMManifest is what the report is about besides its nonce: the endorsement
	// key of the SVSM's TPM as TPMT_PUBLIC.
	LabelSVSMManifest = "svsm-manifest"
)

// Media types of records.
const (
	TypeStatement    = "application/vnd.assay.issuer-statement+json"
	TypeNonces       = "application/vnd.assay.nonces"
	TypeSNPReport    = "application/vnd.assay.snp-report"
	TypeSimSNPReport = "application/vnd.assay.sim-snp-report"
	TypeHCLReport    = "application/vnd.assay.hcl-report"
	TypeTDXQuote     = "application/vnd.assay.tdx-quote"
	TypeSimTDXQuote  = "application/vnd.assay.sim-tdx-quote"
	TypeTPMAttest    = "application/vnd.assay.tpms-attest"
	TypeTPMSignature = "application/vnd.assay.tpmt-signature"
	TypeTPMPublic    = "application/vnd.assay.tpmt-public"
	TypeTPMPCRs      = "application/vnd.assay.tpm-pcrs-sha256"
	TypeRegisters    = "application/vnd.assay.register-events+json"
	TypeCertificate  = "application/pkix-cert"
	TypeCertificates = "application/vnd.assay.certificates"
	TypeCRL          = "application/pkix-crl"
	// TypePEMChain is a chain in PEM, leaf first (RFC 8555 §9.1).
	TypePEMChain = "application/pem-certificate-chain"
	// TypeCollateral is JSON as Intel's service gives it, byte by byte.
	TypeCollateral = "application/json"
)

// Types of nested collections.
const (
	// TypeTPMQuote is the type of the collection that is the evidence of a TPM.
	TypeTPMQuote = "tag:github.com,2026:assayd/assay/tpm-quote/v1"
	// TypeAzureSNP and TypeAzureTDX are the types of the collection that is the evidence
	// of a confidential VM of Azure, by what vouches for its paravisor.
	TypeAzureSNP = "tag:github.com,2026:assayd/assay/azure-snp/v1"
	TypeAzureTDX = "tag:github.com,2026:assayd/assay/azure-tdx/v1"
	// TypeSVSM is the type of the collection that is the evidence of a guest of SEV-SNP
	// with an SVSM.
	TypeSVSM = "tag:github.com,2026:assayd/assay/svsm/v1"
	// TypeEndorsements is the type of the endorsements' collection.
	TypeEndorsements = "tag:github.com,2026:assayd/assay/endorsements/v1"
)

// An Indicator says what a record is (RFC 9999 §3.1, a set of bits). Zero is no
// statement about it.
type Indicator uint8

// The indicators that assay writes.
const (
	IndicatorEndorsements Indicator = 1 << 1
	IndicatorEvidence     Indicator = 1 << 2
	maxIndicator          Indicator = 1<<5 - 1
)

// An Item is a record (MediaType and Value), or a nested collection.
type Item struct {
	// MediaType is the type of Value, empty for a nested collection.
	MediaType string
	// Value is the record's content.
	Value []byte
	// Indicator is what the record says that it is.
	Indicator Indicator
	// Nested is the nested collection, nil for a record.
	Nested *Collection
}

// A Collection is a conceptual message wrapper collection (RFC 9999) in its JSON
// form. It has no integrity of its own: what is in it is untrusted, and its parts
// are bound together by the evidence.
type Collection struct {
	// Type is the URI in __cmwc_t, or empty.
	Type string
	// Items are the members by label.
	Items map[string]Item
}

// ParseCollection decodes the JSON form of a collection. Duplicate labels,
// unknown shapes, padded or non-canonical base64url, empty collections and
// trailing bytes are evidence.malformed; more bytes, items or depth than the
// limits are evidence.limit.
func ParseCollection(data []byte) (Collection, error) {
	if len(data) > MaxCollectionSize {
		return Collection{}, verdict.Refuse(verdict.EvidenceLimit, "parsing collection: %d bytes, want at most %d", len(data), MaxCollectionSize)
	}
	// encoding/json replaces invalid UTF-8, which would make two labels one.
	if !utf8.Valid(data) {
		return Collection{}, malformed("parsing collection: invalid UTF-8")
	}
	d := &collectionDecoder{json: json.NewDecoder(bytes.NewReader(data))}
	d.json.UseNumber()
	if err := d.delim('{'); err != nil {
		return Collection{}, err
	}
	c, err := d.collection(1)
	if err != nil {
		return Collection{}, err
	}
	if _, err := d.json.Token(); err != io.EOF {
		return Collection{}, malformed("parsing collection: bytes after its end")
	}
	return c, nil
}

// A collectionDecoder reads a collection token by token, so that nothing deep or
// large is built before its limit is checked.
type collectionDecoder struct {
	json  *json.Decoder
	items int
}

// token returns the next token.
func (d *collectionDecoder) token() (json.Token, error) {
	t, err := d.json.Token()
	if err != nil {
		return nil, malformed("parsing collection: %s", quoteShort(err.Error()))
	}
	return t, nil
}

// delim takes the next token, which must be want.
func (d *collectionDecoder) delim(want json.Delim) error {
	t, err := d.token()
	if err != nil {
		return err
	}
	if t != want {
		return malformed("parsing collection: got %s, want %q", quoteShort(tokenText(t)), want.String())
	}
	return nil
}

// text takes the next token, which must be a string of at most limit bytes.
func (d *collectionDecoder) text(what string, limit int) (string, error) {
	t, err := d.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", malformed("parsing collection: %s is no string", what)
	}
	if len(s) > limit {
		return "", verdict.Refuse(verdict.EvidenceLimit, "parsing collection: %s has %d bytes, want at most %d", what, len(s), limit)
	}
	return s, nil
}

// collection reads the members of an object up to its end.
func (d *collectionDecoder) collection(depth int) (Collection, error) {
	if depth > MaxCollectionDepth {
		return Collection{}, verdict.Refuse(verdict.EvidenceLimit, "parsing collection: nested deeper than %d", MaxCollectionDepth)
	}
	c := Collection{Items: map[string]Item{}}
	seenType := false
	for d.json.More() {
		label, err := d.text("label", maxCollectionName)
		if err != nil {
			return Collection{}, err
		}
		if label == collectionTypeMember {
			if seenType {
				return Collection{}, malformed("parsing collection: duplicate label %q", label)
			}
			seenType = true
			if c.Type, err = d.text(collectionTypeMember, maxCollectionName); err != nil {
				return Collection{}, err
			}
			if !strings.Contains(c.Type, ":") {
				return Collection{}, malformed("parsing collection: type %s is no absolute URI", quoteShort(c.Type))
			}
			continue
		}
		if label == "" {
			return Collection{}, malformed("parsing collection: empty label")
		}
		if _, ok := c.Items[label]; ok {
			return Collection{}, malformed("parsing collection: duplicate label %s", quoteShort(label))
		}
		if d.items++; d.items > MaxCollectionItems {
			return Collection{}, verdict.Refuse(verdict.EvidenceLimit, "parsing collection: more than %d items", MaxCollectionItems)
		}
		if c.Items[label], err = d.item(depth); err != nil {
			return Collection{}, err
		}
	}
	if err := d.delim('}'); err != nil {
		return Collection{}, err
	}
	if len(c.Items) == 0 {
		return Collection{}, malformed("parsing collection: no items")
	}
	return c, nil
}

// item reads a record or a nested collection.
func (d *collectionDecoder) item(depth int) (Item, error) {
	t, err := d.token()
	if err != nil {
		return Item{}, err
	}
	switch t {
	case json.Delim('{'):
		nested, err := d.collection(depth + 1)
		if err != nil {
			return Item{}, err
		}
		return Item{Nested: &nested}, nil
	case json.Delim('['):
		return d.record()
	}
	return Item{}, malformed("parsing collection: an item is neither record nor collection")
}

// record reads the members of an array up to its end.
func (d *collectionDecoder) record() (Item, error) {
	mediaType, err := d.text("media type", maxCollectionName)
	if err != nil {
		return Item{}, err
	}
	if !strings.Contains(mediaType, "/") {
		return Item{}, malformed("parsing collection: %s is no media type", quoteShort(mediaType))
	}
	encoded, err := d.text("value", MaxCollectionSize)
	if err != nil {
		return Item{}, err
	}
	// Strict refuses non-zero trailing bits, but the decoder skips line ends.
	value, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || base64.RawURLEncoding.EncodedLen(len(value)) != len(encoded) {
		return Item{}, malformed("parsing collection: value of type %s is not base64url", quoteShort(mediaType))
	}
	item := Item{MediaType: mediaType, Value: value}
	if d.json.More() {
		t, err := d.token()
		if err != nil {
			return Item{}, err
		}
		number, ok := t.(json.Number)
		if !ok {
			return Item{}, malformed("parsing collection: indicator is no number")
		}
		n, err := strconv.ParseUint(number.String(), 10, 8)
		if err != nil || n == 0 || Indicator(n) > maxIndicator {
			return Item{}, malformed("parsing collection: indicator is %s, want 1 to %d", quoteShort(number.String()), maxIndicator)
		}
		item.Indicator = Indicator(n)
	}
	return item, d.delim(']')
}

// Marshal encodes c as JSON, its type first and its labels in ascending order. It
// is a verdict.Misuse to encode what ParseCollection refuses.
func (c Collection) Marshal() ([]byte, error) {
	var b bytes.Buffer
	if err := c.marshal(&b); err != nil {
		return nil, verdict.Misused("", "encoding collection: %s", err.Error())
	}
	data := b.Bytes()
	if _, err := ParseCollection(data); err != nil {
		return nil, verdict.Misused("", "encoding collection: %s", err.Error())
	}
	return data, nil
}

// marshal appends c to b.
func (c Collection) marshal(b *bytes.Buffer) error {
	b.WriteByte('{')
	separator := ""
	if c.Type != "" {
		text, err := json.Marshal(c.Type)
		if err != nil {
			return err
		}
		b.WriteString(`"` + collectionTypeMember + `":`)
		b.Write(text)
		separator = ","
	}
	for _, label := range slices.Sorted(maps.Keys(c.Items)) {
		text, err := json.Marshal(label)
		if err != nil {
			return err
		}
		b.WriteString(separator)
		separator = ","
		b.Write(text)
		b.WriteByte(':')
		item := c.Items[label]
		if item.Nested != nil {
			if err := item.Nested.marshal(b); err != nil {
				return err
			}
			continue
		}
		record := []any{item.MediaType, base64.RawURLEncoding.EncodeToString(item.Value)}
		if item.Indicator != 0 {
			record = append(record, item.Indicator)
		}
		if text, err = json.Marshal(record); err != nil {
			return err
		}
		b.Write(text)
	}
	b.WriteByte('}')
	return nil
}

// record returns the value of the record at label, which must be of mediaType.
func (c Collection) record(label, mediaType string) ([]byte, error) {
	item, ok := c.Items[label]
	if !ok {
		return nil, verdict.Fail(verdict.EvidenceMissing, "reading collection: no %q", label)
	}
	if item.MediaType != mediaType {
		return nil, verdict.Refuse(verdict.EvidenceKind, "reading collection: %q is of type %s, want %s", label, quoteShort(item.MediaType), mediaType)
	}
	return item.Value, nil
}

// nested returns the collection at label, which must be of type want.
func (c Collection) nested(label, want string) (Collection, error) {
	item, ok := c.Items[label]
	if !ok {
		return Collection{}, verdict.Fail(verdict.EvidenceMissing, "reading collection: no %q", label)
	}
	if item.Nested == nil || item.Nested.Type != want {
		return Collection{}, verdict.Refuse(verdict.EvidenceKind, "reading collection: %q is no collection of type %s", label, want)
	}
	return *item.Nested, nil
}

// malformed is the refusal of what cannot be parsed.
func malformed(format string, args ...any) *verdict.Refusal {
	return verdict.Refuse(verdict.EvidenceMalformed, format, args...)
}

// quoteShort quotes at most 64 bytes of untrusted text.
func quoteShort(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strconv.Quote(s)
}

// tokenText describes a token without its nesting.
func tokenText(t json.Token) string {
	switch v := t.(type) {
	case json.Delim:
		return v.String()
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return "null"
}
