// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/assayd/assay/verifier/internal/dialguard"
)

// A Fetch makes one HTTP request and returns the body of an answer with status
// 200, of at most limit bytes. ContentType and body are those of a POST. It is given
// addresses that certificates name, and has to refuse those that it must not ask.
type Fetch func(ctx context.Context, method, address, contentType string, body []byte, limit int64) ([]byte, error)

// Limits of fetching.
const (
	// maxURL bounds an address, in bytes.
	maxURL = 2048
	// maxFlights bounds the requests at one time.
	maxFlights = 64
	// backOff is how long a source that could not be used is not asked again.
	backOff = 30 * time.Second
	// maxBackOffs bounds the sources that are remembered for it.
	maxBackOffs = 1024
)

// GuardedFetch returns a Fetch over HTTP and HTTPS that dials only public
// addresses, whatever a name resolves to, and follows one redirect under the same
// rule: who writes a certificate must not make us ask the network that we stand in
// (regression R50). Allow lists what may be dialled all the same, as the address
// spells it: "crl.corp.example:80". It uses no proxy, since a proxy would resolve
// the names.
func GuardedFetch(allow []string) Fetch {
	plain := &net.Dialer{Timeout: 5 * time.Second}
	guarded := &net.Dialer{Timeout: 5 * time.Second, Control: dialguard.Public}
	allow = slices.Clone(allow)
	client := &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if slices.ContainsFunc(allow, func(a string) bool { return strings.EqualFold(a, address) }) {
					return plain.DialContext(ctx, network, address)
				}
				return guarded.DialContext(ctx, network, address)
			},
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    5 * time.Second,
			MaxConnsPerHost:        16,
			DisableKeepAlives:      true, // a source is asked once an hour
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context, method, address, contentType string, body []byte, limit int64) ([]byte, error) {
		for hop := 0; ; hop++ {
			b, next, err := ask(ctx, client, method, address, contentType, body, limit)
			if err != nil || next == "" {
				return b, err
			}
			if hop == 1 {
				return nil, errors.New("it redirects more than once")
			}
			address = next
		}
	}
}

// ask makes one request. Next is where it is redirected to.
func ask(ctx context.Context, client *http.Client, method, address, contentType string, body []byte, limit int64) (b []byte, next string, err error) {
	if !fetchable(address) {
		return nil, "", errors.New("it is not an address of HTTP or HTTPS")
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("User-Agent", "assay")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		if method != http.MethodGet {
			return nil, "", fmt.Errorf("it answered a POST with %d", resp.StatusCode)
		}
		fallthrough
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		to, err := resp.Location()
		if err != nil {
			return nil, "", fmt.Errorf("it redirects nowhere: %w", err)
		}
		return nil, to.String(), nil
	default:
		return nil, "", fmt.Errorf("it answered %d", resp.StatusCode)
	}
	if resp.ContentLength > limit {
		return nil, "", fmt.Errorf("it has %d bytes, want at most %d", resp.ContentLength, limit)
	}
	b, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, "", err
	}
	if int64(len(b)) > limit {
		return nil, "", fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, "", nil
}

// fetchable tells whether an address is one that is asked at all.
func fetchable(address string) bool {
	if len(address) > maxURL {
		return false
	}
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

// flights are the requests under way: one for each thing to know, whoever wants to
// know it. A flight has a time of its own and not that of the caller who started
// it, so that the next one finds its answer.
type flights struct {
	base  context.Context // ends with close
	stop  context.CancelFunc
	wg    sync.WaitGroup
	slots chan struct{}

	mu     sync.Mutex
	closed bool
	flying map[string]*flight
	failed map[string]failure
}

type flight struct {
	done  chan struct{}
	value any
	err   error
}

type failure struct {
	at  time.Time
	err error
}

func newFlights() *flights {
	f := &flights{slots: make(chan struct{}, maxFlights), flying: map[string]*flight{}, failed: map[string]failure{}}
	f.base, f.stop = context.WithCancel(context.Background())
	return f
}

// close ends all flights and waits for them.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.stop()
	f.wg.Wait()
}

// start begins a flight, or returns the one under way, or why there is none.
func (f *flights) start(key string, at time.Time, timeout time.Duration, do func(context.Context) (any, error)) (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errors.New("the checker is closed")
	}
	if one := f.flying[key]; one != nil {
		return one, nil
	}
	if before, ok := f.failed[key]; ok {
		if !at.Before(before.at) && at.Before(before.at.Add(backOff)) {
			return nil, fmt.Errorf("it could not be used %s ago: %w", at.Sub(before.at).Round(time.Second), before.err)
		}
		delete(f.failed, key)
	}
	one := &flight{done: make(chan struct{})}
	f.flying[key] = one
	f.wg.Go(func() {
		ctx, cancel := context.WithTimeout(f.base, timeout)
		defer cancel()
		select {
		case f.slots <- struct{}{}:
			one.value, one.err = safely(func() (any, error) { return do(ctx) })
			<-f.slots
		case <-ctx.Done():
			one.err = fmt.Errorf("waiting for one of %d requests to end: %w", maxFlights, ctx.Err())
		}
		if one.err != nil {
			f.rest(key, at, one.err)
		}
		f.mu.Lock()
		delete(f.flying, key)
		f.mu.Unlock()
		close(one.done)
	})
	return one, nil
}

// rest lets a source be for a while.
func (f *flights) rest(key string, at time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.failed) >= maxBackOffs {
		for k := range f.failed { // any: it is then asked again too early, which is all
			delete(f.failed, k)
			break
		}
	}
	f.failed[key] = failure{at, err}
}

// fly starts or joins a flight and waits for it, but no longer than ctx.
func (f *flights) fly(ctx context.Context, key string, at time.Time, timeout time.Duration, do func(context.Context) (any, error)) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("there is no time left to ask: %w", err)
	}
	one, err := f.start(key, at, timeout, do)
	if err != nil {
		return nil, err
	}
	select {
	case <-one.done:
		return one.value, one.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the answer: %w", ctx.Err())
	}
}

func safely(f func() (any, error)) (v any, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = nil, fmt.Errorf("recovered from a panic: %v", p)
		}
	}()
	return f()
}
