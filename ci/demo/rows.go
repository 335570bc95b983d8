// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// rows are the steps of the demo, in their order.
func (d *demo) rows() []row {
	s := d.images
	nodeA := d.path("dev", "node-a", "gate.json")
	pull := func(config string, i image) func(context.Context) (string, string, error) {
		return func(ctx context.Context) (string, string, error) { return d.callGate(ctx, config, i) }
	}
	rows := []row{
		{"keyless image (sigstore bundle), cold", "allow", "", pull(nodeA, s.keyless)},
		{"the same, warm", "allow", "", pull(nodeA, s.keyless)},
		{"keyed image (cosign .sig), cold", "allow", "", pull(nodeA, s.keyed)},
		{"the same, warm", "allow", "", pull(nodeA, s.keyed)},
		{"real image, ECDSA P-384 key in a cloud KMS", "allow", "", pull(nodeA, s.realECDSA)},
		{"real image, RSA-3072 key in a cloud KMS", "allow", "", pull(nodeA, s.realRSA)},
	}
	if s.sharedKeyless.digest != "" {
		rows = append(rows, row{"real image, keyless by the public sigstore instance", "allow", "", pull(nodeA, s.sharedKeyless)})
	}
	return append(rows,
		row{"unsigned image", "deny", "sig.none", pull(nodeA, s.unsigned)},
		row{"signed by another identity", "deny", "identity.san", pull(nodeA, s.wrongIdentity)},
		row{"one byte changed under the signed digest", "deny", "registry.digest-mismatch", pull(nodeA, s.tampered)},
		row{"signature of another repository's signer", "deny", "key.unknown", pull(nodeA, s.copied)},
		row{"node-b with node-a's ticket", "deny", "ticket.audience", d.stolenTicket},
		row{"second assayd: its host's own owners and policy", "deny", "head.signature", d.otherOwners},
		row{"second assayd: the owners' head, another configuration", "deny", "issuer.config", d.otherConfig},
		row{"second assayd: another binary", "deny", d.binaryCode(), d.otherBinary},
		row{"image before an owner denies it", "allow", "", pull(nodeA, s.denied)},
		row{"the same, after one owner's deny document", "deny", "ticket.denied", d.deny},
		row{"daemon stopped: known image, offline", "allow", "", d.offline},
		row{"daemon stopped: new image", "deny", "status.stale", pull(nodeA, s.fresh)},
		row{"the new image, by an exception that the owner signed", "allow", "policy.exception", d.exception},
		row{"the verdict is in the log, proven from files", "allow", "", d.prove},
		row{"the same with one byte of the proof changed", "deny", "log.proof", d.proveForged},
	)
}

// stolenTicket has node-b's gate ask an agent that answers with what node-a's
// agent says: tickets of another node, and everything else genuine.
func (d *demo) stolenTicket(ctx context.Context) (_, _ string, err error) {
	i := d.images.keyless
	answer, err := gate.Ask(ctx, d.path("dev", "node-a", "agent.sock"), uint32(os.Getuid()), gate.Request{Name: i.repository + ":latest", Digest: i.digest})
	if err != nil {
		return "", "", err
	}
	config, err := gate.LoadConfig(d.path("dev", "node-b", "gate.json"))
	if err != nil {
		return "", "", err
	}
	config.Socket = d.path("thief.sock")
	data, err := config.Encode()
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(d.path("thief.json"), data, 0o600); err != nil {
		return "", "", err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", config.Socket)
	if err != nil {
		return "", "", err
	}
	served := make(chan error, 1)
	go func() { served <- answerOnce(l, answer) }()
	outcome, code, err := d.callGate(ctx, d.path("thief.json"), i)
	return outcome, code, errors.Join(err, l.Close(), <-served)
}

// otherOwners starts the genuine binary with what its host would rather have: its
// own owners, and a policy that lets everything through.
func (d *demo) otherOwners(ctx context.Context) (string, string, error) {
	if err := d.initFolder(ctx, "evil", "anything.yaml", d.other); err != nil {
		return "", "", err
	}
	// It gets a genuine SVID: SPIRE is outside the TEE, and its host has it.
	text, err := d.edited(d.path("evil", "assayd.yaml"), d.path("evil", "svid", "assayd.sock"), d.path("dev", "svid", "assayd.sock"))
	if err != nil {
		return "", "", err
	}
	return d.appraiseOther(ctx, "other-owners", filepath.Join(d.bin, "assayd"), text)
}

// otherConfig starts the genuine binary under the owners' own head, with a
// configuration that their references do not name.
func (d *demo) otherConfig(ctx context.Context) (string, string, error) {
	text, err := d.secondConfig(ctx, "other-config", filepath.Join(d.bin, "assayd"))
	if err != nil {
		return "", "", err
	}
	return d.appraiseOther(ctx, "other-config", filepath.Join(d.bin, "assayd"), text)
}

// otherBinary does the same with a binary of which one byte more is there.
func (d *demo) otherBinary(ctx context.Context) (string, string, error) {
	data, err := os.ReadFile(filepath.Join(d.bin, "assayd"))
	if err != nil {
		return "", "", err
	}
	binary := d.path("assayd-changed")
	if err := os.WriteFile(binary, append(data, 0), 0o700); err != nil {
		return "", "", err
	}
	text, err := d.secondConfig(ctx, "other-binary", binary)
	if err != nil {
		return "", "", err
	}
	return d.appraiseOther(ctx, "other-binary", binary, text)
}

// binaryCode is the check that finds another binary: the launch measurement, or the
// register that the starter, or the firmware of a TD, extended.
func (d *demo) binaryCode() string {
	if d.tee == verdict.KindSimulatedSNP {
		return string(verdict.GuestMeasurement)
	}
	return string(verdict.GuestRegister)
}

// secondConfig is the owners' assayd.yaml for a second daemon on this machine: with
// an address, a state folder and a TPM of its own.
func (d *demo) secondConfig(ctx context.Context, name, binary string) ([]byte, error) {
	pairs := []string{d.daemon, d.other, d.path("dev", "state", "assayd"), d.path("dev", "state", name)}
	if d.tee == verdict.KindTPM {
		tpm, err := d.startTPM(ctx, name, binary)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, d.tpms[0].Socket, tpm.Socket)
	}
	return d.edited(d.path("dev", "assayd.yaml"), pairs...)
}

// edited returns a file with each of the pairs' first replaced by its second.
func (d *demo) edited(file string, pairs ...string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	text := string(data)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			return nil, fmt.Errorf("%s does not name %s", filepath.Base(file), pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return []byte(text), nil
}

// appraiseOther runs a second daemon for as long as node-a looks at it.
func (d *demo) appraiseOther(ctx context.Context, name, binary string, config []byte) (string, string, error) {
	file := d.path(name + ".yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return "", "", err
	}
	p, err := d.startDaemon(ctx, name, binary, file, d.other)
	if err != nil {
		return "", "", err
	}
	outcome, code, err := d.appraise(ctx, d.other)
	return outcome, code, errors.Join(err, p.stop())
}

// appraise asks whether node-a would believe the daemon at addr.
func (d *demo) appraise(ctx context.Context, addr string) (string, string, error) {
	var doc struct {
		Result string `json:"result"`
		Code   string `json:"code"`
	}
	o, err := d.jsonAnswer(ctx, &doc, "statement", "appraise", "--server", addr, "--trust", d.path("dev", "node-a", "trust.yaml"))
	if err != nil {
		return "", "", err
	}
	if o.status == 0 {
		return "allow", doc.Code, nil
	}
	return "deny", doc.Code, nil
}

// deny has one owner deny the image, delivers the document to the daemon, and
// waits until the node refuses.
func (d *demo) deny(ctx context.Context) (outcome, code string, err error) {
	head := d.path("dev", "head.json")
	if _, err := d.must(ctx, "assay", "deny", "add", head, "--key", d.path("dev", "owner.key"), "--image", string(d.images.denied.digest)); err != nil {
		return "", "", err
	}
	if _, err := d.must(ctx, "assay", "head", "put", head, "--server", d.daemon, "--trust", d.path("dev", "admin", "trust.yaml")); err != nil {
		return "", "", err
	}
	err = waitFor(ctx, "node-a to refuse", 10*time.Second, func() (bool, error) {
		outcome, code, err = d.callGate(ctx, d.path("dev", "node-a", "gate.json"), d.images.denied)
		return outcome == "deny", err
	})
	return outcome, code, err
}

// offline stops the daemon, waits until its last status is too old, and pulls an
// image that the node let through before.
func (d *demo) offline(ctx context.Context) (string, string, error) {
	for _, p := range d.processes {
		if p.name == "assayd" {
			if err := p.stop(); err != nil {
				return "", "", err
			}
		}
	}
	wait := time.NewTimer(statusAge + time.Second)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return "", "", ctx.Err()
	case <-wait.C:
	}
	return d.callGate(ctx, d.path("dev", "node-a", "gate.json"), d.images.keyless)
}

// exception signs and installs an exception for the new image.
func (d *demo) exception(ctx context.Context) (string, string, error) {
	file, config := d.path("exception.json"), d.path("dev", "node-a", "gate.json")
	if _, err := d.must(ctx, "assay", "exception", "sign", file, "--key", d.path("dev", "owner.key"), "--digest", string(d.images.fresh.digest),
		"--cluster", "dev", "--owner", "on call", "--reason", "the daemon is down"); err != nil {
		return "", "", err
	}
	if _, err := d.must(ctx, "assay", "exception", "install", file, "--gate", config); err != nil {
		return "", "", err
	}
	return d.callGate(ctx, config, d.images.fresh)
}

// prove takes the ticket that node-a has for the keyless image, and proves from
// the daemon's disk that its verdict is in the log.
func (d *demo) prove(ctx context.Context) (string, string, error) {
	i := d.images.keyless
	data, err := os.ReadFile(d.path("dev", "node-a", "state", gate.ImagesDir, gate.ImageKey(i.repository, i.digest)+".json"))
	if err != nil {
		return "", "", err
	}
	record, err := gate.ParseImageRecord(data)
	if err != nil || len(record.Tickets) == 0 {
		return "", "", errors.Join(err, errors.New("node-a has no ticket"))
	}
	if err := os.WriteFile(d.path("ticket.jws"), []byte(record.Tickets[0]), 0o600); err != nil {
		return "", "", err
	}
	statement, err := d.acceptedStatement()
	if err != nil {
		return "", "", err
	}
	return d.logProve(ctx, d.path("dev", "state", "assayd", "log"), "--ticket", d.path("ticket.jws"), "--statement", string(statement), "--out", d.path("verdict.proof"))
}

// acceptedStatement is the statement that node-a appraised and accepted.
func (d *demo) acceptedStatement() (verdict.Digest, error) {
	data, err := os.ReadFile(d.path("dev", "node-a", "state", gate.IssuersFile))
	if err != nil {
		return "", err
	}
	issuers, err := gate.ParseIssuers(data)
	if err != nil || len(issuers.Issuers) == 0 {
		return "", errors.Join(err, errors.New("node-a has accepted no statement"))
	}
	return issuers.Issuers[0].Issuer.Digest, nil
}

func (d *demo) logProve(ctx context.Context, args ...string) (string, string, error) {
	var doc struct {
		Code string `json:"code"`
	}
	o, err := d.jsonAnswer(ctx, &doc, append([]string{"log", "prove"}, args...)...)
	if err != nil {
		return "", "", err
	}
	if o.status == 0 {
		return "allow", doc.Code, nil
	}
	return "deny", doc.Code, nil
}

// proveForged changes one hash of the inclusion proof.
func (d *demo) proveForged(ctx context.Context) (string, string, error) {
	data, err := os.ReadFile(d.path("verdict.proof"))
	if err != nil {
		return "", "", err
	}
	forged, err := proof.ParseFile(data)
	if err != nil || len(forged.Proof.Hashes) == 0 {
		return "", "", errors.Join(err, errors.New("the proof has no hashes"))
	}
	forged.Proof.Hashes[0][0] ^= 1
	file := d.path("forged.proof")
	if err := os.WriteFile(file, forged.Marshal(), 0o600); err != nil {
		return "", "", err
	}
	return d.logProve(ctx, file)
}

// answerOnce is an agent that gives one answer, whatever it is asked.
func answerOnce(l net.Listener, a gate.Answer) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	if _, err = gate.ReadRequest(c); err == nil {
		err = gate.WriteAnswer(c, a)
	}
	return errors.Join(err, c.Close())
}
