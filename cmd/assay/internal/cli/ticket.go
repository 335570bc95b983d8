// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

func (a *app) ticketCommand() *cobra.Command {
	return a.group("ticket", "Look into tickets, and check them as a gate would", a.ticketInspectCommand(), a.ticketCheckCommand())
}

// token is a decoded JWS of which nothing has been checked.
type token struct {
	Header json.RawMessage `json:"header"`
	Claims json.RawMessage `json:"claims"`
}

func (a *app) ticketInspectCommand() *cobra.Command {
	return a.command("inspect FILE", "Show the header and claims of a ticket or status, and check nothing; FILE may be -",
		"  assay ticket inspect ticket.jws", exactly(1, "a file with a compact JWS, or -"),
		func(_ context.Context, args []string) (*answer, error) {
			data, err := a.read("ticket", args[0], verdict.MaxTicket)
			if err != nil {
				return nil, err
			}
			t, err := decodeToken(strings.TrimSpace(string(data)))
			if err != nil {
				return nil, err
			}
			a.warn("nothing of it was checked; see: assay ticket check")
			return done(t, "header %s\nclaims %s\n", indent(t.Header), indent(t.Claims)), nil
		})
}

// decodeToken splits a compact JWS (RFC 7515 §3.1) for showing.
func decodeToken(s string) (token, error) {
	bad := func(format string, args ...any) (token, error) {
		return token{}, verdict.Refuse(verdict.TicketMalformed, "reading ticket: "+format, args...)
	}
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return bad("%d parts, want the 3 of a compact JWS", len(parts))
	}
	var t token
	for i, out := range []*json.RawMessage{&t.Header, &t.Claims} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return bad("part %d is not base64url: %w", i+1, err)
		}
		if !json.Valid(b) {
			return bad("part %d is not JSON", i+1)
		}
		*out = b
	}
	return t, nil
}

func indent(raw json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return printable(string(raw))
	}
	var lines []string
	for l := range strings.SplitSeq(b.String(), "\n") {
		lines = append(lines, printable(l))
	}
	return strings.Join(lines, "\n")
}

// read reads a file, or standard input for "-".
func (a *app) read(what, path string, limit int64) ([]byte, error) {
	if path == "-" {
		return file.ReadFrom(what, "standard input", a.env.Stdin, limit)
	}
	return file.Read(what, path, limit)
}

// ticketText is one line about a checked ticket.
func ticketText(t verdict.Ticket, outcome verdict.Outcome) string {
	return fmt.Sprintf("%s %s@%s for %s, head %d, until %s\n", outcome, t.Repo, t.Sub, t.Aud, t.Head, utcUnix(t.Exp))
}

// A node is what the state folder of a node says.
type node struct {
	config  gate.Config
	anchor  verdict.Owners
	state   gate.State
	marks   gate.Marks
	head    verdict.CheckedHead
	headErr error
}

// openNode reads gate.json and the state folder that it names.
func openNode(path string, at time.Time) (node, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return node{}, verdict.Misused("name a file", "reading gate.json: %w", err)
	}
	n := node{}
	if n.config, err = gate.LoadConfig(full); err != nil {
		return node{}, err
	}
	n.anchor = n.config.Owners
	n.anchor.After = n.config.MinHead
	if n.state, err = gate.OpenState(n.config.State, n.config.AgentUID); err != nil {
		return node{}, verdict.Misused("start assay-node once, or name another gate.json", "opening state folder: %w", err)
	}
	if n.marks, err = n.state.Marks(); err != nil {
		return node{}, verdict.Fail(verdict.Internal, "reading state folder: %w", err)
	}
	n.head, n.headErr = n.state.Head(n.anchor, n.marks, at)
	return n, nil
}

func (a *app) ticketCheckCommand() *cobra.Command {
	var config, namespace, at string
	var offline bool
	c := a.command("check FILE IMAGE [--gate gate.json] [--namespace NS]", "Check a ticket as the gate of this node would, from its state folder; FILE may be -",
		"  assay ticket check ticket.jws registry.example/app@sha256:9f2c… --gate gate.json", exactly(2, "a ticket and an image by digest"),
		func(_ context.Context, args []string) (*answer, error) {
			ans := &answer{Image: imageRef{Name: clipTo(args[1], verdict.MaxRepository)}}
			now, err := timeFlag("at", at)
			if err != nil {
				return ans, err
			}
			repo, digest, err := gate.ParseName(args[1])
			if err != nil || digest == "" {
				return ans, verdict.Misused("write registry/repository@sha256:…", "reading image: %q names no digest", clip(args[1]))
			}
			ans.Image = imageRef{Name: repo, Digest: digest}
			data, err := a.read("ticket", args[0], verdict.MaxTicket)
			if err != nil {
				return ans, err
			}
			n, err := openNode(config, now)
			if err != nil {
				return ans, err
			}
			if n.headErr != nil {
				return ans, n.headErr
			}
			issuers, err := n.issuers(now)
			if err != nil {
				return ans, err
			}
			t, err := verdict.CheckTicket(strings.TrimSpace(string(data)), verdict.TicketCheck{At: now, Node: n.config.Node, Cluster: n.config.Cluster,
				Digest: digest, Repository: repo, Namespace: namespace, Issuers: issuers, Head: n.head, HeadSince: time.Unix(n.marks.HeadSince, 0), AllowOffline: offline})
			if err != nil {
				return ans, err
			}
			outcome, _ := t.Outcome(namespace)
			ans.Result, ans.Code, ans.Value = string(outcome), t.Code, t
			if t.Code != "" {
				ans.Reasons = []verdict.Reason{{Code: t.Code, Text: "the ticket says " + string(outcome)}}
			}
			ans.text = ticketText(t, outcome)
			return ans, nil
		})
	f := c.Flags()
	f.StringVar(&config, "gate", gate.DefaultConfig, "gate.json `FILE` of this node")
	f.StringVar(&namespace, "namespace", "", "namespace to decide for (default that of a pull)")
	f.BoolVar(&offline, "offline", false, "as for an image that was let through before, without a fresh status")
	f.StringVar(&at, "at", "", "`TIME` of the check, RFC 3339 (default now)")
	return c
}

// issuers are the statements that the agent of the node accepted.
func (n node) issuers(at time.Time) ([]verdict.Issuer, error) {
	data, err := n.state.Read(gate.IssuersFile, gate.MaxIssuersFile)
	if err != nil {
		return nil, verdict.Fail(verdict.TicketMissing, "reading accepted statements: %w", err)
	}
	list, err := gate.ParseIssuers(data)
	if err != nil {
		return nil, verdict.Fail(verdict.Internal, "reading accepted statements: %w", err)
	}
	var out []verdict.Issuer
	for _, i := range list.Issuers {
		if gate.Standing(n.head, i.Issuer, n.config.Profile == verdict.Development, at) == nil {
			out = append(out, i.Issuer)
		}
	}
	return out, nil
}
