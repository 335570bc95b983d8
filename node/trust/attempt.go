// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/folder"
	"github.com/assayd/assay/verdict"
)

// MaxAttempt bounds an encoded Attempt, in bytes: a collection and a head set in
// base64.
const MaxAttempt = (attest.MaxCollectionSize + verdict.MaxHeadSet + 64<<10) / 3 * 4

// An Attempt is one appraisal of a daemon's statement with all that it rested on but
// trust.yaml: enough to make it again, which gives the same. The zero value is none.
type Attempt struct {
	Question
	// Daemon is the address that was asked, empty for a file.
	Daemon string
	// Collection is what the daemon answered.
	Collection []byte
	// At is when it was appraised.
	At time.Time
	// Err is why it was not accepted: a *verdict.Refusal or a *verdict.Failure.
	Err error
}

// A savedAttempt is an Attempt on disk.
type savedAttempt struct {
	V          int              `json:"v"`
	Daemon     string           `json:"daemon,omitempty"`
	At         time.Time        `json:"at"`
	Nonce      string           `json:"nonce,omitempty"`
	Known      []attest.KnownAK `json:"known,omitempty"`
	Head       []byte           `json:"head"`
	Collection []byte           `json:"collection"`
	Refused    bool             `json:"refused,omitempty"`
	Code       verdict.Code     `json:"code,omitempty"`
	Text       string           `json:"text,omitempty"`
}

// Encode returns the attempt for a disk, its head without policy and roots.
func (a *Attempt) Encode() ([]byte, error) {
	head, err := Slim(a.Head)
	if err != nil {
		return nil, err
	}
	s := savedAttempt{V: 1, Daemon: a.Daemon, At: a.At.UTC(), Known: a.Known, Head: head, Collection: a.Collection, Refused: verdict.Refused(a.Err)}
	if !a.AllowPublished {
		s.Nonce = hex.EncodeToString(a.Nonce[:])
	}
	if a.Err != nil {
		reason := verdict.ReasonOf(a.Err)
		s.Code, s.Text = reason.Code, reason.Text
	}
	return json.Marshal(s)
}

// ParseAttempt reads what Encode wrote. The head is opened again, under the owners of
// c. The error is a *verdict.Failure, or about the head.
func (c Config) ParseAttempt(data []byte) (Attempt, error) {
	var s savedAttempt
	if err := json.Unmarshal(data, &s); err != nil || s.V != 1 || s.At.IsZero() {
		return Attempt{}, verdict.Fail(verdict.Internal, "reading appraisal: it is not one of this version")
	}
	a := Attempt{Daemon: s.Daemon, Collection: s.Collection, At: s.At}
	a.Known = s.Known
	if a.AllowPublished = s.Nonce == ""; !a.AllowPublished {
		nonce, err := hex.DecodeString(s.Nonce)
		if err != nil || len(nonce) != verdict.NonceSize {
			return Attempt{}, verdict.Fail(verdict.Internal, "reading appraisal: its nonce is not %d bytes in hex", verdict.NonceSize)
		}
		copy(a.Nonce[:], nonce)
	}
	var err error
	if a.Head, err = c.openHeadSet(s.Head); err != nil {
		return Attempt{}, err
	}
	switch {
	case s.Code == "":
	case s.Refused:
		a.Err = verdict.Refuse(s.Code, "%s", s.Text)
	default:
		a.Err = verdict.Fail(s.Code, "%s", s.Text)
	}
	return a, nil
}

func (c Config) openHeadSet(data []byte) (verdict.CheckedHead, error) {
	set, err := verdict.ParseHeadSet(data)
	if err != nil {
		return verdict.CheckedHead{}, err
	}
	return c.OpenHead(set)
}

// Slim encodes a head set without the files that only daemons read.
func Slim(head verdict.CheckedHead) ([]byte, error) {
	set := head.Set
	set.Files = nil
	for _, d := range []verdict.Digest{head.Head.Owners, head.Head.References, head.Head.Deny} {
		file, err := head.Set.File("", d)
		if err != nil {
			return nil, err
		}
		set.Files = append(set.Files, file)
	}
	return set.Encode()
}

// Folder makes the files of an evidence folder from an attempt under c, with what came
// out as what is expected. What it gives when it is appraised again is the caller's to
// compare. name and why are for people; origin is genuine or simulated.
func (c Config) Folder(a Attempt, name, origin, why string) (map[string][]byte, error) {
	head, err := Slim(a.Head)
	if err != nil {
		return nil, err
	}
	trust, err := c.Encode()
	if err != nil {
		return nil, err
	}
	of := folder.Case{
		Name: name, Origin: origin, At: a.At, Expect: "accept", ErrorKind: verdict.CodeOf(a.Err), Why: why,
		Policy: folder.Policy{Daemon: &folder.PolicyDaemon{KnownKeys: a.Known}},
	}
	if a.Err != nil {
		of.Expect = "reject"
	}
	return folder.Record(of, folder.Recording{Collection: a.Collection, Trust: trust, Head: head, Nonce: a.Nonce})
}

// AppraiseRecording makes the appraisal of a recorded folder again, under the trust, the
// head and at the time that are in it: who made it chose whom to believe. The error is
// as that of Config.Appraise, or a *verdict.Misuse where its trust.yaml is none.
func AppraiseRecording(r folder.Recording) (Appraisal, error) {
	c, err := Parse("trust.yaml", r.Trust)
	if err != nil {
		return Appraisal{}, err
	}
	q := Question{Nonce: r.Nonce, Known: r.Case.Policy.Daemon.KnownKeys, AllowPublished: r.Nonce == [verdict.NonceSize]byte{}}
	if q.Head, err = c.openHeadSet(r.Head); err != nil {
		return Appraisal{}, err
	}
	if !q.AllowPublished { // as of a daemon's answer
		if _, err := c.activationNeeded(r.Collection, &q); err != nil {
			return Appraisal{}, err
		}
	}
	return c.Appraise(r.Collection, q, r.Case.At)
}
