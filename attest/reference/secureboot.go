// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"bytes"
	"encoding/binary"

	"github.com/assayd/assay/verdict"
)

// Variables are the UEFI variables of secure boot. The zero value is a firmware as it
// is shipped: secure boot off, no keys.
type Variables struct {
	SecureBoot bool
	// PK, KEK, DB and DBX are lists of signatures (UEFI 2.10 §32.4.1), as a file in
	// efivarfs has them behind its first 4 bytes. Empty is an absent variable.
	PK, KEK, DB, DBX []byte
	// Signer is the certificate in DER, one of DB, that the image is signed under. It
	// is needed with secure boot alone.
	Signer []byte
}

// GUIDs of variables (UEFI 2.10 §3.3 and §32.6).
var (
	guidGlobalVariable = parseGUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
	guidImageSecurity  = parseGUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
	guidX509           = parseGUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
)

// events are those of PCR 7 before any image is started (PC Client PFP §3.3.4.8).
func (v *Variables) events() []extend {
	on := byte(0)
	if v.SecureBoot {
		on = 1
	}
	var events []extend
	for _, x := range []struct {
		vendor guid
		name   string
		data   []byte
	}{
		{guidGlobalVariable, "SecureBoot", []byte{on}}, {guidGlobalVariable, "PK", v.PK}, {guidGlobalVariable, "KEK", v.KEK},
		{guidImageSecurity, "db", v.DB}, {guidImageSecurity, "dbx", v.DBX},
	} {
		events = append(events, extend{pcrSecureBoot, "variable " + x.name, these(variableData(x.vendor, x.name, x.data))})
	}
	return append(events, extend{pcrSecureBoot, "separator", these(separator)})
}

// authority is the event for the certificate under which the image counts, or nil
// without secure boot.
func (v *Variables) authority() ([]byte, error) {
	if !v.SecureBoot {
		if v.Signer != nil {
			return nil, verdict.Misused("say that secure boot is on, or leave the signer out", "computing PCR 7: without secure boot no signer counts")
		}
		return nil, nil
	}
	if len(v.PK) == 0 || len(v.DB) == 0 || len(v.Signer) == 0 {
		return nil, verdict.Misused("give PK, db and the certificate that the image is signed under", "computing PCR 7: with secure boot there are a PK, a db and a signer")
	}
	signature, err := findSignature(v.DB, v.Signer)
	if err != nil {
		return nil, err
	}
	return variableData(guidImageSecurity, "db", signature), nil
}

// variableData is UEFI_VARIABLE_DATA (TCG PC Client PFP §10.2.6).
func variableData(vendor guid, name string, data []byte) []byte {
	le := binary.LittleEndian
	out := le.AppendUint64(append([]byte(nil), vendor[:]...), uint64(len(name)))
	out = le.AppendUint64(out, uint64(len(data)))
	return append(append(out, utf16LE(name)...), data...)
}

// findSignature returns the EFI_SIGNATURE_DATA, owner and certificate, of a certificate
// in lists of signatures: each is a type, u32 sizes of the list, its header and its
// signatures, the header, and signatures of that size.
func findSignature(lists, certificate []byte) ([]byte, error) {
	const head, owner = 16 + 3*4, 16
	bad := func(format string, args ...any) error {
		return verdict.Misused("take the file of efivarfs without its first 4 bytes", "parsing db: "+format, args...)
	}
	le := binary.LittleEndian
	var found []byte
	for rest := lists; len(rest) > 0; {
		if len(rest) < head {
			return nil, bad("%d bytes at its end are no list of signatures", len(rest))
		}
		kind := guid(rest)
		size, header, each := int64(le.Uint32(rest[16:])), int64(le.Uint32(rest[20:])), int64(le.Uint32(rest[24:]))
		if size > int64(len(rest)) || each <= owner || header > size-head || (size-head-header)%each != 0 {
			return nil, bad("a list of signatures has %d bytes of %d, with a header of %d and signatures of %d", size, len(rest), header, each)
		}
		for entries := rest[head+header : size]; len(entries) > 0; entries = entries[each:] {
			if found == nil && kind == guidX509 && bytes.Equal(entries[owner:each], certificate) {
				found = entries[:each]
			}
		}
		rest = rest[size:]
	}
	if found == nil {
		return nil, verdict.Misused("name the certificate of db, in DER, that the image's signature leads to", "computing PCR 7: the signer is no certificate of db")
	}
	return found, nil
}
