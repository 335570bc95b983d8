// SPDX-License-Identifier: Apache-2.0

package enclave_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/enclave"
)

// Tags of responses (TPM 2.0 Part 2 §6.9): without sessions and with them.
const (
	tagPlain    = 0x8001
	tagSessions = 0x8002
)

// tpmAnswer is a response with its header.
func tpmAnswer(tag uint16, code uint32, body []byte) []byte {
	be := binary.BigEndian
	out := be.AppendUint16(nil, tag)
	out = be.AppendUint32(out, uint32(10+len(body)))
	return append(be.AppendUint32(out, code), body...)
}

// nvPublic is the body of the response to TPM2_NV_ReadPublic for an index of size bytes.
func nvPublic(index uint32, size uint16) []byte {
	public := tpm2.Marshal(tpm2.New2B(tpm2.TPMSNVPublic{NVIndex: tpm2.TPMHandle(index), NameAlg: tpm2.TPMAlgSHA256, DataSize: size}))
	return append(public, tpm2.Marshal(tpm2.TPM2BName{Buffer: append([]byte{0, 0x0b}, make([]byte, 32)...)})...)
}

// nvData is that of the response to TPM2_NV_Read, with the area of an authorization by an
// empty password.
func nvData(data []byte) []byte {
	buffer := tpm2.Marshal(tpm2.TPM2BMaxNVBuffer{Buffer: data})
	out := binary.BigEndian.AppendUint32(nil, uint32(len(buffer)))
	return append(append(out, buffer...), 0, 0, 1, 0, 0)
}

const nvIndex = 0x01C00002

// nvTPM answers with one body to each of both commands, and counts them.
func nvTPM(public, data []byte, commands *int) func([]byte) ([]byte, error) {
	return func(command []byte) ([]byte, error) {
		if *commands++; *commands > enclave.MaxNV+2 {
			return nil, errors.New("more commands than an index has bytes")
		}
		if binary.BigEndian.Uint16(command) == tagPlain {
			return tpmAnswer(tagPlain, 0, public), nil
		}
		return tpmAnswer(tagSessions, 0, data), nil
	}
}

// FuzzReadNV: whatever a TPM answers, it is the bytes of an index of its size, or an
// error. go-tpm reads the structures.
func FuzzReadNV(f *testing.F) {
	count := fuzz.NewCount(f)
	publics := fuzz.NewGoods(f, nvPublic(nvIndex, 5), nvPublic(nvIndex, 1), nvPublic(nvIndex, 6), nvPublic(nvIndex, 0xffff))
	contents := fuzz.NewGoods(f, nvData([]byte("12345")), nvData([]byte("123")), nvData(nil))
	for i := range byte(4) {
		for j := range byte(3) {
			f.Add([]byte{0x40 + i}, []byte{0x40 + j})
		}
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		public, data := publics.Of(a), contents.Of(b)
		if len(public)+len(data) > enclave.MaxTPMResponse {
			count.Add(false)
			return // a device gives no more
		}
		commands := 0
		got, err := enclave.ReadNV(nvIndex, nvTPM(public, data, &commands))
		count.Add(commands > 1) // it read what the index is
		if err != nil {
			if got != nil {
				t.Errorf("got %d bytes with %v", len(got), err)
			}
			return
		}
		// The size is behind the u16 of the whole, index, algorithm, attributes, and policy.
		if len(got) > enclave.MaxNV {
			t.Errorf("got %d bytes, want at most %d", len(got), enclave.MaxNV)
		}
		if n := len(got); n > 0 && !bytes.Contains(data, got[:min(n, 1)]) {
			t.Errorf("got bytes that the TPM did not give")
		}
	})
}

func TestReadNVRefuses(t *testing.T) {
	for _, c := range []struct {
		name         string
		public, data []byte
		text         string
	}{
		{"more than was asked for", nvPublic(nvIndex, 2), nvData([]byte("123")), "gave 3 bytes of 2"},
		{"nothing", nvPublic(nvIndex, 1), nvData(nil), "ends after 0 of 1 bytes"},
		{"an index that is too large", nvPublic(nvIndex, enclave.MaxNV+1), nil, "want at most 16384"},
	} {
		commands := 0
		if got, err := enclave.ReadNV(nvIndex, nvTPM(c.public, c.data, &commands)); err == nil || got != nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.text)
		}
	}
	// Truncated: each prefix of a good answer is an error, as is that of a good reading.
	public, data := nvPublic(nvIndex, 5), nvData([]byte("12345"))
	commands := 0
	if got, err := enclave.ReadNV(nvIndex, nvTPM(public, data, &commands)); err != nil || string(got) != "12345" {
		t.Fatalf("got %q, %v", got, err)
	}
	const area = 16 // behind it is the name, and go-tpm takes none for an empty one; nothing rests on it
	for n := range area {
		if _, err := enclave.ReadNV(nvIndex, nvTPM(public[:n], data, &commands)); err == nil {
			t.Errorf("accepted %d bytes of %d about the index", n, len(public))
		}
	}
	for n := range len(data) - 5 { // what is behind is the authorization, which is empty
		if _, err := enclave.ReadNV(nvIndex, nvTPM(public, data[:n], &commands)); err == nil {
			t.Errorf("accepted %d bytes of %d of the index", n, len(data))
		}
	}
}

// A pipe is a connection whose other side has said all that it will.
type pipe struct {
	net.Conn
	answer io.Reader
	read   int
}

func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.answer.Read(b)
	p.read += n
	return n, err
}
func (*pipe) Write(b []byte) (int, error)    { return len(b), nil }
func (*pipe) SetDeadline(at time.Time) error { return nil }

// FuzzTPMResponse: what a socket gives is one response of the size that it says, of which
// not one byte more is read.
func FuzzTPMResponse(f *testing.F) {
	inputs := fuzz.New(f, tpmAnswer(tagPlain, 0, []byte("body")), append(tpmAnswer(tagPlain, 0x922, nil), 1, 2, 3), []byte{0x80, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		conn := &pipe{answer: bytes.NewReader(data)}
		got, err := enclave.ExchangeSocket(ctx, conn, []byte("command"))
		size := uint32(0)
		if len(data) >= 10 {
			size = binary.BigEndian.Uint32(data[2:])
		}
		inputs.Add(size >= 10 && size <= enclave.MaxTPMResponse)
		if conn.read > enclave.MaxTPMResponse {
			t.Errorf("read %d bytes", conn.read)
		}
		if err == nil && (!bytes.HasPrefix(data, got) || len(got) != conn.read || int(binary.BigEndian.Uint32(got[2:])) != len(got)) {
			t.Errorf("got %x of %x", got, data)
		}
	})
}

// FuzzReportOf: the report of a response of /dev/sev-guest is where it is, or an error.
func FuzzReportOf(f *testing.F) {
	good := make([]byte, 32+1184)
	binary.LittleEndian.PutUint32(good[4:], 1184)
	inputs := fuzz.New(f, good, good[:6])
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		got, err := enclave.ReportOf(data)
		inputs.Add(len(data) >= 8 && binary.LittleEndian.Uint32(data) == 0)
		whole := make([]byte, max(len(data), 32+1184)) // what the firmware did not write is zero
		copy(whole, data)
		if (err == nil) != (binary.LittleEndian.Uint32(whole) == 0 && binary.LittleEndian.Uint32(whole[4:]) == 1184) {
			t.Fatalf("got %v of % x", err, whole[:8])
		}
		if err == nil && !bytes.Equal(got, whole[32:][:1184]) {
			t.Errorf("got %x", got)
		}
	})
}

// A service answers every request with a body.
type service struct {
	body []byte
	read int
}

func (s *service) Read(b []byte) (int, error) {
	n := copy(b, s.body[s.read:])
	if s.read += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}
func (*service) Close() error { return nil }

func (s *service) RoundTrip(*http.Request) (*http.Response, error) {
	s.read = 0
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Body: s}, nil
}

// metadataAnswer has what both requests want.
func metadataAnswer(t testing.TB) []byte {
	t.Helper()
	der, err := os.ReadFile("../attest/testdata/snp-milan-vcek.der")
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]string{
		"vcekCert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"quote":    base64.RawURLEncoding.EncodeToString([]byte("quote")),
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzMetadata: whatever Azure's metadata service answers is a certificate or a quote of
// a size that is bounded, or an error of a length that is.
func FuzzMetadata(f *testing.F) {
	inputs := fuzz.New(f, metadataAnswer(f), []byte(`{"quote":"AA==","vcekCert":""}`), []byte(`{"quote":"_-","vcekCert":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		vcek, quote, vcekErr, quoteErr := enclave.AskMetadata(t.Context(), &service{body: data})
		if (vcekErr == nil) != (len(vcek) > 0) || (quoteErr == nil) != (len(quote) > 0) || len(quote) > attest.MaxTDXQuoteSize {
			t.Errorf("got %d bytes, %v, and %d bytes, %v", len(vcek), vcekErr, len(quote), quoteErr)
		}
		for _, err := range []error{vcekErr, quoteErr} {
			if err != nil && len(err.Error()) > 1<<10 {
				t.Errorf("got an error of %d bytes", len(err.Error()))
			}
		}
	})
}

func TestMetadataTruncated(t *testing.T) {
	good := metadataAnswer(t)
	vcek, quote, vcekErr, quoteErr := enclave.AskMetadata(t.Context(), &service{body: good})
	if vcekErr != nil || quoteErr != nil || len(vcek) == 0 || string(quote) != "quote" {
		t.Fatalf("got %v, %q, %v", vcekErr, quote, quoteErr)
	}
	for n := range good {
		if _, _, vcekErr, quoteErr := enclave.AskMetadata(t.Context(), &service{body: good[:n]}); vcekErr == nil || quoteErr == nil {
			t.Errorf("accepted %d bytes of %d: %v, %v", n, len(good), vcekErr, quoteErr)
		}
	}
	endless := &service{body: fmt.Appendf(nil, `{"quote":%q}`, strings.Repeat("A", 1<<22))}
	_, _, vcekErr, quoteErr = enclave.AskMetadata(t.Context(), endless)
	for _, err := range []error{vcekErr, quoteErr} {
		if err == nil || !strings.Contains(err.Error(), "more than 131072 bytes") {
			t.Errorf("got %v", err)
		}
	}
	if endless.read > enclave.MaxMetadata+1 {
		t.Errorf("read %d bytes", endless.read)
	}
}
