// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// A conversation is one with the other program, a line each way. See ci/vm/other for
// what it says.
type conversation struct {
	conn net.Conn
	in   *json.Decoder
	out  *json.Encoder
}

// talk begins one.
func talk(ctx context.Context, m *machine) (*conversation, error) {
	c, err := (&net.Dialer{Timeout: askTimeout}).DialContext(ctx, "tcp", m.address)
	if err != nil {
		return nil, err
	}
	return &conversation{conn: c, in: json.NewDecoder(c), out: json.NewEncoder(c)}, c.SetDeadline(time.Now().Add(askTimeout))
}

// request sends one line and reads the answer.
func (o *conversation) request(line map[string]any) ([]byte, error) {
	if err := o.out.Encode(line); err != nil {
		return nil, fmt.Errorf("asking the other program: %w", err)
	}
	var answer struct {
		Data  []byte
		Error string
	}
	if err := o.in.Decode(&answer); err != nil {
		return nil, fmt.Errorf("asking the other program: %w", err)
	}
	if answer.Error != "" {
		return nil, errors.New("asking the other program: " + answer.Error)
	}
	return answer.Data, nil
}

// evidence gets evidence for a statement, with the event that it demands extended
// before where extend says so.
func (o *conversation) evidence(s verdict.Statement, extend bool) (c collected, err error) {
	if extend {
		if _, err := o.request(map[string]any{"Event": verdict.RegisterEvent{Boot: s.Boot, Config: s.Config, Head: s.Head.Counter, Policy: s.Policy, Roots: s.Roots}}); err != nil {
			return collected{}, err
		}
	}
	raw, err := s.Encode()
	if err != nil {
		return collected{}, err
	}
	_, _ = rand.Read(c.nonce[:]) // it never returns an error
	if c.collection, err = o.request(map[string]any{"Statement": raw, "Nonce": c.nonce[:]}); err != nil {
		return collected{}, err
	}
	challenge, err := attest.NewChallenge(c.collection)
	if err != nil {
		return collected{}, err
	}
	secret, err := o.request(map[string]any{"Credential": challenge.Credential, "EncryptedSecret": challenge.EncryptedSecret})
	if err != nil {
		return collected{}, err
	}
	c.known, err = challenge.Prove(secret)
	return c, err
}

// withoutLastEvent is a collection whose list of register events lacks the last one.
func withoutLastEvent(collection []byte) ([]byte, error) {
	c, err := attest.ParseCollection(collection)
	if err != nil {
		return nil, err
	}
	item := c.Items[attest.LabelRegisters]
	list, err := attest.ParseEventList(item.Value)
	if err != nil {
		return nil, err
	}
	item.Value = list.Without(1).Marshal()
	c.Items[attest.LabelRegisters] = item
	return c.Marshal()
}
