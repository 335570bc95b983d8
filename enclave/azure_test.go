// SPDX-License-Identifier: Apache-2.0

package enclave_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/ci/swtpm"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/verdict"
)

const (
	assetTagFile = "/sys/class/dmi/id/chassis_asset_tag"
	azureTag     = "7783-7084-3265-9085-8269-3286-77\n"
)

// must executes what a test's TPM is set up by.
func must[R any](t testing.TB) func(R, error) R { return attesttest.Must[R](t) }

var ownerAuth = tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}

// evict takes a key away.
func evict(t testing.TB, tpm transport.TPM, handle tpm2.TPMHandle) {
	t.Helper()
	public := must[*tpm2.ReadPublicResponse](t)(tpm2.ReadPublic{ObjectHandle: handle}.Execute(tpm))
	must[*tpm2.EvictControlResponse](t)(tpm2.EvictControl{Auth: ownerAuth, ObjectHandle: &tpm2.NamedHandle{Handle: handle, Name: public.Name}, PersistentHandle: handle}.Execute(tpm))
}

// withTPM sets a test's TPM up.
func withTPM(t testing.TB, tpm *swtpm.TPM, f func(tpm transport.TPM)) {
	t.Helper()
	if err := enclave.WithTPM(t.Context(), tpm.Socket, func(tpm transport.TPM) error { f(tpm); return nil }); err != nil {
		t.Fatal(err)
	}
}

// A fakeMetadata is Azure's metadata service. It answers with the certificate of a
// machine's chip and the quote of its TDREPORT, unless answer is set.
type fakeMetadata struct {
	t           *testing.T
	vcek, quote []byte
	report      []byte
	answer      http.HandlerFunc
	mu          sync.Mutex
	asked       int
}

func (m *fakeMetadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if r.Header.Get("Metadata") != "true" { // what a request that was forged through another program lacks
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if m.answer != nil {
		m.answer(w, r)
		return
	}
	var answer map[string]string
	switch r.Method + " " + r.URL.Path {
	case "GET /metadata/THIM/amd/certification":
		answer = map[string]string{
			"vcekCert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.vcek})), "tcbm": "DB18000000000004", "certificateChain": "", "cacheControl": "86400",
		}
	case "POST /acc/tdquote":
		var request struct {
			Report string `json:"report"`
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			m.t.Error(err)
		}
		if report, err := base64.RawURLEncoding.DecodeString(request.Report); err != nil || !bytes.Equal(report, m.report) || r.Header.Get("Content-Type") != "application/json" {
			m.t.Errorf("asked for the quote of %d bytes: %v", len(report), err)
		}
		answer = map[string]string{"quote": base64.URLEncoding.EncodeToString(m.quote)}
	default:
		m.t.Errorf("asked for %s %s", r.Method, r.URL.Path)
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		m.t.Error(err)
	}
}

// set changes how it answers.
func (m *fakeMetadata) set(change func(*fakeMetadata)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

// answers sets another answer.
func (m *fakeMetadata) answers(f http.HandlerFunc) { m.set(func(m *fakeMetadata) { m.answer = f }) }

// requests is how often it was asked.
func (m *fakeMetadata) requests() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

// An azureVM is a software TPM that is set up as that of Azure's paravisor, a metadata
// service, and what opens and accepts them.
type azureVM struct {
	tpm      *swtpm.TPM
	made     *attesttest.Azure
	metadata *fakeMetadata
	config   enclave.Config
	in       attest.Input
}

// newAzureVM sets one up after a change to what its paravisor says.
func newAzureVM(t *testing.T, kind string, change func(*attesttest.Azure)) *azureVM {
	t.Helper()
	vm := &azureVM{metadata: &fakeMetadata{t: t}}
	vm.tpm, vm.config = startTPM(t)
	vm.made = map[string]func(testing.TB, []byte) *attesttest.Azure{verdict.KindAzureSNP: attesttest.NewAzureSNP, verdict.KindAzureTDX: attesttest.NewAzureTDX}[kind](t, nil)
	z := vm.made.State(t, attesttest.Statement(t), attesttest.Nonce(3))
	withTPM(t, vm.tpm, func(tpm transport.TPM) {
		c := z.SetUp(t, tpm, change)
		items := c.Items[attest.LabelEvidence].Nested.Items
		report := items[attest.LabelHCLReport].Value
		files := map[string][]byte{}
		if z.TDX != nil {
			vm.metadata.quote, vm.metadata.report = items[attest.LabelTDQuote].Value, report[32:32+1024]
			files = collateralFiles(z.TDX.Collateral())
		} else {
			endorsements := c.Items[attest.LabelEndorsements].Nested.Items
			vm.metadata.vcek = endorsements[attest.LabelVCEK].Value
			files["amd-crl.der"] = endorsements[attest.LabelCRL].Value
		}
		vm.config.Endorsements = folderOf(t, files)
	})
	server := httptest.NewServer(vm.metadata)
	t.Cleanup(server.Close)
	t.Cleanup(enclave.SetMetadata(server.URL))
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pcr4, err := enclave.MeasureInto(t.Context(), vm.tpm.Socket, 4, executable)
	if err != nil {
		t.Fatal(err)
	}
	vm.config.Kind, vm.in = kind, z.Input(t)
	zeros := strings.Repeat("0", 64)
	vm.in.References.Entries[0].Registers = map[string]string{"pcr4": pcr4, "pcr12": zeros, "pcr13": zeros}
	return vm
}

// accept wants evidence to be accepted.
func (vm *azureVM) accept(t *testing.T, collection []byte, events int) attest.Result {
	t.Helper()
	got, err := attest.Appraise(collection, vm.in, attesttest.At)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Kind) != vm.kind() || got.Binding != attest.BindingHCL || got.Simulated || len(got.Events) != events || got.Claims.Hardware != attest.Affirming || got.Claims.Executables != attest.Affirming {
		t.Errorf("got kind %s, binding %s, simulated %t, %d events, claims %+v", got.Kind, got.Binding, got.Simulated, len(got.Events), got.Claims)
	}
	vm.in.Known = []attest.KnownAK{got.AK}
	return got
}

func (vm *azureVM) kind() string { return string(vm.in.Trust.Kinds[0]) }

// TestAzureVM runs the whole way on both platforms, with the kind named and found out:
// events, evidence, appraisal, a second head, and a second start of the daemon.
func TestAzureVM(t *testing.T) {
	for _, kind := range []string{verdict.KindAzureSNP, verdict.KindAzureTDX} {
		for _, open := range []string{kind, enclave.KindAuto} {
			t.Run(kind+"/"+open, func(t *testing.T) {
				vm := newAzureVM(t, kind, nil)
				if vm.config.Kind = open; open == enclave.KindAuto {
					chassis(t, azureTag)
				}
				a, err := enclave.Open(t.Context(), vm.config)
				if err != nil {
					t.Fatal(err)
				}
				if a.Kind() != kind {
					t.Errorf("got kind %s, want %s", a.Kind(), kind)
				}
				statement := attesttest.Statement(t)
				events := 0
				next := func() []byte {
					t.Helper()
					if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
						t.Fatal(err)
					}
					collection, err := a.Evidence(t.Context(), attesttest.Encode(t, statement), vm.in.MyNonce[:])
					if err != nil {
						t.Fatal(err)
					}
					events++
					return collection
				}
				vm.accept(t, next(), events)
				statement.Head.Counter++
				vm.accept(t, next(), events)
				if _, err := a.ActivateCredential(t.Context(), nil, nil); verdict.CodeOf(err) != verdict.EvidenceKind {
					t.Errorf("activation: got %v, want %s", err, verdict.EvidenceKind)
				}
				if n := vm.metadata.requests(); n != 1 {
					t.Errorf("the metadata service was asked %d times, want once", n)
				}
				closeAttester(t, a)
				if _, err := a.Evidence(t.Context(), nil, nil); !isFailure(err) {
					t.Errorf("closed: got %v, want a failure", err)
				}
				if a, err = enclave.Open(t.Context(), vm.config); err != nil {
					t.Fatal(err)
				}
				statement.Boot = "ffffffffffffffffffffffffffffffff"
				vm.accept(t, next(), events)
				// After a restart of the machine the key is the same, and its counters have
				// gone on.
				closeAttester(t, a)
				if err := vm.tpm.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				if vm.in.References.Entries[0].Registers["pcr4"], err = enclave.MeasureInto(t.Context(), vm.tpm.Socket, 4, os.Args[0]); err != nil {
					t.Fatal(err)
				}
				if a, err = enclave.Open(t.Context(), vm.config); err != nil {
					t.Fatal(err)
				}
				before := vm.in.Known[0]
				if got := vm.accept(t, next(), 1); got.AK.AK != before.AK || got.AK.Resets <= before.Resets {
					t.Errorf("got AK %+v after %+v", got.AK, before)
				}
				closeAttester(t, a)
			})
		}
	}
}

// chassis has the kernel tell an asset tag, and have no provider of reports.
func chassis(t *testing.T, tag string) *fakeKernel {
	t.Helper()
	k := newKernel(t, "")
	if err := os.MkdirAll(k.path(filepath.Dir(assetTagFile)), 0o700); err != nil {
		t.Fatal(err)
	}
	k.put(assetTagFile, []byte(tag))
	return k
}

// TestRefuseAzureVM: what is another than the references and the caller demand is
// refused by the check that is there for it.
func TestRefuseAzureVM(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*attesttest.Azure) // of what the paravisor says
		vm     func(t *testing.T, vm *azureVM)
		items  func(t *testing.T, vm *azureVM, items map[string]attest.Item)
		code   verdict.Code
	}{
		"another byte of the data": {change: func(z *attesttest.Azure) {
			z.OnData = func(data []byte) []byte { return append(data[:len(data)-1:len(data)-1], ' ', '}') }
		}, code: verdict.EvidenceBinding},
		"something in the upper half": {change: func(z *attesttest.Azure) { z.OnReportData = func(d *[64]byte) { d[40] = 1 } }, code: verdict.EvidenceBinding},
		"a debugged guest":            {change: func(z *attesttest.Azure) { z.SNP.Report.Policy |= attest.SNPPolicyDebug }, code: verdict.GuestDebug},
		"a report of the guest's":     {change: func(z *attesttest.Azure) { z.SNP.Report.VMPL = 1 }, code: verdict.GuestVMPL},
		"another nonce":               {vm: func(_ *testing.T, vm *azureVM) { vm.in.MyNonce = attesttest.Nonce(4) }, code: verdict.EvidenceNonce},
		"another paravisor":           {vm: func(_ *testing.T, vm *azureVM) { vm.in.References.Entries[0].Measurement = strings.Repeat("0", 96) }, code: verdict.GuestMeasurement},
		"a command line from outside": {vm: func(t *testing.T, vm *azureVM) {
			if _, err := enclave.MeasureInto(t.Context(), vm.tpm.Socket, 12, os.Args[0]); err != nil {
				t.Fatal(err)
			}
		}, code: verdict.GuestRegister},
		"another event": {items: func(t *testing.T, _ *azureVM, items map[string]attest.Item) {
			set(items, attest.LabelRegisters, bytes.Replace(items[attest.LabelRegisters].Value, []byte(`"head":3`), []byte(`"head":4`), 1))
		}, code: verdict.GuestRegister},
		"another statement": {items: func(t *testing.T, _ *azureVM, items map[string]attest.Item) {
			set(items, attest.LabelStatement, attesttest.Encode(t, attesttest.Statement(t)))
		}, code: verdict.EvidenceBinding},
		"a quote of another key": {items: func(t *testing.T, vm *azureVM, items map[string]attest.Item) {
			// Of the same TPM, about the same statement.
			withTPM(t, vm.tpm, func(tpm transport.TPM) {
				template := attesttest.AKTemplate(t)
				template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: make([]byte, 256)})
				attesttest.Primary(t, tpm, tpm2.TPMRHOwner, template, attesttest.AzureAKHandle+1)
				public := must[*tpm2.ReadPublicResponse](t)(tpm2.ReadPublic{ObjectHandle: attesttest.AzureAKHandle + 1}.Execute(tpm))
				parsed, err := attest.ParseQuote(items[attest.LabelEvidence].Nested.Items[attest.LabelQuote].Value)
				if err != nil {
					t.Fatal(err)
				}
				quote := must[*tpm2.QuoteResponse](t)(tpm2.Quote{
					SignHandle: tpm2.AuthHandle{Handle: attesttest.AzureAKHandle + 1, Name: public.Name, Auth: tpm2.PasswordAuth(nil)}, QualifyingData: tpm2.TPM2BData{Buffer: parsed.ExtraData},
					InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
					PCRSelect: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
						{Hash: tpm2.TPMAlgSHA256, PCRSelect: parsed.Banks[0].Bitmap},
					}},
				}.Execute(tpm))
				evidence := items[attest.LabelEvidence].Nested.Items
				set(evidence, attest.LabelQuote, quote.Quoted.Bytes())
				set(evidence, attest.LabelSignature, tpm2.Marshal(quote.Signature))
			})
		}, code: verdict.EvidenceSignature},
		"no VCEK": {vm: func(_ *testing.T, vm *azureVM) {
			vm.metadata.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
		}, code: verdict.EndorsementMissing},
		"no list of what is revoked": {vm: func(t *testing.T, vm *azureVM) { vm.config.Endorsements = t.TempDir() }, code: verdict.EndorsementMissing},
	} {
		t.Run(name, func(t *testing.T) {
			vm := newAzureVM(t, verdict.KindAzureSNP, tt.change)
			if tt.vm != nil {
				tt.vm(t, vm)
			}
			nonce := attesttest.Nonce(3)
			collection := once(t, vm.config, nonce)
			if tt.items != nil {
				c, err := attest.ParseCollection(collection)
				if err != nil {
					t.Fatal(err)
				}
				tt.items(t, vm, c.Items)
				if collection, err = c.Marshal(); err != nil {
					t.Fatal(err)
				}
			}
			_, err := attest.Appraise(collection, vm.in, attesttest.At)
			if verdict.CodeOf(err) != tt.code {
				t.Errorf("got %v, want %s", err, tt.code)
			}
			if undecided := tt.code == verdict.EndorsementMissing; undecided == verdict.Refused(err) {
				t.Errorf("got refused %t: %v", verdict.Refused(err), err)
			}
		})
	}
}

// once opens a TEE, has it record a statement, and closes it after its evidence: the
// socket of swtpm takes one connection at a time.
func once(t *testing.T, config enclave.Config, nonce [verdict.NonceSize]byte) []byte {
	t.Helper()
	a, err := enclave.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAttester(t, a)
	statement := attesttest.Statement(t)
	if err := a.Extend(t.Context(), attesttest.Event(statement)); err != nil {
		t.Fatal(err)
	}
	collection, err := a.Evidence(t.Context(), attesttest.Encode(t, statement), nonce[:])
	if err != nil {
		t.Fatal(err)
	}
	return collection
}

// set gives a record another value.
func set(items map[string]attest.Item, label string, value []byte) {
	item := items[label]
	item.Value = value
	items[label] = item
}

// TestAzureVCEK: the certificate in the folder goes before that of the metadata service,
// and of that one another key's is left out and told of.
func TestAzureVCEK(t *testing.T) {
	vm := newAzureVM(t, verdict.KindAzureSNP, nil)
	var log bytes.Buffer
	vm.config.Log = slog.New(slog.NewTextHandler(&log, nil))
	a, err := enclave.Open(t.Context(), vm.config)
	if err != nil {
		t.Fatal(err)
	}
	raw, good := attesttest.Encode(t, attesttest.Statement(t)), vm.metadata.vcek
	of := func(vcek []byte) attest.Item {
		t.Helper()
		if vcek != nil {
			if err := os.WriteFile(filepath.Join(vm.config.Endorsements, "amd-vcek.der"), vcek, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		collection, err := a.Evidence(t.Context(), raw, vm.in.MyNonce[:])
		if err != nil {
			t.Fatal(err)
		}
		c, err := attest.ParseCollection(collection)
		if err != nil {
			t.Fatal(err)
		}
		return c.Items[attest.LabelEndorsements].Nested.Items[attest.LabelVCEK]
	}
	if got := of(nil); !bytes.Equal(got.Value, good) || log.Len() != 0 {
		t.Errorf("got %d bytes of the metadata service's, and %s", len(got.Value), log.String())
	}
	asked := vm.metadata.requests()
	if got := of([]byte("the folder's")); string(got.Value) != "the folder's" || vm.metadata.requests() != asked {
		t.Errorf("got %q, %d more questions", got.Value, vm.metadata.requests()-asked)
	}
	closeAttester(t, a)
	if err := os.Remove(filepath.Join(vm.config.Endorsements, "amd-vcek.der")); err != nil {
		t.Fatal(err)
	}
	_, other := attesttest.NewSNP(t, attest.SNP, nil, attesttest.Nonce(1)).Chain(t)
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		text   string
	}{
		"another chip's": {func(w http.ResponseWriter, r *http.Request) {
			m := fakeMetadata{t: t, vcek: other.Raw}
			m.ServeHTTP(w, r)
		}, "of another key"},
		"none":                   {text(http.StatusOK, "{}"), "no certificate in PEM"},
		"of no form":             {text(http.StatusOK, `{"vcekCert":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}`), "does not parse"},
		"no JSON":                {text(http.StatusOK, "<html>"), "no JSON"},
		"another place":          {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }, "302"},
		"none now":               {text(http.StatusServiceUnavailable, ""), "503"},
		"more than there can be": {text(http.StatusOK, strings.Repeat(" ", 129<<10)), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			vm.metadata.answers(tt.answer)
			collection := once(t, vm.config, vm.in.MyNonce)
			if _, err := attest.Appraise(collection, vm.in, attesttest.At); verdict.CodeOf(err) != verdict.EndorsementMissing {
				t.Errorf("got %v, want %s", err, verdict.EndorsementMissing)
			}
			if !strings.Contains(log.String(), tt.text) {
				t.Errorf("the log has %q, want %q", log.String(), tt.text)
			}
		})
	}
}

// TestAzureVCEKPause: a metadata service that gave no certificate is left alone for a
// minute, and one that a caller did not wait for is not.
func TestAzureVCEKPause(t *testing.T) {
	vm := newAzureVM(t, verdict.KindAzureSNP, nil)
	a, err := enclave.Open(t.Context(), vm.config)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAttester(t, a)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if there, err := enclave.VCEKAt(gone, a, attesttest.At); there || err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who is gone: got %v, %v", there, err)
	}
	vm.metadata.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	before := vm.metadata.requests()
	for _, tt := range []struct {
		after time.Duration
		asked int
	}{{0, 1}, {time.Second, 1}, {time.Minute - 1, 1}, {time.Minute, 2}, {2*time.Minute - 1, 2}} {
		if there, err := enclave.VCEKAt(t.Context(), a, attesttest.At.Add(tt.after)); there || err != nil {
			t.Errorf("after %v: got %v, %v, want no certificate", tt.after, there, err)
		}
		if n := vm.metadata.requests() - before; n != tt.asked {
			t.Errorf("after %v: asked %d times, want %d", tt.after, n, tt.asked)
		}
	}
	vm.metadata.answers(nil)
	for _, after := range []time.Duration{2 * time.Minute, 3 * time.Minute} {
		if there, err := enclave.VCEKAt(t.Context(), a, attesttest.At.Add(after)); !there || err != nil {
			t.Errorf("after %v: got %v, %v, want a certificate", after, there, err)
		}
	}
	if n := vm.metadata.requests() - before; n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
}

// TestOpenAzureFails: what is not there is told, and nothing else is taken in its place.
func TestOpenAzureFails(t *testing.T) {
	quote := func(answer string) func(*testing.T, *azureVM) {
		return func(_ *testing.T, vm *azureVM) {
			vm.metadata.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) })
		}
	}
	for name, tt := range map[string]struct {
		change func(t *testing.T, vm *azureVM)
		text   string
		misuse bool
	}{
		"another kind is configured": {func(_ *testing.T, vm *azureVM) { vm.config.Kind = verdict.KindAzureSNP }, "this is a machine of kind azure-tdx", false},
		"another attestation key": {func(t *testing.T, vm *azureVM) {
			withTPM(t, vm.tpm, func(tpm transport.TPM) {
				evict(t, tpm, attesttest.AzureAKHandle)
				attesttest.Primary(t, tpm, tpm2.TPMRHOwner, attesttest.AKTemplate(t), attesttest.AzureAKHandle)
			})
		}, "is not the one that the paravisor's report names", false},
		"no attestation key": {func(t *testing.T, vm *azureVM) {
			withTPM(t, vm.tpm, func(tpm transport.TPM) { evict(t, tpm, attesttest.AzureAKHandle) })
		}, "reading the attestation key 0x81000003", false},
		"a report of no form": {func(t *testing.T, vm *azureVM) {
			withTPM(t, vm.tpm, func(tpm transport.TPM) { attesttest.WriteNV(t, tpm, attesttest.AzureReportIndex, make([]byte, 2048)) })
		}, "what is in NV index 0x01400001", false},
		"no report": {func(t *testing.T, vm *azureVM) {
			withTPM(t, vm.tpm, func(tpm transport.TPM) {
				public := must[*tpm2.NVReadPublicResponse](t)(tpm2.NVReadPublic{NVIndex: attesttest.AzureReportIndex}.Execute(tpm))
				must[*tpm2.NVUndefineSpaceResponse](t)(tpm2.NVUndefineSpace{AuthHandle: ownerAuth, NVIndex: tpm2.NamedHandle{Handle: attesttest.AzureReportIndex, Name: public.NVName}}.Execute(tpm))
			})
		}, "the TPM has no NV index 0x01400001", false},
		"the quote of another TDREPORT": {func(t *testing.T, vm *azureVM) {
			x := attesttest.NewTDX(t, attesttest.At)
			vm.metadata.set(func(m *fakeMetadata) { m.quote = x.QuoteBytes() })
		}, "the quote of another TDREPORT", false},
		"no quote":             {quote("{}"), "no quote", false},
		"no base64":            {quote(`{"quote":"*"}`), "no quote", false},
		"nonsense for a quote": {quote(`{"quote":"AAAA"}`), "what the metadata service gave", false},
		"it does not know TDX": {func(_ *testing.T, vm *azureVM) {
			vm.metadata.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
		}, "404", false},
		"no state folder":                   {func(_ *testing.T, vm *azureVM) { vm.config.StateDir = "" }, "no state folder", true},
		"no TPM":                            {func(_ *testing.T, vm *azureVM) { vm.config.TPM = "" }, "no path", true},
		"endorsements that are not there":   {func(_ *testing.T, vm *azureVM) { vm.config.Endorsements += "/absent" }, "opening endorsements", true},
		"a register that somebody extended": {func(t *testing.T, vm *azureVM) { extend14(t, vm.tpm) }, "do not explain", false},
	} {
		t.Run(name, func(t *testing.T) {
			vm := newAzureVM(t, verdict.KindAzureTDX, nil)
			tt.change(t, vm)
			a, err := enclave.Open(t.Context(), vm.config)
			if a != nil || err == nil || isMisuse(err) != tt.misuse || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want one with %q, misuse %t", err, tt.text, tt.misuse)
			}
		})
	}
}

// extend14 extends the register of the events without an event.
func extend14(t *testing.T, tpm *swtpm.TPM) {
	t.Helper()
	withTPM(t, tpm, func(tpm transport.TPM) {
		must[*tpm2.PCRExtendResponse](t)(tpm2.PCRExtend{
			PCRHandle: tpm2.AuthHandle{Handle: 14, Auth: tpm2.PasswordAuth(nil)},
			Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32)}}},
		}.Execute(tpm))
	})
}

// TestAzureQuoteIsWaitedFor: a metadata service that is not up yet, or breaks off, is
// asked again, until the caller gives up.
func TestAzureQuoteIsWaitedFor(t *testing.T) {
	vm := newAzureVM(t, verdict.KindAzureTDX, nil)
	left := 2
	vm.metadata.answers(func(w http.ResponseWriter, _ *http.Request) {
		if left--; left > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		vm.metadata.answer = nil
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte(`{"quote":`))
	})
	_, collection, _ := evidence(t, vm.config, vm.in.MyNonce)
	vm.accept(t, collection, 1)
	if n := vm.metadata.requests(); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}

	vm = newAzureVM(t, verdict.KindAzureTDX, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	vm.metadata.answers(func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if a, err := enclave.Open(ctx, vm.config); a != nil || !isFailure(err) {
		t.Errorf("got %v, want a failure", err)
	}
}

// TestAutoOnAzure: what the chassis says decides where one looks, and no more.
func TestAutoOnAzure(t *testing.T) {
	t.Run("a machine without a paravisor", func(t *testing.T) {
		tpm, _ := startTPM(t)
		k, guest, _ := tdxMachine(t)
		if err := os.MkdirAll(k.path(filepath.Dir(assetTagFile)), 0o700); err != nil {
			t.Fatal(err)
		}
		k.put(assetTagFile, []byte(azureTag))
		guest.Kind, guest.TPM = enclave.KindAuto, tpm.Socket
		if a := open(t, guest); a.Kind() != verdict.KindTDX {
			t.Errorf("got kind %s", a.Kind())
		}
	})
	t.Run("a machine without a TPM", func(t *testing.T) {
		k, guest, _ := tdxMachine(t)
		if err := os.MkdirAll(k.path(filepath.Dir(assetTagFile)), 0o700); err != nil {
			t.Fatal(err)
		}
		k.put(assetTagFile, []byte(azureTag))
		guest.Kind, guest.TPM = enclave.KindAuto, filepath.Join(t.TempDir(), "absent")
		if a := open(t, guest); a.Kind() != verdict.KindTDX {
			t.Errorf("got kind %s", a.Kind())
		}
		k.provider = ""
		if _, err := enclave.Open(t.Context(), guest); !isFailure(err) || !strings.Contains(err.Error(), "absent") || !strings.Contains(err.Error(), "no provider") {
			t.Errorf("got %v, want that neither is there", err)
		}
	})
	t.Run("another's chassis", func(t *testing.T) {
		vm := newAzureVM(t, verdict.KindAzureSNP, nil)
		chassis(t, "Not Specified\n")
		vm.config.Kind = enclave.KindAuto
		if _, err := enclave.Open(t.Context(), vm.config); !isFailure(err) || !strings.Contains(err.Error(), "no provider") {
			t.Errorf("got %v, want that the kernel has none", err)
		}
	})
	t.Run("a folder that is missing", func(t *testing.T) {
		vm := newAzureVM(t, verdict.KindAzureSNP, nil)
		k := chassis(t, azureTag)
		k.provider = "sev_guest"
		vm.config.Kind, vm.config.StateDir = enclave.KindAuto, filepath.Join(vm.config.StateDir, "absent")
		if _, err := enclave.Open(t.Context(), vm.config); !isMisuse(err) {
			t.Errorf("got %v, want a misuse", err)
		}
	})
	t.Run("a chassis of no form", func(t *testing.T) {
		chassis(t, strings.Repeat("7", 300))
		if _, err := enclave.Open(t.Context(), enclave.Config{Kind: enclave.KindAuto}); !isFailure(err) || !strings.Contains(err.Error(), "chassis") {
			t.Errorf("got %v, want a failure", err)
		}
	})
}
