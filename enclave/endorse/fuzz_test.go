// SPDX-License-Identifier: Apache-2.0

package endorse_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/enclave/endorse"
	"github.com/assayd/assay/verdict"
)

// A wanted is an endorsement that a platform wants, and a service's good answers for it.
type wanted struct {
	label    string
	platform attest.Platform
	roots    attest.EndorsementRoots
	good     endorse.Endorsement
	edition  attest.Edition
	// answers are whole responses of HTTP/1.1.
	answers [][]byte
}

// wantedOf are those of a collection, which has them beside the evidence.
func wantedOf(f *testing.F, collection []byte, roots attest.EndorsementRoots) (out []wanted) {
	f.Helper()
	p, items, err := attest.PlatformOf(collection)
	if err != nil {
		f.Fatal(err)
	}
	for _, label := range p.Endorsements() {
		w := wanted{label: label, platform: p, roots: roots, good: endorse.Endorsement{Value: items[label].Value, Chain: items[attest.ChainOf(label)].Value}}
		if w.edition, err = p.Verify(label, w.good.Value, w.good.Chain, roots, attesttest.At); err != nil {
			f.Fatalf("%s: %v", label, err)
		}
		header := "HTTP/1.1 200 OK\r\n"
		if name := map[string]string{attest.LabelTCBInfo: "TCB-Info-Issuer-Chain", attest.LabelQEIdentity: "SGX-Enclave-Identity-Issuer-Chain"}[label]; name != "" {
			header += name + ": " + url.PathEscape(string(w.good.Chain)) + "\r\n"
		}
		w.answers = [][]byte{
			slices.Concat([]byte(header), []byte("\r\n"), w.good.Value), // to the end, so that edits of the body stay one
			fmt.Appendf(nil, "%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", header, len(w.good.Value), w.good.Value),
		}
		if endorse.Files[label].MediaType == attest.TypeCRL {
			w.answers = append(w.answers, fmt.Appendf(nil, "%s\r\n%x\n", header, w.good.Value))
		}
		out = append(out, w)
	}
	return out
}

// allWanted are those of a platform of Intel's and of two of AMD's.
func allWanted(f *testing.F) []wanted {
	f.Helper()
	d := attesttest.NewTD(f, attest.TDX, attesttest.Statement(f), attesttest.Nonce(1))
	all := wantedOf(f, d.Bytes(), attest.EndorsementRoots{Intel: d.Root()})
	for _, line := range []attest.ProductLine{attest.Milan, attest.Turin} {
		s := attesttest.NewSNPOn(f, attest.SNP, line, nil, attesttest.Nonce(1))
		root, _ := s.Chain(f)
		all = append(all, wantedOf(f, s.Bytes(f), attest.EndorsementRoots{AMD: []attest.SNPRoot{root}})...)
	}
	return all
}

// A wire is a service that says the same to everybody, and no network.
type wire struct {
	answer []byte
	ok     bool // the last answer was one, and 200
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(w.answer)), r)
	w.ok = err == nil && response.StatusCode == http.StatusOK
	return response, err
}

// wired is a fetcher of an endorsement, which asks once.
func wired(f *testing.F, w *wanted) (*endorse.Fetcher, *wire) {
	f.Helper()
	fetcher, err := endorse.NewFetcher(endorse.Config{Roots: w.roots})
	if err != nil {
		f.Fatal(err)
	}
	service := &wire{}
	fetcher.SetTransport(service)
	fetcher.SetWait(func(context.Context, time.Duration) error { return errors.New("it would be the same") })
	f.Cleanup(fetcher.Close)
	return fetcher, service
}

// FuzzAnswer is a service, or who is in its place, from the first line of its answer on.
// Whatever is taken, the maker signed it; what is not has a code, bounds, and nothing of
// the chip in its text, which goes into logs.
func FuzzAnswer(f *testing.F) {
	type target struct {
		wanted
		fetcher *endorse.Fetcher
		service *wire
		answers fuzz.Goods
	}
	var targets []target
	for i, w := range allWanted(f) {
		t := target{wanted: w}
		t.fetcher, t.service = wired(f, &w)
		w.answers = append(slices.Concat(w.answers, w.answers), []byte("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 120\r\n\r\n"),
			[]byte("HTTP/1.1 503 Later\r\nRetry-After: Mon, 01 Jun 2099 12:00:00 GMT\r\n\r\n"), []byte("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n"))
		t.answers = fuzz.NewGoods(f, w.answers...)
		targets = append(targets, t)
		for j := range w.answers {
			f.Add(byte(i), []byte{0x20 + byte(j)})
			f.Add(byte(i), []byte{0x40 + byte(j)})
		}
	}
	count := fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, which byte, answer []byte) {
		w := targets[int(which)%len(targets)]
		w.service.answer = w.answers.Of(answer)
		got, edition, err := w.fetcher.Fetch(t.Context(), &w.platform, w.label, endorse.Endorsement{}, attesttest.At)
		count.Add(w.service.ok)
		if err != nil {
			failure, failed := errors.AsType[*verdict.Failure](err)
			if !failed && !verdict.Refused(err) || verdict.CodeOf(err) == verdict.Internal || strings.Contains(err.Error(), "runtime error") {
				t.Errorf("an error without a code, or a panic: %v", err)
			}
			if failed && (failure.RetryAfter < 0 || failure.RetryAfter > endorse.MaxRetryAfter) {
				t.Errorf("it has us wait %s", failure.RetryAfter)
			}
			if len(err.Error()) > 4<<10 {
				t.Errorf("a text of %d bytes", len(err.Error()))
			}
			if p := w.platform.SNP; p != nil && strings.Contains(err.Error(), fmt.Sprintf("%x", p.ChipID[:])) {
				t.Errorf("the chip's ID is in %q", err)
			}
			if got.Value != nil || got.Chain != nil || edition != (attest.Edition{}) {
				t.Errorf("with %v came %d bytes of %+v", err, len(got.Value), edition)
			}
			return
		}
		if len(got.Value) > endorse.MaxSize || edition.Older(w.edition) || w.edition.Older(edition) {
			t.Errorf("took %d bytes of %+v, which nobody signed", len(got.Value), edition)
		}
	})
}

// FuzzStored is a folder whose files somebody else writes. It cannot keep what the maker
// publishes from being taken: only what the maker signed later does.
func FuzzStored(f *testing.F) {
	type target struct {
		wanted
		fetcher       *endorse.Fetcher
		values, chain fuzz.Goods
	}
	var targets []target
	for i, w := range allWanted(f) {
		t := target{wanted: w, values: fuzz.NewGoods(f, w.good.Value), chain: fuzz.NewGoods(f, w.good.Chain)}
		fetcher, service := wired(f, &w)
		t.fetcher, service.answer = fetcher, w.answers[0]
		targets = append(targets, t)
		f.Add(byte(i), []byte{0x20}, []byte{0x20})
		f.Add(byte(i), []byte{0xff}, []byte{0xff})
	}
	count := fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, which byte, value, chain []byte) {
		w := targets[int(which)%len(targets)]
		have := endorse.Endorsement{Value: w.values.Of(value), Chain: w.chain.Of(chain)}
		count.Add(len(have.Value) > 1 && (have.Value[0] == '{' || have.Value[0] == 0x30))
		got, _, err := w.fetcher.Fetch(t.Context(), &w.platform, w.label, have, attesttest.At)
		if err != nil || !bytes.Equal(got.Value, w.good.Value) || !bytes.Equal(got.Chain, w.good.Chain) {
			t.Errorf("%s: a file kept it away: %v", w.label, err)
		}
	})
}

// FuzzRetryAfter: whatever a service says, we wait for a while that is bounded.
func FuzzRetryAfter(f *testing.F) {
	inputs := fuzz.New(f, []byte("120"), []byte("Mon, 01 Jun 2026 12:02:00 GMT"), []byte("Monday, 01-Jun-26 12:02:00 GMT"), []byte("99999999999999999999"), []byte("-1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		value := string(inputs.Of(data))
		inputs.Add(value != "" && value[0] >= '0' && value[0] <= '9' || strings.HasPrefix(value, "Mon"))
		if got := endorse.RetryAfter(value, attesttest.At); got < 0 || got > endorse.MaxRetryAfter {
			t.Errorf("%q has us wait %s", value, got)
		}
	})
}
