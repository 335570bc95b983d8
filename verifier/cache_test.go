// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// A counter is a source that counts what it is asked.
type counter struct {
	verifier.Source
	n atomic.Int64
	// fail is what Referrers answers, when set.
	fail atomic.Pointer[verdict.Failure]
}

func (c *counter) Manifest(ctx context.Context, repo string, d verdict.Digest) (string, []byte, error) {
	c.n.Add(1)
	return c.Source.Manifest(ctx, repo, d)
}

func (c *counter) Referrers(ctx context.Context, repo string, d verdict.Digest) ([]verifier.Descriptor, error) {
	c.n.Add(1)
	if f := c.fail.Load(); f != nil {
		return nil, f
	}
	return c.Source.Referrers(ctx, repo, d)
}

// same are the parts of a result that hit and miss have in common.
var same = cmp.Options{cmpopts.IgnoreFields(verifier.Result{}, "Explanation", "At")}

// TestHitIsMiss: whatever was asked before, by whatever policy and deny list,
// the answer is that of a verifier that knows nothing.
func TestHitIsMiss(t *testing.T) {
	keyA, pubA := newKey(t, "p256")
	keyB, pubB := newKey(t, "p384")
	head := "version: 1\nauthorities:\n" + keylessYAML("release", subject) + keyYAML("a", pubA) + keyYAML("b", pubB) + "      not-after: 2026-12-31T00:00:00Z\nrules:\n"
	all := "[release, a, b]"
	var policies []*verifier.Policy
	for _, rules := range []string{
		"  - {name: any, repositories: ['**'], authorities: " + all + ", require: 1}\n",
		"  - {name: two, repositories: ['**'], authorities: " + all + ", require: 2}\n",
		"  - {name: three, repositories: ['**'], mode: audit, authorities: " + all + ", require: 3}\n",
		"  - {name: b, repositories: ['**'], authorities: [b]}\n  - {name: prod, repositories: ['**'], namespaces: [prod], authorities: " + all + ", require: 2}\n",
		"  - name: provenance\n    repositories: ['**']\n    authorities: [a]\n    attestations:\n      - {predicate-type: slsaprovenance, authorities: [release]}\n",
	} {
		policies = append(policies, policy(t, head+rules))
	}
	k := newKit(t)
	var images []verifier.Image
	var denies []verdict.DenyList
	for _, set := range []int{0, 1, 2, 3, 5, 7, 9, 12, 13, 15} {
		img := k.push(fmt.Sprint(set))
		images = append(images, img)
		var layers []sigstoretest.Layer
		if set&1 != 0 {
			layers = append(layers, k.layer(img, sigstoretest.Options{Key: keyA, At: signedAt}))
		}
		if set&2 != 0 {
			layers = append(layers, k.layer(img, sigstoretest.Options{Key: keyB, At: signedAt, NoLog: true}))
		}
		if len(layers) > 0 {
			k.attachLayers(img, layers...)
		}
		if set&4 != 0 {
			k.attachBundle(img, k.bundle(img, good()), "")
		}
		if set&8 != 0 {
			o := good()
			o.Predicate = verifier.PredicateProvenance
			k.attachBundle(img, k.bundle(img, o), verifier.PredicateProvenance)
		}
	}
	denies = []verdict.DenyList{{}, {V: 1, Identities: []verdict.DeniedIdentity{{SAN: subject}}}, {V: 1, Images: []verdict.Digest{images[5].Digest}}}
	src := k.source()
	warm := newVerifier(t, verifier.Config{Policy: policies[0], Roots: k.roots, Source: src})
	passed, failed := 0, 0
	type answer struct {
		res *verifier.Result
		err error
	}
	cold := make(map[string]answer)
	for round := range 2 {
		for _, p := range policies {
			for di, deny := range denies {
				v, err := warm.WithPolicy(p, k.roots)
				if err == nil {
					v, err = v.WithDeny(deny)
				}
				if err != nil {
					t.Fatal(err)
				}
				fresh := newVerifier(t, verifier.Config{Policy: p, Roots: k.roots, Source: src, Deny: deny})
				for i, img := range images {
					req := verifier.Request{Image: img, At: now}
					key := fmt.Sprint(p.Digest(), di, i)
					if _, ok := cold[key]; !ok {
						res, err := fresh.Verify(t.Context(), req)
						cold[key] = answer{res, err}
					}
					want := cold[key]
					got, gotErr := v.Verify(t.Context(), req)
					if diff := cmp.Diff(want.res, got, same); diff != "" || verdict.CodeOf(want.err) != verdict.CodeOf(gotErr) {
						t.Fatalf("round %d, image %d, policy %s: %v, %v\n%s", round, i, p.Digest().Short(), want.err, gotErr, diff)
					}
					if got != nil && got.Passed {
						passed++
					} else {
						failed++
					}
				}
			}
		}
	}
	if passed < 30 || failed < 30 {
		t.Errorf("%d passes and %d others: the cases do not say much", passed, failed)
	}

	// The same while policy, roots and deny list change under many callers, and
	// the cache holds fewer than there are.
	_, others := testSigstore(t)
	rootsets := []*verifier.Roots{k.roots, others}
	small := newVerifier(t, verifier.Config{Policy: policies[0], Roots: k.roots, Source: src, CacheSize: 8})
	want := func(p, r, d, i int) answer {
		fresh := newVerifier(t, verifier.Config{Policy: policies[p], Roots: rootsets[r], Source: src, Deny: denies[d]})
		res, err := fresh.Verify(t.Context(), verifier.Request{Image: images[i], At: now})
		return answer{res, err}
	}
	type question struct{ p, r, d, i int }
	expected := make(map[question]answer)
	var questions []question
	for p := range policies {
		for r := range rootsets {
			for d := range denies[:2] {
				for i := range images {
					q := question{p, r, d, i}
					questions = append(questions, q)
					expected[q] = want(p, r, d, i)
				}
			}
		}
	}
	passed = 0
	for _, a := range expected {
		if a.res != nil && a.res.Passed {
			passed++
		}
	}
	if passed < 30 || passed > len(questions)-30 {
		t.Errorf("%d of %d pass: the cases do not say much", passed, len(questions))
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for worker := range uint64(8) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, worker))
			for range 100 {
				q := questions[r.IntN(len(questions))]
				v, err := small.WithPolicy(policies[q.p], rootsets[q.r])
				if err == nil {
					v, err = v.WithDeny(denies[q.d])
				}
				if err != nil {
					t.Error(err)
					return
				}
				want := expected[q]
				got, gotErr := v.Verify(t.Context(), verifier.Request{Image: images[q.i], At: now})
				if diff := cmp.Diff(want.res, got, same); diff != "" || verdict.CodeOf(want.err) != verdict.CodeOf(gotErr) {
					t.Errorf("%+v: %v, %v\n%s", q, want.err, gotErr, diff)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestVerdictCache(t *testing.T) {
	k := newKit(t)
	k.attachLayers(k.image, k.layer(k.image, good()))
	unsigned := k.push("unsigned")
	src := &counter{Source: k.source()}
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: src})
	ask := func(img verifier.Image, at time.Time) int64 {
		before := src.n.Load()
		if _, err := v.Verify(t.Context(), verifier.Request{Image: img, At: at}); err != nil {
			t.Fatal(err)
		}
		return src.n.Load() - before
	}
	if ask(k.image, now) == 0 || ask(k.image, now) != 0 || ask(k.image, now.Add(verifier.PositiveTTL-time.Second)) != 0 {
		t.Error("a pass is not kept for its time")
	}
	if ask(unsigned, now) == 0 || ask(unsigned, now.Add(verifier.NegativeTTL-time.Second)) != 0 {
		t.Error("no signature is not kept for its time")
	}
	if ask(unsigned, now.Add(verifier.NegativeTTL)) == 0 {
		t.Error("no signature is kept too long")
	}
	if ask(unsigned, now.Add(-time.Hour)) == 0 {
		t.Error("a clock that went back gets an answer of the future")
	}
	// So is that there is no image; but not for long.
	absent := verifier.Image{Repository: repo, Digest: verdict.SHA256([]byte("absent"))}
	for _, tt := range []struct {
		at   time.Time
		asks bool
	}{{now, true}, {now.Add(time.Second), false}, {now.Add(verifier.NegativeTTL), true}} {
		before := src.n.Load()
		if ok, code, _ := verify(t.Context(), t, v, absent, tt.at); ok || code != verdict.ImageNotFound {
			t.Errorf("absent: passed %v with %q", ok, code)
		}
		if asked := src.n.Load() != before; asked != tt.asks {
			t.Errorf("absent: asked %v after %s", asked, tt.at.Sub(now))
		}
	}
	// A signature that comes later is found.
	k.attachLayers(unsigned, k.layer(unsigned, good()))
	src.Source = k.source()
	if ok, code, _ := verify(t.Context(), t, v, unsigned, now.Add(time.Hour)); !ok {
		t.Errorf("signed meanwhile: %q", code)
	}
}

func TestFailuresAreNotKept(t *testing.T) {
	k := newKit(t)
	src := &counter{Source: k.source()}
	rules := "version: 1\nauthorities:\n" + keylessYAML("release", subject) + "rules:\n  - {name: a, repositories: ['**'], mode: %s, authorities: [release]}\n"
	src.fail.Store(verdict.Fail(verdict.RegistryUnreachable, "testing"))
	v := newVerifier(t, verifier.Config{Policy: policy(t, fmt.Sprintf(rules, "enforce")), Roots: k.roots, Source: src})
	if _, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now}); verdict.CodeOf(err) != verdict.RegistryUnreachable {
		t.Errorf("enforce: got %v", err)
	}
	// Under audit it lets through, says so, and is no decision to keep.
	v = newVerifier(t, verifier.Config{Policy: policy(t, fmt.Sprintf(rules, "audit")), Roots: k.roots, Source: src})
	res, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now})
	if err != nil {
		t.Fatal(err)
	}
	if res.Decided || res.Passed || res.Namespaces[0].Outcome != verdict.OutcomeAuditFail || res.Reasons[0].Code != verdict.RegistryUnreachable {
		t.Errorf("audit: %+v", res)
	}
	src.fail.Store(nil)
	if res, err = v.Verify(t.Context(), verifier.Request{Image: k.image, At: now}); err != nil || !res.Decided || res.Reasons[0].Code != verdict.SigNone {
		t.Errorf("afterwards: %+v, %v", res, err)
	}
	// What is found all the same is enough, whatever fails beside it.
	k.attachLayers(k.image, k.layer(k.image, good()))
	src.Source = k.source()
	src.fail.Store(verdict.Fail(verdict.RegistryUnreachable, "testing"))
	v = newVerifier(t, verifier.Config{Policy: policy(t, fmt.Sprintf(rules, "enforce")), Roots: k.roots, Source: src})
	if ok, code, _ := verify(t.Context(), t, v, k.image, now); !ok {
		t.Errorf("with a good signature: %q", code)
	}
}

func TestDeny(t *testing.T) {
	k := newKit(t)
	k.attachLayers(k.image, k.layer(k.image, good()))
	src := &counter{Source: k.source()}
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: src})
	res, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now})
	if err != nil || !res.Passed {
		t.Fatalf("got %+v, %v", res, err)
	}
	id := res.Identities[0]
	for _, tt := range []struct {
		name string
		deny verdict.DenyList
		want verdict.Code
	}{
		{"nothing", verdict.DenyList{}, ""},
		{"image", verdict.DenyList{Images: []verdict.Digest{k.image.Digest}}, verdict.RevokedImage},
		{"configuration", verdict.DenyList{Images: []verdict.Digest{res.Platforms[0].Config}}, verdict.RevokedImage},
		{"repository", verdict.DenyList{Repositories: []string{repo}}, verdict.RevokedImage},
		{"identity", verdict.DenyList{Identities: []verdict.DeniedIdentity{{Issuer: issuer, SAN: subject}}}, verdict.RevokedIdentity},
		{"identity of any issuer", verdict.DenyList{Identities: []verdict.DeniedIdentity{{SAN: subject}}}, verdict.RevokedIdentity},
		{"identity of another issuer", verdict.DenyList{Identities: []verdict.DeniedIdentity{{Issuer: "https://other.example", SAN: subject}}}, ""},
		{"key", verdict.DenyList{Keys: []verdict.Digest{id.Key}}, verdict.RevokedKey},
		{"certificate", verdict.DenyList{Certificates: []verdict.Digest{id.Certificate}}, verdict.RevokedCertificate},
		{"log entry", verdict.DenyList{LogEntries: id.LogEntries}, verdict.RevokedLogEntry},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.deny.V = 1
			d, err := v.WithDeny(tt.deny)
			if err != nil {
				t.Fatal(err)
			}
			if ok, code, _ := verify(t.Context(), t, d, k.image, now); ok != (tt.want == "") || code != tt.want {
				t.Errorf("passed %v with %q, want %q", ok, code, tt.want)
			}
			if d.DenyDigest() == "" || tt.name != "nothing" && d.DenyDigest() == v.DenyDigest() {
				t.Errorf("deny digest %q", d.DenyDigest())
			}
		})
	}
}

// TestDenyWithheld: what a registry withholds or breaks does not hide an image
// from the deny list, in no mode.
func TestDenyWithheld(t *testing.T) {
	k := newKit(t)
	k.attachLayers(k.image, k.layer(k.image, good()))
	audit := policy(t, "version: 1\nauthorities:\n"+keylessYAML("release", subject)+"rules:\n  - {name: a, repositories: ['**'], mode: audit, authorities: [release]}\n")
	v := newVerifier(t, verifier.Config{Policy: audit, Roots: k.roots, Source: k.source()})
	res, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now})
	if err != nil || !res.Passed {
		t.Fatalf("got %+v, %v", res, err)
	}
	deny := verdict.DenyList{V: 1, Images: []verdict.Digest{res.Platforms[0].Config}}
	for name, answer := range map[string]error{
		"absent":      verdict.Refuse(verdict.ImageNotFound, "testing"),
		"unreachable": verdict.Fail(verdict.RegistryUnreachable, "testing"),
	} {
		t.Run(name, func(t *testing.T) {
			for _, list := range []verdict.DenyList{{V: 1}, deny} {
				src := withholding{k.source(), res.Platforms[0].Config, answer}
				v := newVerifier(t, verifier.Config{Policy: audit, Roots: k.roots, Source: src, Deny: list})
				_, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now})
				if want := len(list.Images) > 0; want != (verdict.CodeOf(err) == verdict.RevokedImage) || !want && err != nil {
					t.Errorf("with %d denied: got %v", len(list.Images), err)
				}
			}
		})
	}
}

// A withholding source does not give one blob away.
type withholding struct {
	verifier.Source
	blob   verdict.Digest
	answer error
}

func (w withholding) Blob(ctx context.Context, repo string, d verdict.Digest, size, limit int64) ([]byte, error) {
	if d == w.blob {
		return nil, w.answer
	}
	return w.Source.Blob(ctx, repo, d, size, limit)
}

// TestDenyClaimedIndex: without a signed entry timestamp nobody signed the index
// of an entry of Rekor v1, so that another one does not get around the list.
func TestDenyClaimedIndex(t *testing.T) {
	k := newKit(t)
	o := good()
	o.NoSET, o.Timestamp = true, true
	var logID string
	o.OnBundle = func(b *protobundle.Bundle) {
		e := b.GetVerificationMaterial().GetTlogEntries()[0]
		logID = hex.EncodeToString(e.GetLogId().GetKeyId())
		e.LogIndex += 7
	}
	k.attachBundle(k.image, k.bundle(k.image, o), "")
	for _, tt := range []struct {
		name string
		deny []string
		want verdict.Code
	}{
		{"nothing is denied", nil, ""},
		{"an entry of another log", []string{strings.Repeat("0", 64) + "/5"}, ""},
		{"an entry of this log", []string{logID + "/5"}, verdict.RevokedLogEntry},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: k.source(), Deny: verdict.DenyList{V: 1, LogEntries: tt.deny}})
			if ok, code, _ := verify(t.Context(), t, v, k.image, now); ok != (tt.want == "") || code != tt.want {
				t.Errorf("passed %v with %q, want %q", ok, code, tt.want)
			}
		})
	}
}

func TestClosed(t *testing.T) {
	k := newKit(t)
	v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: k.source()})
	v.Close()
	if _, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now}); verdict.CodeOf(err) != verdict.Internal {
		t.Errorf("got %v", err)
	}
	v = newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: k.source()})
	_, err := v.Verify(t.Context(), verifier.Request{Image: k.image})
	wantMisuse(t, "no time", err, "no time")
	_, err = verifier.New(verifier.Config{})
	wantMisuse(t, "nothing", err, "no source")
	_, err = verifier.New(verifier.Config{Source: k.source()})
	wantMisuse(t, "no policy", err, "no policy")
	_, err = verifier.New(verifier.Config{Source: k.source(), Policy: oneOff(t, keyless()), Roots: k.roots, AllowUnvalidated: []string{"md5"}})
	wantMisuse(t, "md5", err, "ed25519")
}

// A panicking source stands for a library that panics on hostile input.
type panicking struct {
	verifier.Source
	in string
}

func (p panicking) panics(in string) {
	if p.in == in {
		panic("testing")
	}
}

func (p panicking) Manifest(ctx context.Context, repo string, d verdict.Digest) (string, []byte, error) {
	p.panics("manifest")
	return p.Source.Manifest(ctx, repo, d)
}

func (p panicking) Tagged(ctx context.Context, repo, tag string) (verdict.Digest, string, []byte, error) {
	p.panics("tagged")
	return p.Source.Tagged(ctx, repo, tag)
}

func (p panicking) Blob(ctx context.Context, repo string, d verdict.Digest, size, limit int64) ([]byte, error) {
	p.panics("blob")
	return p.Source.Blob(ctx, repo, d, size, limit)
}

func (p panicking) Referrers(ctx context.Context, repo string, d verdict.Digest) ([]verifier.Descriptor, error) {
	p.panics("referrers")
	return p.Source.Referrers(ctx, repo, d)
}

func TestR16Panic(t *testing.T) {
	k := newKit(t)
	for _, in := range []string{"manifest", "tagged", "blob", "referrers"} {
		v := newVerifier(t, verifier.Config{Policy: oneOff(t, keyless()), Roots: k.roots, Source: panicking{k.source(), in}})
		for range 2 {
			if _, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now}); verdict.CodeOf(err) != verdict.Internal {
				t.Errorf("%s: got %v, want %q", in, err, verdict.Internal)
			}
		}
	}
}
