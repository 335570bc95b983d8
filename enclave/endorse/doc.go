// SPDX-License-Identifier: Apache-2.0

// Package endorse fetches what AMD and Intel publish about the processor that evidence
// is of, and keeps it in an endorsement folder: the certificate of the chip's key and
// AMD's revocation list from the Key Distribution Service (KDS), TCB info, QE identity
// and revocation lists from Intel's Provisioning Certification Service (PCS, API v4), or
// from caches of one's own that answer the same requests.
//
// [Fetcher] gets one endorsement, [Folder] has the files, and [Keeper] renews a folder
// before its content ends, as long as it runs, or only tells the log what is missing.
//
// Relying parties verify endorsements and believe nothing of whoever brought them. What
// is fetched is verified here all the same, so that a cache that lies or lags cannot
// take the place of something better: an answer is stored that the maker signed, that is
// about this platform, in force, and neither by number nor by date older than what is
// there. Networks, services, the folder's disk and the evidence are not trusted.
//
// Only the standard library's HTTP client is used. The API may change.
package endorse
