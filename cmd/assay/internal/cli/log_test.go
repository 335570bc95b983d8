// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/verdict"
)

func randomHex(t *testing.T, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

// A shard is a log of one boot with a statement and one verdict, closed.
type shard struct {
	boot, origin string
	statement    verdict.Digest
	core         verdict.Digest
	ticket       string
}

// makeShard writes a shard into a log folder and stops.
func makeShard(t *testing.T, dir string) shard {
	t.Helper()
	return makeShardOf(t, dir, "registry.example/app", aDigest)
}

// makeShardOf does, with a verdict about that image.
func makeShardOf(t *testing.T, dir, repository string, digest verdict.Digest) shard {
	t.Helper()
	s := shard{boot: randomHex(t, 16)}
	log, err := audit.OpenShard(t.Context(), audit.Config{Dir: dir, Boot: s.boot, OriginPrefix: "test.example/log", Logger: slog.New(slog.DiscardHandler), CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	_, ticketKey, issuer := makeNode(t, t.TempDir())
	coreKey, err := verdict.GenerateKey(verdict.UseVerdict)
	if err != nil {
		t.Fatal(err)
	}
	st := issuer.Statement
	st.Boot, st.Log, st.Keys = s.boot, log.Log(), []verdict.JWK{ticketKey.JWK(), coreKey.JWK()}
	encoded, err := st.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.origin, s.statement = log.Origin(), verdict.SHA256(encoded)
	evidence := []byte(`{"evidence":"` + s.boot + `"}`)
	policy, _ := st.Policy.Bytes()
	now := time.Now().Truncate(time.Millisecond)
	leaf := verdict.Leaf{Kind: verdict.LeafStatement, Time: now, Object: sha256.Sum256(evidence), Policy: policy, Statement: sha256.Sum256(encoded)}
	if _, err := log.Append(t.Context(), leaf, audit.Content(encoded), audit.Content(evidence)); err != nil {
		t.Fatal(err)
	}
	core, err := verdict.SignCore(verdict.Core{
		Subject: []verdict.CoreSubject{{Name: repository, Digest: verdict.DigestMap(digest)}},
		Predicate: verdict.CorePredicate{InputAttestations: []verdict.CoreResource{}, Policy: verdict.CoreResource{URI: "policy.yaml", Digest: verdict.DigestMap(st.Policy)},
			ResourceURI: repository, TimeVerified: now.UTC().Truncate(time.Second).Format(time.RFC3339), VerificationResult: verdict.Passed,
			VerifiedLevels: []string{verdict.Unevaluated}, Verifier: verdict.CoreVerifier{ID: st.Issuer, Version: map[string]string{"assay": "test"}},
			Extension: verdict.CoreExtension{Cluster: "test", Deny: verdict.DenyDigest(nil), Head: 1, Roots: st.Roots, Salt: randomHex(t, 16), Namespaces: map[string]verdict.Outcome{"*": verdict.OutcomePass}}},
	}, coreKey)
	if err != nil {
		t.Fatal(err)
	}
	object, err := audit.Envelope(core.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	name, _ := core.Digest.Bytes()
	index, err := log.Append(t.Context(), verdict.Leaf{Kind: verdict.LeafVerdict, Result: verdict.ResultPassed, Time: now, Object: name, Policy: policy, Statement: sha256.Sum256(encoded)}, object)
	if err != nil {
		t.Fatal(err)
	}
	s.core = core.Digest
	s.ticket = makeTicket(t, ticketKey, verdict.Issuer{Digest: s.statement, Statement: st}, func(k *verdict.Ticket) {
		k.Core, k.Log = core.Digest, &verdict.TicketLog{Index: index, Origin: s.origin}
	})
	return s
}

func TestLog(t *testing.T) {
	dir := t.TempDir()
	logDir := filepath.Join(dir, "log")
	first, second := makeShard(t, logDir), makeShard(t, logDir)
	ticket := filepath.Join(dir, "ticket.jws")
	write(t, ticket, []byte(second.ticket))
	proofFile := filepath.Join(dir, "verdict.proof")
	must(t, "log", "prove", logDir, "--ticket", ticket, "--out", proofFile)
	damaged := filepath.Join(dir, "damaged.proof")
	parsed, err := proof.ParseFile(read(t, proofFile))
	if err != nil {
		t.Fatal(err)
	}
	parsed.Leaf[10] ^= 1 // in the time
	write(t, damaged, parsed.Marshal())
	other := filepath.Join(dir, "other.jws")
	write(t, other, []byte(first.ticket))
	lost := filepath.Join(dir, "lost.jws")
	write(t, lost, []byte(strings.Split(first.ticket, ".")[0]+"."+strings.Split(makeShard(t, filepath.Join(dir, "elsewhere")).ticket, ".")[1]+".AA"))

	junk := func(t *testing.T, dir string) {
		t.Helper()
		write(t, filepath.Join(dir, "junk"), []byte("no proof\n"))
	}
	runScripts(t, []script{
		{name: "list", args: []string{"log", "get", logDir}, stdout: []string{"boot " + first.boot, "origin " + second.origin, "leaves 2"}},
		{name: "get by core", args: []string{"log", "get", logDir, "--core", string(first.core)}, stdout: []string{"leaf 1 of 2", "verdict passed", `"verificationResult": "PASSED"`, "registry.example/app@" + aDigest}},
		{name: "get by index", args: []string{"log", "get", logDir, "0", "--boot", first.boot}, stdout: []string{"leaf 0 of 2", "statement noted", "object of "}},
		{name: "prove by ticket", args: []string{"log", "prove", logDir, "--ticket", ticket}, stdout: []string{"proven: leaf 1 of 2 in " + second.origin}, stderr: []string{"not appraised here"}},
		{name: "prove under a statement", args: []string{"log", "prove", logDir, "--ticket", ticket, "--statement", string(second.statement)}, stdout: []string{"proven: leaf 1"}},
		{name: "prove under another statement", args: []string{"log", "prove", logDir, "--ticket", ticket, "--statement", string(first.statement)}, status: 1, code: verdict.TicketStatement},
		{name: "prove from a file", args: []string{"log", "prove", proofFile, "--statement", string(second.statement)}, stdout: []string{"proven: leaf 1"}},
		{name: "prove from a file with another leaf", args: []string{"log", "prove", damaged}, status: 1, code: verdict.LogProof, stderr: []string{"hint: the file was changed"}},
		{name: "prove from a file that is no proof", setup: junk, args: []string{"log", "prove", "$DIR/junk"}, status: 1, code: verdict.InputMalformed, stderr: []string{"hint: name a proof file as assay log prove --out writes it"}},
		{name: "prove from an empty file", setup: func(t *testing.T, dir string) {
			t.Helper()
			write(t, filepath.Join(dir, "junk"), nil)
		}, args: []string{"log", "prove", "$DIR/junk"}, status: 1, code: verdict.InputMalformed, stderr: []string{"hint: name a proof file"}},
		{name: "several shards and none named", args: []string{"log", "prove", logDir, "1"}, status: 2, stderr: []string{"2 shards, and none is named"}},
		{name: "index beyond the end", args: []string{"log", "prove", logDir, "9", "--boot", first.boot}, status: 1, code: verdict.LogMissing, stderr: []string{"hint: see which shards"}},
		{name: "unknown core", args: []string{"log", "get", logDir, "--core", aDigest}, status: 1, code: verdict.LogMissing},
		{name: "unknown origin", args: []string{"log", "get", logDir, "0", "--origin", "nobody.example/x"}, status: 1, code: verdict.LogMissing},
		{name: "ticket of another log", args: []string{"log", "prove", logDir, "--ticket", lost}, status: 1, code: verdict.LogMissing},
		{name: "two leaves named", args: []string{"log", "prove", logDir, "1", "--core", string(first.core)}, status: 2, stderr: []string{"hint: a ticket names"}},
		{name: "index that is none", args: []string{"log", "get", logDir, "first"}, status: 2, stderr: []string{`index is "first"`}},
		{name: "no folder", args: []string{"log", "get"}, status: 2},
		{name: "folder without a log", args: []string{"log", "get", "$DIR"}, status: 2, stderr: []string{"no shard is in", "hint: name the folder log"}},
		{name: "folder that is not there", args: []string{"log", "get", "$DIR/nothing"}, status: 2},
		{name: "folder without shards", args: []string{"log", "prove", "$DIR", "0"}, status: 1, code: verdict.LogMissing},
	})
	// What is written out is the object itself.
	out := filepath.Join(dir, "core.json")
	must(t, "log", "get", logDir, "--core", string(first.core), "--out", out)
	core, err := verdict.ParseCoreInsecure(read(t, out))
	if err != nil || core.Digest != first.core {
		t.Errorf("got core %s, %v, want %s", core.Digest, err, first.core)
	}
	var info struct {
		Index uint64 `json:"index"`
		Size  uint64 `json:"treeSize"`
	}
	if err := json.Unmarshal(parseDocument(t, must(t, "log", "prove", logDir, "--ticket", other, "-o", "json")).Value, &info); err != nil || info.Index != 1 || info.Size != 2 {
		t.Errorf("got %+v, %v, want leaf 1 of 2", info, err)
	}
}
