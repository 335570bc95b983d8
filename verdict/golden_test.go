// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/assayd/assay/verdict"
)

var update = flag.Bool("update", false, "sign the golden files anew")

// golden reads a file of testdata.
func golden(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func writeGolden(tb testing.TB, name string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join("testdata", name), data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// goldenWorld is the world of the golden files: its keys are in keys.pem, which
// -update makes once.
func goldenWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{}
	into := []*pair{&w.owner[0], &w.owner[1], &w.owner[2], &w.renewal, &w.ticketKey, &w.verdictKey, &w.ticketKey2, &w.verdictKey2, &w.stranger}
	uses := []string{verdict.UseOwner, verdict.UseOwner, verdict.UseOwner, verdict.UseRenewal, verdict.UseTicket, verdict.UseVerdict, verdict.UseTicket, verdict.UseVerdict, verdict.UseTicket}
	if _, err := os.Stat(filepath.Join("testdata", "keys.pem")); err != nil && *update {
		all := []byte("Keys of the golden files. They guard nothing.\n\n")
		for range into {
			block, err := newPair(tb, verdict.UseOwner).PEM()
			if err != nil {
				tb.Fatal(err)
			}
			all = append(all, block...)
		}
		writeGolden(tb, "keys.pem", all)
	}
	rest := golden(tb, "keys.pem")
	for i, p := range into {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			tb.Fatalf("got %d keys in keys.pem, want %d", i, len(into))
		}
		priv, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			tb.Fatal(err)
		}
		*p = pairOf(tb, priv.(*ecdsa.PrivateKey), uses[i])
	}
	w.fill(tb)
	return w
}

// ignoreDerived leaves out what is not in a file.
var ignoreDerived = cmp.Options{cmpopts.IgnoreUnexported(verdict.CheckedHead{}, verdict.CheckedDeny{})}

// TestGolden holds the formats: what is not signed is written byte by byte as
// the files have it, and what is signed is opened from the files, whose
// signatures -update alone replaces.
func TestGolden(t *testing.T) {
	w := goldenWorld(t)
	w.deny = verdict.DenyList{
		V: 1, Images: []verdict.Digest{w.otherImg}, Repositories: []string{"registry.example/evil/app"},
		Identities:   []verdict.DeniedIdentity{{Issuer: "https://token.actions.githubusercontent.com", SAN: "https://github.com/evil/app/.github/workflows/build.yml@refs/heads/main"}},
		Keys:         []verdict.Digest{verdict.SHA256([]byte("key"))},
		Certificates: []verdict.Digest{verdict.SHA256([]byte("certificate"))},
		LogEntries:   []string{zeroSum + "/129845601"},
		Statements:   []verdict.Digest{verdict.SHA256([]byte("statement"))}, Measurements: []string{zeroSum},
	}
	w.references.Entries = append(w.references.Entries, verdict.ReferenceEntry{
		Name: "assayd on a TPM", Kind: verdict.KindTPM, Configs: []verdict.Digest{verdict.SHA256([]byte("assayd.yaml"))}, Events: "pcr14",
		Flavours: []string{"go", "fips140"}, NotBefore: unix(-time.Hour), NotAfter: unix(240 * time.Hour), Profile: verdict.Production,
		Registers: map[string]string{"pcr11": zeroSum},
	})
	w.references.Floors.SNP = &verdict.SNPTCB{Bootloader: 4, Microcode: 219, SNP: 22, TEE: 0}
	w.head.Deny, w.head.References = verdict.SHA256(encoded(t, w.deny)), verdict.SHA256(encoded(t, w.references))
	event := verdict.RegisterEvent{Boot: boot, Config: w.statement.Config, Head: w.head.Counter, Policy: w.head.Policy, Roots: w.head.Roots}
	core := goodCore(w)

	// What is not signed.
	leaf := verdict.Leaf{Kind: verdict.LeafVerdict, Result: verdict.ResultPassed, Time: at.Add(123 * time.Millisecond), Object: [32]byte{1}, Policy: [32]byte{2}, Statement: [32]byte{3}}
	files := []struct {
		name string
		data []byte
	}{
		{"owners.json", encoded(t, w.owners)}, {"deny.json", encoded(t, w.deny)}, {"references.json", encoded(t, w.references)},
		{"statement.json", encoded(t, w.statement)}, {"register-event.json", encoded(t, event)}, {"leaf.bin", leaf.Encode()},
	}
	for _, f := range files {
		if *update {
			writeGolden(t, f.name, f.data)
		}
		if got := golden(t, f.name); !bytes.Equal(got, f.data) {
			t.Errorf("%s: got\n%s\nwant\n%s", f.name, f.data, got)
		}
	}

	doc := verdict.DenyDocument{Counter: 3, Entries: verdict.DenyList{V: 1, Images: []verdict.Digest{w.config}}, Iat: unix(-time.Minute), NotAfter: unix(48 * time.Hour), Owner: w.owner[2].Kid(), V: 1}
	status := verdict.Status{
		Checkpoint: checkpoint("log.assay.invalid/x", 42), Deny: []verdict.DenyMark{{Counter: 3, Owner: w.owner[2].Kid()}},
		Head: verdict.HeadRef{Counter: 7, Digest: verdict.SHA256([]byte("head"))}, Iat: at.Unix(), Iss: daemon, Nonce: boot, Stmt: w.issuer.Digest,
	}
	exception := verdict.Exception{Cluster: cluster, Digests: []verdict.Digest{w.index, w.manifest}, ID: "2026-03-01-registry-outage", NotBefore: unix(-time.Hour),
		NotAfter: unix(24 * time.Hour), Owner: "alice", Reason: "the registry of the vendor is down", V: 1}
	head := w.head
	head.Owners = verdict.SHA256(encoded(t, w.owners))
	if *update {
		set := w.set(t)
		writeGolden(t, "head.json", set.Head)
		checked, err := verdict.OpenHead(set, w.owners)
		if err != nil {
			t.Fatal(err)
		}
		set.Renewal = must(verdict.SignRenewal(verdict.Renewal{Counter: 7, Head: checked.Digest, Iat: unix(-time.Hour), NotAfter: unix(160 * time.Hour)}, w.renewal.Key))(t)
		writeGolden(t, "renewal.json", set.Renewal)
		set.Deny = [][]byte{must(verdict.SignDeny(doc, w.owner[2].Key))(t)}
		writeGolden(t, "deny-document.json", set.Deny[0])
		writeGolden(t, "head-set.json", encoded(t, set))
		writeGolden(t, "core.json", must(verdict.SignCore(core, w.verdictKey.Key))(t).Envelope)
		writeGolden(t, "ticket.jwt", []byte(sign(t, w.ticket, w.ticketKey)))
		writeGolden(t, "status.jwt", []byte(must(verdict.SignStatus(status, w.ticketKey.Key))(t)))
		writeGolden(t, "exception.json", must(verdict.SignException(exception, w.owner[0].Key, w.owner[1].Key))(t))
	}

	same := func(name string, got, want any) {
		t.Helper()
		if d := cmp.Diff(want, got, ignoreDerived); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	set, err := verdict.ParseHeadSet(golden(t, "head-set.json"))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := verdict.OpenHead(set, w.owners)
	if err != nil {
		t.Fatal(err)
	}
	same("head", opened.Head, head)
	same("head.json", golden(t, "head.json"), set.Head)
	same("renewal.json", golden(t, "renewal.json"), set.Renewal)
	same("until", opened.Until.UTC(), at.Add(160*time.Hour))
	same("references", opened.References, w.references)
	same("deny list", opened.DenyFile, w.deny)
	d, err := verdict.OpenDeny(golden(t, "deny-document.json"), w.owners)
	same("deny document", must(d, err)(t).DenyDocument, doc)
	same("head set, deny documents", opened.Docs, []verdict.CheckedDeny{d})
	same("head set, written again", encoded(t, opened.Set), golden(t, "head-set.json"))

	c, err := verdict.OpenCore(golden(t, "core.json"), []verdict.JWK{w.verdictKey.JWK()})
	same("core", must(c, err)(t).Core, core)
	same("core's key", c.By, w.verdictKey.Kid())

	ticket, issuer, err := verdict.OpenTicket(string(golden(t, "ticket.jwt")), []verdict.Issuer{w.issuer})
	same("ticket", must(ticket, err)(t), w.ticket)
	same("issuer", issuer, w.issuer)
	s, err := verdict.OpenStatus(string(golden(t, "status.jwt")), []verdict.Issuer{w.issuer})
	same("status", must(s, err)(t), status)
	e, err := verdict.OpenException(golden(t, "exception.json"), w.owners)
	same("exception", must(e, err)(t).Exception, exception)

	statement, err := verdict.ParseStatement(golden(t, "statement.json"))
	same("statement", must(statement, err)(t), w.statement)
	ev, err := verdict.ParseRegisterEvent(golden(t, "register-event.json"))
	same("register event", must(ev, err)(t), event)
	l, err := verdict.ParseLeaf(golden(t, "leaf.bin"))
	same("leaf", must(l, err)(t), leaf)
	o, err := verdict.ParseOwners(golden(t, "owners.json"))
	same("owners", must(o, err)(t), w.owners)
}

// must makes an error end the test: must(f())(t).
func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}
