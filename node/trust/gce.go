// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"strconv"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// GCE is the instance of Compute Engine, or the project, that the certificate of a
// TPM's attestation key has to name (attest.GCEInstance). Members that are absent are
// not looked at; without a project or the instance's number it is refused. With it,
// the root that Google publishes is an authority of attestation keys: alone it would
// vouch for the instances of all of Google's customers.
type GCE struct {
	// ProjectID and ProjectNumber name the project. Numbers are quoted text: they have
	// more digits than other readers of YAML keep.
	ProjectID     string `yaml:"project-id,omitempty"`
	ProjectNumber string `yaml:"project-number,omitempty"`
	// Zone is where it runs, like us-central1-a.
	Zone string `yaml:"zone,omitempty"`
	// InstanceID is the number that Google gave it, and InstanceName the name that the
	// project did. An instance that is made anew has another number.
	InstanceID   string `yaml:"instance-id,omitempty"`
	InstanceName string `yaml:"instance-name,omitempty"`
}

// trust is what package attest demands, and nil where there is no demand.
func (g *GCE) trust() (*attest.GCEInstance, error) {
	if g == nil {
		return nil, nil
	}
	out := attest.GCEInstance{Zone: g.Zone, ProjectID: g.ProjectID, Name: g.InstanceName}
	for _, n := range []struct {
		key, text string
		into      *uint64
	}{{"gce.project-number", g.ProjectNumber, &out.ProjectNumber}, {"gce.instance-id", g.InstanceID, &out.ID}} {
		if n.text == "" {
			continue
		}
		v, err := strconv.ParseUint(n.text, 10, 64)
		if err != nil || v == 0 || strconv.FormatUint(v, 10) != n.text {
			return nil, verdict.Misused("", "%s: got %.32q, want a number as Google writes it, in quotes", n.key, n.text)
		}
		*n.into = v
	}
	return &out, nil
}
