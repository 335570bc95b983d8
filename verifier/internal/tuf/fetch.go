// SPDX-License-Identifier: Apache-2.0

package tuf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
)

// ErrNotFound says that a repository has no such file.
var ErrNotFound = fs.ErrNotExist

// A Fetcher reads files of one repository. The path is relative, with slashes,
// and its role names are escaped as in a URL; limit is in bytes, above 0. It
// returns [ErrNotFound] for what is not there, and never more than limit bytes.
type Fetcher interface {
	Fetch(ctx context.Context, path string, limit int64) ([]byte, error)
}

// A Dir is a repository that was recorded in a folder.
type Dir struct{ root *os.Root }

// OpenDir opens the folder.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("opening the recorded repository: %w", err)
	}
	return &Dir{root}, nil
}

// Close closes the folder.
func (d *Dir) Close() error { return d.root.Close() }

// Fetch implements [Fetcher].
func (d *Dir) Fetch(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// A pipe would block at opening, where no deadline reaches.
	info, err := d.root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", clip(name))
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	return readAll(f, limit)
}

// readAll reads to the end, which has to come within limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, verdict.Fail(verdict.InputLimit, "reading a file of the repository: more than %d bytes", limit)
	}
	return data, nil
}

// fetchTimeout bounds one file. A caller with less patience says so in ctx.
const fetchTimeout = time.Minute

// HTTP is a repository that is served by HTTP.
type HTTP struct {
	base   *url.URL
	client *http.Client
}

// NewHTTP makes a fetcher for the repository at baseURL: https, or http on this
// machine. It follows redirects on that host alone. The client may be nil.
func NewHTTP(baseURL string, client *http.Client) (*HTTP, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, verdict.Misused("write it as https://host/path", "the address of the repository, %q, is not acceptable", clip(baseURL))
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, verdict.Misused("write it as https://host/path", "the repository %q is not at an https address", clip(baseURL))
	}
	if client == nil {
		client = &http.Client{}
	}
	own := *client
	own.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) > 5 || req.URL.Host != u.Host || req.URL.Scheme != u.Scheme {
			return errors.New("the repository sends us elsewhere")
		}
		return nil
	}
	return &HTTP{base: u, client: &own}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Fetch implements [Fetcher].
func (h *HTTP) Fetch(ctx context.Context, name string, limit int64) ([]byte, error) {
	if path.Clean("/"+name) != "/"+name {
		return nil, fmt.Errorf("%q is no path in a repository", clip(name))
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	where := *h.base
	where.RawPath = strings.TrimSuffix(h.base.EscapedPath(), "/") + "/" + name
	decoded, err := url.PathUnescape(where.RawPath)
	if err != nil {
		return nil, fmt.Errorf("%q is no path in a repository", clip(name))
	}
	where.Path = decoded
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%q is no path in a repository", clip(name))
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	switch resp.StatusCode {
	case http.StatusOK:
	// Buckets that may not be listed answer 403 for what they do not have.
	case http.StatusNotFound, http.StatusForbidden:
		return nil, ErrNotFound
	default:
		return nil, fmt.Errorf("the answer for %s is %d", clip(name), resp.StatusCode)
	}
	return readAll(resp.Body, limit)
}

// clip shortens what others wrote, for messages.
func clip(s string) string { return s[:min(len(s), 128)] }
