// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

func (a *app) statementCommand() *cobra.Command {
	return a.group("statement", "Look into issuer statements, and appraise the evidence for them", a.statementInspectCommand(), a.statementAppraiseCommand())
}

// statementInfo describes an issuer statement of which nothing has been checked.
type statementInfo struct {
	Digest    verdict.Digest    `json:"digest"`
	Statement verdict.Statement `json:"statement"`
	// Items are the labels of the collection that it came in.
	Items []string `json:"items,omitempty"`
	// Endorsements are what evidence of its kind wants beside it, and whether it is there.
	Endorsements []statedEndorsement `json:"endorsements,omitempty"`
}

func (a *app) statementInspectCommand() *cobra.Command {
	return a.command("inspect FILE", "Show an issuer statement or a collection with one, unchecked; FILE may be -",
		"  assay statement inspect collection.cmw", exactly(1, "a statement or a collection, or -"),
		func(_ context.Context, args []string) (*answer, error) {
			data, err := a.read("statement", args[0], attest.MaxCollectionSize)
			if err != nil {
				return nil, err
			}
			i, err := parseStatement(data)
			if err != nil {
				return nil, err
			}
			a.warn("nothing of it was checked; see: assay statement appraise")
			var missing []string
			i.Endorsements, missing = statedEndorsements(data, time.Now())
			a.noteMissing(missing)
			return done(i, "%s", i.text()), nil
		})
}

// parseStatement reads a statement, or a collection with one.
func parseStatement(data []byte) (statementInfo, error) {
	raw := data
	var i statementInfo
	c, cerr := attest.ParseCollection(data)
	if cerr == nil {
		item, ok := c.Items[attest.LabelStatement]
		if !ok {
			return statementInfo{}, verdict.Refuse(verdict.EvidenceMissing, "reading collection: it has no statement")
		}
		raw = item.Value
		for _, l := range []string{attest.LabelStatement, attest.LabelNonces, attest.LabelEvidence, attest.LabelEndorsements, attest.LabelRegisters} {
			if _, ok := c.Items[l]; ok {
				i.Items = append(i.Items, l)
			}
		}
	}
	s, err := verdict.ParseStatement(raw)
	if err != nil {
		if cerr != nil && strings.Contains(string(data[:min(len(data), 4096)]), "__cmwc_t") {
			return statementInfo{}, cerr // it meant to be a collection
		}
		return statementInfo{}, err
	}
	i.Digest, i.Statement = verdict.SHA256(raw), s
	return i, nil
}

func (i statementInfo) text() string {
	s := i.Statement
	var b strings.Builder
	fmt.Fprintf(&b, "statement %s\nissuer %s, boot %s, statement %d of it\n", i.Digest, printable(s.Issuer), s.Boot, s.Seq)
	fmt.Fprintf(&b, "valid %s to %s\n", utcUnix(s.NotBefore), utcUnix(s.NotAfter))
	fmt.Fprintf(&b, "build %s, crypto %s %s, active %t\n", printable(s.Build.Version), s.Build.Crypto.Module, printable(s.Build.Crypto.Version), s.Build.Crypto.Active)
	fmt.Fprintf(&b, "config %s\nhead %d %s\npolicy %s\nroots %s\nlog %s\n", s.Config, s.Head.Counter, s.Head.Digest, s.Policy, s.Roots, printable(s.Log.Origin))
	for _, k := range s.Keys {
		fmt.Fprintf(&b, "key %s for %s\n", k.Kid, printable(k.Use))
	}
	if len(i.Items) > 0 {
		fmt.Fprintf(&b, "comes with %s\n", strings.Join(i.Items, ", "))
	}
	for _, e := range i.Endorsements {
		b.WriteString(e.text())
	}
	return b.String()
}

func utcUnix(s int64) string { return utc(time.Unix(s, 0)) }

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}
