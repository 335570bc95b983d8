// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/assayd/assay/verdict"
)

// The extensions of a VCEK or VLEK (AMD 57230, "VCEK Certificate", "VLEK
// Certificate").
var (
	oidSNP             = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}
	oidSNPStruct       = append(slices.Clone(oidSNP), 1)
	oidSNPProduct      = append(slices.Clone(oidSNP), 2)
	oidSNPTCB          = append(slices.Clone(oidSNP), 3)
	oidSNPHWID         = append(slices.Clone(oidSNP), 4)
	oidSNPCSPID        = append(slices.Clone(oidSNP), 5)
	snpTCBReserved     = []int{4, 5, 6, 7}
	turinHWIDSize      = 8
	errNoSuchExtension = errors.New("no such extension")
)

// maxCSPID bounds the name of a provider, in bytes.
const maxCSPID = 256

// Indices below oidSNPTCB.
const (
	snpTCBBootloader = 1
	snpTCBTEE        = 2
	snpTCBSNP        = 3
	snpTCBMicrocode  = 8
	snpTCBFMC        = 9
)

// A VCEK is what a chip's certificate says about the chip.
type VCEK struct {
	// Product is the line and stepping, like Milan-B0.
	Product string
	// TCB is the one that the key was derived from.
	TCB TCB
	// HWID is the chip's ID: 64 bytes, on Turin the first 8 and zeros.
	HWID [64]byte
}

// A VLEK is what the certificate of a provider's key says. AMD derives the key for a
// provider, who loads it into his machines: it names no chip.
type VLEK struct {
	// Product is the line, like Milan.
	Product string
	// TCB is the one that the key was derived from.
	TCB TCB
	// CSPID names the provider.
	CSPID string
}

// lineOf returns the product line of a product.
func lineOf(product string) ProductLine {
	line, _, _ := strings.Cut(product, "-")
	return ProductLine(line)
}

// Line returns the product line of v.Product.
func (v VCEK) Line() ProductLine { return lineOf(v.Product) }

// Line returns the product line of v.Product.
func (v VLEK) Line() ProductLine { return lineOf(v.Product) }

// Extensions encodes v as the extensions of a certificate, as a simulator and the
// builders of tests need them.
func (v VCEK) Extensions() ([]pkix.Extension, error) {
	extensions, err := snpExtensions(v.Product, v.TCB)
	if err != nil {
		return nil, fmt.Errorf("encoding VCEK: %w", err)
	}
	hwid := v.HWID[:]
	if v.Line() == Turin {
		hwid = hwid[:turinHWIDSize]
	}
	// Most certificates of AMD have the bytes without a tag around them.
	return append(extensions, pkix.Extension{Id: oidSNPHWID, Value: slices.Clone(hwid)}), nil
}

// Extensions encodes v as the extensions of a certificate, as the builders of tests
// need them.
func (v VLEK) Extensions() ([]pkix.Extension, error) {
	extensions, err := snpExtensions(v.Product, v.TCB)
	if err != nil {
		return nil, fmt.Errorf("encoding VLEK: %w", err)
	}
	id, err := asn1.MarshalWithParams(v.CSPID, "ia5")
	if err != nil {
		return nil, fmt.Errorf("encoding VLEK: CSP_ID: %w", err)
	}
	return append(extensions, pkix.Extension{Id: oidSNPCSPID, Value: id}), nil
}

// snpExtensions encodes what both kinds of certificates say.
func snpExtensions(product string, tcb TCB) ([]pkix.Extension, error) {
	name, err := asn1.MarshalWithParams(product, "ia5")
	if err != nil {
		return nil, fmt.Errorf("product: %w", err)
	}
	extensions := []pkix.Extension{
		{Id: oidSNPStruct, Value: []byte{asn1.TagInteger, 1, 0}},
		{Id: oidSNPProduct, Value: name},
	}
	numbers := map[int]uint8{
		snpTCBBootloader: tcb.Bootloader, snpTCBTEE: tcb.TEE, snpTCBSNP: tcb.SNP, snpTCBMicrocode: tcb.Microcode,
	}
	if lineOf(product) == Turin {
		numbers[snpTCBFMC] = tcb.FMC
	}
	for _, reserved := range snpTCBReserved {
		numbers[reserved] = 0
	}
	for i := range snpTCBFMC + 1 {
		n, ok := numbers[i]
		if !ok {
			continue
		}
		value, err := asn1.Marshal(int(n))
		if err != nil {
			return nil, fmt.Errorf("TCB: %w", err)
		}
		extensions = append(extensions, pkix.Extension{Id: append(slices.Clone(oidSNPTCB), i), Value: value})
	}
	return extensions, nil
}

// parseVCEK reads the extensions of a VCEK certificate. One that names a provider is
// none.
func parseVCEK(c *x509.Certificate) (VCEK, error) {
	product, tcb, err := parseSNPExtensions("VCEK", c)
	if err != nil {
		return VCEK{}, err
	}
	v := VCEK{Product: product, TCB: tcb}
	if _, err := extension(c, oidSNPCSPID); err == nil {
		return VCEK{}, badLeaf("VCEK", "CSP_ID", nil)
	}
	hwid, err := extension(c, oidSNPHWID)
	if err != nil {
		return VCEK{}, badLeaf("VCEK", "HWID", err)
	}
	want := len(v.HWID)
	if v.Line() == Turin {
		want = turinHWIDSize
	}
	// AMD has issued certificates without a tag around the bytes, and with one.
	if tag := []byte{asn1.TagOctetString, byte(want)}; len(hwid) == len(tag)+want && bytes.HasPrefix(hwid, tag) {
		hwid = hwid[len(tag):]
	}
	if len(hwid) != want {
		return VCEK{}, badLeaf("VCEK", "HWID", nil)
	}
	copy(v.HWID[:], hwid)
	return v, nil
}

// parseVLEK reads the extensions of a VLEK certificate. One that names a chip is
// none.
func parseVLEK(c *x509.Certificate) (VLEK, error) {
	product, tcb, err := parseSNPExtensions("VLEK", c)
	if err != nil {
		return VLEK{}, err
	}
	v := VLEK{Product: product, TCB: tcb}
	if _, err := extension(c, oidSNPHWID); err == nil {
		return VLEK{}, badLeaf("VLEK", "HWID", nil)
	}
	raw, err := extension(c, oidSNPCSPID)
	if err != nil {
		return VLEK{}, badLeaf("VLEK", "CSP_ID", err)
	}
	if rest, err := asn1.UnmarshalWithParams(raw, &v.CSPID, "ia5"); err != nil || len(rest) != 0 || v.CSPID == "" || len(v.CSPID) > maxCSPID {
		return VLEK{}, badLeaf("VLEK", "CSP_ID", err)
	}
	return v, nil
}

// parseSNPExtensions reads what both kinds of certificates say.
func parseSNPExtensions(kind string, c *x509.Certificate) (product string, tcb TCB, err error) {
	raw, err := extension(c, oidSNPProduct)
	if err != nil {
		return "", TCB{}, badLeaf(kind, "product", err)
	}
	if rest, err := asn1.UnmarshalWithParams(raw, &product, "ia5"); err != nil || len(rest) != 0 {
		return "", TCB{}, badLeaf(kind, "product", err)
	}
	type number struct {
		index int
		value *uint8
	}
	numbers := []number{
		{snpTCBBootloader, &tcb.Bootloader}, {snpTCBTEE, &tcb.TEE}, {snpTCBSNP, &tcb.SNP}, {snpTCBMicrocode, &tcb.Microcode},
	}
	if lineOf(product) == Turin {
		numbers = append(numbers, number{snpTCBFMC, &tcb.FMC})
	}
	for _, n := range numbers {
		var value int
		raw, err := extension(c, append(slices.Clone(oidSNPTCB), n.index))
		if err != nil {
			return "", TCB{}, badLeaf(kind, "TCB", err)
		}
		if rest, err := asn1.Unmarshal(raw, &value); err != nil || len(rest) != 0 || value < 0 || value > 255 {
			return "", TCB{}, badLeaf(kind, "TCB", err)
		}
		*n.value = uint8(value)
	}
	for _, index := range snpTCBReserved {
		raw, err := extension(c, append(slices.Clone(oidSNPTCB), index))
		if err == nil && !slices.Equal(raw, []byte{asn1.TagInteger, 1, 0}) {
			return "", TCB{}, badLeaf(kind, "reserved TCB", nil)
		}
	}
	return product, tcb, nil
}

// badLeaf is the refusal of a certificate whose extension is absent, unreadable or
// out of place.
func badLeaf(kind, what string, err error) error {
	if err != nil {
		return verdict.Refuse(verdict.EndorsementMalformed, "parsing %s: %s: %w", kind, what, err)
	}
	return verdict.Refuse(verdict.EndorsementMalformed, "parsing %s: %s extension", kind, what)
}

// extension returns the value of the extension of c named by id.
func extension(c *x509.Certificate, id asn1.ObjectIdentifier) ([]byte, error) {
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return e.Value, nil
		}
	}
	return nil, errNoSuchExtension
}
