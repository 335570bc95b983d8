// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/cmd/assay/internal/owner"
	"github.com/assayd/assay/node/agent"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// recorded says what was recorded.
type recorded struct {
	Folder string   `json:"folder"`
	Kind   string   `json:"kind"`
	Format string   `json:"format"`
	At     string   `json:"at"`
	Expect string   `json:"expect"`
	Code   string   `json:"errorKind,omitempty"`
	Daemon string   `json:"daemon,omitempty"`
	Files  []string `json:"files"`
}

// recordFlags say whose appraisal is recorded.
type recordFlags struct {
	server                          serverFlags
	statement, head, nonce, at, own string
}

func (a *app) evidenceRecordCommand() *cobra.Command {
	var f recordFlags
	c := a.command("record DIR {--server ADDR | --statement FILE | --node refused} --trust FILE",
		"Record an appraisal of a daemon as a folder, which gives the same again",
		"  assay evidence record recorded/prod-1 --server 10.0.0.7:8443 --trust trust.yaml\n  assay evidence record recorded/refused-1 --node refused --trust trust.yaml",
		exactly(1, "a folder that does not exist yet"),
		func(ctx context.Context, args []string) (*answer, error) {
			sources := 0
			for _, s := range []string{f.server.addr, f.statement, f.own} {
				if s != "" {
					sources++
				}
			}
			if sources != 1 {
				return nil, verdict.Misused("name a daemon with --server, a file with --statement, or --node refused", "recording: want exactly one of --server, --statement and --node")
			}
			if file.Exists(args[0]) {
				return nil, verdict.Misused("name another folder: nothing is overwritten", "recording: %s is there already", args[0])
			}
			config, err := f.server.config()
			if err != nil {
				return nil, err
			}
			made, err := a.attempt(ctx, &f, config)
			if err != nil {
				return nil, err
			}
			r, err := record(args[0], config, made)
			if err != nil {
				return nil, err
			}
			text := fmt.Sprintf("recorded %s of kind %s as of %s: %s", printable(r.Folder), r.Kind, r.At, r.Expect)
			if r.Code != "" {
				text += " " + r.Code
			}
			return done(r, "%s\n", text), nil
		})
	f.server.register(c)
	s := c.Flags()
	s.StringVar(&f.statement, "statement", "", "collection with a statement, in a `FILE`")
	s.StringVar(&f.head, "head", "", "head set in force, for a file: `FILE`")
	s.StringVar(&f.nonce, "nonce", "", "your nonce, 64 hex digits, for a file (default: published evidence)")
	s.StringVar(&f.at, "at", "", "`TIME` of the appraisal of a file, RFC 3339 (default now)")
	s.StringVar(&f.own, "node", "", "last appraisal of the node of this trust.yaml: `refused` or accepted")
	return c
}

// attempt makes an appraisal, or takes the one that a node made.
func (a *app) attempt(ctx context.Context, f *recordFlags, c trust.Config) (made trust.Attempt, err error) {
	switch {
	case f.statement == "" && f.head+f.nonce+f.at != "":
		return made, verdict.Misused("", "recording: --head, --nonce and --at are for --statement")
	case f.own != "":
		last := map[string]func(trust.Config) (trust.Attempt, error){"refused": agent.LastRefused, "accepted": agent.LastAccepted}[f.own]
		if last == nil {
			return made, verdict.Misused("want refused or accepted", "flag --node is %q", clip(f.own))
		}
		if made, err = last(c); errors.Is(err, fs.ErrNotExist) {
			return made, verdict.Misused("ask a daemon with --server", "recording: in %s there is no appraisal that was %s", c.StateDir, f.own)
		}
		return made, err
	case f.statement != "":
		q, at, err := a.question(c, f.head, f.nonce, f.at)
		if err != nil {
			return made, err
		}
		made = trust.Attempt{Question: q, At: at}
		if made.Collection, err = a.read("collection", f.statement, attest.MaxCollectionSize); err != nil {
			return made, err
		}
		_, made.Err = c.Appraise(made.Collection, q, at)
		return made, misuseOf(made.Err)
	}
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	defer a.progress("appraising the daemon")()
	d, made, err := a.ask(ctx, &f.server)
	if d != nil {
		err = d.close()
	}
	if len(made.Collection) == 0 {
		return made, err
	}
	if made.Err == nil && err != nil {
		a.warn("its evidence is accepted, and it is not: %v", err)
	}
	return made, misuseOf(made.Err)
}

// misuseOf is err where it is about the caller's own files: that is no appraisal.
func misuseOf(err error) error {
	if _, misuse := errors.AsType[*verdict.Misuse](err); misuse {
		return err
	}
	return nil
}

// record writes the folder, and appraises what was written: it gives what was found
// before, or it is not left there.
func record(dir string, c trust.Config, made trust.Attempt) (r recorded, err error) {
	origin := "genuine"
	if c.Profile == verdict.Development {
		origin = "simulated" // the profile that permits simulators
	}
	why := fmt.Sprintf("what %s accepted", c.Node)
	if made.Err != nil {
		why = fmt.Sprintf("what %s did not accept: %s", c.Node, verdict.ReasonOf(made.Err).Text)
	}
	files, err := c.Folder(made, filepath.Base(dir), origin, why)
	if err != nil {
		return r, err
	}
	if err := os.Mkdir(dir, file.Folder); err != nil {
		return r, verdict.Misused("name another folder: nothing is overwritten", "recording: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		if err := file.Create(filepath.Join(dir, name), files[name], file.Public); err != nil {
			return r, err
		}
	}
	report, again := appraiseFolder(dir)
	if verdict.CodeOf(again) != verdict.CodeOf(made.Err) || verdict.Refused(again) != verdict.Refused(made.Err) {
		return r, verdict.Fail(verdict.Internal, "recording: the folder gives %q, and the appraisal was %q: %w", verdict.CodeOf(again), verdict.CodeOf(made.Err), again)
	}
	of := report.Case
	return recorded{Folder: dir, Kind: of.Kind, Format: of.Format, At: utc(of.At), Expect: of.Expect, Code: string(of.ErrorKind), Daemon: made.Daemon, Files: names}, nil
}

// appraiseFolder appraises a folder: one with a daemon's statement as the relying party
// did whose trust.yaml and head are in it.
func appraiseFolder(dir string) (folder.Report, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return folder.Report{}, verdict.Misused("name a folder with a "+folder.CaseName, "opening evidence folder: %w", err)
	}
	defer root.Close() //nolint:errcheck // it was only read
	r, daemon, err := folder.ReadRecording(root.FS())
	if !daemon {
		if err != nil {
			return folder.Report{}, err
		}
		return folder.Appraise(root.FS())
	}
	report := folder.Report{Case: r.Case, OwnRoots: true}
	if err != nil {
		return report, err
	}
	a, err := trust.AppraiseRecording(r)
	if err != nil {
		return report, err
	}
	return r.Appraised(a.Result), nil
}

// question is what a relying party brings to the appraisal of a file.
func (a *app) question(c trust.Config, headPath, nonce, when string) (q trust.Question, at time.Time, err error) {
	if at, err = timeFlag("at", when); err != nil {
		return q, at, err
	}
	if headPath == "" {
		return q, at, verdict.Misused("name the head set with --head", "appraising: nothing says which head is in force")
	}
	set, err := owner.LoadSet(headPath)
	if err != nil {
		return q, at, err
	}
	q.AllowPublished = nonce == ""
	if q.Head, err = c.OpenHead(set); err != nil {
		return q, at, err
	}
	if err := q.Head.CheckAt(at); err != nil {
		return q, at, err
	}
	if nonce == "" {
		a.warn("published evidence: it answers no question of yours, so it may be old")
		return q, at, nil
	}
	b, err := hex.DecodeString(nonce)
	if err != nil || len(b) != verdict.NonceSize {
		return q, at, verdict.Misused("want 64 hex digits", "flag --nonce is %q", clip(nonce))
	}
	copy(q.Nonce[:], b)
	return q, at, nil
}
