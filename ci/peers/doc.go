// SPDX-License-Identifier: Apache-2.0

// Package peers compares assay with verifiers of other projects. It is a module
// of its own, so that what they need is not in assay's. sigstore-go is compared
// in package verifier, which is built on it.
package peers
