// SPDX-License-Identifier: Apache-2.0

// Package sigstore proves that assay signs and verifies with the services of
// sigstore themselves: fulcio, rekor-tiles and timestamp-server, built from their
// modules and run on this machine. It is a module of its own, and `make sigstore`
// runs it.
package sigstore
