// SPDX-License-Identifier: Apache-2.0

// Package tuf is a client of repositories of The Update Framework (specification
// 1.0): root keys that are pinned, and what they say now about files and images.
// [Refresh] asks a repository, [Load] answers from what the last refresh left.
//
// Signatures, thresholds and versions are judged by go-tuf's trustedmetadata.
// What is fetched, in which order, how much of it, what is kept and what time it
// is, is judged here, and so is the form of all metadata before go-tuf reads it.
package tuf
