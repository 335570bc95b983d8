// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"sync"

	"github.com/assayd/assay/verdict"
)

// oidGCEInstance is Google's extension that names an instance of Compute Engine
// (1.3.6.1.4.1.11129 is Google's arc).
var oidGCEInstance = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}

// Members of the extension.
const (
	gceMembers    = 6
	gceProduction = 1 // context tag of the flag among the security properties
	maxGCEName    = 128
)

var gceRoot = sync.OnceValue(func() *x509.Certificate { return embeddedRoots("gce-tpm", 1)[0] })

// GCERoot returns the root that Google publishes for the TPMs of Compute Engine. It
// vouches for the instances of all of Google's customers, and counts only where a
// Trust names it; GCE of that Trust says whose instances are meant.
func GCERoot() *x509.Certificate { return gceRoot() }

// A GCEInstance is the instance of Compute Engine that the certificate of an
// attestation key is for. Google says so of a TPM that Google runs: nothing follows
// about the hardware. As a demand, members that are zero are not looked at.
type GCEInstance struct {
	Zone          string
	ProjectNumber uint64
	ProjectID     string
	ID            uint64
	Name          string
}

// Check refuses a demand that instances of all customers could meet: one that names
// neither a project nor the number of the one instance. The error is a
// *verdict.Misuse.
func (g *GCEInstance) Check() error {
	if g.ProjectID == "" && g.ProjectNumber == 0 && g.ID == 0 {
		return verdict.Misused("name the project", "an instance of Compute Engine is demanded, and neither its project nor its number")
	}
	return nil
}

func badGCE(what string) error {
	return verdict.Refuse(verdict.EndorsementMalformed, "parsing instance of Compute Engine: %s", what)
}

// parseGCEInstance reads Google's extension: a sequence of zone, project number,
// project, instance number, name, and in a context tag the security properties. One
// that Google does not mark as production is no customer's, and nil.
func parseGCEInstance(der []byte) (*GCEInstance, error) {
	members, err := sequence(der)
	if err != nil || len(members) != gceMembers {
		return nil, badGCE("it is no sequence of 6 members")
	}
	var g GCEInstance
	for i, into := range map[int]*string{0: &g.Zone, 2: &g.ProjectID, 4: &g.Name} {
		if _, err := asn1.Unmarshal(members[i].FullBytes, into); err != nil || members[i].Tag != asn1.TagUTF8String || *into == "" || len(*into) > maxGCEName {
			return nil, badGCE("a name has another form")
		}
	}
	for i, into := range map[int]*uint64{1: &g.ProjectNumber, 3: &g.ID} {
		var n *big.Int
		if _, err := asn1.Unmarshal(members[i].FullBytes, &n); err != nil || n.Sign() <= 0 || !n.IsUint64() {
			return nil, badGCE("a number has another form")
		}
		*into = n.Uint64()
	}
	if members[5].Class != asn1.ClassContextSpecific || members[5].Tag != 0 || !members[5].IsCompound {
		return nil, badGCE("the security properties have another tag")
	}
	properties, err := sequence(members[5].Bytes)
	if err != nil {
		return nil, badGCE("the security properties are no sequence")
	}
	production, last := false, -1
	for _, p := range properties {
		if p.Class != asn1.ClassContextSpecific || !p.IsCompound || p.Tag <= last {
			return nil, badGCE("the security properties are not in order")
		}
		if last = p.Tag; p.Tag != gceProduction {
			continue
		}
		if rest, err := asn1.Unmarshal(p.Bytes, &production); err != nil || len(rest) != 0 {
			return nil, badGCE("the mark of production is no boolean")
		}
	}
	if !production {
		return nil, nil
	}
	return &g, nil
}

// sequence are the members of a sequence, and nothing behind it.
func sequence(der []byte) (members []asn1.RawValue, err error) {
	rest, err := asn1.Unmarshal(der, &members)
	if err == nil && len(rest) != 0 {
		err = asn1.SyntaxError{Msg: "bytes behind a sequence"}
	}
	return members, err
}

// gceInstance is what a verified certificate of an attestation key says of an
// instance, compared with the demand. It is nil where the certificate says nothing
// and nothing is demanded.
func gceInstance(c *x509.Certificate, demand *GCEInstance) (*GCEInstance, error) {
	der, err := extension(c, oidGCEInstance)
	if err != nil && demand == nil {
		return nil, nil
	}
	if err != nil {
		return nil, verdict.Refuse(verdict.TPMAK, "verifying attestation key: its certificate names no instance of Compute Engine")
	}
	// Google certifies attestation keys under the usage of endorsement keys.
	if !slices.ContainsFunc(c.UnknownExtKeyUsage, oidEKCertificate.Equal) {
		return nil, verdict.Refuse(verdict.EndorsementUntrusted, "verifying attestation key: its certificate names an instance, and is not for keys of TPMs (%s)", oidEKCertificate)
	}
	g, err := parseGCEInstance(der)
	if err != nil || demand == nil {
		return g, err
	}
	if g == nil {
		return nil, verdict.Refuse(verdict.TPMAK, "verifying attestation key: its certificate is not of Google's production")
	}
	for _, m := range []struct {
		name      string
		differ    bool
		got, want any
	}{
		{"project", demand.ProjectID != "" && demand.ProjectID != g.ProjectID, g.ProjectID, demand.ProjectID},
		{"project number", demand.ProjectNumber != 0 && demand.ProjectNumber != g.ProjectNumber, g.ProjectNumber, demand.ProjectNumber},
		{"zone", demand.Zone != "" && demand.Zone != g.Zone, g.Zone, demand.Zone},
		{"instance", demand.Name != "" && demand.Name != g.Name, g.Name, demand.Name},
		{"instance number", demand.ID != 0 && demand.ID != g.ID, g.ID, demand.ID},
	} {
		if m.differ {
			return nil, verdict.Refuse(verdict.TPMAK, "verifying attestation key: its certificate is for %s %#v, want %#v", m.name, m.got, m.want)
		}
	}
	return g, nil
}

// directoryNames checks that a subject alternative name has directory names alone
// (RFC 5280 §4.2.1.6): they name the TPM's model, and decide nothing.
func directoryNames(der []byte) error {
	names, err := sequence(der)
	if err != nil || len(names) == 0 {
		return verdict.Refuse(verdict.EndorsementMalformed, "parsing subject alternative name: it is no sequence of names")
	}
	const directoryName = 4
	for _, name := range names {
		var rdns pkix.RDNSequence
		if name.Class != asn1.ClassContextSpecific || name.Tag != directoryName || !name.IsCompound {
			return verdict.Refuse(verdict.EndorsementUntrusted, "verifying certificate: a critical subject alternative name has a name of type %d, want directory names alone", name.Tag)
		}
		if rest, err := asn1.Unmarshal(name.Bytes, &rdns); err != nil || len(rest) != 0 {
			return verdict.Refuse(verdict.EndorsementMalformed, "parsing subject alternative name: a directory name has another form")
		}
	}
	return nil
}
