// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// makeReferences writes references for one simulated daemon.
func makeReferences(t *testing.T, dir string) {
	t.Helper()
	refs, err := verdict.References{Entries: []verdict.ReferenceEntry{{Configs: []verdict.Digest{aDigest}, Events: "none", Flavours: []string{"go"},
		Kind: verdict.KindSimulatedSNP, Measurement: strings.Repeat("ab", 48), Name: "test", NotBefore: 1, NotAfter: 4102444800, Profile: verdict.Development}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "references.json"), refs)
}

// makeOwnerFolder makes an owner's folder with n owners of whom k sign, ready to
// sign, and returns the paths of their keys.
func makeOwnerFolder(t *testing.T, dir string, k, n int) []string {
	t.Helper()
	var keys []string
	args := []string{"head", "init", filepath.Join(dir, "owners")}
	for i := range n {
		key := filepath.Join(dir, "owner-"+string(rune('a'+i))+".key")
		must(t, "head", "key", key)
		keys = append(keys, key)
		args = append(args, "--owner", strings.TrimSuffix(key, ".key")+".pub")
	}
	must(t, append(args, "--threshold", string(rune('0'+k)))...)
	fillOwnerFolder(t, filepath.Join(dir, "owners"))
	return keys
}

func fillOwnerFolder(t *testing.T, dir string) {
	t.Helper()
	makeReferences(t, dir)
	write(t, filepath.Join(dir, "policy.yaml"), []byte(goodPolicy))
	write(t, filepath.Join(dir, "trusted_root.json"), verifier.PublicGoodJSON())
}

func headInfo(t *testing.T, o outcome) (h struct {
	Counter  uint64 `json:"counter"`
	NotAfter string `json:"notAfter"`
	Denies   []struct {
		Counter uint64 `json:"counter"`
		Active  bool   `json:"active"`
	} `json:"denyDocuments"`
}) {
	t.Helper()
	if err := json.Unmarshal(parseDocument(t, o).Value, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHeadOfSeveralOwners(t *testing.T) {
	dir := t.TempDir()
	keys := makeOwnerFolder(t, dir, 2, 3)
	owners := filepath.Join(dir, "owners")
	head := filepath.Join(owners, "head.json")
	for _, k := range keys {
		if st, err := os.Stat(k); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v, %v, want mode 0600", k, st, err)
		}
	}
	// One of two is a beginning and no head.
	o := must(t, "head", "sign", owners, "--key", keys[0])
	if !strings.Contains(o.stderr, "not in force yet") {
		t.Errorf("a head of too few owners: %s", o)
	}
	if _, err := os.Stat(head); err == nil {
		t.Fatal("too few owners signed, and there is a head")
	}
	// The same owner twice is still one.
	must(t, "head", "sign", owners, "--key", keys[0])
	if _, err := os.Stat(head); err == nil {
		t.Fatal("one owner signed twice, and there is a head")
	}
	// A file that changed in between stops the second owner.
	policy := filepath.Join(owners, "policy.yaml")
	write(t, policy, []byte(goodPolicy+"# changed\n"))
	if o := assay(t, "head", "sign", owners, "--key", keys[1]); o.status != 2 || !strings.Contains(o.stderr, "for other files") {
		t.Errorf("another policy than the first owner signed: %s", o)
	}
	write(t, policy, []byte(goodPolicy))
	must(t, "head", "sign", owners, "--key", keys[1])
	if h := headInfo(t, must(t, "head", "show", head, "--owners", filepath.Join(owners, "owners.json"), "--output", "json")); h.Counter != 1 {
		t.Errorf("got head %d, want 1", h.Counter)
	}
	must(t, "head", "sign", owners, "--key", keys[2], "--key", keys[1])
	if h := headInfo(t, must(t, "head", "show", head, "--output", "json")); h.Counter != 2 {
		t.Errorf("got head %d, want 2", h.Counter)
	}
	// Files that no reader would take are not signed.
	write(t, policy, []byte("version: 7\n"))
	if o := assay(t, "head", "sign", owners, "--key", keys[2], "--key", keys[1]); o.status != 2 {
		t.Errorf("a policy that is none was signed: %s", o)
	}
}

// A change of owners needs both sets, and readers with the old keys follow it.
func TestOwnerChange(t *testing.T) {
	dir := t.TempDir()
	keys := makeOwnerFolder(t, dir, 1, 1)
	owners := filepath.Join(dir, "owners")
	head := filepath.Join(owners, "head.json")
	must(t, "head", "sign", owners, "--key", keys[0])
	old := filepath.Join(dir, "old-owners.json")
	write(t, old, read(t, filepath.Join(owners, "owners.json")))

	next := filepath.Join(dir, "next.key")
	must(t, "head", "key", next)
	must(t, "head", "init", filepath.Join(dir, "second"), "--owner", filepath.Join(dir, "next.pub"))
	write(t, filepath.Join(owners, "owners.json"), read(t, filepath.Join(dir, "second", "owners.json")))
	if o := must(t, "head", "sign", owners, "--key", next); !strings.Contains(o.stderr, "not in force yet") {
		t.Errorf("the new owner alone changed the owners: %s", o)
	}
	must(t, "head", "sign", owners, "--key", keys[0])
	must(t, "head", "show", head, "--owners", old)
	must(t, "head", "sign", owners, "--key", next)
	for _, o := range []string{old, filepath.Join(owners, "owners.json")} {
		if h := headInfo(t, must(t, "head", "show", head, "--owners", o, "--output", "json")); h.Counter != 3 {
			t.Errorf("under %s: got head %d, want 3", o, h.Counter)
		}
	}
	if o := assay(t, "head", "sign", owners, "--key", keys[0]); o.status != 2 || !strings.Contains(o.stderr, "is no owner's") {
		t.Errorf("the old owner still signs alone: %s", o)
	}
}

func TestHeadCommands(t *testing.T) {
	signed := func(t *testing.T, dir string) {
		t.Helper()
		keys := makeOwnerFolder(t, dir, 1, 2)
		must(t, "head", "sign", filepath.Join(dir, "owners"), "--key", keys[0], "--valid", "1h")
	}
	show := []string{"head", "show", "$DIR/owners/head.json", "--owners", "$DIR/owners/owners.json"}
	with := func(args []string, more ...string) []string { return append(append([]string{}, args...), more...) }
	runScripts(t, []script{
		{name: "init makes a key", args: []string{"head", "init", "$DIR/o"}, stdout: []string{"1 of 1 owners sign"}, stderr: []string{"a key of one owner"}},
		{name: "init takes no full folder", setup: signed, args: []string{"head", "init", "$DIR/owners"}, status: 2, stderr: []string{"nothing is overwritten"}},
		{name: "init with a threshold too high", args: []string{"head", "init", "$DIR/o", "--threshold", "2"}, status: 2, stderr: []string{"hint: leave it out"}},
		{name: "init with a threshold below zero", args: []string{"head", "init", "$DIR/o", "--threshold", "-1"}, status: 2},
		{name: "key is not overwritten", setup: signed, args: []string{"head", "key", "$DIR/owner-a.key"}, status: 2, stderr: []string{"it is there already"}},
		{name: "key of another name", args: []string{"head", "key", "$DIR/owner.pem"}, status: 2},
		{name: "sign without a key", setup: signed, args: []string{"head", "sign", "$DIR/owners"}, status: 2, stderr: []string{"--key"}},
		{name: "sign by a stranger", setup: func(t *testing.T, dir string) {
			t.Helper()
			signed(t, dir)
			must(t, "head", "key", filepath.Join(dir, "x.key"))
		},
			args: []string{"head", "sign", "$DIR/owners", "--key", "$DIR/x.key"}, status: 2, stderr: []string{"is no owner's, neither of before nor of after"}},
		{name: "sign for the past", setup: signed, args: []string{"head", "sign", "$DIR/owners", "--key", "$DIR/owner-a.key", "--valid", "-1h"}, status: 2, stderr: []string{"hint: say for how long"}},
		{name: "sign with too long a grace", setup: signed, args: []string{"head", "sign", "$DIR/owners", "--key", "$DIR/owner-a.key", "--grace", "2h"}, status: 2, stderr: []string{"grace is 2h, want 0s to 1h"}},
		{name: "sign without the references", setup: func(t *testing.T, dir string) {
			t.Helper()
			signed(t, dir)
			if err := os.Remove(filepath.Join(dir, "owners", "references.json")); err != nil {
				t.Fatal(err)
			}
		}, args: []string{"head", "sign", "$DIR/owners", "--key", "$DIR/owner-a.key"}, status: 2, stderr: []string{"references.json"}},
		{name: "show", setup: signed, args: show, stdout: []string{"head 1 sha256:", "test (sim-snp, development)", "1 of 2 sign"}},
		{name: "show expired", setup: signed, args: with(show, "--at", time.Now().Add(2*time.Hour).UTC().Format(time.RFC3339)), status: 1, code: verdict.HeadExpired},
		{name: "show at no time", setup: signed, args: with(show, "--at", "tomorrow"), status: 2, stderr: []string{"RFC 3339"}},
		{name: "show under other owners", setup: func(t *testing.T, dir string) {
			t.Helper()
			signed(t, dir)
			must(t, "head", "init", filepath.Join(dir, "others"))
		},
			args: []string{"head", "show", "$DIR/owners/head.json", "--owners", "$DIR/others/owners.json"}, status: 1, code: verdict.HeadSignature},
		{name: "show truncated", setup: func(t *testing.T, dir string) {
			t.Helper()
			signed(t, dir)
			head := read(t, filepath.Join(dir, "owners", "head.json"))
			write(t, filepath.Join(dir, "owners", "head.json"), head[:len(head)/2])
		}, args: show, status: 1, code: verdict.HeadMalformed},
		{name: "renew", setup: signed, args: []string{"head", "renew", "$DIR/owners/head.json", "--key", "$DIR/owners/renewal.key"}, stdout: []string{"head 1 ends "}},
		{name: "renew to an end before the head's", setup: signed, args: []string{"head", "renew", "$DIR/owners/head.json", "--key", "$DIR/owners/renewal.key", "--valid", "1m"}, stderr: []string{"moves nothing: the head itself ends later"}},
		{name: "renew by an owner's key", setup: signed, args: []string{"head", "renew", "$DIR/owners/head.json", "--key", "$DIR/owner-a.key"}, status: 2, stderr: []string{"the key is owner ", "only renewal key ", "hint: name renewal.key"}},
		{name: "renew by a stranger's key", setup: func(t *testing.T, dir string) {
			t.Helper()
			signed(t, dir)
			must(t, "head", "key", filepath.Join(dir, "x.key"))
		}, args: []string{"head", "renew", "$DIR/owners/head.json", "--key", "$DIR/x.key"}, status: 2, stderr: []string{"does not renew this head", "hint: name renewal.key"}},
		{name: "renew where no key renews", setup: func(t *testing.T, dir string) {
			t.Helper()
			signed(t, dir)
			path := filepath.Join(dir, "owners", "owners.json")
			o, err := verdict.ParseOwners(read(t, path))
			if err != nil {
				t.Fatal(err)
			}
			o.Renewal = nil
			data, err := o.Encode()
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, data)
			must(t, "head", "sign", filepath.Join(dir, "owners"), "--key", filepath.Join(dir, "owner-a.key"))
		}, args: []string{"head", "renew", "$DIR/owners/head.json", "--key", "$DIR/owners/renewal.key"}, status: 2, stderr: []string{"its owners name no renewal key", "hint: sign the next head"}},
		{name: "renew for too long", setup: signed, args: []string{"head", "renew", "$DIR/owners/head.json", "--key", "$DIR/owners/renewal.key", "--valid", "200h"}, status: 2, stderr: []string{"--valid is 200h0m0s, want more than 0 and at most 168h", "hint: renew again"}},
		{name: "exception for too long", setup: signed, args: []string{"exception", "sign", "$DIR/e.json", "--key", "$DIR/owner-a.key", "--digest", aDigest, "--cluster", "c", "--owner", "o", "--reason", "r", "--valid", "99h"},
			status: 2, stderr: []string{"--valid is 99h0m0s, want more than 0 and at most 72h\n", "hint: ask for less"}},
		{name: "exception for no time", setup: signed, args: []string{"exception", "sign", "$DIR/e.json", "--key", "$DIR/owner-a.key", "--digest", aDigest, "--cluster", "c", "--owner", "o", "--reason", "r", "--valid", "0s"},
			status: 2, stderr: []string{"--valid is 0s"}},
		{name: "deny", setup: signed, args: []string{"deny", "add", "$DIR/owners/head.json", "--key", "$DIR/owner-b.key", "--image", aDigest}, stdout: []string{"1 entries denied", "1 deny documents"}},
		{name: "deny of everything there is", setup: signed, args: []string{"deny", "add", "$DIR/owners/head.json", "--key", "$DIR/owner-b.key", "--image", aDigest,
			"--repository", "registry.example/app", "--identity", "a@example.org", "--issuer", "https://issuer.example", "--key-digest", aDigest, "--statement", aDigest,
			"--measurement", strings.Repeat("00", 48), "--out", "$DIR/deny.dsse"}, stdout: []string{"6 entries denied"}},
		{name: "deny of nothing", setup: signed, args: []string{"deny", "add", "$DIR/owners/head.json", "--key", "$DIR/owner-b.key"}, status: 2, stderr: []string{"it would deny nothing"}},
		{name: "deny of a whole issuer", setup: signed, args: []string{"deny", "add", "$DIR/owners/head.json", "--key", "$DIR/owner-b.key", "--issuer", "https://issuer.example"}, status: 2},
		{name: "deny of no digest", setup: signed, args: []string{"deny", "add", "$DIR/owners/head.json", "--key", "$DIR/owner-b.key", "--image", "latest"}, status: 2, stderr: []string{"--image"}},
		{name: "deny for too long", setup: signed, args: []string{"deny", "add", "$DIR/owners/head.json", "--key", "$DIR/owner-b.key", "--image", aDigest, "--valid", "169h"}, status: 2, stderr: []string{"at most 168h", "hint: to deny for longer"}},
		{name: "deny by a stranger", setup: func(t *testing.T, dir string) {
			t.Helper()
			signed(t, dir)
			must(t, "head", "key", filepath.Join(dir, "x.key"))
		},
			args: []string{"deny", "add", "$DIR/owners/head.json", "--key", "$DIR/x.key", "--image", aDigest}, status: 1, code: verdict.HeadSignature},
		{name: "deny without a key", setup: signed, args: []string{"deny", "add", "$DIR/owners/head.json", "--image", aDigest}, status: 2},
	})
}

// Deny documents of one owner count up, and the next head keeps those that still
// count.
func TestDenyCounts(t *testing.T) {
	dir := t.TempDir()
	keys := makeOwnerFolder(t, dir, 1, 2)
	owners := filepath.Join(dir, "owners")
	head := filepath.Join(owners, "head.json")
	must(t, "head", "sign", owners, "--key", keys[0])
	past := time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339)
	must(t, "deny", "add", head, "--key", keys[0], "--image", aDigest, "--valid", "1h", "--at", past)
	must(t, "deny", "add", head, "--key", keys[1], "--image", aDigest)
	h := headInfo(t, must(t, "deny", "add", head, "--key", keys[1], "--repository", "registry.example/app", "--output", "json"))
	if len(h.Denies) != 2 || h.Denies[0].Counter != 1 || h.Denies[1].Counter != 2 {
		t.Errorf("got deny documents %+v, want 1 and 2 of the second owner", h.Denies)
	}
	must(t, "head", "sign", owners, "--key", keys[0])
	h = headInfo(t, must(t, "head", "show", head, "--output", "json"))
	if h.Counter != 2 || len(h.Denies) != 2 {
		t.Errorf("got head %d with %d deny documents, want 2 with 2", h.Counter, len(h.Denies))
	}
}

// makeNode makes the files of a node: gate.json, and a state folder with the head
// of an owner's folder and one accepted statement, whose ticket key it returns.
func makeNode(t *testing.T, dir string) (gateFile string, ticketKey *verdict.Key, issuer verdict.Issuer) {
	t.Helper()
	keys := makeOwnerFolder(t, dir, 1, 2)
	owners := filepath.Join(dir, "owners")
	must(t, "head", "sign", owners, "--key", keys[0])
	anchor, err := verdict.ParseOwners(read(t, filepath.Join(owners, "owners.json")))
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	config := gate.Config{V: 1, Profile: verdict.Development, Node: testNode, Cluster: "test", Socket: filepath.Join(dir, "agent.sock"), State: state,
		Owners: anchor, MinHead: 1, Quorum: 1, StatusAge: gate.Duration(gate.DefaultStatusAge), Offline: gate.OfflineLastKnown,
		MaxOffline: gate.Duration(gate.DefaultMaxOffline), AgentUID: uint32(os.Getuid()), Mode: gate.Enforce, Deadline: gate.Duration(gate.DefaultDeadline), AllowUnwitnessed: true}
	data, err := config.Encode()
	if err != nil {
		t.Fatal(err)
	}
	gateFile = filepath.Join(dir, "gate.json")
	write(t, gateFile, data)
	head := read(t, filepath.Join(owners, "head.json"))
	write(t, filepath.Join(state, gate.HeadFile), head)
	set, err := verdict.ParseHeadSet(head)
	if err != nil {
		t.Fatal(err)
	}
	checked, err := verdict.OpenHead(set, anchor)
	if err != nil {
		t.Fatal(err)
	}
	ticketKey, issuer = makeIssuer(t, checked)
	writeJSON(t, filepath.Join(state, gate.IssuersFile), gate.Issuers{V: 1, Issuers: []gate.AcceptedIssuer{{Issuer: issuer, Collection: aDigest, Nonce: strings.Repeat("00", 32), Accepted: time.Now().Unix()}}})
	writeJSON(t, filepath.Join(state, gate.MarksFile), gate.Marks{V: 1, Head: verdict.HeadRef{Counter: checked.Counter, Digest: checked.Digest}, HeadSince: time.Now().Unix()})
	return gateFile, ticketKey, issuer
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, data)
}

const testNode = "spiffe://test.example/assay/node/test/node-a"

// makeIssuer makes an issuer statement under a head, and its ticket key.
func makeIssuer(t *testing.T, head verdict.CheckedHead) (*verdict.Key, verdict.Issuer) {
	t.Helper()
	key := func(use string) *verdict.Key {
		k, err := verdict.GenerateKey(use)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ticket, core := key(verdict.UseTicket), key(verdict.UseVerdict)
	now := time.Now()
	s := verdict.Statement{V: 1, Boot: strings.Repeat("0a", 16), Build: verdict.Build{Version: "test", Crypto: verdict.Crypto{Module: "go", Version: "go1.26"}},
		Config: aDigest, Head: verdict.HeadRef{Counter: head.Counter, Digest: head.Digest}, Issuer: "spiffe://test.example/assay/d/test/assayd",
		Keys: []verdict.JWK{ticket.JWK(), core.JWK()}, Log: verdict.LogRef{Origin: "test.example/log", Keys: []string{logKey(t)}},
		NotBefore: now.Add(-time.Minute).Unix(), NotAfter: now.Add(time.Hour).Unix(), Policy: head.Policy, Roots: head.Roots, Seq: 1}
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return ticket, verdict.Issuer{Digest: verdict.SHA256(data), Statement: s, Kind: verdict.KindSimulatedSNP, Measurement: strings.Repeat("ab", 48)}
}
