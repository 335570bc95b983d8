// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/assayd/assay/verdict"
)

// Results of an answer. The first three let through.
const (
	resultPass      = "pass"
	resultAuditFail = "audit-fail"
	resultUnchecked = "unchecked"
	resultFail      = "fail"
	resultUndecided = "undecided"
	resultMisuse    = "misuse"
	// What an appraisal of an evidence folder says, as other appraisers do.
	resultAccept = "accept"
	resultReject = "reject"
)

// Exit statuses.
const (
	exitAllowed   = 0
	exitRefused   = 1
	exitMisuse    = 2
	exitUndecided = 3
)

// An answer is what a command found: the one document of --output json. All
// members but value are always there.
type answer struct {
	// Result is one of the result constants.
	Result string `json:"result"`
	// Code is that of the first reason, or empty.
	Code  verdict.Code `json:"code"`
	Image imageRef     `json:"image"`
	// Mode is that of the deciding rule, or empty.
	Mode string `json:"mode"`
	// Rule is the name of the deciding rule, or empty.
	Rule    string           `json:"rule"`
	Reasons []verdict.Reason `json:"reasons"`
	// Hint says what to do next, or is empty.
	Hint string `json:"hint"`
	// Value is what a command shows or has made; absent where there is nothing.
	Value any `json:"value,omitempty"`

	// text is the result for people, on stdout; lines end in a line feed.
	text string
}

// imageRef names the image that an answer is about.
type imageRef struct {
	Name   string         `json:"name"`
	Digest verdict.Digest `json:"digest"`
}

func (i imageRef) String() string {
	switch {
	case i.Name == "":
		return string(i.Digest)
	case i.Digest == "":
		return i.Name
	}
	return i.Name + "@" + string(i.Digest)
}

// done is the answer of a command that shows or makes something.
func done(value any, format string, args ...any) *answer {
	return &answer{Result: resultPass, Reasons: []verdict.Reason{}, Value: value, text: fmt.Sprintf(format, args...)}
}

// fromError fills what err says into a.
func (a *answer) fromError(err error) {
	if m, ok := errors.AsType[*verdict.Misuse](err); ok {
		a.Result, a.Hint = resultMisuse, m.Hint
		a.Reasons = []verdict.Reason{{Text: err.Error()}}
		return
	}
	r := verdict.ReasonOf(err)
	a.Code, a.Reasons = r.Code, append([]verdict.Reason{r}, a.Reasons...)
	a.Result = resultUndecided
	// A failure may have a refusal as its cause: nothing was decided then.
	if verdict.Refused(err) {
		a.Result = resultFail
	}
	if i, ok := r.Code.Info(); ok && a.Hint == "" {
		a.Hint = i.Hint
	}
}

// status is the exit status that says the same.
func (a *answer) status() int {
	switch a.Result {
	case resultPass, resultAuditFail, resultUnchecked, resultAccept:
		return exitAllowed
	case resultFail, resultReject:
		return exitRefused
	case resultMisuse:
		return exitMisuse
	}
	return exitUndecided
}

// finish prints the answer and returns the exit status. An error together with
// an answer is about the image of that answer.
func (a *app) finish(err error) int {
	ans := a.answer
	switch {
	case ans == nil && err == nil:
		ans = done(map[string]string{"help": a.help.String()}, "%s", a.help.String())
	case ans == nil:
		ans = &answer{}
	}
	if err != nil {
		ans.fromError(err)
	}
	if ans.Reasons == nil {
		ans.Reasons = []verdict.Reason{}
	}
	if a.output == outputJSON {
		ans.Reasons = append(ans.Reasons, a.notes...)
	}
	var out, messages bytes.Buffer
	for _, w := range a.warnings {
		fmt.Fprintf(&messages, "assay: warning: %s\n", printable(w))
	}
	if a.output == outputJSON {
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(ans); err != nil {
			fmt.Fprintf(a.env.Stderr, "assay: could not decide: encoding the answer: %v [%s]\n", err, verdict.Internal) //nolint:errcheck // nowhere else to say it
			return exitUndecided
		}
	} else {
		ans.print(&out, &messages)
	}
	// What was not written was not said: a pipeline that reads half an answer
	// must not go on.
	_, err = a.env.Stdout.Write(out.Bytes())
	if err != nil {
		fmt.Fprintf(a.env.Stderr, "assay: could not decide: writing the answer: %v [%s]\n", err, verdict.Internal) //nolint:errcheck // nowhere else to say it
		return exitUndecided
	}
	if _, err := a.env.Stderr.Write(messages.Bytes()); err != nil {
		return max(ans.status(), exitUndecided)
	}
	return ans.status()
}

// print writes the result for people to out and what they should know to
// messages.
func (a *answer) print(out, messages io.Writer) {
	say := func(format string, args ...any) {
		fmt.Fprintf(messages, "assay: %s\n", printable(fmt.Sprintf(format, args...))) //nolint:errcheck // a buffer
	}
	about := a.Image.String()
	if about != "" {
		about += ": "
	}
	switch a.Result {
	case resultFail, resultReject:
		say("refused: %s%s", about, first(a.Reasons))
	case resultUndecided:
		say("could not decide: %s%s", about, first(a.Reasons))
	case resultMisuse:
		say("%s", first(a.Reasons))
	case resultAuditFail:
		say("warning: %slet through in audit: %s", about, first(a.Reasons))
	case resultUnchecked:
		say("warning: %slet through unchecked: %s", about, first(a.Reasons))
	}
	for _, r := range rest(a.Reasons) {
		say("%s", reasonText(r))
	}
	if a.Hint != "" {
		say("hint: %s", a.Hint)
	}
	fmt.Fprint(out, a.text) //nolint:errcheck // a buffer
}

func first(rs []verdict.Reason) string {
	if len(rs) == 0 {
		return "no reason was given"
	}
	return reasonText(rs[0])
}

func rest(rs []verdict.Reason) []verdict.Reason {
	if len(rs) < 2 {
		return nil
	}
	return rs[1:]
}

func reasonText(r verdict.Reason) string {
	var b strings.Builder
	b.WriteString(r.Text)
	if r.Authority != "" {
		fmt.Fprintf(&b, " (authority %q)", r.Authority)
	}
	if r.Code != "" {
		fmt.Fprintf(&b, " [%s]", r.Code)
	}
	return b.String()
}

// printable keeps a registry, a bundle or a daemon from writing control
// characters to a terminal. Line feeds stay out too: one message is one line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, strings.ReplaceAll(s, "\n", "; "))
}
