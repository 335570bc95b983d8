// SPDX-License-Identifier: Apache-2.0

package pid1

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Limits of the relay to a Workload API outside of the machine.
const (
	// relayConnections is how many there may be at once. The daemon has one.
	relayConnections = 8
	// relayDial bounds the wait for the other side.
	relayDial = 10 * time.Second
)

// relay accepts connections and joins each with one to address, until ctx ends; then
// it ends them all and waits.
func relay(ctx context.Context, l net.Listener, address string, log *slog.Logger) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		<-ctx.Done()
		_ = l.Close() // nobody comes any more
	})
	slots := make(chan struct{}, relayConnections)
	for {
		inside, err := l.Accept()
		if err != nil {
			if ctx.Err() == nil {
				log.ErrorContext(ctx, "relay to the workload api ended", "err", err)
			}
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			log.WarnContext(ctx, "too many connections to the workload api")
			_ = inside.Close() // its sender sees that
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := join(ctx, inside, address); err != nil && ctx.Err() == nil {
				log.WarnContext(ctx, "workload api cannot be reached", "err", err)
			}
		})
	}
}

// join copies both ways until one side ends, or ctx does.
func join(ctx context.Context, inside net.Conn, address string) error {
	defer inside.Close() //nolint:errcheck // whatever it had was copied
	outside, err := (&net.Dialer{Timeout: relayDial}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		<-ctx.Done()
		_, _ = inside.Close(), outside.Close() // which ends the copying
	})
	wg.Go(func() {
		defer cancel()
		_, _ = io.Copy(outside, inside) // how it ended is of no interest
	})
	if _, err := io.Copy(inside, outside); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
