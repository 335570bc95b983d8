// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/verdict"
)

// maxLeavesSearched bounds how many leaves of a shard are read in search of a
// core.
const maxLeavesSearched = 1 << 20

// logFlags say which leaf of which log is meant.
type logFlags struct {
	origin, boot, core, ticket, out string
	statements                      []string
	server                          serverFlags
}

func (f *logFlags) register(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.origin, "origin", "", "origin of the shard (default the only one, or that of the ticket)")
	s.StringVar(&f.boot, "boot", "", "boot of the shard, instead of its origin")
	s.StringVar(&f.core, "core", "", "`DIGEST` of the verdict core that the leaf names, instead of INDEX")
	s.StringVar(&f.ticket, "ticket", "", "ticket that names origin, index and core, instead of them: `FILE`")
	s.StringArrayVar(&f.statements, "statement", nil, "`DIGEST` of an issuer statement that you appraised")
	s.StringVar(&f.out, "out", "", "write what was found to this `FILE`")
	f.server.register(c)
}

func (a *app) logCommand() *cobra.Command {
	return a.group("log", "Read the verdict log and prove what is in it", a.logGetCommand(), a.logProveCommand())
}

func (a *app) logGetCommand() *cobra.Command {
	var f logFlags
	c := a.command("get [DIR] [INDEX] [--core D | --ticket FILE] [--server ADDR]", "List the shards of a log folder, or show one leaf and what it points to",
		"  assay log get /var/lib/assayd/log\n  assay log get /var/lib/assayd/log 17", between(0, 2, "a log folder and an index"),
		func(ctx context.Context, args []string) (*answer, error) {
			if len(args) == 1 && f.core == "" && f.ticket == "" && f.server.addr == "" {
				return a.logShards(ctx, args[0])
			}
			found, err := a.findLeaf(ctx, args, &f)
			if err != nil {
				return logHint(err, args), err
			}
			if f.out != "" {
				if err := file.Write(f.out, found.Object, file.Public); err != nil {
					return nil, err
				}
			}
			return done(found.info(), "%s%s", found.info().text(), objectText(found.Object)), nil
		})
	f.register(c)
	return c
}

func (a *app) logProveCommand() *cobra.Command {
	var f logFlags
	c := a.command("prove [DIR|FILE] [INDEX] [--core D | --ticket FILE] [--statement D]",
		"Prove that a leaf is in the log, from files with the daemon stopped or from a daemon",
		"  assay log prove /var/lib/assayd/log --ticket ticket.jws --out verdict.proof\n  assay log prove verdict.proof", between(0, 2, "a log folder and an index, or a proof file"),
		func(ctx context.Context, args []string) (*answer, error) {
			found, err := a.findLeaf(ctx, args, &f)
			if err != nil {
				return logHint(err, args), err
			}
			if f.out != "" {
				if err := file.Write(f.out, found.file, file.Public); err != nil {
					return nil, err
				}
			}
			i := found.info()
			return done(i, "proven: %s", i.text()), nil
		})
	f.register(c)
	return c
}

// logHint is the answer to go with err. The hints of these codes are about
// signatures and their logs.
func logHint(err error, args []string) *answer {
	fromFile := len(args) == 1 && isFile(args[0])
	switch code := verdict.CodeOf(err); {
	case code == verdict.LogMissing:
		return &answer{Hint: "see which shards and how many leaves there are: assay log get DIR"}
	case code == verdict.InputMalformed && fromFile:
		return &answer{Hint: "name a proof file as assay log prove --out writes it, or the daemon's log folder; if it was one, it is damaged: make it again"}
	case code == verdict.LogProof && fromFile:
		return &answer{Hint: "the file was changed, or is put together from several: make it again from the daemon's log folder"}
	}
	return nil
}

// between is for commands with least to most arguments.
func between(least, most int, names string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return verdict.Misused("see: "+c.CommandPath()+" --help", "%sgot %d arguments, want %s", about(c), len(args), names)
		}
		return nil
	}
}

func (a *app) logShards(ctx context.Context, dir string) (*answer, error) {
	archive, err := openArchive(dir)
	if err != nil {
		return nil, err
	}
	defer a.progress("reading " + dir)()
	shards, err := archive.Shards(ctx)
	if err != nil {
		return nil, err
	}
	if len(shards) == 0 {
		return nil, verdict.Misused("name the folder log in the daemon's state folder", "reading log: no shard is in %s", dir)
	}
	type shard struct {
		Boot      string         `json:"boot"`
		Origin    string         `json:"origin"`
		Size      uint64         `json:"size"`
		Statement verdict.Digest `json:"statement"`
		Problem   string         `json:"problem,omitempty"`
	}
	var b strings.Builder
	list := []shard{}
	for _, s := range shards {
		l := shard{Boot: s.Boot, Origin: s.Origin, Size: s.Size, Statement: s.Statement}
		if s.Err != nil {
			l.Problem = s.Err.Error()
			fmt.Fprintf(&b, "boot %s: %s\n", s.Boot, printable(l.Problem))
		} else {
			fmt.Fprintf(&b, "boot %s origin %s leaves %d statement %s\n", s.Boot, printable(s.Origin), s.Size, s.Statement)
		}
		list = append(list, l)
	}
	return done(list, "%s", b.String()), nil
}

func openArchive(dir string) (*audit.Archive, error) {
	// The keys of a shard are ECDSA first; with BoringCrypto that one is enough.
	return audit.OpenArchive(audit.ArchiveConfig{Dir: dir})
}

// foundLeaf is a proven leaf.
type foundLeaf struct {
	proof.Checked
	// file is the proof file that says so.
	file []byte
	// unappraised says that nobody told which statement to believe.
	unappraised bool
}

// leafInfo describes a proven leaf.
type leafInfo struct {
	Origin     string         `json:"origin"`
	Index      uint64         `json:"index"`
	Size       uint64         `json:"treeSize"`
	Root       string         `json:"root"`
	Kind       string         `json:"kind"`
	Result     string         `json:"result"`
	Time       string         `json:"time"`
	Object     verdict.Digest `json:"object"`
	Policy     verdict.Digest `json:"policy"`
	Statement  verdict.Digest `json:"statement"`
	Issuer     string         `json:"issuer"`
	Appraised  bool           `json:"statementNamed"`
	Repository string         `json:"repository,omitempty"`
	Digest     verdict.Digest `json:"digest,omitempty"`
}

func (f foundLeaf) info() leafInfo {
	i := leafInfo{Origin: f.Checkpoint.Origin, Index: f.Index, Size: f.Checkpoint.Size, Root: fmt.Sprintf("%x", f.Checkpoint.Root[:]),
		Kind: leafKind(f.Leaf.Kind), Result: leafResult(f.Leaf.Result), Time: f.Leaf.Time.UTC().Format(time.RFC3339Nano),
		Object: verdict.DigestFromBytes(f.Leaf.Object), Policy: verdict.DigestFromBytes(f.Leaf.Policy), Statement: f.StatementDigest,
		Issuer: f.Checked.Statement.Issuer, Appraised: !f.unappraised}
	if len(f.Core.Subject) > 0 {
		i.Repository = f.Core.Predicate.ResourceURI
		for alg, hex := range f.Core.Subject[0].Digest {
			i.Digest = verdict.Digest(alg + ":" + hex)
		}
	}
	return i
}

func (i leafInfo) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "leaf %d of %d in %s\n%s %s at %s\nobject %s\nstatement %s of %s\n", i.Index, i.Size, printable(i.Origin), i.Kind, i.Result, i.Time, i.Object, i.Statement, printable(i.Issuer))
	if i.Repository != "" {
		fmt.Fprintf(&b, "image %s@%s\n", printable(i.Repository), i.Digest)
	}
	return b.String()
}

func leafKind(k verdict.LeafKind) string {
	switch k {
	case verdict.LeafStatement:
		return "statement"
	case verdict.LeafVerdict:
		return "verdict"
	case verdict.LeafException:
		return "exception"
	}
	return "unknown"
}

func leafResult(r verdict.LeafResult) string {
	switch r {
	case verdict.ResultPassed:
		return "passed"
	case verdict.ResultFailed:
		return "failed"
	case verdict.ResultNone:
	}
	return "noted"
}

// objectText shows what a leaf points to: the payload of an envelope, or how
// much there is.
func objectText(object []byte) string {
	payload, ok := proof.EnvelopePayload(object)
	if !ok {
		return fmt.Sprintf("object of %d bytes; write it out with --out\n", len(object))
	}
	return indent(json.RawMessage(payload)) + "\n"
}

// findLeaf finds the leaf that flags and arguments name, in a folder, a proof
// file or at a daemon, and proves it.
func (a *app) findLeaf(ctx context.Context, args []string, f *logFlags) (foundLeaf, error) {
	trust := proof.Trust{AllowAnyStatement: len(f.statements) == 0}
	for _, s := range f.statements {
		d, err := verdict.ParseDigest(s)
		if err != nil {
			return foundLeaf{}, verdict.Misused("want sha256: and 64 hex digits", "flag --statement: %w", err)
		}
		trust.Statements = append(trust.Statements, d)
	}
	where, err := f.where(args)
	if err != nil {
		return foundLeaf{}, err
	}
	defer a.progress("reading the log")()
	var data []byte
	switch {
	case f.server.addr != "":
		var appraised verdict.Digest
		data, appraised, err = a.proofFromServer(ctx, f, where)
		if trust.AllowAnyStatement {
			trust = proof.Trust{Statements: []verdict.Digest{appraised}}
		}
	case where.dir == "":
		err = verdict.Misused("name the daemon's log folder, or --server", "reading log: neither a folder nor a server is named")
	default:
		data, err = proofFromDisk(ctx, where)
	}
	if err != nil {
		return foundLeaf{}, err
	}
	checked, err := proof.CheckFile(data, trust)
	if err != nil {
		return foundLeaf{}, err
	}
	if where.core != "" && verdict.DigestFromBytes(checked.Leaf.Object) != where.core {
		return foundLeaf{}, verdict.Refuse(verdict.LogMismatch, "reading log: leaf %d names core %s, want %s", checked.Index, verdict.DigestFromBytes(checked.Leaf.Object).Short(), where.core.Short())
	}
	if where.statement != "" && checked.StatementDigest == "" {
		return foundLeaf{}, verdict.Refuse(verdict.LogMismatch, "reading log: leaf %d names no statement", checked.Index)
	}
	found := foundLeaf{Checked: checked, file: data, unappraised: trust.AllowAnyStatement}
	if found.unappraised {
		a.warn("proven under the key of statement %s, which was not appraised here; name the ones that you accept with --statement", checked.StatementDigest)
	}
	return found, nil
}

// A place says where in a log to look.
type place struct {
	dir, origin, boot string
	index             uint64
	hasIndex          bool
	core, statement   verdict.Digest
}

// where reads what names the leaf: exactly one of index, core and ticket.
func (f *logFlags) where(args []string) (place, error) {
	w := place{origin: f.origin, boot: f.boot}
	if f.server.addr == "" && len(args) > 0 {
		w.dir, args = args[0], args[1:]
	}
	if len(args) > 1 {
		return place{}, verdict.Misused("with --server only an index", "reading log: got %d arguments, want at most 1", len(args))
	}
	named := 0
	if len(args) == 1 {
		n, err := strconv.ParseUint(args[0], 10, 63)
		if err != nil {
			return place{}, verdict.Misused("count leaves from 0", "reading log: index is %q, want a number", clip(args[0]))
		}
		w.index, w.hasIndex = n, true
		named++
	}
	if f.core != "" {
		d, err := verdict.ParseDigest(f.core)
		if err != nil {
			return place{}, verdict.Misused("want sha256: and 64 hex digits", "flag --core: %w", err)
		}
		w.core = d
		named++
	}
	if f.ticket != "" {
		if err := w.fromTicket(f.ticket); err != nil {
			return place{}, err
		}
		named++
	}
	if named > 1 {
		return place{}, verdict.Misused("a ticket names index and core itself", "reading log: index, --core and --ticket name a leaf each, want one of them")
	}
	return w, nil
}

// fromTicket takes origin, index, core and statement from a ticket, unchecked:
// the proof is what counts.
func (w *place) fromTicket(path string) error {
	data, err := file.Read("ticket", path, verdict.MaxTicket)
	if err != nil {
		return err
	}
	t, err := decodeToken(strings.TrimSpace(string(data)))
	if err != nil {
		return err
	}
	var c verdict.Ticket
	if err := json.Unmarshal(t.Claims, &c); err != nil {
		return verdict.Refuse(verdict.TicketMalformed, "reading ticket: %w", err)
	}
	if c.Log == nil || c.Core == "" {
		return verdict.Refuse(verdict.LogMissing, "reading ticket: it names no place in a log")
	}
	w.origin, w.index, w.hasIndex, w.core, w.statement = c.Log.Origin, c.Log.Index, true, c.Core, c.Stmt
	return nil
}

// proofFromDisk makes the proof file from a log folder, or reads one.
func proofFromDisk(ctx context.Context, w place) ([]byte, error) {
	if !w.hasIndex && w.core == "" && isFile(w.dir) {
		return file.Read("proof", w.dir, proof.MaxTLogProof)
	}
	archive, err := openArchive(w.dir)
	if err != nil {
		return nil, err
	}
	reader, err := openShard(ctx, archive, w)
	if err != nil {
		return nil, err
	}
	if !w.hasIndex {
		if w.core == "" {
			return nil, verdict.Misused("list the shards: assay log get "+w.dir, "reading log: no leaf is named")
		}
		if w.index, err = searchCore(ctx, reader, w.core); err != nil {
			return nil, err
		}
	}
	return reader.ProofFile(ctx, w.index)
}

// openShard opens the shard that is named, or the one that has the core, or the
// only one.
func openShard(ctx context.Context, archive *audit.Archive, w place) (*audit.Reader, error) {
	switch {
	case w.boot != "":
		return archive.Boot(ctx, w.boot)
	case w.origin != "":
		return archive.Shard(ctx, w.origin)
	}
	shards, err := archive.Shards(ctx)
	if err != nil {
		return nil, err
	}
	var readable []audit.ShardInfo
	var first error
	for _, s := range shards {
		if s.Err == nil {
			readable = append(readable, s)
		} else if first == nil {
			first = s.Err
		}
	}
	if len(readable) == 0 {
		return nil, verdict.Refuse(verdict.LogMissing, "reading log: no readable shard in %s: %w", w.dir, errors.Join(errors.New("it has none"), first))
	}
	if w.core != "" {
		for _, s := range readable {
			r, err := archive.Boot(ctx, s.Boot)
			if err != nil {
				return nil, err
			}
			if _, err := searchCore(ctx, r, w.core); err == nil {
				return r, nil
			}
		}
		return nil, verdict.Refuse(verdict.LogMissing, "reading log: no leaf of %d shards names core %s", len(readable), w.core.Short())
	}
	if len(readable) > 1 {
		return nil, verdict.Misused("name one with --boot or --origin; list them: assay log get "+w.dir, "reading log: %d shards, and none is named", len(readable))
	}
	return archive.Boot(ctx, readable[0].Boot)
}

// searchCore returns the first leaf that names core.
func searchCore(ctx context.Context, r *audit.Reader, core verdict.Digest) (uint64, error) {
	c, _ := r.Checkpoint()
	for i := range min(c.Size, maxLeavesSearched) {
		l, err := r.Leaf(ctx, i)
		if err != nil {
			return 0, err
		}
		if verdict.DigestFromBytes(l.Object) == core {
			return i, nil
		}
	}
	return 0, verdict.Refuse(verdict.LogMissing, "reading log: none of %d leaves names core %s", c.Size, core.Short())
}
