// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tdxtesting "github.com/google/go-tdx-guest/testing"
	tdxdata "github.com/google/go-tdx-guest/testing/testdata"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/verdict"
)

// aCollection writes a collection with a statement, evidence and what is beside it.
func aCollection(t *testing.T, evidence attest.Item, beside map[string]attest.Item) (path string) {
	t.Helper()
	c := attest.Collection{Type: attest.CollectionType, Items: map[string]attest.Item{
		attest.LabelStatement: {MediaType: attest.TypeStatement, Value: attesttest.Encode(t, attesttest.Statement(t))},
		attest.LabelEvidence:  evidence,
	}}
	if len(beside) > 0 {
		c.Items[attest.LabelEndorsements] = attest.Item{Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: beside}}
	}
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "collection.cmw")
	write(t, path, data)
	return path
}

// inspected are the states of endorsements that inspecting tells, and what it warns of.
func inspected(t *testing.T, path string) (states map[string]string, missing string) {
	t.Helper()
	d := parseDocument(t, must(t, "statement", "inspect", path, "-o", "json"))
	var v struct {
		Endorsements []struct {
			Type, State, Issued, Until string
			Code                       verdict.Code
		}
	}
	if err := json.Unmarshal(d.Value, &v); err != nil {
		t.Fatal(err)
	}
	states = map[string]string{}
	for _, e := range v.Endorsements {
		state := e.State
		if e.Code != "" {
			state += " " + string(e.Code)
		}
		if e.Until != "" {
			state += " until " + e.Until[:10]
		}
		states[e.Type] = state
	}
	for _, r := range d.Reasons {
		if r.Code == verdict.EndorsementMissing {
			missing = r.Text
		}
	}
	return states, missing
}

// TestInspectEndorsements: what is missing beside evidence is named, and what is there is
// told with its dates.
func TestInspectEndorsements(t *testing.T) {
	t.Run("made", func(t *testing.T) {
		s := attesttest.NewSNP(t, attest.SNP, []byte("{}"), attesttest.Nonce(1))
		made := s.Collection(t)
		all := made.Items[attest.LabelEndorsements].Nested.Items
		for _, c := range []struct {
			name    string
			has     []string
			states  map[string]string
			missing string
		}{
			{"all, of nobody that is known", []string{attest.LabelVCEK, attest.LabelCRL}, map[string]string{"amd-vcek": "unusable endorsement.untrusted", "amd-crl": "unusable endorsement.untrusted"}, ""},
			{"no list", []string{attest.LabelVCEK}, map[string]string{"amd-vcek": "unusable endorsement.untrusted", "amd-crl": "missing endorsement.missing"}, "goes without amd-crl:"},
			{"nothing", nil, map[string]string{"amd-vcek": "missing endorsement.missing", "amd-crl": "missing endorsement.missing"}, "goes without amd-vcek, amd-crl:"},
		} {
			beside := map[string]attest.Item{}
			for _, label := range c.has {
				beside[label] = all[label]
			}
			path := aCollection(t, made.Items[attest.LabelEvidence], beside)
			states, missing := inspected(t, path)
			if !maps.Equal(states, c.states) || !strings.Contains(missing, c.missing) || (missing == "") != (c.missing == "") {
				t.Errorf("%s: got %v and %q", c.name, states, missing)
			}
			o := must(t, "statement", "inspect", path)
			for label, state := range c.states {
				word, code, _ := strings.Cut(state, " ")
				if line := "endorsement " + label + " " + word + " [" + code + "]\n"; !strings.Contains(o.stdout, line) {
					t.Errorf("%s: got %q, want %q", c.name, o.stdout, line)
				}
			}
			if !strings.Contains(o.stderr, c.missing) || strings.Contains(o.stderr, "goes without") != (c.missing != "") {
				t.Errorf("%s: got %q, want a warning: %t", c.name, o.stderr, c.missing != "")
			}
		}
	})
	t.Run("a simulator", func(t *testing.T) { // has no maker that publishes anything
		s := attesttest.NewSNP(t, attest.SimulatedSNP, []byte("{}"), attesttest.Nonce(1))
		if states, missing := inspected(t, aCollection(t, s.Collection(t).Items[attest.LabelEvidence], nil)); len(states) != 0 || missing != "" {
			t.Errorf("got %v and %q", states, missing)
		}
	})
	t.Run("genuine, of 2023", func(t *testing.T) {
		beside := map[string]attest.Item{}
		for label, of := range map[string]struct{ address, mediaType string }{
			attest.LabelTCBInfo:    {"https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=50806f000000", attest.TypeCollateral},
			attest.LabelQEIdentity: {"https://api.trustedservices.intel.com/tdx/certification/v4/qe/identity", attest.TypeCollateral},
			attest.LabelPCKCRL:     {"https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der", attest.TypeCRL},
		} {
			header, body, err := tdxtesting.TestGetter.Get(of.address)
			if err != nil {
				t.Fatal(err)
			}
			beside[label] = attest.Item{MediaType: of.mediaType, Value: body}
			for _, value := range slices.Concat(header["Tcb-Info-Issuer-Chain"], header["Sgx-Enclave-Identity-Issuer-Chain"]) {
				chain, err := url.QueryUnescape(value)
				if err != nil {
					t.Fatal(err)
				}
				if name := attest.ChainOf(label); name != "" {
					beside[name] = attest.Item{MediaType: attest.TypePEMChain, Value: []byte(chain)}
				}
			}
		}
		quote := attest.Item{MediaType: attest.TypeTDXQuote, Value: tdxdata.RawQuote[:genuineQuote]}
		want := map[string]string{
			"tdx-tcb-info": "unusable endorsement.expired until 2023-07-18", "tdx-qe-identity": "unusable endorsement.expired until 2023-07-08",
			"sgx-pck-crl": "unusable endorsement.expired until 2023-07-08", "sgx-root-crl": "missing endorsement.missing",
		}
		if states, missing := inspected(t, aCollection(t, quote, beside)); !maps.Equal(states, want) || !strings.Contains(missing, "goes without sgx-root-crl:") {
			t.Errorf("got %v and %q", states, missing)
		}
		delete(beside, attest.LabelTCBInfoChain)
		want["tdx-tcb-info"] = "missing endorsement.missing"
		if states, missing := inspected(t, aCollection(t, quote, beside)); !maps.Equal(states, want) || !strings.Contains(missing, "goes without tdx-tcb-info-chain, sgx-root-crl:") {
			t.Errorf("without a chain: got %v and %q", states, missing)
		}
	})
	t.Run("genuine, of a chip", func(t *testing.T) {
		from := shared(t, "evidence", "snp-milan-genuine-accept")
		t.Log("shared testdata: used")
		report := attest.Item{MediaType: attest.TypeSNPReport, Value: read(t, filepath.Join(from, "report.bin"))}
		beside := map[string]attest.Item{attest.LabelVCEK: {MediaType: attest.TypeCertificate, Value: read(t, filepath.Join(from, "vcek.der"))}}
		states, missing := inspected(t, aCollection(t, report, beside))
		if !strings.HasPrefix(states["amd-vcek"], "there until 20") || states["amd-crl"] != "missing endorsement.missing" || !strings.Contains(missing, "goes without amd-crl:") {
			t.Errorf("got %v and %q", states, missing)
		}
	})
}

// TestAppraiseMissing: an appraisal that ends at the first endorsement that is missing
// names the others too.
func TestAppraiseMissing(t *testing.T) {
	dir := t.TempDir()
	makeNode(t, dir)
	owners, err := verdict.ParseOwners(read(t, filepath.Join(dir, "owners", "owners.json")))
	if err != nil {
		t.Fatal(err)
	}
	public, err := owners.Keys[0].PublicKey(verdict.UseOwner)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	example := string(read(t, "../../../../docs/examples/trust.yaml"))
	before, rest, _ := strings.Cut(example, "owners:\n")
	_, after, ok := strings.Cut(rest, "min-head:")
	if !ok {
		t.Fatal("the example has no owners")
	}
	key := strings.ReplaceAll(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))), "\n", "\n      ")
	trust := before + "owners:\n  threshold: 1\n  keys:\n    - |\n      " + key + "\nmin-head:" + after
	write(t, filepath.Join(dir, "trust.yaml"), []byte(strings.Replace(trust, "/var/lib/assay", filepath.Join(dir, "state"), 1)))
	s := attesttest.NewSNP(t, attest.SNP, attesttest.Encode(t, attesttest.Statement(t)), attesttest.Nonce(1))
	made := s.Collection(t)
	delete(made.Items, attest.LabelEndorsements)
	data, err := made.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path, nonce := filepath.Join(dir, "collection.cmw"), attesttest.Nonce(1)
	write(t, path, data)
	o := assay(t, "statement", "appraise", path, "--nonce", hex.EncodeToString(nonce[:]), "--at", attesttest.At.Format(time.RFC3339), "--head", filepath.Join(dir, "owners", "head.json"), "--trust", filepath.Join(dir, "trust.yaml"))
	if o.status != 3 || !strings.Contains(o.stderr, "goes without amd-vcek, amd-crl:") || !strings.Contains(o.stderr, string(verdict.EndorsementMissing)) {
		t.Errorf("got %s", o)
	}
}
