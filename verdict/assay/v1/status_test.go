// SPDX-License-Identifier: Apache-2.0

package assayv1_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// TestStatusRoundTrip holds that each code comes back as it was sent, with its
// type: what distinguishes no from not decided is the type.
func TestStatusRoundTrip(t *testing.T) {
	for _, info := range verdict.Codes() {
		for _, sent := range []error{
			verdict.Refuse(info.Code, "reading %q", "x"),
			&verdict.Failure{Reason: verdict.Reason{Code: info.Code, Text: "y", Authority: "release"}, RetryAfter: 3 * time.Second},
		} {
			got := assayv1.FromStatus(assayv1.Status(fmt.Errorf("wrapping: %w", sent)).Err())
			if fmt.Sprintf("%T", got) != fmt.Sprintf("%T", sent) {
				t.Errorf("%s: got %T, want %T", info.Code, got, sent)
			}
			if diff := cmp.Diff(verdict.ReasonOf(sent), verdict.ReasonOf(got)); diff != "" {
				t.Errorf("%s: (-sent +got)\n%s", info.Code, diff)
			}
			if f, ok := errors.AsType[*verdict.Failure](got); ok && f.RetryAfter != 3*time.Second {
				t.Errorf("%s: got retry after %s, want 3s", info.Code, f.RetryAfter)
			}
		}
	}
}

func TestStatusCode(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"nil", nil, codes.OK},
		{"refusal", verdict.Refuse(verdict.PolicyNoRule, "x"), codes.FailedPrecondition},
		{"role", verdict.Refuse(verdict.PeerRole, "x"), codes.PermissionDenied},
		{"overload", verdict.Fail(verdict.Overloaded, "x"), codes.ResourceExhausted},
		{"failure", verdict.Fail(verdict.RegistryUnreachable, "x"), codes.Unavailable},
		{"cancelled", fmt.Errorf("waiting: %w", context.Canceled), codes.Canceled},
		{"deadline", fmt.Errorf("waiting: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		{"deadline towards a registry", verdict.Fail(verdict.RegistryTimeout, "waiting: %w", context.DeadlineExceeded), codes.Unavailable},
		{"unforeseen", errors.New("secret"), codes.Internal},
		{"misuse", verdict.Misused("", "secret"), codes.Internal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := assayv1.Status(tc.err)
			if s.Code() != tc.want {
				t.Errorf("got %s, want %s", s.Code(), tc.want)
			}
			if strings.Contains(s.Message(), "secret") {
				t.Errorf("got %q, which tells an error that nobody looked at", s.Message())
			}
		})
	}
}

func TestFromStatusTransport(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want verdict.Code
	}{
		{"unavailable", status.Error(codes.Unavailable, "no route"), verdict.DaemonUnreachable},
		{"deadline", status.Error(codes.DeadlineExceeded, "x"), verdict.DaemonUnreachable},
		{"denied by somebody else", status.Error(codes.PermissionDenied, "x"), verdict.DaemonUnreachable},
		{"not a status", errors.New("x"), verdict.DaemonUnreachable},
		{"too large", status.Error(codes.ResourceExhausted, "x"), verdict.Overloaded},
		{"unknown verb", status.Error(codes.Unimplemented, "x"), verdict.InputUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := assayv1.FromStatus(tc.err)
			if _, ok := errors.AsType[*verdict.Failure](got); !ok || verdict.CodeOf(got) != tc.want {
				t.Errorf("got %T %v, want a failure %s", got, got, tc.want)
			}
		})
	}
	if err := assayv1.FromStatus(nil); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestReasonErrUnknown(t *testing.T) {
	for _, r := range []*assayv1.Reason{
		nil,
		{Kind: assayv1.Kind_KIND_REFUSAL, Code: "brand.new", Text: "x"},
		{Kind: assayv1.Kind_KIND_UNSPECIFIED, Code: string(verdict.SigNone), Text: "x"},
	} {
		if _, ok := errors.AsType[*verdict.Failure](r.Err()); !ok {
			t.Errorf("%v: got %T, want a failure", r, r.Err())
		}
	}
}

func TestReasonsKinds(t *testing.T) {
	got := assayv1.Reasons([]verdict.Reason{{Code: verdict.SigNone}, {Code: verdict.RegistryTimeout}, {Code: verdict.PolicyOff}})
	want := []assayv1.Kind{assayv1.Kind_KIND_REFUSAL, assayv1.Kind_KIND_FAILURE, assayv1.Kind_KIND_NOTE}
	for i, r := range got {
		if r.GetKind() != want[i] {
			t.Errorf("%s: got %s, want %s", r.GetCode(), r.GetKind(), want[i])
		}
	}
}

// TestFailureOfRefusal: what could not be decided because of a refusal is not
// refused.
func TestFailureOfRefusal(t *testing.T) {
	err := verdict.Fail(verdict.Unready, "signing: %w", verdict.Refuse(verdict.IssuerExpired, "it ended"))
	got := assayv1.FromStatus(assayv1.Status(err).Err())
	if _, ok := errors.AsType[*verdict.Failure](got); !ok || verdict.CodeOf(got) != verdict.Unready {
		t.Errorf("got %T %v, want the failure", got, got)
	}
}

func TestStatusBounds(t *testing.T) {
	long := strings.Repeat("ä\n\xff", 2000)
	r := assayv1.ReasonOf(verdict.Refuse(verdict.InputMalformed, "%s", long))
	if len(r.GetText()) > 1024 || !utf8.ValidString(r.GetText()) || strings.ContainsRune(r.GetText(), '\n') {
		t.Errorf("got %d bytes, want at most 1024 of valid UTF-8 on one line", len(r.GetText()))
	}
	if _, err := assayv1.Status(verdict.Refuse(verdict.InputMalformed, "%s", long)).WithDetails(); err != nil {
		t.Error(err)
	}
	wait := assayv1.ReasonOf(&verdict.Failure{Reason: verdict.Reason{Code: verdict.Overloaded}, RetryAfter: time.Hour})
	if wait.GetRetryAfterSeconds() != 600 {
		t.Errorf("got %d seconds, want 600", wait.GetRetryAfterSeconds())
	}
}
