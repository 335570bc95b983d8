// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"strings"

	"github.com/assayd/assay/verdict"
)

// A Distinct says in what the daemons of a quorum have to differ: of several that
// are alike in it one counts. The zero value is ByBoot.
type Distinct string

// The ways to differ. What evidence does not say makes nobody differ: such a daemon
// does not count, by ticket.quorum.
const (
	// ByBoot counts each boot of a daemon.
	ByBoot Distinct = "boot"
	// ByChip counts each processor, by CHIP_ID of SEV-SNP or PPID of TDX, and each
	// TPM, by its endorsement key.
	ByChip Distinct = "chip"
	// ByVendor counts each vendor of a TEE. A TPM says nothing of the machine
	// around it, and has none.
	ByVendor Distinct = "vendor"
	// ByOperator counts each trust domain of the daemons' SPIFFE IDs: who runs
	// daemons has a trust domain.
	ByOperator Distinct = "operator"
)

func (d Distinct) known() bool {
	switch d {
	case "", ByBoot, ByChip, ByVendor, ByOperator:
		return true
	}
	return false
}

// Of returns what a daemon counts by, or "" where its evidence does not say.
func (d Distinct) Of(i verdict.Issuer) string {
	switch d {
	case "", ByBoot:
		return i.Statement.Boot
	case ByChip:
		if i.Chip == "" {
			return ""
		}
		return hardware(i.Kind) + ":" + i.Chip
	case ByVendor:
		return vendors[hardware(i.Kind)]
	case ByOperator:
		domain, _, _ := strings.Cut(strings.TrimPrefix(i.Statement.Issuer, "spiffe://"), "/")
		return domain
	}
	return ""
}

// hardware is the kind of TEE that vouches: on Azure, of the paravisor. A chip that runs
// a guest of each kind is one chip.
func hardware(kind string) string {
	switch kind {
	case verdict.KindAzureSNP, verdict.KindSVSM:
		return verdict.KindSNP
	case verdict.KindAzureTDX:
		return verdict.KindTDX
	}
	return kind
}

// vendors are those of the TEEs. Each simulator is one of its own, so that a
// development profile can try a quorum.
var vendors = map[string]string{
	verdict.KindSNP:          "amd",
	verdict.KindSimulatedSNP: verdict.KindSimulatedSNP,
	verdict.KindTDX:          "intel",
	verdict.KindSimulatedTDX: verdict.KindSimulatedTDX,
}
