// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"github.com/assayd/assay/spiffe"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

var (
	// IssuerOf is what the gate is given of an appraisal.
	IssuerOf = issuerOf
	// CheckBirth is what is asked of a daemon's log.
	CheckBirth = Config.checkBirth
)

// ConnOf is a connection to a daemon without a network. src may be nil where no call fails.
func ConnOf(client assayv1.AssayServiceClient, src *spiffe.Source) *Conn {
	return &Conn{AssayServiceClient: client, address: "127.0.0.1:8443", src: src, creds: &handshakes{why: &why{}}}
}
