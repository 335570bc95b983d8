// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"

	"github.com/assayd/assay/verdict"
)

// Limits of the protocol between gate and agent, in bytes.
const (
	// MaxRequest bounds a request.
	MaxRequest = 8 << 10
	// MaxAnswer bounds an answer.
	MaxAnswer = 256 << 10
)

// protocolVersion is the version of request and answer.
const protocolVersion = 1

// A Request is what a gate asks an agent: one on each connection, as is the
// answer. Both are a length (u32, big-endian) and that many bytes of JSON.
type Request struct {
	V int `json:"v"`
	// Name is the image's reference as the runtime gave it.
	Name string `json:"name"`
	// Digest is what is about to be pulled or started.
	Digest verdict.Digest `json:"digest"`
}

// An Answer is what the agent has for a request: signed things, and which
// statements it accepted. Code and Text say why there is no ticket; they are not
// signed and can only withhold.
type Answer struct {
	V int `json:"v"`
	// Tickets are compact tickets for the image, of different daemons.
	Tickets []string `json:"tickets,omitempty"`
	// Statements are the issuers that the agent accepted, as far as Tickets and
	// Status need them.
	Statements []verdict.Issuer `json:"statements,omitempty"`
	// Status is the newest status that it has, compact.
	Status string `json:"status,omitempty"`
	// Known is since when, in Unix seconds, this node has let the image through
	// without a refusal in between; 0 for never.
	Known int64 `json:"known,omitempty"`
	// Code and Text are the reason why there is no ticket.
	Code verdict.Code `json:"code,omitempty"`
	Text string       `json:"text,omitempty"`
}

// ReadRequest reads a request. The error is a *verdict.Refusal input.malformed or
// a *verdict.Failure agent.unreachable where the other side went away.
func ReadRequest(r io.Reader) (Request, error) {
	var q Request
	if err := readMessage(r, MaxRequest, &q); err != nil {
		return Request{}, err
	}
	if q.V != protocolVersion {
		return Request{}, verdict.Refuse(verdict.InputMalformed, "reading request: version %d, want %d", q.V, protocolVersion)
	}
	if _, err := verdict.ParseDigest(string(q.Digest)); err != nil {
		return Request{}, verdict.Refuse(verdict.InputMalformed, "reading request: %w", err)
	}
	if _, _, err := ParseName(q.Name); err != nil {
		return Request{}, err
	}
	return q, nil
}

// WriteAnswer writes an answer.
func WriteAnswer(w io.Writer, a Answer) error {
	a.V = protocolVersion
	return writeMessage(w, MaxAnswer, a)
}

// readAnswer reads an answer.
func readAnswer(r io.Reader) (Answer, error) {
	var a Answer
	if err := readMessage(r, MaxAnswer, &a); err != nil {
		return Answer{}, err
	}
	if a.V != protocolVersion {
		return Answer{}, verdict.Refuse(verdict.InputMalformed, "reading answer: version %d, want %d", a.V, protocolVersion)
	}
	return a, nil
}

func readMessage(r io.Reader, limit uint32, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return verdict.Fail(verdict.AgentUnreachable, "reading message: %w", err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > limit {
		return verdict.Refuse(verdict.InputMalformed, "reading message: %d bytes, want at most %d", size, limit)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return verdict.Fail(verdict.AgentUnreachable, "reading message: %w", err)
	}
	if err := unmarshal(body, v); err != nil {
		return verdict.Refuse(verdict.InputMalformed, "reading message: %w", err)
	}
	return nil
}

func writeMessage(w io.Writer, limit int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing message: %w", err)
	}
	if len(body) > limit {
		return fmt.Errorf("writing message: %d bytes, want at most %d", len(body), limit)
	}
	message := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))) //nolint:gosec // bounded above
	if _, err := w.Write(append(message, body...)); err != nil {
		return fmt.Errorf("writing message: %w", err)
	}
	return nil
}

// Ask asks the agent on a socket. Who listens there as another user than uid is
// not the agent. Every error is a *verdict.Failure agent.unreachable: what an
// impostor says counts as little as silence.
func Ask(ctx context.Context, socket string, uid uint32, q Request) (a Answer, err error) {
	q.V = protocolVersion
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return Answer{}, verdict.Fail(verdict.AgentUnreachable, "asking the agent: %w", err)
	}
	defer func() {
		// Nothing was promised to the agent that closing could lose.
		if closing := conn.Close(); closing != nil && err == nil {
			a, err = Answer{}, verdict.Fail(verdict.AgentUnreachable, "asking the agent: %w", closing)
		}
	}()
	peer, err := PeerUID(conn)
	if err != nil {
		return Answer{}, verdict.Fail(verdict.AgentUnreachable, "asking the agent: %w", err)
	}
	if peer != uid {
		return Answer{}, verdict.Fail(verdict.AgentUnreachable, "asking the agent: user %d listens on %s, want user %d", peer, socket, uid)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return Answer{}, verdict.Fail(verdict.AgentUnreachable, "asking the agent: %w", err)
		}
	}
	if err := writeMessage(conn, MaxRequest, q); err != nil {
		return Answer{}, verdict.Fail(verdict.AgentUnreachable, "asking the agent: %w", err)
	}
	a, err = readAnswer(conn)
	if err != nil {
		return Answer{}, verdict.Fail(verdict.AgentUnreachable, "asking the agent: %s", verdict.ReasonOf(err).Text)
	}
	return a, nil
}
