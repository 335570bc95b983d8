// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// NV indices of endorsement key certificates (TCG EK Credential Profile §2.2.1.4).
const (
	nvRSACertificate tpm2.TPMHandle = 0x01C00002
	nvECCCertificate tpm2.TPMHandle = 0x01C0000A
)

// Limits of what is read from a TPM and from files, in bytes.
const (
	nvChunk        = 512
	maxCertificate = 16 << 10
	maxNV          = 16 << 10
	maxChainFile   = 64 << 10
	// maxChallenge bounds both parts of a challenge: a TPM needs 34 + 32 bytes and
	// the size of its key, and one that is given more than its buffer holds may
	// hang up on everyone.
	maxChallenge = 1 << 10
)

// quotedPCRs are the PCRs that are quoted: those that software cannot reset.
var quotedPCRs = func() []uint {
	var pcrs []uint
	for i := range uint(16) {
		pcrs = append(pcrs, i)
	}
	return pcrs
}()

// pcrsPerRead is how many values one TPM2_PCR_Read returns.
const pcrsPerRead = 8

// quoteTries is how often a quote is made again because the kernel extended a PCR
// (IMA, PCR 10) between the quote and the reading of the values.
const quoteTries = 5

// akTemplate is the attestation key: a restricted signing key, as a primary of the
// endorsement hierarchy, so that it is the same after each start of the machine and
// the counters of its quotes are in clear.
var akTemplate = tpm2.TPMTPublic{
	Type:    tpm2.TPMAlgECC,
	NameAlg: tpm2.TPMAlgSHA256,
	ObjectAttributes: tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
		Restricted: true, SignEncrypt: true,
	},
	Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		CurveID: tpm2.TPMECCNistP256,
		Scheme: tpm2.TPMTECCScheme{
			Scheme:  tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
		},
	}),
}

// A tpmAttester is the attester of a TPM.
type tpmAttester struct {
	conn *tpmConn
	// ek is nil where the TPM has no certificate for one.
	ek           *tpm2.NamedHandle
	ak           tpm2.NamedHandle
	akPublic     []byte
	endorsements attest.Collection

	eventKeeper
}

// openTPM opens a TPM whose endorsement key, or attestation key, has a certificate.
func openTPM(ctx context.Context, config Config) (Attester, error) {
	a, err := connectTPM(ctx, config, (*tpmAttester).prepare)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// connectTPM connects to a TPM, makes its keys as prepare does, and brings event list and
// register together.
func connectTPM(ctx context.Context, config Config, prepare func(*tpmAttester, Config) error) (_ *tpmAttester, err error) {
	if config.TPM == "" || config.StateDir == "" {
		return nil, verdict.Misused("name the TPM and the folder of its event list", "opening TPM: no path, or no state folder")
	}
	store, err := openEventStore(config.StateDir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	conn, err := dialTPM(ctx, config.TPM, config.Timeout)
	if err != nil {
		return nil, unavailable("connecting", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	a := &tpmAttester{conn: conn, eventKeeper: eventKeeper{state: newLock(), store: store}}
	a.register = a.pcr()
	if err := conn.with(ctx, func() error { return prepare(a, config) }); err != nil {
		return nil, unavailable("preparing keys", err)
	}
	if err := a.recover(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// pcr is the register of the event list.
func (a *tpmAttester) pcr() register {
	return register{
		name: fmt.Sprintf("PCR %d", attest.EventRegister),
		read: func(ctx context.Context) (value []byte, err error) {
			err = a.conn.with(ctx, func() error {
				value, err = readPCRs(a.conn, []uint{attest.EventRegister})
				return err
			})
			return value, err
		},
		extend: func(ctx context.Context, digest []byte) (value []byte, err error) {
			err = a.conn.with(ctx, func() error {
				if err := extendPCR(a.conn, attest.EventRegister, [sha256.Size]byte(digest)); err != nil {
					return err
				}
				value, err = readPCRs(a.conn, []uint{attest.EventRegister})
				return err
			})
			return value, err
		},
		digest: func(l attest.EventList, i int) []byte { d := l.Digest(i); return d[:] },
		replay: func(l attest.EventList) []byte { v := l.Replay(); return v[:] },
	}
}

// prepare loads the keys and collects the endorsements.
func (a *tpmAttester) prepare(config Config) error {
	if err := a.flushSocket(); err != nil {
		return err
	}
	a.endorsements = attest.Collection{Type: attest.TypeEndorsements, Items: map[string]attest.Item{}}
	certified, err := a.createGCEKey()
	if err != nil {
		return err
	}
	if !certified {
		if err := a.createAK(); err != nil {
			return err
		}
	}
	// The certificate of a certified attestation key is enough.
	if err := a.createEK(config); err != nil && (!certified || !errors.Is(err, errNoEKCertificate)) {
		return err
	}
	if config.Intermediates == "" {
		return nil
	}
	chain, err := readChain(config.Intermediates)
	if err != nil {
		return err
	}
	a.endorse(attest.LabelIntermediates, attest.TypeCertificates, chain)
	return nil
}

// endorse adds an endorsement.
func (a *tpmAttester) endorse(label, mediaType string, value []byte) {
	a.endorsements.Items[label] = attest.Item{MediaType: mediaType, Value: value, Indicator: attest.IndicatorEndorsements}
}

// flushSocket makes room in a TPM behind a socket. No resource manager flushes what a
// daemon that was killed left behind, and a TPM has room for three objects.
func (a *tpmAttester) flushSocket() error {
	if _, isSocket := a.conn.device.(*socketDevice); !isSocket {
		return nil
	}
	if err := flushAll(a.conn); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	return nil
}

// createEK makes the endorsement key, which its certificate is for.
func (a *tpmAttester) createEK(config Config) error {
	der, err := ekCertificate(a.conn, config.EKCertificate)
	if err != nil {
		return err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("parsing endorsement key certificate: %w", err)
	}
	template := tpm2.RSAEKTemplate
	if _, ok := certificate.PublicKey.(*ecdsa.PublicKey); ok {
		template = tpm2.ECCEKTemplate
	}
	ek, public, err := createPrimary(a.conn, template)
	if err != nil {
		return fmt.Errorf("creating endorsement key: %w", err)
	}
	if err := sameKey("endorsement", certificate, public); err != nil {
		return err
	}
	a.ek = &ek
	a.endorse(attest.LabelEKCertificate, attest.TypeCertificate, der)
	a.endorse(attest.LabelEKPublic, attest.TypeTPMPublic, tpm2.Marshal(public))
	return nil
}

// createAK makes the attestation key.
func (a *tpmAttester) createAK() error {
	ak, public, err := createPrimary(a.conn, akTemplate)
	if err != nil {
		return fmt.Errorf("creating attestation key: %w", err)
	}
	a.ak, a.akPublic = ak, tpm2.Marshal(public)
	return nil
}

// flushAll flushes the objects and sessions that are loaded.
func flushAll(conn *tpmConn) error {
	const batch = 64
	for _, class := range []uint32{uint32(tpm2.TPMHTTransient) << 24, uint32(tpm2.TPMHTLoadedSession) << 24} {
		response, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: class, PropertyCount: batch}.Execute(conn)
		if err != nil {
			return err
		}
		handles, err := response.CapabilityData.Data.Handles()
		if err != nil {
			return err
		}
		for _, handle := range handles.Handle {
			if _, err := (tpm2.FlushContext{FlushHandle: handle}).Execute(conn); err != nil {
				return err
			}
		}
	}
	return nil
}

// ekCertificate reads the certificate of the endorsement key from a file, or from NV
// memory: that of the RSA key before that of the ECC key, because not every TPM has
// the second on the curve of the standard template.
func ekCertificate(conn *tpmConn, file string) ([]byte, error) {
	if file != "" {
		return readLimited(file, maxCertificate)
	}
	for _, index := range []tpm2.TPMHandle{nvRSACertificate, nvECCCertificate} {
		der, err := readNV(conn, index)
		if err != nil || der != nil {
			return der, err
		}
	}
	return nil, errNoEKCertificate
}

var errNoEKCertificate = errors.New("no endorsement key certificate in NV memory, and no file is named")

// readNV reads an NV index with empty owner authorization; nil where there is none.
func readNV(conn *tpmConn, index tpm2.TPMHandle) ([]byte, error) {
	failed := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("reading NV index 0x%08x: %w", uint32(index), err)
	}
	public, err := tpm2.NVReadPublic{NVIndex: index}.Execute(conn)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, nil
	}
	if err != nil {
		return failed(err)
	}
	contents, err := public.NVPublic.Contents()
	if err != nil {
		return failed(err)
	}
	size := int(contents.DataSize)
	if size > maxNV {
		return failed(fmt.Errorf("%d bytes, want at most %d", size, maxNV))
	}
	data := []byte{}
	for len(data) < size {
		response, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: public.NVName},
			Size:       uint16(min(nvChunk, size-len(data))), //nolint:gosec // at most nvChunk
			Offset:     uint16(len(data)),                    //nolint:gosec // at most maxNV
		}.Execute(conn)
		if err != nil {
			return failed(err)
		}
		n, asked := len(response.Data.Buffer), min(nvChunk, size-len(data))
		if n == 0 {
			return failed(fmt.Errorf("it ends after %d of %d bytes", len(data), size))
		}
		if n > asked {
			return failed(fmt.Errorf("the TPM gave %d bytes of %d", n, asked))
		}
		data = append(data, response.Data.Buffer...)
	}
	return data, nil
}

// createPrimary makes a primary key of the endorsement hierarchy, whose
// authorization is empty.
func createPrimary(conn *tpmConn, template tpm2.TPMTPublic) (tpm2.NamedHandle, *tpm2.TPMTPublic, error) {
	response, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(template),
	}.Execute(conn)
	if err != nil {
		return tpm2.NamedHandle{}, nil, err
	}
	public, err := response.OutPublic.Contents()
	if err != nil {
		return tpm2.NamedHandle{}, nil, err
	}
	return tpm2.NamedHandle{Handle: response.ObjectHandle, Name: response.Name}, public, nil
}

// sameKey refuses a certificate for another key than the TPM's: relying parties
// would, and here the operator can be told why.
func sameKey(which string, certificate *x509.Certificate, public *tpm2.TPMTPublic) error {
	key, err := tpm2.Pub(*public)
	if err != nil {
		return fmt.Errorf("reading %s key: %w", which, err)
	}
	certified, ok := certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !certified.Equal(key) {
		return verdict.Misused("give the certificate that the TPM's maker or owner issued for it", "opening TPM: the %s key certificate is for another key", which)
	}
	return nil
}

// readChain reads PEM certificates as concatenated DER.
func readChain(file string) ([]byte, error) {
	data, err := readLimited(file, maxChainFile)
	if err != nil {
		return nil, err
	}
	var der []byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			der = append(der, block.Bytes...)
		}
	}
	if _, err := x509.ParseCertificates(der); err != nil || len(der) == 0 {
		return nil, verdict.Misused("", "opening TPM: %s has no certificates in PEM", file)
	}
	return der, nil
}

// Kind implements Attester.
func (a *tpmAttester) Kind() string { return verdict.KindTPM }

// ActivateCredential implements Attester.
func (a *tpmAttester) ActivateCredential(ctx context.Context, credential, encryptedSecret []byte) ([]byte, error) {
	if len(credential) > maxChallenge || len(encryptedSecret) > maxChallenge {
		return nil, verdict.Refuse(verdict.EvidenceLimit, "activating credential: %d and %d bytes, want at most %d each", len(credential), len(encryptedSecret), maxChallenge)
	}
	if a.ek == nil {
		return nil, verdict.Refuse(verdict.EvidenceKind, "activating credential: no endorsement key of this TPM has a certificate, but its attestation key has")
	}
	var secret []byte
	err := a.conn.with(ctx, func() error {
		// The endorsement key's policy is that of the standard template:
		// TPM2_PolicySecret of the endorsement hierarchy.
		policy := tpm2.Policy(tpm2.TPMAlgSHA256, 16, func(conn transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
			_, err := tpm2.PolicySecret{
				AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
				PolicySession: session, NonceTPM: nonce,
			}.Execute(conn)
			return err
		})
		response, err := tpm2.ActivateCredential{
			ActivateHandle: tpm2.AuthHandle{Handle: a.ak.Handle, Name: a.ak.Name, Auth: tpm2.PasswordAuth(nil)},
			KeyHandle:      tpm2.AuthHandle{Handle: a.ek.Handle, Name: a.ek.Name, Auth: policy},
			CredentialBlob: tpm2.TPM2BIDObject{Buffer: credential},
			Secret:         tpm2.TPM2BEncryptedSecret{Buffer: encryptedSecret},
		}.Execute(a.conn)
		if err != nil {
			return err
		}
		secret = response.CertInfo.Buffer
		return nil
	})
	if err == nil {
		return secret, nil
	}
	// The caller chose the challenge: one that does not open is his affair, and no
	// sign of a broken TPM.
	if errors.Is(err, tpm2.TPMRCIntegrity) || errors.Is(err, tpm2.TPMRCValue) || errors.Is(err, tpm2.TPMRCSize) || errors.Is(err, tpm2.TPMRCECCPoint) || errors.Is(err, tpm2.TPMRCFailure) {
		return nil, verdict.Refuse(verdict.TPMAK, "activating credential: the challenge is not for this TPM's keys: %w", err)
	}
	return nil, unavailable("activating credential", err)
}

// Evidence implements Attester.
func (a *tpmAttester) Evidence(ctx context.Context, statement, nonces []byte) ([]byte, error) {
	endorsements := a.endorsements
	return a.evidence(ctx, statement, nonces, func(c, _ *attest.Collection) {
		c.Items[attest.LabelEndorsements] = attest.Item{Nested: &endorsements}
	})
}

// evidence makes a collection of a quote and the event list, which add completes.
func (a *tpmAttester) evidence(ctx context.Context, statement, nonces []byte, add func(c, quote *attest.Collection)) ([]byte, error) {
	if err := a.state.acquire(ctx); err != nil {
		return nil, unavailable("waiting for its turn", err)
	}
	defer a.state.release()
	if a.failed != nil {
		return nil, a.failed
	}
	bound := verdict.QuoteData(statement, nonces)
	var quote attest.Collection
	if err := a.conn.with(ctx, func() (err error) {
		quote, err = a.quote(bound[:])
		return err
	}); err != nil {
		return nil, unavailable("quoting", err)
	}
	c := statementCollection(statement, nonces)
	c.Items[attest.LabelEvidence] = attest.Item{Nested: &quote}
	c.Items[attest.LabelRegisters] = a.item()
	add(&c, &quote)
	return marshal(c)
}

// quote makes a quote together with the values that it is over.
func (a *tpmAttester) quote(extraData []byte) (attest.Collection, error) {
	for range quoteTries {
		response, err := tpm2.Quote{
			SignHandle:     tpm2.AuthHandle{Handle: a.ak.Handle, Name: a.ak.Name, Auth: tpm2.PasswordAuth(nil)},
			QualifyingData: tpm2.TPM2BData{Buffer: extraData},
			InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
			PCRSelect:      selection(quotedPCRs...),
		}.Execute(a.conn)
		if err != nil {
			return attest.Collection{}, err
		}
		message := response.Quoted.Bytes()
		parsed, err := attest.ParseQuote(message)
		if err != nil {
			return attest.Collection{}, err
		}
		var values []byte
		for pcrs := range slices.Chunk(quotedPCRs, pcrsPerRead) {
			read, err := readPCRs(a.conn, pcrs)
			if err != nil {
				return attest.Collection{}, err
			}
			values = append(values, read...)
		}
		if digest := sha256.Sum256(values); !slices.Equal(digest[:], parsed.PCRDigest) {
			continue
		}
		record := func(mediaType string, value []byte) attest.Item {
			return attest.Item{MediaType: mediaType, Value: value, Indicator: attest.IndicatorEvidence}
		}
		return attest.Collection{Type: attest.TypeTPMQuote, Items: map[string]attest.Item{
			attest.LabelQuote:     record(attest.TypeTPMAttest, message),
			attest.LabelSignature: record(attest.TypeTPMSignature, tpm2.Marshal(response.Signature)),
			attest.LabelAKPublic:  record(attest.TypeTPMPublic, a.akPublic),
			attest.LabelPCRs:      record(attest.TypeTPMPCRs, values),
		}}, nil
	}
	return attest.Collection{}, fmt.Errorf("PCRs changed during each of %d quotes", quoteTries)
}

// Close implements Attester.
func (a *tpmAttester) Close() error {
	if err := a.state.acquire(context.Background()); err != nil {
		return err
	}
	defer a.state.release()
	a.failed = verdict.Fail(verdict.EvidenceMissing, "asking TPM: it was closed")
	return errors.Join(a.conn.Close(), a.store.Close())
}

// selection selects PCRs of the SHA-256 bank.
func selection(pcrs ...uint) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
		{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)},
	}}
}

// readPCRs returns the values of at most pcrsPerRead PCRs in ascending order.
func readPCRs(conn *tpmConn, pcrs []uint) ([]byte, error) {
	response, err := tpm2.PCRRead{PCRSelectionIn: selection(pcrs...)}.Execute(conn)
	if err != nil {
		return nil, err
	}
	var values []byte
	for _, digest := range response.PCRValues.Digests {
		if len(digest.Buffer) != sha256.Size {
			return nil, fmt.Errorf("PCR has %d bytes, want %d", len(digest.Buffer), sha256.Size)
		}
		values = append(values, digest.Buffer...)
	}
	if len(values) != len(pcrs)*sha256.Size {
		return nil, fmt.Errorf("got %d bytes of PCRs, want %d: is the SHA-256 bank active", len(values), len(pcrs)*sha256.Size)
	}
	return values, nil
}

// readPCR returns the value of one PCR.
func readPCR(conn *tpmConn, pcr uint) ([sha256.Size]byte, error) {
	values, err := readPCRs(conn, []uint{pcr})
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return [sha256.Size]byte(values), nil
}

// extendPCR extends a PCR of the SHA-256 bank.
func extendPCR(conn *tpmConn, pcr uint, digest [sha256.Size]byte) error {
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)}, //nolint:gosec // at most 23
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
			{HashAlg: tpm2.TPMAlgSHA256, Digest: digest[:]},
		}},
	}.Execute(conn)
	return err
}
