// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// A register holds our event list: a PCR, or an RTMR. It starts at zeros, and can be
// extended and nothing else. Its functions are called one at a time.
type register struct {
	// name is what people call it, like PCR 14.
	name string
	// read returns its value.
	read func(ctx context.Context) ([]byte, error)
	// extend extends it with a digest, and returns the value after.
	extend func(ctx context.Context, digest []byte) ([]byte, error)
	// digest is what event i of a list extends, and replay the value after the list.
	digest func(l attest.EventList, i int) []byte
	replay func(l attest.EventList) []byte
}

// An eventKeeper keeps the event list on disk and a register together.
type eventKeeper struct {
	register register

	// state is held from an event's writing to the end of its extend, and for the
	// whole of a piece of evidence: list and register agree whenever it is free,
	// or failed says that they may not.
	state  lock
	store  *eventStore
	events attest.EventList
	failed error
}

// Extend implements Attester.
func (k *eventKeeper) Extend(ctx context.Context, event verdict.RegisterEvent) error {
	if err := k.state.acquire(ctx); err != nil {
		return unavailable("waiting for its turn", err)
	}
	defer k.state.release()
	if k.failed != nil {
		return k.failed
	}
	list, err := k.events.Append(event)
	if err != nil {
		return err
	}
	if err := k.store.write(list); err != nil {
		return verdict.Fail(verdict.EvidenceMissing, "writing register events: %w", err)
	}
	testingOnlyBeforeExtend()
	// From here on a caller who gives up leaves list and register apart.
	if err := k.extendLast(context.WithoutCancel(ctx), list); err != nil {
		return err
	}
	k.events = list
	return nil
}

// testingOnlyBeforeExtend runs between the writing of an event and its extend.
var testingOnlyBeforeExtend = func() {}

// extendLast extends the last event of list, which is on disk, and checks the
// register. After any error the list and the register may differ, so that nothing
// is served until the next start has sorted them out.
func (k *eventKeeper) extendLast(ctx context.Context, list attest.EventList) error {
	value, err := k.register.extend(ctx, k.register.digest(list, len(list.Events)-1))
	if want := k.register.replay(list); err == nil && !bytes.Equal(value, want) {
		err = fmt.Errorf("%s is %x after the extend, want %x", k.register.name, value, want)
	}
	if err != nil {
		k.failed = unavailable("extending register", err)
	}
	return k.failed
}

// recover compares the register with the list that was written before, and decides
// case by case (facts of the design: an event is on disk before it is extended).
func (k *eventKeeper) recover(ctx context.Context) error {
	value, err := k.register.read(ctx)
	if err != nil {
		return unavailable("reading register", err)
	}
	if bytes.Equal(value, k.register.replay(attest.EventList{})) {
		// The machine started anew. What the old list explained is gone.
		if err := k.store.archive(); err != nil {
			return verdict.Fail(verdict.EvidenceMissing, "archiving register events: %w", err)
		}
		return nil
	}
	list, err := k.store.read()
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(value, k.register.replay(list)):
		k.events = list
		return nil
	case bytes.Equal(value, k.register.replay(list.Without(1))):
		// A crash came between the writing of the last event and its extend.
		if err := k.extendLast(ctx, list); err != nil {
			return err
		}
		k.events = list
		return nil
	}
	return verdict.Refuse(verdict.GuestRegister, "opening TEE: %s is %x, which the %d events of %s do not explain: something else extended it, or the list is lost",
		k.register.name, value, len(list.Events), k.store.path)
}

// item is the list as it travels.
func (k *eventKeeper) item() attest.Item {
	return attest.Item{MediaType: attest.TypeRegisters, Value: k.events.Marshal(), Indicator: attest.IndicatorEvidence}
}

// unavailable is the failure of a TEE that does not answer as it should.
func unavailable(doing string, err error) error {
	var refusal *verdict.Refusal
	var misuse *verdict.Misuse
	if errors.As(err, &refusal) || errors.As(err, &misuse) {
		return err
	}
	return verdict.Fail(verdict.EvidenceMissing, "asking TEE: %s: %w", doing, err)
}
