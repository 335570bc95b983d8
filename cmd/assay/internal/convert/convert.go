// SPDX-License-Identifier: Apache-2.0

package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// MaxBytes bounds a policy to convert.
const MaxBytes = 1 << 20

// maxDocuments bounds the documents of one file.
const maxDocuments = 64

// A Note is something that was not carried over as it was.
type Note struct {
	// Where is the path of the member in the source.
	Where string `json:"where"`
	// Text says what became of it.
	Text string `json:"text"`
}

// A Result is a converted policy.
type Result struct {
	// Formats are the formats that were found.
	Formats []string
	// Policy is ours.
	Policy verifier.Policy
	// TrustStores are the names of trust stores that the roots file has to have,
	// and their kinds.
	TrustStores map[string]string
	Notes       []Note
}

// Convert reads one or more YAML or JSON documents. Name is for messages. What
// is in none of the formats is a [verdict.Misuse].
func Convert(name string, data []byte) (*Result, error) {
	if len(data) > MaxBytes {
		return nil, verdict.Misused("check that this is a policy", "%s: %d bytes, want at most %d", name, len(data), MaxBytes)
	}
	c := &converter{Result: Result{Policy: verifier.Policy{Version: 1}, TrustStores: map[string]string{}}}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for i := 0; ; i++ {
		var doc map[string]any
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, verdict.Misused("want YAML or JSON", "%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if i == maxDocuments {
			return nil, verdict.Misused("split the file", "%s: more than %d documents", name, maxDocuments)
		}
		if doc == nil {
			continue
		}
		if err := c.document(&object{path: "", members: doc, c: c}); err != nil {
			return nil, verdict.Misused("want a ClusterImagePolicy, a Kyverno policy with verifyImages, a notation trust policy or a containers policy.json", "%s: document %d: %w", name, i+1, err)
		}
	}
	if len(c.Formats) == 0 {
		return nil, verdict.Misused("want a ClusterImagePolicy, a Kyverno policy with verifyImages, a notation trust policy or a containers policy.json", "%s: there is nothing in it", name)
	}
	if len(c.Policy.Rules) > 0 {
		if err := check(&c.Policy); err != nil { // there is too much of it
			return nil, verdict.Misused("split the file", "%s: the policy made of it is not accepted: %w", name, err)
		}
	}
	return &c.Result, nil
}

// document finds out what a document is.
func (c *converter) document(o *object) error {
	api, kind := o.text("apiVersion"), o.text("kind")
	group, _, _ := strings.Cut(api, "/")
	switch {
	case group == "policy.sigstore.dev" && kind == "ClusterImagePolicy":
		c.format("ClusterImagePolicy")
		c.clusterImagePolicy(o)
	case group == "kyverno.io" && (kind == "ClusterPolicy" || kind == "Policy"):
		c.format("Kyverno verifyImages")
		c.kyverno(o)
	case o.has("trustPolicies"):
		c.format("notation trust policy")
		c.notation(o)
	case o.has("default") && (o.has("transports") || len(o.members) == 1):
		c.format("containers policy.json")
		c.containers(o)
	default:
		return fmt.Errorf("apiVersion %q and kind %q are none of these", clip(api), clip(kind))
	}
	o.leftovers()
	return nil
}

// A converter collects the result.
type converter struct {
	Result
}

func (c *converter) format(name string) {
	if !slices.Contains(c.Formats, name) {
		c.Formats = append(c.Formats, name)
	}
}

func (c *converter) note(where, format string, args ...any) {
	c.Notes = append(c.Notes, Note{Where: where, Text: fmt.Sprintf(format, args...)})
}

// authority adds one under a name of its own, and returns it in a list. One that
// the policy's own reader refuses, for whatever it says, is noted and is in none.
func (c *converter) authority(where, name string, a verifier.Authority) []string {
	probe := verifier.Policy{Version: 1, Authorities: map[string]verifier.Authority{"probe": a},
		Rules: []verifier.Rule{{Name: "probe", Repositories: []string{"**"}, Authorities: []string{"probe"}, Require: 1}}}
	if err := check(&probe); err != nil {
		c.note(where, "is not accepted as an authority, and was left out: %s", err)
		return nil
	}
	return []string{c.unique(name, func(n string) bool { _, taken := c.Policy.Authorities[n]; return taken }, func(n string) {
		if c.Policy.Authorities == nil { // an empty list is not written
			c.Policy.Authorities = make(map[string]verifier.Authority)
		}
		c.Policy.Authorities[n] = a
	})}
}

// rule adds one under a name of its own. One that the policy's own reader refuses is
// noted, and is none: its images are refused.
func (c *converter) rule(where, name string, r verifier.Rule) {
	r.Name = "probe"
	probe := verifier.Policy{Version: 1, Rules: []verifier.Rule{r}}
	demanded := slices.Clone(r.Authorities)
	for _, a := range r.Attestations {
		demanded = append(demanded, a.Authorities...)
	}
	if len(demanded) > 0 { // an empty list is not written
		probe.Authorities = make(map[string]verifier.Authority)
	}
	for _, n := range demanded { // all of the policy's would take quadratic time
		probe.Authorities[n] = c.Policy.Authorities[n]
	}
	if err := check(&probe); err != nil {
		c.note(where, "is not accepted as a rule, so that its images are refused: %s", err)
		return
	}
	c.unique(name, func(n string) bool {
		return slices.ContainsFunc(c.Policy.Rules, func(r verifier.Rule) bool { return r.Name == n })
	}, func(n string) {
		r.Name = n
		c.Policy.Rules = append(c.Policy.Rules, r)
	})
}

// maxName is that of names in a policy, in bytes.
const maxName = 64

// unique makes a name that is accepted and not taken.
func (c *converter) unique(name string, taken func(string) bool, use func(string)) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r) {
			return r
		}
		return '-'
	}, name)
	if name == "" {
		name = "unnamed"
	}
	name = name[:min(len(name), maxName-4)]
	n := name
	for i := 2; taken(n); i++ {
		n = fmt.Sprintf("%s-%d", name, i)
	}
	use(n)
	return n
}

// An object is a mapping of the source. It remembers which members were looked
// at: the others are told.
type object struct {
	path    string
	members map[string]any
	seen    map[string]bool
	parts   []*object
	c       *converter
}

func (o *object) at(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

func (o *object) has(name string) bool { _, ok := o.members[name]; return ok }

func (o *object) get(name string) any {
	if o.seen == nil {
		o.seen = make(map[string]bool)
	}
	o.seen[name] = true
	return o.members[name]
}

// ignore marks members that need no counterpart.
func (o *object) ignore(names ...string) {
	for _, n := range names {
		o.get(n)
	}
}

func (o *object) text(name string) string {
	v := o.get(name)
	if s, ok := v.(string); ok {
		return s
	}
	if v != nil {
		o.c.note(o.at(name), "is not a string, and was left out")
	}
	return ""
}

func (o *object) flag(name string) bool {
	v := o.get(name)
	b, ok := v.(bool)
	if !ok && v != nil {
		o.c.note(o.at(name), "is not true or false, and was left out")
	}
	return b
}

func (o *object) number(name string) (int, bool) {
	switch n := o.get(name).(type) {
	case int:
		return n, true
	case float64:
		return int(n), true
	case nil:
	default:
		o.c.note(o.at(name), "is not a number, and was left out")
	}
	return 0, false
}

func (o *object) part(path string, v any) *object {
	m, ok := v.(map[string]any)
	if !ok {
		if v != nil {
			o.c.note(path, "is not an object, and was left out")
		}
		m = nil
	}
	p := &object{path: path, members: m, c: o.c}
	o.parts = append(o.parts, p)
	return p
}

// object returns a member, which is empty when absent.
func (o *object) object(name string) *object { return o.part(o.at(name), o.get(name)) }

// list returns the objects of a list.
func (o *object) list(name string) []*object {
	v := o.get(name)
	items, ok := v.([]any)
	if !ok && v != nil {
		o.c.note(o.at(name), "is not a list, and was left out")
	}
	var out []*object
	for i, v := range items {
		out = append(out, o.part(fmt.Sprintf("%s[%d]", o.at(name), i), v))
	}
	return out
}

// texts returns the strings of a list, or of one string.
func (o *object) texts(name string) []string {
	switch v := o.get(name).(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for i, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			} else {
				o.c.note(fmt.Sprintf("%s[%d]", o.at(name), i), "is not a string, and was left out")
			}
		}
		return out
	case nil:
	default:
		o.c.note(o.at(name), "is neither a string nor a list of them, and was left out")
	}
	return nil
}

// leftovers notes every member that nothing looked at.
func (o *object) leftovers() {
	for _, name := range slices.Sorted(maps.Keys(o.members)) {
		if !o.seen[name] {
			o.c.note(o.at(name), "has no counterpart, and was left out")
		}
	}
	for _, p := range o.parts {
		p.leftovers()
	}
}

func clip(s string) string { return s[:min(len(s), 64)] }
