// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/cmd/assay/internal/owner"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// maxSignedException bounds an exception in its envelope, in bytes.
const maxSignedException = 2 * verdict.MaxException

func (a *app) exceptionCommand() *cobra.Command {
	return a.group("exception", "Let images through on the word of the owners, when all else is down", a.exceptionSignCommand(), a.exceptionInstallCommand())
}

func (a *app) exceptionSignCommand() *cobra.Command {
	var keys, digests []string
	var cluster, reason, who, id, from string
	var life time.Duration
	c := a.command("sign FILE --key FILE [--digest D --cluster NAME --owner NAME --reason TEXT]",
		"Sign an exception, or add a signature to one that another owner began",
		"  assay exception sign fix.json --key alice.key --digest sha256:9f2c… --cluster prod \\\n    --owner alice@example.org --reason 'registry is down, INC-42' --valid 4h", exactly(1, "the exception's file"),
		func(_ context.Context, args []string) (*answer, error) {
			path := args[0]
			signers, err := owner.LoadKeys(keys)
			if err != nil {
				return nil, err
			}
			var signed []byte
			if file.Exists(path) {
				if len(digests) > 0 || cluster != "" || reason != "" || who != "" || id != "" {
					return nil, verdict.Misused("leave out everything but --key to add a signature, or name another file", "signing exception: %s is there already", path)
				}
				if signed, err = file.Read("exception", path, maxSignedException); err != nil {
					return nil, err
				}
				for _, k := range signers {
					if signed, err = verdict.AddExceptionSignature(signed, k); err != nil {
						return nil, err
					}
				}
			} else {
				if err := lifeFlag("valid", life, verdict.MaxExceptionLife, "ask for less, and sign another one when it ends"); err != nil {
					return nil, err
				}
				begin, err := timeFlag("from", from)
				if err != nil {
					return nil, err
				}
				for name, v := range map[string]string{"cluster": cluster, "owner": who, "reason": reason} {
					if v == "" {
						return nil, verdict.Misused("an exception says for which cluster, by whom and why", "signing exception: flag --%s is empty", name)
					}
				}
				e := verdict.Exception{Cluster: cluster, ID: id, Owner: who, Reason: reason, NotBefore: begin.Unix(), NotAfter: begin.Add(life).Unix()}
				if e.ID == "" {
					e.ID = "exception-" + strings.ToLower(rand.Text()[:12])
				}
				for _, s := range digests {
					d, err := verdict.ParseDigest(s)
					if err != nil {
						return nil, verdict.Misused("want sha256: and 64 hex digits", "flag --digest: %w", err)
					}
					e.Digests = append(e.Digests, d)
				}
				if signed, err = verdict.SignException(e, signers...); err != nil {
					return nil, err
				}
			}
			if err := file.Write(path, signed, file.Public); err != nil {
				return nil, err
			}
			e, err := verdict.ParseExceptionInsecure(signed)
			if err != nil {
				return nil, err
			}
			return done(e, "exception %s in %s until %s; next: assay exception install %s on each node\n",
				printable(e.ID), path, utcUnix(e.NotAfter), path), nil
		})
	f := c.Flags()
	f.StringArrayVar(&keys, "key", nil, "an owner's private key, PEM `FILE`; repeat it for several owners")
	f.StringArrayVar(&digests, "digest", nil, "`DIGEST` that is let through, as the gate is asked for it")
	f.StringVar(&cluster, "cluster", "", "cluster that it is for")
	f.StringVar(&who, "owner", "", "who answers for it")
	f.StringVar(&reason, "reason", "", "why")
	f.StringVar(&id, "id", "", "name in logs (default random)")
	f.StringVar(&from, "from", "", "begin, RFC 3339 (default now)")
	f.DurationVar(&life, "valid", 24*time.Hour, "life, at most 72h")
	return c
}

func (a *app) exceptionInstallCommand() *cobra.Command {
	var config, at string
	c := a.command("install FILE [--gate gate.json]", "Check an exception as the gate of this node would, and put it where the gate looks",
		"  assay exception install fix.json --gate /etc/assay/gate.json", exactly(1, "the exception's file"),
		func(_ context.Context, args []string) (*answer, error) {
			now, err := timeFlag("at", at)
			if err != nil {
				return nil, err
			}
			data, err := file.Read("exception", args[0], maxSignedException)
			if err != nil {
				return nil, err
			}
			node, err := openNode(config, now)
			if err != nil {
				return nil, err
			}
			owners := node.anchor
			if node.headErr == nil {
				owners = node.head.Owners
			} else {
				a.warn("checked under the owners in %s alone: %v", config, node.headErr)
			}
			e, err := verdict.OpenException(data, owners)
			if err != nil {
				return nil, err
			}
			if err := e.Check(e.Digests[0], node.config.Cluster, now); err != nil && now.Unix() >= e.NotBefore {
				return nil, err
			}
			if e.Cluster != node.config.Cluster {
				return nil, verdict.Refuse(verdict.ExceptionScope, "installing exception: it is for cluster %q, this node is in %q", clip(e.Cluster), node.config.Cluster)
			}
			dir := filepath.Join(node.config.State, gate.ExceptionsDir)
			if err := os.MkdirAll(dir, file.Folder); err != nil {
				return nil, verdict.Fail(verdict.Internal, "installing exception: %w", err)
			}
			path := filepath.Join(dir, e.Digest.Hex()+".json")
			if err := file.Write(path, data, file.Public); err != nil {
				return nil, err
			}
			return done(map[string]any{"path": path, "exception": e.Exception}, "exception %s installed as %s until %s\n", printable(e.ID), path, utcUnix(e.NotAfter)), nil
		})
	c.Flags().StringVar(&config, "gate", gate.DefaultConfig, "gate.json `FILE` of this node")
	c.Flags().StringVar(&at, "at", "", "`TIME` of the check, RFC 3339 (default now)")
	return c
}
