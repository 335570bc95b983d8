// SPDX-License-Identifier: Apache-2.0

// Package audit is the verdict log: what a daemon decides is written down
// before it is answered, in a tiled transparency log (c2sp.org/tlog-tiles), and
// stays provable from files when the daemon is gone.
//
// [OpenShard] opens the log of one boot: a tessera POSIX log under
// log/<boot>/, with an origin and keys that are random and in memory only, so
// that one origin never has two trees and nothing is sealed. [Shard.Append]
// returns when the leaf and the objects that it names are on disk.
// [OpenArchive] reads all shards of a folder, of this boot and of those before,
// with the daemon running or stopped; what it returns is proven under the log
// key that the shard's own issuer statement, leaf 0, names.
//
// The disk belongs to the host and is not believed: a guard in memory knows the
// hash of each leaf and signs no tree that is not made of exactly those, and a
// reader compares each tile and each entry with the root of a signed
// checkpoint. Whoever appraises the issuer statement by its evidence is the
// caller: this package does not know attestation. Checks that need no files are
// in audit/proof.
//
// A shard holds the folder's lock for life, because tessera does not stop a
// second appender. The files are those of C2SP; what lies beside them (latest,
// objects, sealed) may change.
package audit
