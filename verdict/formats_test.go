// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// example is a marker of docs/formats.md with the block below it, if there is
// one already.
var example = regexp.MustCompile("<!-- example: ([a-z-]+\\.[a-z]+)( payload)? -->\n(?:\n```[a-z]*\n(?s:.*?)\n```\n)?")

// TestFormatsDocument holds the examples of docs/formats.md equal to the golden
// files, indented and with long values cut.
func TestFormatsDocument(t *testing.T) {
	path := filepath.Join("..", "docs", "formats.md")
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(example.FindAll(doc, -1)); n < 14 {
		t.Fatalf("got %d examples, want one of each format", n)
	}
	want := example.ReplaceAllStringFunc(string(doc), func(block string) string {
		m := example.FindStringSubmatch(block)
		data := golden(t, m[1])
		switch {
		case m[2] != "" && strings.HasSuffix(m[1], ".jwt"):
			data = payloadOf(t, string(data))
		case m[2] != "":
			data = payloadOfDSSE(t, data)
		case strings.HasSuffix(m[1], ".bin"):
			return "<!-- example: " + m[1] + " -->\n\n```\n" + strings.TrimSpace(wrapHex(data)) + "\n```\n"
		}
		var out bytes.Buffer
		if err := json.Indent(&out, data, "", "  "); err != nil {
			t.Fatal(err)
		}
		return "<!-- example: " + m[1] + m[2] + " -->\n\n```json\n" + shorten(out.String()) + "\n```\n"
	})
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(doc), want); d != "" {
		t.Errorf("docs/formats.md is not what the golden files say (-document +files):\n%s", d)
	}
}

// long is a value without spaces that nobody reads to its end.
var long = regexp.MustCompile(`"((?:sha256:)?[A-Za-z0-9+/_=-]{16})[A-Za-z0-9+/_=-]{16,}"`)

func shorten(s string) string { return long.ReplaceAllString(s, `"$1…"`) }

func wrapHex(data []byte) string {
	var out strings.Builder
	for i := 0; i < len(data); i += 32 {
		out.WriteString(hex.EncodeToString(data[i:min(i+32, len(data))]) + "\n")
	}
	return out.String()
}
