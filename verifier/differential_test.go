// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	plain "github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// A spot is a value inside a JSON document that can be changed.
type spot struct {
	get    func() any
	set    func(any)
	remove func()
}

// spots lists every value below v, in a fixed order.
func spots(v any) []spot {
	var out []spot
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = append(out, spot{func() any { return v[name] }, func(x any) { v[name] = x }, func() { delete(v, name) }})
			out = append(out, spots(v[name])...)
		}
	case []any:
		for i := range v {
			out = append(out, spot{func() any { return v[i] }, func(x any) { v[i] = x }, func() { v[i] = nil }})
			out = append(out, spots(v[i])...)
		}
	}
	return out
}

// The operations on a spot.
const (
	opRemove = iota
	opFlip   // a bit of what is base64, or of a text
	opOther  // the value that another document has there
	opTake   // the value of another spot
	opDouble // an element of a list twice
	opNumber // a number one higher
	opText
	operations
)

// mutate changes one value of a document as the fuzzer says, and reports whether it
// did.
func mutate(doc, other any, place, from uint16, op uint8, text string) bool {
	all := spots(doc)
	s := all[int(place)%len(all)]
	switch value := s.get(); op % operations {
	case opRemove:
		s.remove()
		return true
	case opFlip:
		str, ok := value.(string)
		if !ok || str == "" {
			return false
		}
		if raw, err := base64.StdEncoding.DecodeString(str); err == nil && len(raw) > 0 {
			raw[int(from)%len(raw)] ^= 1 << (from % 8)
			s.set(base64.StdEncoding.EncodeToString(raw))
			return true
		}
		b := []byte(str)
		b[int(from)%len(b)] ^= 1
		s.set(string(b))
		return true
	case opOther:
		if others := spots(other); len(others) > int(place)%len(all) {
			s.set(others[int(place)%len(all)].get())
			return true
		}
	case opTake:
		s.set(all[int(from)%len(all)].get())
		return true
	case opDouble:
		if list, ok := value.([]any); ok && len(list) > 0 {
			s.set(append(slices.Clone(list), list[int(from)%len(list)]))
			return true
		}
	case opNumber:
		if str, ok := value.(string); ok {
			if n, err := strconv.ParseInt(str, 10, 64); err == nil {
				s.set(strconv.FormatInt(n+1+int64(from%3), 10))
				return true
			}
		}
	case opText:
		s.set(text)
		return true
	}
	return false
}

// plainly is what sigstore-go alone says of a bundle over the kit's image.
func plainly(tr *root.TrustedRoot, img verifier.Image) (func([]byte) error, error) {
	v, err := plain.NewVerifier(tr, plain.WithTransparencyLog(1), plain.WithObserverTimestamps(1), plain.WithSignedCertificateTimestamps(1))
	if err != nil {
		return nil, err
	}
	id, err := plain.NewShortCertificateIdentity(issuer, "", subject, "")
	if err != nil {
		return nil, err
	}
	sum, _ := img.Digest.Bytes()
	p := plain.NewPolicy(plain.WithArtifactDigest("sha256", sum[:]), plain.WithCertificateIdentity(id))
	return func(data []byte) error {
		var b bundle.Bundle
		if err := b.UnmarshalJSON(data); err != nil {
			return err
		}
		_, err := v.Verify(&b, p)
		return err
	}, nil
}

// A comparison is of a verifier with sigstore-go alone, over good bundles of an
// instance with everything that they can rest on.
type comparison struct {
	goods  [][]byte
	ours   func(testing.TB, []byte) bool
	theirs func([]byte) error
}

func newComparison(t testing.TB) *comparison {
	t.Helper()
	s, err := whole()
	if err != nil {
		t.Fatal(err)
	}
	k := newKit(t)
	data, err := s.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := verifier.ParseRoots(data)
	if err != nil {
		t.Fatal(err)
	}
	c := &comparison{}
	if c.theirs, err = plainly(tr, k.image); err != nil {
		t.Fatal(err)
	}
	policy := oneOff(t, keyless())
	c.ours = func(t testing.TB, data []byte) bool {
		v := newVerifier(t, verifier.Config{Policy: policy, Roots: roots, CacheSize: 1, Source: verifier.ParseBundle("fuzz", data)})
		res, err := v.Verify(context.Background(), verifier.Request{Image: k.image, At: now})
		return err == nil && res.Passed
	}
	for _, change := range []func(*sigstoretest.Options){
		func(*sigstoretest.Options) {},
		func(o *sigstoretest.Options) { o.Timestamp = true },
		func(o *sigstoretest.Options) { o.Log, o.Timestamp = sigstoretest.V2Log, true },
		func(o *sigstoretest.Options) {
			o.More, o.Timestamp, o.SecondTimestamp = []sigstoretest.Log{sigstoretest.SecondLog}, true, true
		},
		func(o *sigstoretest.Options) { o.Version = "0.1" },
		func(o *sigstoretest.Options) { o.Version = "0.2" },
		func(o *sigstoretest.Options) { o.At = signedAt.Add(time.Minute) },
	} {
		o := good()
		change(&o)
		b, err := s.Bundle(k.image.Digest, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.theirs(b); err != nil || !c.ours(t, b) {
			t.Fatalf("a good one is refused, and sigstore-go says %v", err)
		}
		c.goods = append(c.goods, b)
	}
	return c
}

// try changes one value of one of the good bundles, and reports whether ours accepts
// the result.
func (c *comparison) try(t testing.TB, which uint8, place, from uint16, op uint8, text string) bool {
	t.Helper()
	var doc, other any
	first := int(which) % len(c.goods)
	if err := json.Unmarshal(c.goods[first], &doc); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(c.goods[(first+1+int(from))%len(c.goods)], &other); err != nil {
		t.Fatal(err)
	}
	if !mutate(doc, other, place, from, op, text) {
		return false
	}
	data, err := json.Marshal(doc)
	if err != nil || !c.ours(t, data) {
		return false
	}
	if err := c.theirs(data); err != nil {
		t.Errorf("accepted, and sigstore-go says %v: %s", err, data)
	}
	return true
}

// TestAgainstSigstoreGo: of bundles in which one value is another, nothing is accepted
// that sigstore-go refuses: every place of every bundle, changed in one way each.
func TestAgainstSigstoreGo(t *testing.T) {
	c := newComparison(t)
	tried, accepted := 0, 0
	for i, b := range c.goods {
		var doc any
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		for place := range spots(doc) {
			tried++
			if c.try(t, uint8(i), uint16(place), uint16(place*7+3), uint8(place%operations), "") {
				accepted++
			}
		}
	}
	if tried < 200 || accepted == 0 || accepted > tried/2 {
		t.Errorf("%d of %d are accepted: they do not say much", accepted, tried)
	}
	t.Logf("%d of %d are accepted", accepted, tried)
}

// FuzzAgainstSigstoreGo is the same with every change at every place.
func FuzzAgainstSigstoreGo(f *testing.F) {
	c := newComparison(f)
	for i := range c.goods {
		f.Add(uint8(i), uint16(7*i), uint16(i), uint8(i%operations), "")
	}
	f.Fuzz(func(t *testing.T, which uint8, place, from uint16, op uint8, text string) {
		c.try(t, which, place, from, op, text)
	})
}
