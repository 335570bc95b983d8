// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
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

// FuzzAgainstSigstoreGo: of bundles in which one value is another, nothing is
// accepted that sigstore-go refuses. Its seeds are all changes of one kind at every
// place of the document.
func FuzzAgainstSigstoreGo(f *testing.F) {
	s, err := whole()
	if err != nil {
		f.Fatal(err)
	}
	k := newKit(f)
	data, err := s.TrustedRoot()
	if err != nil {
		f.Fatal(err)
	}
	tr, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		f.Fatal(err)
	}
	roots, err := verifier.ParseRoots(data)
	if err != nil {
		f.Fatal(err)
	}
	theirs, err := plainly(tr, k.image)
	if err != nil {
		f.Fatal(err)
	}
	var goods [][]byte
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
			f.Fatal(err)
		}
		if err := theirs(b); err != nil {
			f.Fatalf("sigstore-go refuses the good one: %v", err)
		}
		v := newVerifier(f, verifier.Config{Policy: oneOff(f, keyless()), Roots: roots, CacheSize: 1, Source: verifier.ParseBundle("good", b)})
		if res, err := v.Verify(f.Context(), verifier.Request{Image: k.image, At: now}); err != nil || !res.Passed {
			f.Fatalf("the good one is refused: %+v, %v", res, err)
		}
		goods = append(goods, b)
	}
	for i, b := range goods {
		var doc any
		if err := json.Unmarshal(b, &doc); err != nil {
			f.Fatal(err)
		}
		for place := range spots(doc) {
			f.Add(uint8(i), uint16(place), uint16(place*7+3), uint8(place%operations), "")
		}
	}
	policy := oneOff(f, keyless())
	f.Fuzz(func(t *testing.T, which uint8, place, from uint16, op uint8, text string) {
		var doc, other any
		first := int(which) % len(goods)
		if err := json.Unmarshal(goods[first], &doc); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(goods[(first+1+int(from))%len(goods)], &other); err != nil {
			t.Fatal(err)
		}
		if !mutate(doc, other, place, from, op, text) {
			return
		}
		data, err := json.Marshal(doc)
		if err != nil {
			return
		}
		v := newVerifier(t, verifier.Config{Policy: policy, Roots: roots, CacheSize: 1, Source: verifier.ParseBundle("fuzz", data)})
		res, err := v.Verify(t.Context(), verifier.Request{Image: k.image, At: now})
		if err != nil || !res.Passed {
			return
		}
		if err := theirs(data); err != nil {
			t.Errorf("accepted, and sigstore-go says %v: %s", err, data)
		}
	})
}
