// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/assayd/assay/attest"
)

// metadataService is Azure's instance metadata service, which the host runs, at a
// link-local address.
const metadataService = "http://169.254.169.254"

// testingOnlyMetadata takes its place, unless it is empty.
var testingOnlyMetadata string

// Paths of the metadata service.
const (
	// metadataVCEK gives the certificate of the chip's key (Azure, Trusted Hardware
	// Identity Management).
	metadataVCEK = "/metadata/THIM/amd/certification"
	// metadataQuote makes a quote of a TDREPORT.
	metadataQuote = "/acc/tdquote"
)

const (
	// maxMetadata bounds an answer, in bytes: the largest is a quote in base64.
	maxMetadata = 128 << 10
	// metadataTry bounds one request, and metadataPause is the pause before the next.
	metadataTry   = 10 * time.Second
	metadataPause = 500 * time.Millisecond
)

// A metadata asks the metadata service. What it answers is the host's word: it is sent
// along, and relying parties verify it.
type metadata struct {
	base   string
	client *http.Client
}

func newMetadata() *metadata {
	m := &metadata{base: metadataService, client: &http.Client{
		Timeout: metadataTry,
		// No proxy of the environment's, no connection that outlives its request, and no
		// way to another address.
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: metadataTry}).DialContext, DisableKeepAlives: true, DisableCompression: true,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if testingOnlyMetadata != "" {
		m.base = testingOnlyMetadata
	}
	return m
}

// vcek returns the certificate of the chip's key in DER.
func (m *metadata) vcek(ctx context.Context) (*x509.Certificate, error) {
	var answer struct {
		Certificate string `json:"vcekCert"`
	}
	if err := m.ask(ctx, http.MethodGet, metadataVCEK, nil, &answer); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(answer.Certificate))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("the metadata service gave no certificate in PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the metadata service gave a certificate that does not parse: %w", err)
	}
	return certificate, nil
}

// quote has a quote made of a TDREPORT. It asks again until ctx ends: the service may
// not be up yet when the machine is.
func (m *metadata) quote(ctx context.Context, tdReport []byte) ([]byte, error) {
	request, err := json.Marshal(map[string]string{"report": base64.RawURLEncoding.EncodeToString(tdReport)})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Quote string `json:"quote"`
	}
	for {
		err := m.ask(ctx, http.MethodPost, metadataQuote, request, &answer)
		if err == nil {
			break
		}
		if _, notYet := errors.AsType[notYetError](err); !notYet {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(metadataPause):
		}
	}
	// It has been seen in both alphabets, with and without padding.
	text := strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(answer.Quote), "=")
	quote, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(quote) == 0 || len(quote) > attest.MaxTDXQuoteSize {
		return nil, fmt.Errorf("the metadata service gave no quote of up to %d bytes in base64", attest.MaxTDXQuoteSize)
	}
	return quote, nil
}

// A notYetError says that asking again may help.
type notYetError struct{ error }

// Unwrap returns what went wrong.
func (e notYetError) Unwrap() error { return e.error }

// ask sends a request, and decodes the JSON of the answer.
func (m *metadata) ask(ctx context.Context, method, path string, body []byte, answer any) (err error) {
	request, err := http.NewRequestWithContext(ctx, method, m.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Metadata", "true")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := m.client.Do(request)
	if err != nil {
		return notYetError{fmt.Errorf("asking the metadata service: %w", err)}
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		err := fmt.Errorf("asking the metadata service: %s %s: %.64s", method, path, response.Status)
		if response.StatusCode >= http.StatusInternalServerError || response.StatusCode == http.StatusTooManyRequests {
			return notYetError{err}
		}
		return err
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxMetadata+1))
	if err != nil { // it broke off
		return notYetError{fmt.Errorf("asking the metadata service: %w", err)}
	}
	if len(data) > maxMetadata {
		return fmt.Errorf("the metadata service gave more than %d bytes", maxMetadata)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("the metadata service gave no JSON of the wanted form: %s", shortError(err))
	}
	return nil
}

// shortError is a text of at most 128 bytes.
func shortError(err error) string {
	text := err.Error()
	return text[:min(len(text), 128)]
}
