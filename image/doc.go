// SPDX-License-Identifier: Apache-2.0

// Package image builds the machine image of assayd: a unified kernel image (UKI)
// of Debian's EFI stub and kernel, a command line, and an initramfs with assayd as
// its only program. docs/image.md says what is in it, and how to boot it.
//
// [Build] is the entry point, and gives the same bytes for the same inputs wherever
// it runs: files are in a fixed order, with no owner, time or path of the machine
// that built it. The inputs from Debian are those of inputs.lock, each pinned by
// version and SHA-256 ([Inputs]); [Fetch] gets them through apt and believes nothing
// but their digest. What it computes of them is what assay reference compute reads:
// nobody has to believe who built an image.
//
// It is a builder and no product code: only ci imports it. Names may change.
package image
