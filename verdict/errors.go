// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"errors"
	"fmt"
	"time"
)

// A Reason is one sentence about a decision, with its stable code.
type Reason struct {
	// Code is one of the constants of codes.go.
	Code Code `json:"code"`
	// Text says what happened and to what, in one lower-case sentence without
	// a full stop. It holds no secret and at most 1 KiB.
	Text string `json:"text"`
	// Authority is the policy's name of the authority that the reason is
	// about, or empty.
	Authority string `json:"authority,omitempty"`
}

// A Refusal is the answer no: the input was understood and is not acceptable.
// It is final for this input, and may be cached as signatures of its code say.
type Refusal struct {
	Reason Reason
	// Err is the cause, or nil.
	Err error
}

// Refuse makes a [Refusal] with the formatted text.
// A %w verb in format keeps the cause.
func Refuse(code Code, format string, args ...any) *Refusal {
	err := fmt.Errorf(format, args...)
	return &Refusal{Reason: Reason{Code: code, Text: clip(err.Error())}, Err: errors.Unwrap(err)}
}

func (r *Refusal) Error() string { return r.Reason.Text + " [" + string(r.Reason.Code) + "]" }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// A Failure says that nothing could be decided. It is never cached and never
// lets anything through.
type Failure struct {
	Reason Reason
	// RetryAfter is what the other side asked for, or zero.
	RetryAfter time.Duration
	// Err is the cause, or nil.
	Err error
}

// Fail makes a [Failure] with the formatted text.
// A %w verb in format keeps the cause.
func Fail(code Code, format string, args ...any) *Failure {
	err := fmt.Errorf(format, args...)
	return &Failure{Reason: Reason{Code: code, Text: clip(err.Error())}, Err: errors.Unwrap(err)}
}

func (f *Failure) Error() string { return f.Reason.Text + " [" + string(f.Reason.Code) + "]" }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// A Misuse is a wrong flag, argument or configuration, told before anything
// starts.
type Misuse struct {
	// Text says what is wrong and where (file:line:column where there is one).
	Text string
	// Hint says what to do, or is empty.
	Hint string
	// Err is the cause, or nil.
	Err error
}

// Misused makes a [Misuse] with the formatted text.
func Misused(hint, format string, args ...any) *Misuse {
	err := fmt.Errorf(format, args...)
	return &Misuse{Text: clip(err.Error()), Hint: hint, Err: errors.Unwrap(err)}
}

func (m *Misuse) Error() string { return m.Text }

// Unwrap returns the cause.
func (m *Misuse) Unwrap() error { return m.Err }

// Refused tells whether err is the answer no, and not merely a failure whose cause
// was one.
func Refused(err error) bool {
	r, refused := errors.AsType[*Refusal](err)
	f, failed := errors.AsType[*Failure](err)
	return refused && (!failed || !errors.Is(f, r))
}

// ReasonOf returns the reason that err carries, the outermost of several: a
// failure whose cause is a refusal is a failure. An error that carries none is an
// [Internal] one: what has no code was not foreseen, and lets nothing through.
func ReasonOf(err error) Reason {
	if Refused(err) {
		r, _ := errors.AsType[*Refusal](err)
		return r.Reason
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Reason
	}
	return Reason{Code: Internal, Text: clip(err.Error())}
}

// CodeOf returns the code of [ReasonOf], and the empty code for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return ReasonOf(err).Code
}

// first returns the first error that is one: a reason is one line, which
// errors.Join is not.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// maxText bounds the text of a reason, in bytes.
const maxText = 1024

// clip bounds a text that may quote input.
func clip(s string) string { return clipTo(s, maxText) }

func clipTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	cut := most - len("…")
	for cut > 0 && s[cut]&0xc0 == 0x80 { // never inside a rune
		cut--
	}
	return s[:cut] + "…"
}
