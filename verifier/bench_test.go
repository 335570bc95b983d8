// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	plain "github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// The budgets are in ci/bench, and docs/performance.md has what was measured.

// A benchBundle is a keyless bundle of one kind.
type benchBundle struct {
	kind   string
	data   []byte
	image  verifier.Image
	demand verifier.OneOff
	roots  []byte
}

// benchBundles are one made here, and signatures of real images, one of each kind,
// where the shared test data is there.
func benchBundles(b *testing.B) []benchBundle {
	b.Helper()
	k := newKit(b)
	var err error
	if k.sig, err = sigstoretest.New(sigstoretest.Config{At: now, RekorV2: true}); err != nil {
		b.Fatal(err)
	}
	rootJSON, err := k.sig.TrustedRoot()
	if err != nil {
		b.Fatal(err)
	}
	// As cosign v3 signs, with an entry of Rekor v2.
	second := good()
	second.Log, second.Timestamp = sigstoretest.V2Log, true
	out := []benchBundle{
		{kind: "made-here", data: k.bundle(k.image, good()), image: k.image, demand: keyless(), roots: rootJSON},
		{kind: "made-here-rekor-v2", data: k.bundle(k.image, second), image: k.image, demand: keyless(), roots: rootJSON},
	}
	if !exists(sharedData + "/testdata") {
		return out
	}
	for _, kind := range []string{"bundle-v0.3-keyless", "bundle-v0.2-keyless", "bundle-v0.1-keyless", "github-attestation"} {
		c := sharedCases(b, kind)[0]
		path := sharedFile(b, "testdata", c.Path, "bundle.json")
		one := benchBundle{kind: kind, data: readFile(b, path), image: c.image(), demand: c.demand(b), roots: readFile(b, sharedFile(b, "testdata", c.Trust.TrustedRoot))}
		if kind != "bundle-v0.3-keyless" {
			one.demand.Attestation = verifier.ClassProvenance
		}
		out = append(out, one)
	}
	return out
}

// BenchmarkKeyless verifies one keyless bundle of each kind, ours and by
// sigstore-go alone in turns, so that both see the same machine.
func BenchmarkKeyless(b *testing.B) {
	for _, one := range benchBundles(b) {
		b.Run(one.kind, func(b *testing.B) {
			roots, err := verifier.ParseRoots(one.roots)
			if err != nil {
				b.Fatal(err)
			}
			ours := cold(b, one.data, one.image, one.demand, roots)
			theirs := plainVerification(b, one)
			var sumOurs, sumTheirs time.Duration
			for b.Loop() {
				t := time.Now()
				ours()
				sumOurs += time.Since(t)
				b.StopTimer()
				t = time.Now()
				theirs()
				sumTheirs += time.Since(t)
				b.StartTimer()
			}
			b.ReportMetric(float64(sumOurs)/float64(sumTheirs), "x-sigstore-go")
		})
	}
}

// plainVerification is sigstore-go with the demands that its own command line
// makes of the public-good instance, or of GitHub's.
func plainVerification(b *testing.B, one benchBundle) func() {
	b.Helper()
	tr, err := root.NewTrustedRootFromJSON(one.roots)
	if err != nil {
		b.Fatal(err)
	}
	opts := []plain.VerifierOption{plain.WithObserverTimestamps(1)}
	if one.kind != "github-attestation" {
		opts = append(opts, plain.WithTransparencyLog(1), plain.WithSignedCertificateTimestamps(1))
	}
	v, err := plain.NewVerifier(tr, opts...)
	if err != nil {
		b.Fatal(err)
	}
	id, err := plain.NewShortCertificateIdentity(one.demand.Issuer, "", one.demand.Identity, "")
	if err != nil {
		b.Fatal(err)
	}
	sum, _ := one.image.Digest.Bytes()
	p := plain.NewPolicy(plain.WithArtifactDigest("sha256", sum[:]), plain.WithCertificateIdentity(id))
	return func() {
		var parsed bundle.Bundle
		if err := parsed.UnmarshalJSON(one.data); err != nil {
			b.Fatal(err)
		}
		if _, err := v.Verify(&parsed, p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeyed verifies a bundle signed by a key alone, by a verifier that
// has just been made for it.
func BenchmarkKeyed(b *testing.B) {
	k := newKit(b)
	key, pub := newKey(b, "p256")
	verify := cold(b, k.bundle(k.image, sigstoretest.Options{Key: key, At: signedAt, NoLog: true}), k.image, verifier.OneOff{Keys: [][]byte{pub}}, k.roots)
	for b.Loop() {
		verify()
	}
}

// BenchmarkKeyedCPU is what one such verification costs where the verifier is there
// already, as in a daemon: processor time of all threads, with the collection of
// garbage. In turns with it a signature alone is verified, and x-p256 is how many of
// those it is worth.
func BenchmarkKeyedCPU(b *testing.B) {
	k := newKit(b)
	key, pub := newKey(b, "p256")
	data := k.bundle(k.image, sigstoretest.Options{Key: key, At: signedAt, NoLog: true})
	p := oneOff(b, verifier.OneOff{Keys: [][]byte{pub}})
	ctx := context.Background()
	verifiers := make([]*verifier.Verifier, 2000)
	alone, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256(data)
	sig, err := ecdsa.SignASN1(rand.Reader, alone, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	var spent, spentAlone time.Duration
	n := 0
	for b.Loop() {
		for i := range verifiers {
			v, err := verifier.New(verifier.Config{Policy: p, Roots: k.roots, Source: verifier.ParseBundle("bench", data), CacheSize: 4})
			if err != nil {
				b.Fatal(err)
			}
			verifiers[i] = v
		}
		runtime.GC()
		before := processorTime(b)
		for _, v := range verifiers {
			if res, err := v.Verify(ctx, verifier.Request{Image: k.image, At: now}); err != nil || !res.Passed {
				b.Fatalf("got %+v, %v", res, err)
			}
		}
		between := processorTime(b)
		spent += between - before
		for range verifiers {
			if !ecdsa.VerifyASN1(&alone.PublicKey, sum[:], sig) {
				b.Fatal("the signature does not verify")
			}
		}
		spentAlone += processorTime(b) - between
		n += len(verifiers)
		for _, v := range verifiers {
			v.Close()
		}
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(n), "cpu-ns")
	b.ReportMetric(float64(spent)/float64(spentAlone), "x-p256")
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A gathering is a source that lets nobody on before all are there.
type gathering struct {
	verifier.Source
	all *sync.WaitGroup
}

func (g gathering) Blob(ctx context.Context, repository string, d verdict.Digest, size, limit int64) ([]byte, error) {
	data, err := g.Source.Blob(ctx, repository, d, size, limit)
	if strings.Contains(string(data), "mediaType") && strings.Contains(string(data), "verificationMaterial") {
		g.all.Done()
		g.all.Wait()
	}
	return data, err
}

// BenchmarkInFlight verifies 64 keyless bundles of distinct images that are all in
// flight at once, and reports the most memory that the process had meanwhile.
func BenchmarkInFlight(b *testing.B) {
	const flights = 64
	k := newKit(b)
	images := make([]verifier.Image, flights)
	for i := range images {
		images[i] = k.push("image " + strconv.Itoa(i))
		k.attachBundle(images[i], k.bundle(images[i], good()), "")
	}
	p := oneOff(b, keyless())
	var most float64
	for b.Loop() {
		runtime.GC()
		debug.FreeOSMemory()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			b.Skip("peak memory cannot be measured here:", err)
		}
		var all, done sync.WaitGroup
		all.Add(flights)
		v := newVerifier(b, verifier.Config{Policy: p, Roots: k.roots, Source: gathering{k.source(), &all}})
		for _, img := range images {
			done.Go(func() {
				if res, err := v.Verify(context.Background(), verifier.Request{Image: img, At: now}); err != nil || !res.Passed {
					b.Errorf("got %+v, %v", res, err)
				}
			})
		}
		done.Wait()
		most = max(most, peakMemory(b))
	}
	b.ReportMetric(most, "MiB")
}

// peakMemory is the most resident memory of this process, in MiB.
func peakMemory(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatal("the kernel does not say it")
	return 0
}

// cold returns a verification by a verifier of its own, which knows nothing.
func cold(b *testing.B, data []byte, img verifier.Image, demand verifier.OneOff, roots *verifier.Roots) func() {
	b.Helper()
	p := oneOff(b, demand)
	ctx := context.Background()
	return func() {
		v, err := verifier.New(verifier.Config{Policy: p, Roots: roots, Source: verifier.ParseBundle("bench", data), CacheSize: 4})
		if err != nil {
			b.Fatal(err)
		}
		res, err := v.Verify(ctx, verifier.Request{Image: img, At: now})
		if err != nil || !res.Passed {
			b.Fatalf("got %+v, %v", res, err)
		}
		v.Close()
	}
}

func BenchmarkCached(b *testing.B) {
	k := newKit(b)
	k.attachLayers(k.image, k.layer(k.image, good()))
	v := newVerifier(b, verifier.Config{Policy: oneOff(b, keyless()), Roots: k.roots, Source: k.source()})
	ctx := context.Background()
	for b.Loop() {
		res, err := v.Verify(ctx, verifier.Request{Image: k.image, At: now})
		if err != nil || !res.Passed {
			b.Fatalf("got %+v, %v", res, err)
		}
	}
}

// BenchmarkNewDenyList is a decision about a known image under another deny
// list: no registry, no signature.
func BenchmarkNewDenyList(b *testing.B) {
	k := newKit(b)
	k.attachLayers(k.image, k.layer(k.image, good()))
	v := newVerifier(b, verifier.Config{Policy: oneOff(b, keyless()), Roots: k.roots, Source: k.source()})
	ctx := context.Background()
	if _, err := v.Verify(ctx, verifier.Request{Image: k.image, At: now}); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		d, err := v.WithDeny(verdict.DenyList{V: 1, Images: []verdict.Digest{verdict.SHA256([]byte(strconv.Itoa(n)))}})
		if err != nil {
			b.Fatal(err)
		}
		if res, err := d.Verify(ctx, verifier.Request{Image: k.image, At: now}); err != nil || !res.Passed {
			b.Fatalf("got %+v, %v", res, err)
		}
	}
}

// Sizes of the workloads that have a budget: distinct images in one layout, and
// requests over a few of them.
const (
	benchImages   = 10_000
	benchKeyless  = 100
	benchRequests = 10_000
)

// verifyAll verifies requests by as many workers as there are CPUs, each of which
// starts with the next request, and returns how long all took.
func verifyAll(b *testing.B, v *verifier.Verifier, images []verifier.Image, requests int) time.Duration {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(requests); i = next.Add(1) - 1 {
				res, err := v.Verify(context.Background(), verifier.Request{Image: images[i%int64(len(images))], At: now})
				if err != nil || !res.Passed {
					b.Errorf("image %d: got %+v, %v", i, res, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkKeyedLayout verifies 10 000 distinct images, each signed by one key
// and with a manifest, a bundle and its referrer of its own, out of one OCI
// layout on disk that was just opened.
func BenchmarkKeyedLayout(b *testing.B) {
	k := newKit(b)
	key, pub := newKey(b, "p256")
	images := make([]verifier.Image, benchImages)
	list := []map[string]any{}
	put := func(data []byte) verdict.Digest {
		d := verdict.SHA256(data)
		if err := os.WriteFile(filepath.Join(k.dir, "blobs", "sha256", d.Hex()), data, 0o600); err != nil {
			b.Fatal(err)
		}
		return d
	}
	descriptor := func(mediaType string, data []byte) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": put(data), "size": len(data)}
	}
	for i := range images {
		config := descriptor("application/vnd.oci.image.config.v1+json", []byte(mustJSON(b, map[string]any{"os": "linux", "architecture": "amd64", "config": map[string]any{"Labels": map[string]string{"n": strconv.Itoa(i)}}})))
		image := descriptor(sigstoretest.TypeManifest, []byte(mustJSON(b, map[string]any{"schemaVersion": 2, "mediaType": sigstoretest.TypeManifest, "config": config, "layers": []any{}})))
		images[i] = verifier.Image{Repository: repo, Digest: image["digest"].(verdict.Digest)}
		data := k.bundle(images[i], sigstoretest.Options{Key: key, At: signedAt, NoLog: true})
		const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
		empty := descriptor("application/vnd.oci.empty.v1+json", []byte("{}"))
		referrer := descriptor(sigstoretest.TypeManifest, []byte(mustJSON(b, map[string]any{"schemaVersion": 2, "mediaType": sigstoretest.TypeManifest, "artifactType": bundleType,
			"config": empty, "layers": []any{descriptor(bundleType, data)}, "subject": image})))
		list = append(list, image, referrer)
	}
	if err := os.WriteFile(filepath.Join(k.dir, "index.json"), []byte(mustJSON(b, map[string]any{"schemaVersion": 2, "mediaType": sigstoretest.TypeIndex, "manifests": list})), 0o600); err != nil {
		b.Fatal(err)
	}
	p := oneOff(b, verifier.OneOff{Keys: [][]byte{pub}})
	var took time.Duration
	for b.Loop() {
		v := newVerifier(b, verifier.Config{Policy: p, Roots: k.roots, Source: k.source(), CacheSize: benchImages})
		took += verifyAll(b, v, images, benchImages)
	}
	b.ReportMetric(took.Seconds()/float64(b.N), "s/10000")
}

// BenchmarkKeylessRequests verifies 10 000 requests over 100 images that are
// signed without keys, by a verifier that knows nothing at first.
func BenchmarkKeylessRequests(b *testing.B) {
	k := newKit(b)
	images := make([]verifier.Image, benchKeyless)
	for i := range images {
		images[i] = k.push("image " + strconv.Itoa(i))
		k.attachLayers(images[i], k.layer(images[i], good()))
	}
	p := oneOff(b, keyless())
	var took time.Duration
	for b.Loop() {
		v := newVerifier(b, verifier.Config{Policy: p, Roots: k.roots, Source: k.source()})
		took += verifyAll(b, v, images, benchRequests)
	}
	b.ReportMetric(took.Seconds()/float64(b.N), "s/10000")
}
