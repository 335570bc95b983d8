// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/assayd/assay/verdict"
)

// file reads a golden file. A real reader gets these bytes from a network or a
// disk that it does not trust.
func file(name string) []byte {
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		panic(err)
	}
	return data
}

// The owners of a reader's own configuration. What they signed counts, whoever
// carried it.
func configuredOwners() verdict.Owners {
	owners, err := verdict.ParseOwners(file("owners.json"))
	if err != nil {
		panic(err)
	}
	owners.After = 7 // min-head of the configuration
	return owners
}

func acceptedIssuer() verdict.Issuer {
	data := file("statement.json")
	statement, err := verdict.ParseStatement(data)
	if err != nil {
		panic(err)
	}
	return verdict.Issuer{Digest: verdict.SHA256(data), Statement: statement, Kind: verdict.KindSimulatedSNP, Measurement: measurement}
}

var exampleTime = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func ExampleOpenHead() {
	set, err := verdict.ParseHeadSet(file("head-set.json"))
	if err != nil {
		fmt.Println(err)
		return
	}
	head, err := verdict.OpenHead(set, configuredOwners())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("head", head.Counter, "ends", head.EndsAt(exampleTime).UTC().Format(time.DateOnly))
	fmt.Println("expired in a year:", head.CheckAt(exampleTime.AddDate(1, 0, 0)))
	// Output:
	// head 7 ends 2026-03-08
	// expired in a year: head 7 expired 2026-03-08T04:00:00Z [head.expired]
}

func ExampleCheckedHead_OpenNewer() {
	set, err := verdict.ParseHeadSet(file("head-set.json"))
	if err != nil {
		fmt.Println(err)
		return
	}
	held, err := verdict.OpenHead(set, configuredOwners())
	if err != nil {
		fmt.Println(err)
		return
	}
	set.Deny = nil // whoever carried it left the deny document out
	next, err := held.OpenNewer(set, exampleTime)
	fmt.Println(len(next.Docs), "deny document,", err)
	// Output: 1 deny document, <nil>
}

func ExampleCheckTicket() {
	set, err := verdict.ParseHeadSet(file("head-set.json"))
	if err != nil {
		fmt.Println(err)
		return
	}
	head, err := verdict.OpenHead(set, configuredOwners())
	if err != nil {
		fmt.Println(err)
		return
	}
	head.Docs = nil // the document of the example denies this very image
	check := verdict.TicketCheck{
		At: exampleTime, Node: "spiffe://dev.assay.invalid/assay/node/dev/node-a", Cluster: "dev",
		Digest: verdict.SHA256([]byte("index")), Repository: "registry.example/team/app",
		Issuers: []verdict.Issuer{acceptedIssuer()}, Head: head, HeadSince: exampleTime,
	}
	ticket, err := verdict.CheckTicket(string(file("ticket.jwt")), check)
	if err != nil {
		fmt.Println(err)
		return
	}
	outcome, _ := ticket.Outcome("")
	fmt.Println("node-a:", outcome)
	check.Node = "spiffe://dev.assay.invalid/assay/node/dev/node-b"
	_, err = verdict.CheckTicket(string(file("ticket.jwt")), check)
	fmt.Println("node-b:", verdict.CodeOf(err))
	// Output:
	// node-a: pass
	// node-b: ticket.audience
}

func ExampleSignTicket() {
	key, err := verdict.GenerateKey(verdict.UseTicket)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = verdict.SignTicket(verdict.Ticket{Res: map[string]verdict.Outcome{"*": verdict.OutcomePass}}, key)
	fmt.Println(err != nil) // a ticket says for whom, about what and until when
	// Output: true
}

func ExampleOpenTicket() {
	ticket, issuer, err := verdict.OpenTicket(string(file("ticket.jwt")), []verdict.Issuer{acceptedIssuer()})
	fmt.Println(ticket.Repo, ticket.Log.Index, issuer.Statement.Seq, err)
	// Output: registry.example/team/app 41 1 <nil>
}

func ExampleOpenStatus() {
	status, err := verdict.OpenStatus(string(file("status.jwt")), []verdict.Issuer{acceptedIssuer()})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("now:", status.CheckFresh(exampleTime, 5*time.Minute))
	fmt.Println("later:", verdict.CodeOf(status.CheckFresh(exampleTime.Add(time.Hour), 5*time.Minute)))
	mark, _ := status.Log()
	fmt.Println("log:", mark.CheckAfter(verdict.LogMark{Origin: mark.Origin, Size: 99}))
	// Output:
	// now: <nil>
	// later: status.stale
	// log: log "log.assay.invalid/x" has 42 leaves, 99 were seen here [status.rollback]
}

func ExampleOpenCore() {
	core, err := verdict.OpenCore(file("core.json"), acceptedIssuer().Statement.Keys[1:])
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(core.Predicate.ResourceURI, core.Predicate.VerificationResult, core.Predicate.TimeVerified)
	// Output: registry.example/team/app PASSED 2026-03-01T12:00:00Z
}

func ExampleOpenDeny() {
	doc, err := verdict.OpenDeny(file("deny-document.json"), configuredOwners())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(doc.Entries.DeniesImage(verdict.SHA256([]byte("config"))), doc.Active(exampleTime), doc.Active(exampleTime.AddDate(0, 0, 2)))
	// Output: true true false
}

func ExampleOpenException() {
	exception, err := verdict.OpenException(file("exception.json"), configuredOwners())
	if err != nil {
		fmt.Println(err)
		return
	}
	image := verdict.SHA256([]byte("index"))
	fmt.Println(exception.Check(image, "dev", exampleTime))
	fmt.Println(verdict.CodeOf(exception.Check(image, "prod", exampleTime)))
	// Output:
	// <nil>
	// exception.scope
}

func ExampleParseStatement() {
	statement, err := verdict.ParseStatement(file("statement.json"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(statement.Issuer, statement.Build.Crypto.Module, statement.CheckAt(exampleTime))
	// Output: spiffe://dev.assay.invalid/assay/d/dev/assayd go <nil>
}

func ExampleReportData() {
	nonces := make([]byte, verdict.NonceSize) // of all who wait
	data := verdict.ReportData(file("statement.json"), nonces)
	fmt.Println(len(data), verdict.HasNonce(nonces, [verdict.NonceSize]byte{}), verdict.HasNonce(nil, [verdict.NonceSize]byte{}))
	// Output: 64 true false
}

func ExampleParseLeaf() {
	leaf, err := verdict.ParseLeaf(file("leaf.bin"))
	fmt.Println(leaf.Kind == verdict.LeafVerdict, leaf.Time.Format(time.RFC3339Nano), err)
	// Output: true 2026-03-01T12:00:00.123Z <nil>
}

func ExampleParseReferences() {
	references, err := verdict.ParseReferences(file("references.json"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range references.Entries {
		fmt.Println(e.Kind, e.Profile, e.Valid(exampleTime))
	}
	// Output:
	// sim-snp development true
	// tpm production true
}

func ExampleRefuse() {
	err := fmt.Errorf("pulling: %w", verdict.Refuse(verdict.SigNone, "registry.example/app has no signatures"))
	fmt.Println(verdict.CodeOf(err), verdict.Refused(err))
	info, _ := verdict.CodeOf(err).Info()
	fmt.Println(info.Hint)
	// Output:
	// sig.none true
	// sign the image, or check that the registry serves its signatures
}
