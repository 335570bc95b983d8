// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
)

// Names in the state folder. The agent replaces each file by rename; a gate reads
// each at most once for a decision.
const (
	// HeadFile is the head set, without the files that only daemons need.
	HeadFile = "head.json"
	// MarksFile is what was seen and must not go back (Marks).
	MarksFile = "marks.json"
	// IssuersFile are the accepted statements (Issuers).
	IssuersFile = "issuers.json"
	// StatusFile is the newest status (StatusRecord).
	StatusFile = "status.json"
	// ImagesDir has one ImageRecord for each image, named by ImageKey.
	ImagesDir = "images"
	// ExceptionsDir has signed exceptions, NAME.json each, put there by root.
	ExceptionsDir = "exceptions"
	// UsesDir has one UseRecord for each use of an exception, until the agent has
	// reported it.
	UsesDir = "uses"
)

// Limits of the state folder, in bytes or items.
const (
	// MaxHeadFile bounds HeadFile.
	MaxHeadFile = 8 << 20
	// MaxMarksFile bounds MarksFile.
	MaxMarksFile = 256 << 10
	// MaxIssuersFile bounds IssuersFile.
	MaxIssuersFile = 4 << 20
	// MaxRecord bounds StatusFile, an ImageRecord and a UseRecord.
	MaxRecord = 512 << 10
	// MaxExceptions is how many exceptions are looked at.
	MaxExceptions = 64
	// maxException bounds a signed exception.
	maxException = 2 * verdict.MaxException
)

// stateVersion is the version of all records of the state folder.
const stateVersion = 1

// Marks are what this node has seen and must not go back behind. They are raised
// by the agent and never lowered.
type Marks struct {
	V int `json:"v"`
	// Head is the newest head, HeadSince in Unix seconds when this node first
	// held it.
	Head      verdict.HeadRef `json:"head"`
	HeadSince int64           `json:"head_since"`
	// Deny are the deny documents that count until they lapse.
	Deny []DenyMark `json:"deny,omitempty"`
	// Logs are how far logs had grown.
	Logs []LogMark `json:"logs,omitempty"`
	// Boots are the newest statements of daemons' boots.
	Boots []BootMark `json:"boots,omitempty"`
	// Platforms are the newest editions of collateral that came with evidence.
	Platforms []PlatformMark `json:"platforms,omitempty"`
	// Time is the highest time, in Unix seconds, in anything signed.
	Time int64 `json:"time"`
}

// A DenyMark is the highest counter of an owner's deny documents, until NotAfter
// in Unix seconds.
type DenyMark struct {
	Owner    string `json:"owner"`
	Counter  uint64 `json:"counter"`
	NotAfter int64  `json:"not_after"`
}

// A LogMark is the largest checkpoint of a log that was seen.
type LogMark struct {
	verdict.LogMark
	// Seen is when, in Unix seconds: the oldest marks go first.
	Seen int64 `json:"seen"`
}

// A BootMark is the highest sequence number of a boot's statements.
type BootMark struct {
	Boot string `json:"boot"`
	Seq  uint64 `json:"seq"`
	// Seen is when, in Unix seconds.
	Seen int64 `json:"seen"`
}

// A PlatformMark is the highest tcbEvaluationDataNumber (Intel PCS API v4) of the
// collateral of one TDX platform. Intel serves two editions at a time, so that one
// platform's says nothing about another's.
type PlatformMark struct {
	// Chip is that of [verdict.Issuer].
	Chip       string `json:"chip"`
	Evaluation uint32 `json:"evaluation"`
	// Seen is when, in Unix seconds.
	Seen int64 `json:"seen"`
}

// Check refuses a head that is older than the marks: a lower counter or another
// head under the same one (head.rollback, head.conflict), or a deny document left
// out that has not lapsed (head.rollback).
func (m Marks) Check(h verdict.CheckedHead, at time.Time) error {
	if err := h.CheckAfter(m.Head.Counter, m.Head.Digest); err != nil {
		return err
	}
	for _, d := range m.Deny {
		if at.Unix() >= d.NotAfter || !slices.ContainsFunc(h.Owners.Keys, func(k verdict.JWK) bool { return k.Kid == d.Owner }) {
			continue
		}
		if !slices.ContainsFunc(h.Docs, func(doc verdict.CheckedDeny) bool { return doc.Owner == d.Owner && doc.Counter >= d.Counter }) {
			return verdict.Refuse(verdict.HeadRollback, "head %d comes without deny document %d of owner %.64q, which was seen here", h.Counter, d.Counter, d.Owner)
		}
	}
	return nil
}

// CheckClock refuses a node whose clock is behind what it has seen signed, with
// ticket.not-yet-valid: by such a clock everything lives too long.
func (m Marks) CheckClock(at time.Time) error {
	if seen := time.Unix(m.Time, 0); m.Time != 0 && at.Before(seen.Add(-verdict.MaxSkew)) {
		return verdict.Refuse(verdict.TicketNotYetValid, "this node's clock says %s, and it has seen something signed at %s",
			at.UTC().Format(time.RFC3339), seen.UTC().Format(time.RFC3339))
	}
	return nil
}

// Issuers is IssuersFile.
type Issuers struct {
	V       int              `json:"v"`
	Issuers []AcceptedIssuer `json:"issuers"`
}

// An AcceptedIssuer is a statement that the agent accepted, with what it needs to
// judge it again.
type AcceptedIssuer struct {
	Issuer verdict.Issuer `json:"issuer"`
	// Collection is the digest of the evidence, Nonce the asker's, in hex.
	Collection verdict.Digest `json:"collection"`
	Nonce      string         `json:"nonce"`
	// Accepted is when, in Unix seconds.
	Accepted int64 `json:"accepted"`
}

// A StatusRecord is StatusFile.
type StatusRecord struct {
	V      int    `json:"v"`
	Status string `json:"status"`
}

// An ImageRecord is what the agent keeps about one image in one repository.
type ImageRecord struct {
	V          int            `json:"v"`
	Repository string         `json:"repository"`
	Digest     verdict.Digest `json:"digest"`
	// Tickets are compact tickets of different daemons.
	Tickets []string `json:"tickets,omitempty"`
	// Known is since when, in Unix seconds, the image was let through here
	// without a refusal in between, by namespace; a pull has none, "".
	Known map[string]int64 `json:"known,omitempty"`
	// Proven are the jti of tickets whose leaf was found in the log.
	Proven []string `json:"proven,omitempty"`
	// Asked is when it was last asked for, in Unix seconds, roughly.
	Asked int64 `json:"asked"`
}

// A UseRecord says that the gate let an image through by an exception.
type UseRecord struct {
	V         int            `json:"v"`
	Exception []byte         `json:"exception"`
	Digest    verdict.Digest `json:"digest"`
	// UsedAt is the first use, in Unix seconds.
	UsedAt int64 `json:"used_at"`
}

// ImageKey names the record of an image in a repository.
func ImageKey(repository string, digest verdict.Digest) string {
	sum := sha256.Sum256([]byte(repository + "\x00" + string(digest)))
	return hex.EncodeToString(sum[:])
}

// ParseMarks decodes MarksFile.
func ParseMarks(data []byte) (Marks, error) {
	var m Marks
	if err := unmarshal(data, &m); err != nil {
		return Marks{}, fmt.Errorf("%s:%w", MarksFile, err)
	}
	if err := checkVersion(MarksFile, m.V); err != nil {
		return Marks{}, err
	}
	return m, nil
}

// ParseIssuers decodes IssuersFile. A statement is what its evidence was bound to
// only under its own digest, so a record whose digest is another is refused.
func ParseIssuers(data []byte) (Issuers, error) {
	var i Issuers
	if err := unmarshal(data, &i); err != nil {
		return Issuers{}, fmt.Errorf("%s:%w", IssuersFile, err)
	}
	for _, a := range i.Issuers {
		if err := checkIssuer(a.Issuer); err != nil {
			return Issuers{}, fmt.Errorf("%s: %w", IssuersFile, err)
		}
	}
	if err := checkVersion(IssuersFile, i.V); err != nil {
		return Issuers{}, err
	}
	return i, nil
}

// checkIssuer refuses an issuer whose statement is not the one of its digest.
func checkIssuer(i verdict.Issuer) error {
	encoded, err := i.Statement.Encode()
	if err != nil {
		return err
	}
	if verdict.SHA256(encoded) != i.Digest {
		return fmt.Errorf("statement %s is not the one of its digest", i.Digest.Short())
	}
	return nil
}

// ParseStatusRecord decodes StatusFile.
func ParseStatusRecord(data []byte) (StatusRecord, error) {
	var s StatusRecord
	if err := unmarshal(data, &s); err != nil {
		return StatusRecord{}, fmt.Errorf("%s:%w", StatusFile, err)
	}
	if err := checkVersion(StatusFile, s.V); err != nil {
		return StatusRecord{}, err
	}
	return s, nil
}

// ParseImageRecord decodes an ImageRecord.
func ParseImageRecord(data []byte) (ImageRecord, error) {
	var r ImageRecord
	if err := unmarshal(data, &r); err != nil {
		return ImageRecord{}, fmt.Errorf("image record:%w", err)
	}
	if err := checkVersion("image record", r.V); err != nil {
		return ImageRecord{}, err
	}
	return r, nil
}

// ParseUseRecord decodes a UseRecord.
func ParseUseRecord(data []byte) (UseRecord, error) {
	var u UseRecord
	if err := unmarshal(data, &u); err != nil {
		return UseRecord{}, fmt.Errorf("record of a use:%w", err)
	}
	if err := checkVersion("record of a use", u.V); err != nil {
		return UseRecord{}, err
	}
	return u, nil
}

func checkVersion(what string, v int) error {
	if v != stateVersion {
		return fmt.Errorf("%s: version %d, want %d", what, v, stateVersion)
	}
	return nil
}

// A State is a state folder as a gate reads it.
type State struct {
	dir  string
	uids []uint32
}

// OpenState checks a state folder: it must belong to root, the user of this
// process or one of uids, who alone may write it.
func OpenState(dir string, uids ...uint32) (State, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return State{}, fmt.Errorf("opening state folder: %w", err)
	}
	if !info.IsDir() {
		return State{}, fmt.Errorf("opening state folder: %s is not a folder", dir)
	}
	if err := checkOwned(dir, info, uids); err != nil {
		return State{}, fmt.Errorf("opening state folder: %w", err)
	}
	return State{dir: dir, uids: uids}, nil
}

// Read reads a file of the folder; it is fs.ErrNotExist where there is none.
func (s State) Read(name string, limit int64) ([]byte, error) {
	return readOwned(filepath.Join(s.dir, name), limit, s.uids)
}

// Marks reads MarksFile; none are zero.
func (s State) Marks() (Marks, error) {
	data, err := s.Read(MarksFile, MaxMarksFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Marks{}, nil
	}
	if err != nil {
		return Marks{}, fmt.Errorf("reading marks: %w", err)
	}
	return ParseMarks(data)
}

// Head reads and checks HeadFile against the owners, who begin with the lowest counter
// that counts (After), and the marks. The error is a *verdict.Refusal of the family head
// or a *verdict.Failure head.missing, or agent.state where others can write the file.
func (s State) Head(owners verdict.Owners, m Marks, at time.Time) (verdict.CheckedHead, error) {
	data, err := s.Read(HeadFile, MaxHeadFile)
	if err != nil {
		return verdict.CheckedHead{}, verdict.Fail(stateCode(err, verdict.HeadMissing), "reading head: %w", err)
	}
	set, err := verdict.ParseHeadSet(data)
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	h, err := verdict.OpenHead(set, owners)
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	if err := m.Check(h, at); err != nil {
		return verdict.CheckedHead{}, err
	}
	return h, nil
}

// Answer reads what an agent would answer, from what it left in the folder.
func (s State) Answer(repository string, digest verdict.Digest) (Answer, error) {
	a := Answer{V: protocolVersion}
	data, err := s.Read(IssuersFile, MaxIssuersFile)
	if err != nil {
		return Answer{}, fmt.Errorf("reading accepted statements: %w", err)
	}
	issuers, err := ParseIssuers(data)
	if err != nil {
		return Answer{}, err
	}
	for _, i := range issuers.Issuers {
		a.Statements = append(a.Statements, i.Issuer)
	}
	switch data, err := s.Read(StatusFile, MaxRecord); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return Answer{}, fmt.Errorf("reading status: %w", err)
	default:
		record, err := ParseStatusRecord(data)
		if err != nil {
			return Answer{}, err
		}
		a.Status = record.Status
	}
	switch record, err := s.Image(repository, digest); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return Answer{}, err
	default:
		a.Tickets, a.Known = record.Tickets, record.Known[""]
	}
	return a, nil
}

// Image reads the record of an image; it is fs.ErrNotExist where there is none.
func (s State) Image(repository string, digest verdict.Digest) (ImageRecord, error) {
	data, err := s.Read(filepath.Join(ImagesDir, ImageKey(repository, digest)+".json"), MaxRecord)
	if err != nil {
		return ImageRecord{}, err
	}
	r, err := ParseImageRecord(data)
	if err != nil {
		return ImageRecord{}, err
	}
	if r.Repository != repository || r.Digest != digest {
		return ImageRecord{}, errors.New("image record is about another image than its name says")
	}
	return r, nil
}

// A SignedException is an exception with what was signed.
type SignedException struct {
	verdict.CheckedException
	Raw []byte
}

// Exceptions reads the exceptions that the owners signed; files that are not such
// are passed over, and returned as errors for the log.
func (s State) Exceptions(owners verdict.Owners) (out []SignedException, problems []error) {
	dir := filepath.Join(s.dir, ExceptionsDir)
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = checkOwned(dir, info, s.uids)
	}
	if err != nil {
		return nil, []error{err}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, []error{err}
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if len(out)+len(problems) == MaxExceptions {
			return out, append(problems, fmt.Errorf("%s has more than %d exceptions: remove those that have ended", dir, MaxExceptions))
		}
		raw, err := s.Read(filepath.Join(ExceptionsDir, e.Name()), maxException)
		if err == nil {
			var x verdict.CheckedException
			if x, err = verdict.OpenException(raw, owners); err == nil {
				out = append(out, SignedException{x, raw})
				continue
			}
		}
		problems = append(problems, fmt.Errorf("exception %.64q: %w", e.Name(), err))
	}
	return out, problems
}

// recordUse writes that an exception was used, once for each image: the agent
// reports it when it can. It is the only thing that a gate writes.
func (s State) recordUse(x SignedException, digest verdict.Digest, at time.Time) error {
	dir := filepath.Join(s.dir, UsesDir)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	sum := sha256.Sum256([]byte(string(x.Digest) + "\x00" + string(digest)))
	path := filepath.Join(dir, hex.EncodeToString(sum[:])+".json")
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	data, err := json.Marshal(UseRecord{V: stateVersion, Exception: x.Raw, Digest: digest, UsedAt: at.Unix()})
	if err != nil {
		return err
	}
	return WriteFile(path, data)
}

// WriteFile writes a file so that a reader sees the old bytes or the new, and the
// new are on the disk when it returns: a temporary name, sync, rename, and a sync
// of the folder.
func WriteFile(path string, data []byte) (err error) {
	temporary := path + "." + rand.Text() + ".tmp"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
