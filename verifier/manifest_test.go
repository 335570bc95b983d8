// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
	"github.com/assayd/assay/verifier/sigstoretest"
)

// A goManifest is how runtimes in Go read a manifest: members without regard to
// case, the last of duplicates counts.
type goManifest struct {
	MediaType string         `json:"mediaType"`
	Config    goDescriptor   `json:"config"`
	Layers    []goDescriptor `json:"layers"`
	Manifests []goDescriptor `json:"manifests"`
	Subject   *goDescriptor  `json:"subject"`
}

type goDescriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      verdict.Digest    `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
	Platform    *struct {
		Architecture string   `json:"architecture"`
		OS           string   `json:"os"`
		OSVersion    string   `json:"os.version"`
		OSFeatures   []string `json:"os.features"`
		Variant      string   `json:"variant"`
	} `json:"platform"`
}

// FuzzParseManifest: what we accept a runtime reads in the same way, and it is
// either an image or an index.
func FuzzParseManifest(f *testing.F) {
	const d = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	descriptor := func(mediaType, more string) string {
		return `{"mediaType":"` + mediaType + `","digest":"` + d + `","size":1` + more + `}`
	}
	platform := `,"platform":{"os":"windows","architecture":"amd64","os.version":"10.0.1","os.features":["win32k"],"variant":"v1"}`
	f.Add("", `{"schemaVersion":2,"config":`+descriptor(sigstoretest.TypeConfig, "")+`,"layers":[`+descriptor(sigstoretest.TypeLayer, `,"urls":["http://x"]`)+`],"subject":`+descriptor("", "")+`}`)
	f.Add(sigstoretest.TypeIndex, `{"schemaVersion":2,"mediaType":"`+sigstoretest.TypeIndex+`","manifests":[`+descriptor(sigstoretest.TypeManifest, platform)+`]}`)
	f.Add("", `{"schemaVersion":2,"manifests":[`+descriptor(sigstoretest.TypeManifest, `,"platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.type":"attestation-manifest"}`)+`]}`)
	f.Add("", `{"schemaVersion":2,"Manifests":[],"config":null,"layers":null}`)
	f.Add("", `{"schemaVersion":2,"manifests":[`+descriptor("", `,"platform":{"os":"linux","OS":"x"}`)+`]}`)
	f.Fuzz(func(t *testing.T, mediaType, body string) {
		m, err := verifier.TestingOnlyParseManifest(mediaType, []byte(body))
		if err != nil {
			if m != nil || !slices.Contains([]verdict.Code{verdict.InputMalformed, verdict.InputUnsupported, verdict.InputLimit}, verdict.CodeOf(err)) {
				t.Errorf("got %+v, %v", m, err)
			}
			return
		}
		var g goManifest
		if err := json.Unmarshal([]byte(body), &g); err != nil {
			t.Fatalf("a runtime cannot read it: %v", err)
		}
		if m.IsIndex && (g.Layers != nil || g.Config.Digest != "") || !m.IsIndex && g.Manifests != nil || g.MediaType != "" && g.MediaType != m.MediaType {
			t.Errorf("two readings: ours %+v, a runtime's %+v", m, g)
		}
		same := func(ours []verifier.Descriptor, theirs []goDescriptor) {
			if len(ours) != len(theirs) {
				t.Fatalf("%d and %d descriptors", len(ours), len(theirs))
			}
			for i, o := range ours {
				if h := theirs[i]; o.Digest != h.Digest || o.Size != h.Size || o.MediaType != h.MediaType {
					t.Errorf("descriptor %d: ours %+v, a runtime's %+v", i, o, h)
				}
			}
		}
		same(m.Layers, g.Layers)
		same(m.Index, g.Manifests)
		if m.Config != g.Config.Digest || g.Subject == nil && m.Subject != "" || g.Subject != nil && m.Subject != g.Subject.Digest {
			t.Errorf("ours %+v, a runtime's %+v", m, g)
		}
		if !m.ChildrenRead {
			return
		}
		// Whatever a runtime could choose is among the children.
		children := m.Children
		for _, h := range g.Manifests {
			if h.Platform != nil && h.Platform.OS == "unknown" && h.Platform.Architecture == "unknown" {
				continue
			}
			if len(children) == 0 || children[0].Manifest != h.Digest {
				t.Fatalf("%s is not among the children", h.Digest)
			}
			if p := h.Platform; p != nil && (children[0].OS != p.OS || children[0].Architecture != p.Architecture || children[0].Variant != p.Variant || children[0].OSVersion != p.OSVersion || !slices.Equal(children[0].OSFeatures, p.OSFeatures)) {
				t.Errorf("ours %+v, a runtime's %+v", children[0], p)
			}
			children = children[1:]
		}
		if len(children) != 0 {
			t.Errorf("children that no runtime knows: %+v", children)
		}
	})
}

// TestR47Counts: what is counted is counted before it is kept.
func TestR47Counts(t *testing.T) {
	const d = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	one := `{"mediaType":"x","digest":"` + d + `","size":1}`
	image := func(layers, more string) string {
		return `{"schemaVersion":2,"config":` + one + `,"layers":[` + layers + `]` + more + `}`
	}
	index := func(entries string) string { return `{"schemaVersion":2,"manifests":[` + entries + `]}` }
	list := func(n int) string { return strings.TrimSuffix(strings.Repeat(one+",", n), ",") }
	annotations := func(n, size int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"%d":"%s"`, i, strings.Repeat("x", size))
		}
		return `,"annotations":{` + strings.TrimPrefix(b.String(), ",") + `}`
	}
	for name, tt := range map[string]struct {
		body string
		want verdict.Code
	}{
		"layers":                  {image(list(4096), ""), ""},
		"layers, one more":        {image(list(4097), ""), verdict.InputMalformed},
		"entries":                 {index(list(1024)), ""},
		"entries, one more":       {index(list(1025)), verdict.InputMalformed},
		"annotations":             {image("", annotations(256, 1)), ""},
		"annotations, one more":   {image("", annotations(257, 1)), verdict.InputMalformed},
		"a million":               {image("", annotations(1e6, 0)), verdict.InputMalformed},
		"annotation of 64 KiB":    {image("", annotations(1, 64<<10)), ""},
		"annotation, one more":    {image("", annotations(1, 64<<10+1)), verdict.InputMalformed},
		"features":                {index(strings.TrimSuffix(one, "}") + `,"platform":{"os.features":[` + strings.TrimSuffix(strings.Repeat(`"x",`, 32), ",") + `]}}`), ""},
		"features, one more":      {index(strings.TrimSuffix(one, "}") + `,"platform":{"os.features":[` + strings.TrimSuffix(strings.Repeat(`"x",`, 33), ",") + `]}}`), verdict.InputMalformed},
		"negative size":           {image(strings.Replace(one, "1}", "-1}", 1), ""), verdict.InputMalformed},
		"size beyond 63 bits":     {image(strings.Replace(one, "1}", "9223372036854775808}", 1), ""), verdict.InputMalformed},
		"size that is a fraction": {image(strings.Replace(one, "1}", "1.5}", 1), ""), verdict.InputMalformed},
		"deep":                    {image("", `,"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)), verdict.InputMalformed},
		"something behind":        {image("", "") + "{}", verdict.InputMalformed},
		"not UTF-8":               {image("", `,"x":"`+"\xff"+`"`), verdict.InputMalformed},
	} {
		if _, err := verifier.TestingOnlyParseManifest("", []byte(tt.body)); verdict.CodeOf(err) != tt.want {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// TestManifestMembers changes one member of a manifest that is good.
func TestManifestMembers(t *testing.T) {
	d := verdict.SHA256([]byte("content"))
	one := entry{"mediaType": "x", "digest": d, "size": 1}
	image := entry{"schemaVersion": 2, "mediaType": sigstoretest.TypeManifest, "artifactType": "y", "config": one, "layers": []entry{one}, "subject": one, "annotations": entry{"a": "b"}}
	index := entry{"schemaVersion": 2, "mediaType": sigstoretest.TypeIndex, "manifests": []entry{one}}
	for _, tt := range []struct {
		name   string
		of     entry
		member string
		value  any // nil: it is left out
		want   verdict.Code
	}{
		{"good", image, "unknown", 1, ""},
		{"good index", index, "unknown", 1, ""},
		{"no version", image, "schemaVersion", nil, verdict.InputMalformed},
		{"version 1", image, "schemaVersion", 1, verdict.InputMalformed},
		{"version 3", index, "schemaVersion", 3, verdict.InputMalformed},
		{"version is text", image, "schemaVersion", "2", verdict.InputMalformed},
		{"no type", image, "mediaType", nil, ""},
		{"type is a number", image, "mediaType", 1, verdict.InputMalformed},
		{"another type", image, "mediaType", sigstoretest.TypeIndex, verdict.InputMalformed},
		{"unknown type", image, "mediaType", sigstoretest.TypeConfig, verdict.InputMalformed},
		{"artifact type is a number", image, "artifactType", 1, verdict.InputMalformed},
		{"annotations are a list", image, "annotations", []int{}, verdict.InputMalformed},
		{"annotation is a number", image, "annotations", entry{"a": 1}, verdict.InputMalformed},
		{"no subject", image, "subject", nil, ""},
		{"subject is text", image, "subject", d, verdict.InputMalformed},
		{"subject of no digest", image, "subject", entry{"size": 1}, verdict.InputMalformed},
		{"no config", image, "config", nil, verdict.InputMalformed},
		{"config of no digest", image, "config", entry{"size": 1}, verdict.InputMalformed},
		{"no layers", image, "layers", nil, verdict.InputMalformed},
		{"layers are an object", image, "layers", one, verdict.InputMalformed},
		{"layer of no digest", image, "layers", []entry{{"size": 1}}, verdict.InputMalformed},
		{"empty index", index, "manifests", []entry{}, ""},
		{"no manifests", index, "manifests", nil, verdict.InputMalformed},
		{"manifests are an object", index, "manifests", one, verdict.InputMalformed},
	} {
		m := maps.Clone(tt.of)
		mediaType, _ := m["mediaType"].(string)
		m[tt.member] = tt.value
		if tt.value == nil {
			delete(m, tt.member)
		}
		if _, err := verifier.TestingOnlyParseManifest(mediaType, []byte(mustJSON(t, m))); verdict.CodeOf(err) != tt.want {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	for _, mediaType := range []string{"", sigstoretest.TypeConfig} {
		body := mustJSON(t, entry{"schemaVersion": 2, "mediaType": mediaType, "config": one, "layers": []entry{}})
		want := map[string]verdict.Code{sigstoretest.TypeConfig: verdict.InputUnsupported}[mediaType]
		if _, err := verifier.TestingOnlyParseManifest(mediaType, []byte(body)); verdict.CodeOf(err) != want {
			t.Errorf("type %q: got %v, want %q", mediaType, err, want)
		}
	}
}
