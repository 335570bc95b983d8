// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"strings"
	"time"

	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// A platform is what a node would run, in the words of the OCI image index.
type platform struct{ os, architecture, variant, osVersion string }

// issueTicket signs what was decided for one node. Audience and cluster are
// those of its SVID. The ticket ends with the first of what it rests on.
func (d *Daemon) issueTicket(e *epoch, p *spiffe.Peer, have *decision, want platform) (string, error) {
	now := time.Now()
	dig, err := digestsFor(have.result, want)
	if err != nil {
		return "", err
	}
	t := verdict.Ticket{
		Aud: p.ID, Cluster: p.Cluster, Deny: have.deny, Dig: dig, Head: e.head.Counter,
		Iat: now.Unix(), Nbf: now.Unix(), Iss: d.config.SPIFFEID, Jti: randomHex(16),
		Policy: e.head.Policy, Repo: have.result.Image.Repository, Res: have.outcomes(),
		Stmt: e.statement.digest, Sub: have.result.Image.Digest,
	}
	life := d.config.Limits.TicketLife
	if have.core.Digest != "" {
		t.Core, t.By = have.core.Digest, have.core.By
		t.Log = &verdict.TicketLog{Index: have.leaf, Origin: d.shard.Origin()}
	}
	if len(have.result.Reasons) > 0 {
		t.Code = have.result.Reasons[0].Code
	}
	if !have.letsThrough() || !have.result.Decided && !onlyUnchecked(t.Res) {
		life = min(life, verdict.MaxDenialLife)
	}
	end := now.Add(life)
	for _, bound := range []time.Time{have.notAfter, time.Unix(e.statement.NotAfter, 0), e.head.EndsAt(now)} {
		if !bound.IsZero() && bound.Before(end) {
			end = bound
		}
	}
	t.Exp = end.Unix()
	if t.Exp <= t.Iat {
		return "", e.expired(now)
	}
	return verdict.SignTicket(t, d.issuer.ticket)
}

// onlyUnchecked tells whether every matching rule is off.
func onlyUnchecked(res map[string]verdict.Outcome) bool {
	for _, o := range res {
		if o != verdict.OutcomeUnchecked {
			return false
		}
	}
	return true
}

// digestsFor returns the digests of the image that a node with platform want
// would run. A node that does not say what it is gets the digest that it asked
// for. That of the configuration is told only where it names all layers.
func digestsFor(r *verifier.Result, want platform) (verdict.TicketDigests, error) {
	if r.Index == "" {
		out := verdict.TicketDigests{}
		if len(r.Platforms) == 1 {
			out.Manifest = r.Platforms[0].Manifest
			if r.Platforms[0].ConfigComplete {
				out.Config = r.Platforms[0].Config
			}
		}
		return out, nil
	}
	out := verdict.TicketDigests{Index: r.Index}
	if want == (platform{}) {
		return out, nil
	}
	var best *verifier.Platform
	for i, p := range r.Platforms {
		if !want.matches(p) {
			continue
		}
		// The first of those that fit is what runtimes take, but one of
		// exactly the variant and version comes before.
		if best == nil || !want.exactly(*best) && want.exactly(p) {
			best = &r.Platforms[i]
		}
	}
	if best == nil {
		return verdict.TicketDigests{}, verdict.Refuse(verdict.SubjectPlatform, "choosing an image of index %s: it has none for %s/%s %s", r.Index.Short(), want.os, want.architecture, want.variant)
	}
	// Whether owners denied a configuration that was not seen is not known.
	if best.Missing || best.Unread {
		return verdict.TicketDigests{}, verdict.Refuse(verdict.ImageNotFound, "choosing an image of index %s: the source did not show %s for %s", r.Index.Short(), best.Manifest, best)
	}
	out.Manifest = best.Manifest
	if best.ConfigComplete {
		out.Config = best.Config
	}
	return out, nil
}

// matches tells whether an image for p runs on w.
func (w platform) matches(p verifier.Platform) bool {
	return w.os == p.OS && w.architecture == p.Architecture &&
		(w.variant == "" || p.Variant == "" || variantOf(w.architecture, w.variant) == variantOf(p.Architecture, p.Variant)) &&
		(w.osVersion == "" || p.OSVersion == "" || strings.HasPrefix(p.OSVersion, w.osVersion))
}

func (w platform) exactly(p verifier.Platform) bool {
	return variantOf(w.architecture, w.variant) == variantOf(p.Architecture, p.Variant) && w.osVersion == p.OSVersion
}

// variantOf gives the variant that is meant where none is written (OCI
// image-spec v1.1.1 image-index.md, "Platform Variants").
func variantOf(architecture, variant string) string {
	if variant != "" {
		return variant
	}
	return map[string]string{"arm64": "v8", "arm": "v7", "amd64": "v1"}[architecture]
}
