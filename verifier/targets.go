// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier/internal/notaryv1"
	"github.com/assayd/assay/verifier/internal/tuf"
)

// A TUFSource is a TUF repository: where it is and which root it begins with.
type TUFSource struct {
	// URL is where it is served, by https. Exactly one of URL and Folder is set.
	URL string `yaml:"url" json:"url,omitempty"`
	// Folder has a recorded repository, for where there is no network.
	Folder string `yaml:"folder" json:"folder,omitempty"`
	// Root is the pinned root.json, as text. Required.
	Root string `yaml:"root" json:"root"`
	// MaxAge is how long what was fetched counts without another fetch: hours or
	// days, as 24h or 7d. Absent means until it expires by itself.
	MaxAge string `yaml:"max-age" json:"maxAge,omitempty"`
	// Target is the file with the trust root, of a sigstore instance; absent means
	// trusted_root.json.
	Target string `yaml:"target" json:"target,omitempty"`
}

// defaultTarget is where sigstore instances publish their trust root.
const defaultTarget = "trusted_root.json"

// A source is an entry of the roots file that has to be fetched, and what was
// fetched last: a TUF repository, or a collection of Docker Content Trust.
type source struct {
	name        string // in messages and of its folder: "tuf acme"
	url, folder string

	tuf      tuf.Config
	snapshot *tuf.Snapshot

	notary     *notaryv1.Config // nil for a TUF repository
	collection *notaryv1.Snapshot

	// err is why there is nothing.
	err error
}

// fetched is what was fetched last, or nil.
func (s *source) fetched() interface {
	Digest() verdict.Digest
	Expires() time.Time
} {
	switch {
	case s.collection != nil:
		return s.collection
	case s.snapshot != nil:
		return s.snapshot
	}
	return nil
}

// digest names what was fetched.
func (s *source) digest() verdict.Digest {
	if f := s.fetched(); f != nil {
		return f.Digest()
	}
	return ""
}

// expires is until when it counts.
func (s *source) expires() time.Time {
	if f := s.fetched(); f != nil {
		return f.Expires()
	}
	return time.Time{}
}

// stale is why nothing of it counts.
func (s *source) stale() error {
	if s.err != nil {
		return s.err
	}
	return verdict.Fail(verdict.TrustStale, "using trust roots: %s was not fetched yet", s.name)
}

func compileTUF(f *strictyaml.File, path, name string, t TUFSource) (*source, error) {
	age, err := parseAge(t.MaxAge)
	switch {
	case (t.URL == "") == (t.Folder == ""):
		return nil, f.Misuse(path, "", "%s: want exactly one of url and folder", name)
	case t.Root == "":
		return nil, f.Misuse(path, "paste the root.json that you know to be the repository's", "%s: no root", name)
	case err != nil:
		return nil, f.Misuse(path+".max-age", "write hours or days, as 24h or 7d", "%s: max-age is %q", name, clipQuote(t.MaxAge))
	}
	return &source{name: name, url: t.URL, folder: t.Folder, tuf: tuf.Config{Root: []byte(t.Root), MaxAge: age}}, nil
}

// Refreshing says how sources of trust roots are fetched.
type Refreshing struct {
	// Folder keeps what was fetched, with a folder for each source; "" keeps
	// nothing, and then a restart fetches anew.
	Folder string
	// Offline fetches nothing from servers: only what Folder has, and recorded
	// repositories, count.
	Offline bool
	// Client is for servers; nil is one with no proxy of its own.
	Client *http.Client
}

// Fetched says whether r has sources that Refresh fetches.
func (r *Roots) Fetched() bool { return r != nil && len(r.sources) > 0 }

// Refresh fetches what the roots file points to, and returns roots with it. R is
// not changed. A source that cannot be fetched keeps what it had; where it had
// nothing, what rests on it is trust.stale. The error names the sources that
// failed, and the roots are good all the same.
func (r *Roots) Refresh(ctx context.Context, how Refreshing, at time.Time) (*Roots, error) {
	if !r.Fetched() {
		return r, nil
	}
	next := &Roots{file: r.file, instances: maps.Clone(r.instances), stores: r.stores, sources: make(map[string]*source), sigstore: r.sigstore}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(r.sources)) {
		s := *r.sources[key]
		if err := s.refresh(ctx, how, at); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			if s.digest() == "" {
				s.err = err
			}
		} else {
			s.err = nil
		}
		next.sources[key] = &s
	}
	for name, target := range r.sigstore {
		s := next.sources["sigstore "+name]
		i := &instance{until: s.expires(), stale: s.stale()}
		if s.snapshot != nil {
			data, err := s.snapshot.Target(target)
			if err == nil {
				var parsed *instance
				if parsed, err = parseInstance(data); err == nil {
					parsed.until = s.expires()
					i = parsed
				}
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
				i.stale = verdict.Fail(verdict.TrustMissing, "reading trust root of %s: %w", s.name, err)
			}
		}
		next.instances[name] = i
	}
	next.seal()
	return next, errors.Join(errs...)
}

// seal computes the digest of everything that r trusts.
func (r *Roots) seal() {
	if len(r.sources) == 0 {
		r.digest = r.file
		return
	}
	parts := []string{string(r.file)}
	for _, key := range slices.Sorted(maps.Keys(r.sources)) {
		parts = append(parts, key, string(r.sources[key].digest()))
	}
	r.digest = verdict.SHA256([]byte(strings.Join(parts, "\n")))
}

func (s *source) refresh(ctx context.Context, how Refreshing, at time.Time) error {
	store := tuf.Store(tuf.NewMemory())
	if how.Folder != "" {
		dir := filepath.Join(how.Folder, verdict.SHA256([]byte(s.name)).Hex()[:32])
		var root *os.Root
		err := os.MkdirAll(dir, 0o700)
		if err == nil {
			root, err = os.OpenRoot(dir)
		}
		if err != nil {
			return verdict.Fail(verdict.TrustStale, "keeping trust roots: %w", err)
		}
		defer root.Close() //nolint:errcheck // what was written was synced
		store = tuf.OpenStore(root)
	}
	fetch, done, err := s.fetcher(how)
	if err != nil {
		return err
	}
	defer done()
	if fetch == nil {
		return s.load(store, at)
	}
	if err := s.ask(ctx, store, fetch, at); err != nil {
		// What was stored counts until it ends; so does what this process has.
		_ = s.load(store, at) // err says more
		return err
	}
	return nil
}

// ask fetches, and load reads what an earlier process stored. Where there is an
// error s keeps what it has.
func (s *source) ask(ctx context.Context, store tuf.Store, fetch tuf.Fetcher, at time.Time) error {
	if s.notary != nil {
		next, err := notaryv1.Refresh(ctx, *s.notary, store, fetch, at)
		if err == nil {
			s.collection = next
		}
		return err
	}
	next, err := tuf.Refresh(ctx, s.tuf, store, fetch, at)
	if err == nil {
		s.snapshot = next
	}
	return err
}

func (s *source) load(store tuf.Store, at time.Time) error {
	if s.notary != nil {
		next, err := notaryv1.Load(*s.notary, store, at)
		if err == nil {
			s.collection = next
		}
		return err
	}
	next, err := tuf.Load(s.tuf, store, at)
	if err == nil {
		s.snapshot = next
	}
	return err
}

// fetcher is where s comes from; nil offline.
func (s *source) fetcher(how Refreshing) (tuf.Fetcher, func(), error) {
	nothing := func() {}
	switch {
	case s.folder != "":
		d, err := tuf.OpenDir(s.folder)
		if err != nil {
			return nil, nothing, err
		}
		return d, func() { d.Close() }, nil //nolint:errcheck // nothing was written
	case how.Offline:
		return nil, nothing, nil
	}
	if s.notary != nil {
		h, err := notaryv1.NewServer(s.url, s.notary.GUN, how.Client)
		return h, nothing, err
	}
	h, err := tuf.NewHTTP(s.url, how.Client)
	return h, nothing, err
}

// A listing is what an image has to be listed as.
type listing struct {
	repository string
	sha256     string
	size       int64 // -1 when not known
}

// A targetTrust is who lists images.
type targetTrust struct {
	repository string // its name in the roots file
	snapshot   *tuf.Snapshot
	role       string
	paths      []string // patterns
}

// newListed makes the one candidate of lists of targets: the image itself.
func newListed(img Image, digests map[string]string, size int64) *candidate {
	sum := digests["sha256"]
	id := fmt.Sprintf("listed\x00%s\x00%s\x00%d", img.Repository, sum, size)
	return &candidate{name: "targets", family: familyTarget, digest: verdict.SHA256([]byte(id)),
		listed: &entity{message: []byte(id), listing: &listing{img.Repository, sum, size}, claims: &claims{subjects: []map[string]string{{"sha256": sum}}}}}
}

// verifyTarget looks an image up.
func (m *material) verifyTarget(e *entity) (*fact, *stageError) {
	l, t := e.listing, m.targets
	f := &fact{claims: e.claims, signer: &signer{issuer: "tuf", list: "tuf " + t.repository}, trustUntil: t.snapshot.Expires(), list: t.snapshot.Digest()}
	for _, match := range t.snapshot.Lookup(l.sha256, l.size) {
		if t.role != "" && match.Role != t.role {
			continue
		}
		for _, p := range t.paths {
			// The pattern was checked when the policy was read.
			if g, err := parseTargetPath(p, l.repository); err == nil && g.matches(match.Path) {
				f.signer.san, f.signer.listKeys = match.Role+" "+match.Path, match.Keys
				return f, nil
			}
		}
	}
	return nil, &stageError{stageSignature, verdict.Refuse(verdict.SigNone, "looking for the image among targets: none of a role and path that count has its digest and size")}
}

// targetMaterial returns who lists images for a.
func (a *authority) targetMaterial(roots *Roots) (*material, error) {
	var s *source
	if roots != nil {
		s = roots.sources["tuf "+a.TUF.Repository]
	}
	if s == nil {
		return nil, verdict.Misused("name it under tuf of the roots file", "authority %q: the trust roots have no TUF repository %q [%s]", a.name, a.TUF.Repository, verdict.TrustMissing)
	}
	m := &material{targets: &targetTrust{repository: a.TUF.Repository, snapshot: s.snapshot, role: a.TUF.Role, paths: a.TUF.Paths}}
	if s.snapshot == nil {
		m.stale = s.stale()
	}
	m.id = strings.Join([]string{"tuf", string(s.digest()), a.TUF.Role, strings.Join(a.TUF.Paths, "\n")}, " ")
	return m, nil
}
