// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"errors"
	"reflect"

	"github.com/assayd/assay/attest"
)

// Azure is what is demanded of a confidential VM of Azure besides its platform
// (attest.AzureTrust), which SNP or TDX is about. The zero value takes each whose
// paravisor and PCRs the references name.
type Azure struct {
	// VMIDs are the accepted machines by vmUniqueId, as Azure's tools print it. A
	// machine that is made anew has another.
	VMIDs []string `yaml:"vm-ids,omitempty"`
	// RequireSecureBoot demands that the paravisor says that secure boot is on.
	RequireSecureBoot bool `yaml:"require-secure-boot,omitempty"`
}

// check returns the key of what is wrong beside the kinds of t, and what.
func (z Azure) check(t attest.Trust) (string, error) {
	for _, kind := range t.Kinds {
		if kind == attest.AzureSNP || kind == attest.AzureTDX {
			return "tee.azure", t.Azure.Check()
		}
	}
	if !reflect.DeepEqual(z, Azure{}) {
		return "tee.azure", errors.New("given, and neither kind azure-snp nor azure-tdx is accepted")
	}
	return "", nil
}
