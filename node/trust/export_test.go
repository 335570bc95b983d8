// SPDX-License-Identifier: Apache-2.0

package trust

// IssuerOf is what the gate is given of an appraisal.
var IssuerOf = issuerOf
