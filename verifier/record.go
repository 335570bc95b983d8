// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/assayd/assay/verdict"
)

// maxRecords bounds the provenances of one record.
const maxRecords = 32

// parseRecord makes candidates of the record that Google Cloud tells of an image
// (gcloud artifacts docker images describe --show-provenance --format json).
// Only the envelopes count: what stands beside them in plain is not signed.
func parseRecord(name string, data []byte) []*candidate {
	broken := func(err error) []*candidate {
		return []*candidate{{name: name, family: familyRecord, err: verdict.Refuse(verdict.InputMalformed, "reading %s: %w", name, err)}}
	}
	obj, err := parseObject(data, maxManifestValues)
	if err != nil {
		return broken(err)
	}
	summary, err := obj.object("provenance_summary")
	var list []json.RawMessage
	if err == nil {
		err = summary.optional("provenance", &list)
	}
	if err != nil {
		return broken(err)
	}
	if len(list) > maxRecords {
		return broken(fmt.Errorf("%d provenances, want at most %d", len(list), maxRecords))
	}
	var out []*candidate
	for i, raw := range list {
		p, err := part(raw)
		if err != nil {
			return broken(err)
		}
		envelope, ok := p["envelope"]
		if !ok {
			continue // of before envelopes: nobody signed it
		}
		n := 1
		if env, err := parseEnvelope(envelope); err == nil {
			n = len(env.signatures)
		}
		for j := range n {
			c := &candidate{name: fmt.Sprintf("%s provenance %d signature %d", name, i, j), family: familyRecord, payload: envelope, signature: j,
				inputs: []Input{{Digest: verdict.SHA256(envelope), URI: name, MediaType: typeEnvelope}}}
			c.digest = c.layerDigest()
			out = append(out, c)
		}
	}
	return out
}

// parseRecordSignature reads one signature of an envelope in a record. Some of
// Google's keys sign the payload as it is, without the encoding that DSSE puts
// around it.
func parseRecordSignature(data []byte, n int) (*entity, error) {
	env, err := parseEnvelope(data)
	if err != nil {
		return nil, err
	}
	if n >= len(env.signatures) {
		return nil, errors.New("no such signature")
	}
	e := &entity{sig: env.signatures[n], message: verdict.PAE(env.payloadType, env.payload), bare: env.payload, statement: env.payload}
	if e.claims, err = parseStatement(env.payloadType, env.payload); err != nil {
		return nil, err
	}
	e.content = &bundle.Envelope{Envelope: &dsse.Envelope{PayloadType: env.payloadType, Payload: base64.StdEncoding.EncodeToString(env.payload),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(e.sig)}}}}
	return e, nil
}
