// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
	"github.com/assayd/assay/verifier"
)

const nodeA = "spiffe://dev.assay.invalid/assay/node/dev/node-a"

// ticketFor asks as a node and returns what the ticket says, checked as a node
// does.
func ticketFor(tb testing.TB, r *running, c assayv1.AssayServiceClient, image verifier.Image) verdict.Ticket {
	tb.Helper()
	got, err := verify(c, image)
	must(tb, err)
	if len(got.GetCore()) > 0 {
		tb.Error("got a core beside the ticket, want none: a node has no use for it")
	}
	ticket, _, err := verdict.OpenTicket(got.GetTicket(), []verdict.Issuer{r.issuer(c)})
	must(tb, err)
	return ticket
}

func TestTickets(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	r := w.start("")
	node := r.as("node/dev/node-a")
	pass, fail := verdict.OutcomePass, verdict.OutcomeFail
	for _, tc := range []struct {
		name   string
		image  verifier.Image
		res    map[string]verdict.Outcome
		code   verdict.Code
		core   bool
		atMost time.Duration
	}{
		{"signed by both", w.image("acme/app", "both", signerURI, otherURI), map[string]verdict.Outcome{"*": pass, "prod-*": pass}, "", true, 12 * time.Hour},
		{"signed, and not for production", w.image("acme/app", "one", signerURI), map[string]verdict.Outcome{"*": pass, "prod-*": fail}, verdict.IdentitySAN, true, 12 * time.Hour},
		{"unsigned", w.image("acme/app", "none"), map[string]verdict.Outcome{"*": fail, "prod-*": fail}, verdict.SigNone, true, time.Minute},
		{"rule off", w.image("open/app", "open"), map[string]verdict.Outcome{"*": verdict.OutcomeUnchecked}, "", false, 12 * time.Hour},
		{"audit", w.image("trial/app", "trial"), map[string]verdict.Outcome{"*": verdict.OutcomeAuditFail}, verdict.SigNone, true, 12 * time.Hour},
		{"undecided in audit", verifier.Image{Repository: "127.0.0.1:1/gone/app", Digest: verdict.SHA256([]byte("gone"))},
			map[string]verdict.Outcome{"*": verdict.OutcomeAuditFail}, verdict.RegistryTLS, false, time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ticketFor(t, r, node, tc.image)
			if diff := cmp.Diff(tc.res, got.Res); diff != "" {
				t.Errorf("outcomes (-want +got)\n%s", diff)
			}
			if (got.Core != "") != tc.core || (got.By != "") != tc.core || (got.Log != nil) != tc.core {
				t.Errorf("got core %q by %q in log %v, want them there: %t", got.Core, got.By, got.Log, tc.core)
			}
			if (got.Code == "") != (tc.code == "") || tc.name != "undecided in audit" && got.Code != tc.code {
				t.Errorf("got code %q, want %q", got.Code, tc.code)
			}
			if got.Aud != nodeA || got.Cluster != "dev" || got.Iss != daemonID || got.Sub != tc.image.Digest || got.Repo != tc.image.Repository || got.Head != 1 {
				t.Errorf("got %+v, want it for the caller and the image", got)
			}
			if life := time.Duration(got.Exp-got.Iat) * time.Second; life <= 0 || life > tc.atMost || tc.atMost > time.Minute && life < 11*time.Hour {
				t.Errorf("got a life of %s, want at most %s and near it", life, tc.atMost)
			}
		})
	}
}

func TestTicketIsTakenByANode(t *testing.T) {
	w := newWorld(t)
	data, set := w.headSet(headSpec{counter: 1})
	w.offer(data)
	image := w.image("acme/app", "x", signerURI)
	r := w.start("")
	node := r.as("node/dev/node-a")
	got, err := verify(node, image)
	must(t, err)
	head, err := verdict.OpenHead(set, verdict.Owners{Keys: []verdict.JWK{w.owner.key.JWK()}, Threshold: 1, V: 1})
	must(t, err)
	check := verdict.TicketCheck{
		At: time.Now(), Node: nodeA, Cluster: "dev", Digest: image.Digest, Repository: image.Repository,
		Issuers: []verdict.Issuer{r.issuer(node)}, Head: head, HeadSince: time.Now(),
	}
	if _, err := verdict.CheckTicket(got.GetTicket(), check); err != nil {
		t.Errorf("got %v, want it let through", err)
	}
	check.Namespace = "prod-1"
	_, err = verdict.CheckTicket(got.GetTicket(), check)
	if verdict.CodeOf(err) != verdict.IdentitySAN && verdict.CodeOf(err) != verdict.TicketNamespace {
		t.Errorf("got %v for a namespace whose rule is not met, want a refusal", err)
	}
	check.Namespace, check.Node = "", "spiffe://dev.assay.invalid/assay/node/dev/node-b"
	_, err = verdict.CheckTicket(got.GetTicket(), check)
	wantCode[*verdict.Refusal](t, err, verdict.TicketAudience)
}

// TestNoTicket is about images that there is no decision for.
func TestNoTicket(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1, deny: verdict.DenyList{Repositories: []string{w.host + "/acme/bad"}}}))
	bad := w.image("acme/bad", "bad", signerURI)
	r := w.start("")
	node := r.as("node/dev/node-a")
	for _, tc := range []struct {
		name  string
		image verifier.Image
		want  verdict.Code
	}{
		{"no rule", verifier.Image{Repository: w.host + "/other/app", Digest: bad.Digest}, verdict.PolicyNoRule},
		{"not there", verifier.Image{Repository: w.host + "/acme/app", Digest: verdict.SHA256([]byte("x"))}, verdict.ImageNotFound},
		{"denied repository", bad, verdict.RevokedImage},
		{"not canonical", verifier.Image{Repository: "nginx", Digest: bad.Digest}, verdict.InputMalformed},
		{"alias", verifier.Image{Repository: "index.docker.io/library/nginx", Digest: bad.Digest}, verdict.InputMalformed},
		{"no digest", verifier.Image{Repository: w.host + "/acme/app"}, verdict.InputMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := verify(node, tc.image)
			wantCode[*verdict.Refusal](t, err, tc.want)
			if got.GetTicket() != "" {
				t.Error("got a ticket beside the refusal")
			}
		})
	}
	t.Run("registry gone", func(t *testing.T) {
		_, err := verify(node, verifier.Image{Repository: "127.0.0.1:1/gone2/app", Digest: bad.Digest})
		if _, ok := errors.AsType[*verdict.Failure](err); !ok {
			t.Errorf("got %T %v, want a failure", err, err)
		}
	})
	t.Run("newer head than the daemon's", func(t *testing.T) {
		_, err := node.Verify(t.Context(), &assayv1.VerifyRequest{Repository: bad.Repository, Digest: string(bad.Digest), HeadCounter: 2})
		wantCode[*verdict.Failure](t, assayv1.FromStatus(err), verdict.HeadMissing)
	})
}

// TestOthersGetTheCore also holds that only nodes get tickets.
func TestOthersGetTheCore(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI, otherURI)
	r := w.start("")
	issuer := r.issuer(r.as("auditor/dev/auditor"))
	for _, role := range []string{"ci/dev/builder", "admission/dev/webhook"} {
		got, err := verify(r.as(role), image)
		must(t, err)
		if got.GetTicket() != "" {
			t.Errorf("%s: got a ticket, want none", role)
		}
		core, err := verdict.OpenCore(got.GetCore(), issuer.Statement.Keys)
		must(t, err)
		p := core.Predicate
		if p.VerificationResult != verdict.Passed || p.Verifier.ID != daemonID || p.ResourceURI != image.Repository ||
			p.Extension.Cluster != "dev" || p.Extension.Head != 1 || len(p.InputAttestations) == 0 || len(p.Extension.Identities) != 2 {
			t.Errorf("%s: got core %+v", role, p)
		}
		if got.GetLog().GetOrigin() != issuer.Statement.Log.Origin {
			t.Errorf("%s: got log %v, want the shard of the statement", role, got.GetLog())
		}
		got, err = verify(r.as(role), w.image("open/app", "open"))
		must(t, err)
		if len(got.GetCore()) > 0 || len(got.GetReasons()) != 1 || got.GetReasons()[0].GetCode() != string(verdict.PolicyOff) {
			t.Errorf("%s: got %v for an unchecked image, want no core, and why", role, got)
		}
	}
}

// TestVerdictIsInTheLog holds that what a ticket names is on disk when the
// ticket is there, once for all who ask.
func TestVerdictIsInTheLog(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI)
	r := w.start("")
	a := ticketFor(t, r, r.as("node/dev/node-a"), image)
	b := ticketFor(t, r, r.as("node/dev/node-b"), image)
	if a.Core != b.Core || a.Log.Index != b.Log.Index || a.Jti == b.Jti {
		t.Errorf("got cores %s at %d and %s at %d, want one leaf for both and a ticket each", a.Core, a.Log.Index, b.Core, b.Log.Index)
	}
	other := ticketFor(t, r, r.as("node/east/node-a"), image)
	if other.Core == a.Core || other.Cluster != "east" {
		t.Error("got one core for two clusters, want one each")
	}
	archive, err := audit.OpenArchive(audit.ArchiveConfig{Dir: filepath.Join(w.stateDir(), "log"), AllowUnvalidatedEd25519: boring})
	must(t, err)
	shard, err := archive.Shard(t.Context(), a.Log.Origin)
	must(t, err)
	leaf, err := shard.Leaf(t.Context(), a.Log.Index)
	must(t, err)
	if verdict.DigestFromBytes(leaf.Object) != a.Core || leaf.Kind != verdict.LeafVerdict || verdict.DigestFromBytes(leaf.Statement) != a.Stmt {
		t.Errorf("got leaf %+v, want the ticket's core and statement", leaf)
	}
	if _, err := shard.Object(t.Context(), a.Core); err != nil {
		t.Error(err)
	}
}

func TestVerifyBatch(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI)
	r := w.start("")
	stream, err := r.as("node/dev/node-a").VerifyBatch(t.Context())
	must(t, err)
	want := map[string]verdict.Code{}
	for i := range 40 {
		req := &assayv1.VerifyRequest{Repository: image.Repository, Digest: string(image.Digest)}
		id := fmt.Sprint("good", i)
		if i%4 == 0 {
			req.Repository, id = w.host+"/unknown/app", fmt.Sprint("bad", i)
			want[id] = verdict.PolicyNoRule
		} else {
			want[id] = ""
		}
		must(t, stream.Send(&assayv1.VerifyBatchRequest{Id: id, Request: req}))
	}
	must(t, stream.CloseSend())
	got := map[string]verdict.Code{}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		got[m.GetId()] = ""
		if m.GetResponse().GetTicket() == "" {
			got[m.GetId()] = verdict.CodeOf(m.GetResponse().GetReasons()[0].Err())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes by id (-want +got)\n%s", diff)
	}
}

func TestStatementIsAppraised(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	r := w.start("")
	mine := [verdict.NonceSize]byte(nonce(verdict.NonceSize))
	got, err := r.as("node/dev/node-a").GetStatement(t.Context(), &assayv1.GetStatementRequest{Nonce: mine[:]})
	must(t, err)
	in := attest.Input{
		MyNonce: mine, References: w.references(),
		Trust: attest.Trust{Kinds: []attest.Kind{attest.SimulatedSNP}, SimulatorRoots: []verdict.Digest{w.simRoot}, AllowDevelopment: true},
	}
	result, err := attest.Appraise(got.GetCollection(), in, time.Now())
	must(t, err)
	if !result.Simulated {
		t.Error("got a simulator's evidence that does not say so")
	}
	in.MyNonce = [verdict.NonceSize]byte(nonce(verdict.NonceSize))
	_, err = attest.Appraise(got.GetCollection(), in, time.Now())
	wantCode[*verdict.Refusal](t, err, verdict.EvidenceNonce)
	if len(got.GetNewerHead()) == 0 {
		t.Error("got no head set for a caller that has none")
	}
	_, err = r.as("node/dev/node-a").GetStatement(t.Context(), &assayv1.GetStatementRequest{Nonce: []byte("short")})
	wantCode[*verdict.Refusal](t, assayv1.FromStatus(err), verdict.InputMalformed)
	_, err = r.as("node/dev/node-a").ActivateCredential(t.Context(), &assayv1.ActivateCredentialRequest{CredentialBlob: []byte("x"), EncryptedSecret: []byte("y")})
	wantCode[*verdict.Refusal](t, assayv1.FromStatus(err), verdict.EvidenceKind)
}

func TestExplain(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	image := w.image("acme/app", "x", signerURI)
	r := w.start("")
	got, err := r.as("ci/dev/builder").Explain(t.Context(), &assayv1.ExplainRequest{Repository: image.Repository, Digest: string(image.Digest)})
	must(t, err)
	if got.GetHeadCounter() != 1 || len(got.GetExplanation()) < 100 {
		t.Errorf("got %d %s", got.GetHeadCounter(), got.GetExplanation())
	}
}

// TestR59ConfigChangedAfterMeasuring: what runs is what the digest is about.
func TestR59ConfigChangedAfterMeasuring(t *testing.T) {
	w := newWorld(t)
	w.offer(w.head(headSpec{counter: 1}))
	for name, change := range map[string]func(*daemon.Config){
		"another limit":  func(c *daemon.Config) { c.Limits.TicketLife++ },
		"another owner":  func(c *daemon.Config) { c.Owners.Keys = []string{newOwner(t).publicPEM} },
		"another floor":  func(c *daemon.Config) { c.MinHead = 7 },
		"not from bytes": func(c *daemon.Config) { *c = daemon.Config{Profile: c.Profile} },
	} {
		t.Run(name, func(t *testing.T) {
			c := w.config("")
			change(&c)
			err := daemon.Run(context.Background(), c, quiet())
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
				t.Errorf("got %v, want a misuse", err)
			}
		})
	}
}
