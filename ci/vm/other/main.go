// SPDX-License-Identifier: Apache-2.0

// Command other is another program than assayd in an image that is otherwise the same:
// what a release would be that lies. It extends whatever events and quotes for whatever
// statement it is told to, so that a test sees who refuses it. It is for Linux, harness
// and no product.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/enclave/pid1"
	"github.com/assayd/assay/verdict"
)

// A request is one line from the test. Bytes are base64.
type request struct {
	// Event is extended where it is there, and else a credential activated, or
	// evidence given.
	Event                       *verdict.RegisterEvent
	Credential, EncryptedSecret []byte
	Statement, Nonce            []byte
}

// An answer is one line to the test.
type answer struct {
	Data  []byte
	Error string
}

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	pid1.Run(log, func(ctx context.Context, _ string) {
		if err := serve(ctx, log); err != nil {
			log.ErrorContext(ctx, "it could not go on", "err", err)
		}
	})
}

// serve answers one connection after the other.
func serve(ctx context.Context, log *slog.Logger) (err error) {
	open, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tee, err := enclave.Open(open, enclave.Config{Kind: verdict.KindTPM, TPM: "/dev/tpmrm0", StateDir: pid1.StateFolder})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tee.Close()) }()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":8443")
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // nobody comes any more
	defer stop()
	log.InfoContext(ctx, "ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if err := converse(ctx, tee, c); err != nil {
			log.WarnContext(ctx, "connection ended", "err", err)
		}
	}
}

// converse answers the requests of one connection.
func converse(ctx context.Context, tee enclave.Attester, c net.Conn) (err error) {
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	in, out := json.NewDecoder(c), json.NewEncoder(c)
	for {
		var r request
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var a answer
		var err error
		switch {
		case r.Event != nil:
			err = tee.Extend(ctx, *r.Event)
		case len(r.Credential) > 0:
			a.Data, err = tee.ActivateCredential(ctx, r.Credential, r.EncryptedSecret)
		default:
			a.Data, err = tee.Evidence(ctx, r.Statement, r.Nonce)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}
