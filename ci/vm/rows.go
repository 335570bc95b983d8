// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// ready is what the console of a machine says when it serves.
const ready = `"msg":"ready"`

// run is the whole of it.
func (w *world) run(ctx context.Context) error {
	began := time.Now()
	if err := w.setUp(ctx); err != nil {
		return fmt.Errorf("setting up: %w", err)
	}
	if _, err := fmt.Fprintf(w.stdout, "images, references and heads after %s\n", time.Since(began).Round(time.Second)); err != nil {
		return err
	}
	for _, name := range []string{"old", "other", "first"} {
		if err := w.snapshot(name); err != nil {
			return err
		}
	}
	for _, rows := range []func(context.Context) error{w.goodMachine, w.otherProgram, w.otherCommandLine, w.firstHead, w.setBack} {
		if err := rows(ctx); err != nil {
			return err
		}
	}
	if w.differences > 0 {
		return fmt.Errorf("%d of %d checks differ from what is expected", w.differences, w.checks)
	}
	_, err := fmt.Fprintf(w.stdout, "all %d as expected, with %d machines, in %s\n", w.checks, len(w.machines), time.Since(began).Round(time.Second))
	return err
}

// goodMachine is the image as it is: accepted by the computed references, and off when
// its power button is pressed.
func (w *world) goodMachine(ctx context.Context) error {
	m, err := w.boot(ctx, boot{name: "good", uki: w.images["good"], config: w.files(w.config, 2), state: w.path("state.img"), tpm: w.path("tpm"), ready: ready})
	if err != nil {
		return err
	}
	got, err := w.appraiseByCommand(ctx, m)
	if err := w.check(m, "assay statement appraise, references of head 2", err, ""); err != nil {
		return err
	}
	if err == nil && got != (appraisal{Entry: "assayd", Kind: verdict.KindTPM, Binding: string(attest.BindingCA), Head: 2}) {
		return fmt.Errorf("appraising machine %s: got %+v", m.name, got)
	}
	// Head 3 gets to the daemon, and so onto its disk.
	if err := must(ctx, w.assay(), "head", "put", w.path("dev", "head.json"), "--server", m.address, "--trust", w.path("dev", "ci", "trust.yaml")); err != nil {
		return err
	}
	c, err := w.ask(ctx, m)
	if err != nil {
		return err
	}
	a, err := w.appraise(c, 3)
	if err := w.check(m, "the same after head 3 was put", err, ""); err != nil {
		return err
	}
	w.statement, w.seen = a.Issuer.Statement, a.Result.AK
	if err := m.pressPowerButton(ctx); err != nil {
		return errors.Join(err, m.tell(w))
	}
	for _, text := range []string{"power button pressed", `"msg":"drained"`, "unmounting filesystem", "switching off"} {
		if ok, err := contains(m.console(), text); err != nil || !ok {
			return errors.Join(fmt.Errorf("switching off machine %s: its console does not say %q", m.name, text), err, m.tell(w))
		}
	}
	_, err = fmt.Fprintf(w.stdout, "%-8s its power button was pressed: drained, disk unmounted, off\n", m.name)
	return err
}

// otherProgram is an image with another program in its initramfs. By the references of
// assayd it is refused. Where owners have listed it, as they would list a release that
// turns out to lie, it is refused for each thing that it says wrongly.
func (w *world) otherProgram(ctx context.Context) error {
	m, err := w.boot(ctx, boot{name: "program", uki: w.images["other"], config: w.files(w.config, 3), state: w.path("state-other.img"), tpm: w.path("tpm"), ready: ready})
	if err != nil {
		return err
	}
	o, err := talk(ctx, m)
	if err != nil {
		return err
	}
	honest := w.statement
	honest.Boot, honest.Seq, honest.Prev = fmt.Sprintf("%032x", time.Now().UnixNano()), 1, ""
	c, err := o.evidence(honest, true)
	if err != nil {
		return err
	}
	if err := w.checkRegisters(m, "another program in the initramfs, head 2", c, 2, "assayd", "pcr4 pcr9 pcr11"); err != nil {
		return err
	}
	a, err := w.appraise(c, 3)
	if err := w.check(m, "the same, listed in head 3, and honest", err, ""); err != nil {
		return err
	}
	w.seen = a.Result.AK
	digest := verdict.SHA256([]byte("another file"))
	for _, lie := range []struct {
		what   string
		change func(*verdict.Statement)
		code   verdict.Code
	}{
		{"another policy than the head's", func(s *verdict.Statement) { s.Policy = digest }, verdict.IssuerPolicy},
		{"other roots than the head's", func(s *verdict.Statement) { s.Roots = digest }, verdict.IssuerRoots},
		{"another configuration", func(s *verdict.Statement) { s.Config = digest }, verdict.IssuerConfig},
	} {
		s := honest
		lie.change(&s)
		c, err := o.evidence(s, true)
		if err != nil {
			return err
		}
		_, err = w.appraise(c, 3)
		if err := w.check(m, lie.what, err, lie.code); err != nil {
			return err
		}
	}
	// The last event is that of another configuration now.
	if c, err = o.evidence(honest, false); err != nil {
		return err
	}
	_, err = w.appraise(c, 3)
	if err := w.check(m, "a list that does not end in what the statement says", err, verdict.GuestRegister, "the last event is not what the statement says"); err != nil {
		return err
	}
	if c.collection, err = withoutLastEvent(c.collection); err != nil {
		return err
	}
	_, err = w.appraise(c, 3)
	return errors.Join(w.check(m, "the same without its last events", err, verdict.GuestRegister, "does not replay to pcr14"), o.conn.Close(), m.stop())
}

// otherCommandLine is an image with another command line, that starts with another
// configuration. Its disk has head 3 from before, and is offered head 2.
func (w *world) otherCommandLine(ctx context.Context) error {
	m, err := w.boot(ctx, boot{name: "cmdline", uki: w.images["line"], config: w.files(w.second, 2), state: w.path("state.img"), tpm: w.path("tpm"), ready: ready})
	if err != nil {
		return err
	}
	c, err := w.ask(ctx, m)
	if err != nil {
		return err
	}
	if err := w.checkRegisters(m, "another command line in the image, head 2", c, 2, "assayd", "pcr4 pcr9 pcr11"); err != nil {
		return err
	}
	_, err = w.appraise(c, 3)
	if err := w.check(m, "the same, listed in head 3, with another configuration", err, verdict.IssuerConfig); err != nil {
		return err
	}
	// The command knows no head but the daemon's, which has to be the newer one.
	_, err = w.appraiseByCommand(ctx, m)
	return errors.Join(w.check(m, "assay statement appraise, by the head that the disk kept", err, verdict.IssuerConfig), m.stop())
}

// firstHead is the good image with an empty disk and a head that is older than its
// configuration's min-head: it does not serve, and switches itself off.
func (w *world) firstHead(ctx context.Context) error {
	m, err := w.boot(ctx, boot{name: "head", uki: w.images["good"], config: w.files(w.config, 1), state: w.path("state-first.img"), tpm: w.path("tpm-first"), ready: "refused: "})
	if err != nil {
		return err
	}
	if err := m.waitOff(ctx); err != nil {
		return errors.Join(err, m.tell(w))
	}
	said, err := os.ReadFile(m.console())
	if err != nil {
		return err
	}
	_, reason, _ := strings.Cut(string(said), "assayd: refused: ")
	reason, _, _ = strings.Cut(reason, "\r\n")
	code := verdict.Code(strings.TrimSuffix(reason[strings.LastIndex(reason, "[")+1:], "]"))
	return w.check(m, "a head older than min-head: it says so, and is off", verdict.Refuse(code, "%s", strings.TrimSuffix(reason, " ["+string(code)+"]")), verdict.HeadRollback, "older than 2")
}

// setBack is the good image with a command line of the host, and with TPM, disk and
// head as they were before the first machine.
func (w *world) setBack(ctx context.Context) error {
	m, err := w.boot(ctx, boot{name: "setback", uki: w.images["good"], hostLine: hostLine, config: w.files(w.config, 2), state: w.path("state-old.img"), tpm: w.path("tpm-old"), ready: ready})
	if err != nil {
		return err
	}
	c, err := w.ask(ctx, m)
	if err != nil {
		return err
	}
	if err := w.checkRegisters(m, "a command line of the host, head 2", c, 2, "assayd", "pcr9 pcr12"); err != nil {
		return err
	}
	_, err = w.appraiseByCommand(ctx, m)
	if err := w.check(m, "assay statement appraise, by the old head", err, verdict.GuestRegister, "pcr"); err != nil {
		return err
	}
	_, err = w.appraise(c, 3)
	if err := w.check(m, "the same, listed in head 3, with an old head and disk", err, verdict.IssuerRollback); err != nil {
		return err
	}
	c.known = w.seen
	_, err = w.appraise(c, 3)
	return errors.Join(w.check(m, "the same with an old TPM, for one who knows it", err, verdict.TPMReset, "seen before"), m.stop())
}

// checkRegisters checks that an appraisal refuses a register, and which of those that
// the entry names are different.
func (w *world) checkRegisters(m *machine, what string, c collected, head uint64, entry, registers string) error {
	_, refusal := w.appraise(c, head)
	got, err := w.differing(c, head, entry)
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(registers, " ")
	if got != registers {
		refusal = fmt.Errorf("the registers that differ are %q, want %q; %w", got, registers, refusal)
		first = "want " + registers
	}
	return w.check(m, what+": "+got, refusal, verdict.GuestRegister, first+" is")
}
