// SPDX-License-Identifier: Apache-2.0

// Package devapi is a Workload API for development: one unix socket per
// identity, with a certificate authority in a folder. Whoever may open a socket
// is that workload; nobody is attested.
//
// [Init] makes the authority once, [Identities] gives the identities of a
// development cluster, and [Serve] serves them until its context ends.
//
// It refuses to serve unless its configuration says profile development, keeps
// its folders at 0700 and its files and sockets at 0600. It is never for
// production: SPIRE is.
package devapi

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/assayd/assay/spiffe/internal/workload"
	"github.com/assayd/assay/verdict"
)

const (
	// TrustDomain is the trust domain of `assay dev init`.
	TrustDomain = "dev.assay.invalid"

	// Profile is the only profile under which [Serve] serves.
	Profile = "development"

	// DefaultTTL is the life of an SVID when the configuration names none.
	DefaultTTL = time.Hour

	// MinTTL is the shortest life of an SVID that a configuration may name.
	MinTTL = time.Second

	// authorityLife is the life of the certificate authority.
	authorityLife = 365 * 24 * time.Hour

	// maxFile bounds the authority's files, in bytes.
	maxFile = 16 << 10

	// maxSocketPath is the longest path of a unix socket, in bytes: sun_path of
	// sockaddr_un without the terminating zero.
	maxSocketPath = 107

	// maxIdentities bounds the sockets of one server.
	maxIdentities = 64
)

// The files of the authority's folder, and the lock of the sockets' folder.
const (
	keyFile  = "svid-ca.key"
	certFile = "svid-ca.pem"
	lockFile = ".lock"
)

// Identities returns the identities of a development cluster by the names of
// their sockets: assayd, node-a, node-b, admission, ci, auditor, admin. It
// returns a [*verdict.Misuse] when the trust domain or cluster cannot be part of
// a SPIFFE ID.
func Identities(trustDomain, cluster string) (map[string]string, error) {
	td, err := spiffeid.TrustDomainFromString(trustDomain)
	if err != nil || td.Name() != trustDomain {
		return nil, verdict.Misused("write the name alone, as dev.assay.invalid", "naming the development identities: malformed trust domain %.64q", trustDomain)
	}
	ids := make(map[string]string)
	for name, role := range map[string]string{
		"assayd":    "d",
		"node-a":    "node",
		"node-b":    "node",
		"admission": "admission",
		"ci":        "ci",
		"auditor":   "auditor",
		"admin":     "admin",
	} {
		id, err := spiffeid.FromSegments(td, "assay", role, cluster, name)
		if err != nil {
			return nil, verdict.Misused("a cluster is named by letters, digits, dots, dashes and underscores", "naming the development identities of cluster %.64q: %w", cluster, err)
		}
		ids[name] = id.String()
	}
	return ids, nil
}

// Init makes the certificate authority of a trust domain in dir, which it
// creates. It returns a [*verdict.Misuse] when dir has one already: every SVID
// and trust bundle out there would be of the old one.
func Init(dir, trustDomain string) error {
	td, err := spiffeid.TrustDomainFromString(trustDomain)
	if err != nil || td.Name() != trustDomain {
		return verdict.Misused("write the name alone, as dev.assay.invalid", "making an SVID authority: malformed trust domain %.64q", trustDomain)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making an SVID authority: %w", err)
	}
	for _, name := range []string{keyFile, certFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return verdict.Misused("use another folder, or remove this one and everything made with it", "making an SVID authority: %s has one already", dir)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("making an SVID authority: %w", err)
		}
	}
	now := time.Now()
	a, err := workload.NewAuthority(td, now.Add(-workload.Backdate), now.Add(authorityLife))
	if err != nil {
		return fmt.Errorf("making an SVID authority: %w", err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(a.Key)
	if err != nil {
		return fmt.Errorf("making an SVID authority: %w", err)
	}
	if err := writeFile(dir, keyFile, &pem.Block{Type: "PRIVATE KEY", Bytes: key}); err != nil {
		return fmt.Errorf("making an SVID authority: %w", err)
	}
	if err := writeFile(dir, certFile, &pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw}); err != nil {
		return fmt.Errorf("making an SVID authority: %w", err)
	}
	return nil
}

// writeFile writes one PEM block durably: a new name, sync, rename.
func writeFile(dir, name string, block *pem.Block) (err error) {
	f, err := os.CreateTemp(dir, "."+name+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = pem.Encode(f, block)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}

// A Config says what [Serve] serves.
type Config struct {
	// Profile must be "development".
	Profile string
	// Dir is the folder that [Init] made.
	Dir string
	// SocketDir is the folder of the sockets, created with mode 0700. A socket
	// is named for its identity, as svid/node-a.sock.
	SocketDir string
	// Identities gives each socket's name its SPIFFE ID.
	Identities map[string]string
	// TTL is the life of an SVID, at least [MinTTL]; zero is [DefaultTTL].
	// A new one is pushed at half of it.
	TTL time.Duration
	// Ready, if not nil, is closed when all sockets serve.
	Ready chan<- struct{}
	// Log gets a line for each identity at the start; nil logs nothing.
	Log *slog.Logger
}

// validate returns the parsed identities, by name.
func (c Config) validate(td spiffeid.TrustDomain) (map[string]spiffeid.ID, error) {
	if len(c.Identities) == 0 || len(c.Identities) > maxIdentities {
		return nil, verdict.Misused("see devapi.Identities", "serving the development Workload API: got %d identities, want 1 to %d", len(c.Identities), maxIdentities)
	}
	if c.TTL != 0 && c.TTL < MinTTL {
		return nil, verdict.Misused("leave it out for an hour", "serving the development Workload API: got a TTL of %s, want at least %s", c.TTL, MinTTL)
	}
	ids := make(map[string]spiffeid.ID, len(c.Identities))
	for name, text := range c.Identities {
		if err := spiffeid.ValidatePathSegment(name); err != nil {
			return nil, verdict.Misused("use letters, digits and dashes", "serving the development Workload API: identity %.64q cannot name a socket: %w", name, err)
		}
		if path := socketPath(c.SocketDir, name); len(path) > maxSocketPath {
			return nil, verdict.Misused("use a folder with a shorter path", "serving the development Workload API: the path of socket %s has %d bytes, want at most %d", name, len(path), maxSocketPath)
		}
		id, err := spiffeid.FromString(text)
		if err != nil || id.Path() == "" {
			return nil, verdict.Misused("write spiffe://TRUST-DOMAIN/PATH", "serving the development Workload API: identity %s has the malformed SPIFFE ID %.64q", name, text)
		}
		if id.TrustDomain() != td {
			return nil, verdict.Misused("use IDs of the authority's trust domain", "serving the development Workload API: identity %s is of trust domain %q, the authority of %q", name, id.TrustDomain().Name(), td.Name())
		}
		ids[name] = id
	}
	return ids, nil
}

func socketPath(dir, name string) string { return filepath.Join(dir, name+".sock") }

// Serve serves the identities until ctx ends, then closes the sockets, waits
// for all of its goroutines and returns nil. It returns a [*verdict.Misuse] for
// a configuration that it does not accept, among them every profile but
// development, and when another server serves from the same folder.
func Serve(ctx context.Context, c Config) (err error) {
	if c.Profile != Profile {
		return verdict.Misused("use SPIRE; the development Workload API attests nobody", "serving the development Workload API: got profile %.64q, want %q", c.Profile, Profile)
	}
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	authority, err := load(c.Dir)
	if err != nil {
		return err
	}
	ids, err := c.validate(authority.TrustDomain)
	if err != nil {
		return err
	}
	unlock, err := lock(c.SocketDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		id := ids[name]
		svid, err := issue(authority, id, c.TTL)
		if err != nil {
			return err
		}
		l, err := listen(ctx, socketPath(c.SocketDir, name))
		if err != nil {
			return err
		}
		s := workload.Start(l)
		s.Set(svid)
		c.Log.InfoContext(ctx, "serving a development identity", "peer", id.String(), "path", socketPath(c.SocketDir, name))
		wg.Go(func() {
			if err := rotate(ctx, s, authority, id, c.TTL); err != nil {
				cancel(err)
			}
			if err := s.Close(); err != nil {
				cancel(fmt.Errorf("serving the identity %s: %w", id, err))
			}
		})
	}
	if c.Ready != nil {
		close(c.Ready)
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

// rotate pushes a new SVID at each half of the TTL, until ctx ends or the
// server does.
func rotate(ctx context.Context, s *workload.Server, a *workload.Authority, id spiffeid.ID, ttl time.Duration) error {
	tick := time.NewTicker(ttl / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Done():
			return nil
		case <-tick.C:
			svid, err := issue(a, id, ttl)
			if err != nil {
				return err
			}
			s.Set(svid)
		}
	}
}

func issue(a *workload.Authority, id spiffeid.ID, ttl time.Duration) (*workload.SVID, error) {
	now := time.Now()
	if now.After(a.Certificate.NotAfter) {
		return nil, verdict.Misused("make a new one: assay dev init", "issuing an SVID: the authority ended at %s", a.Certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	end := now.Add(ttl)
	if end.After(a.Certificate.NotAfter) {
		end = a.Certificate.NotAfter
	}
	return a.Issue(id, now.Add(-workload.Backdate), end)
}

// listen opens a socket of mode 0600. A socket that is there belongs to a
// server that is gone, since the folder's lock is ours.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, verdict.Misused("remove it, or use another folder", "serving the development Workload API: %s is not a socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("serving the development Workload API: removing an old socket: %w", err)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("serving the development Workload API: %w", err)
	}
	// The folder is 0700, so nobody gets in between.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("serving the development Workload API: %w", err), l.Close())
	}
	return l, nil
}

// lock makes the folder of sockets and holds its lock, so that two servers do
// not remove one another's sockets.
func lock(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("serving the development Workload API: %w", err)
	}
	if err := private(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("serving the development Workload API: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if closeErr := f.Close(); closeErr != nil {
			return nil, fmt.Errorf("serving the development Workload API: %w", closeErr)
		}
		return nil, verdict.Misused("stop it, or use another folder", "serving the development Workload API: another one serves from %s: %w", dir, err)
	}
	return f.Close, nil
}

// load reads the authority that Init made.
func load(dir string) (*workload.Authority, error) {
	key, err := readFile(dir, keyFile, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	raw, err := readFile(dir, certFile, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, verdict.Misused("make a new authority: assay dev init", "reading the SVID authority of %s: %w", dir, err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, verdict.Misused("make a new authority: assay dev init", "reading the SVID authority of %s: %w", dir, err)
	}
	a, err := workload.ParseAuthority(cert, parsed)
	if err != nil {
		return nil, verdict.Misused("make a new authority: assay dev init", "reading the SVID authority of %s: %w", dir, err)
	}
	return a, nil
}

// readFile reads a PEM file with one block, which nobody else may read.
func readFile(dir, name, blockType string) (der []byte, err error) {
	path := filepath.Join(dir, name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, verdict.Misused("make one: assay dev init", "reading the SVID authority: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the SVID authority: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := private(path); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the SVID authority: %w", err)
	}
	if len(text) > maxFile {
		return nil, verdict.Misused("make a new authority: assay dev init", "reading the SVID authority: %s has more than %d bytes", path, maxFile)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != blockType || len(rest) != 0 {
		return nil, verdict.Misused("make a new authority: assay dev init", "reading the SVID authority: %s is not one PEM block of type %s", path, blockType)
	}
	return block.Bytes, nil
}

// private refuses a path that others than its owner may use.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("checking permissions: %w", err)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return verdict.Misused("chmod go= "+path, "checking permissions: %s has mode %#o, want none for group and others", path, perm)
	}
	return nil
}
