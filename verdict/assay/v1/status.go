// SPDX-License-Identifier: Apache-2.0

// Package assayv1 is the gRPC service of assayd, generated from assay.proto, and
// the one place where an error becomes a gRPC status ([Status]) and comes back
// as what it was ([FromStatus]). It is as stable as the proto.
package assayv1

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/assayd/assay/verdict"
)

// Limits of a Reason, in bytes, as the proto has them.
const (
	maxReasonCode = 64
	maxReasonText = 1 << 10
)

// maxRetryAfter bounds what a server may ask its caller to wait, so that a
// wrong number cannot silence a node.
const maxRetryAfter = 10 * time.Minute

// grpcCodes gives the gRPC code of reason codes that have one of their own, for
// generic clients and load balancers. Ours read the Reason.
var grpcCodes = map[verdict.Code]codes.Code{
	verdict.PeerRole:        codes.PermissionDenied,
	verdict.PeerTrustDomain: codes.Unauthenticated,
	verdict.PeerUntrusted:   codes.Unauthenticated,
	verdict.ImageNotFound:   codes.NotFound,
	verdict.LogMissing:      codes.NotFound,
	verdict.InputMalformed:  codes.InvalidArgument,
	verdict.InputLimit:      codes.InvalidArgument,
	verdict.Overloaded:      codes.ResourceExhausted,
	verdict.Internal:        codes.Internal,
}

// Status is the one place where an error becomes a gRPC status. Its detail is a
// [Reason]; a [*verdict.Refusal] without a code of its own is
// FailedPrecondition, a [*verdict.Failure] is Unavailable. An error that carries
// no reason is internal and its text is not told, since nobody has looked at
// what it may hold. Nil is OK.
func Status(err error) *status.Status {
	if err == nil {
		return status.New(codes.OK, "")
	}
	r := ReasonOf(err)
	code, ok := grpcCodes[verdict.Code(r.Code)]
	switch {
	case !hasReason(err) && errors.Is(err, context.Canceled):
		code = codes.Canceled
	case !hasReason(err) && errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case ok:
	case r.Kind == Kind_KIND_REFUSAL:
		code = codes.FailedPrecondition
	default:
		code = codes.Unavailable
	}
	s := status.New(code, r.Text+" ["+r.Code+"]")
	detailed, derr := s.WithDetails(r)
	if derr != nil {
		return s
	}
	return detailed
}

// FromStatus turns the error of a call into a [*verdict.Refusal] or a
// [*verdict.Failure]. Without a Reason it came from the transport, and is a
// failure daemon.unreachable; it is never a refusal, and nothing here lets
// anything through. Nil is nil.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return verdict.Fail(verdict.DaemonUnreachable, "calling the daemon: %w", err)
	}
	for _, d := range s.Details() {
		if r, ok := d.(*Reason); ok {
			return r.Err()
		}
	}
	text := clip(s.Message(), maxReasonText)
	switch s.Code() {
	case codes.ResourceExhausted:
		return verdict.Fail(verdict.Overloaded, "calling the daemon: %s", text)
	case codes.Unimplemented:
		return verdict.Fail(verdict.InputUnsupported, "calling the daemon: %s", text)
	case codes.Internal:
		return verdict.Fail(verdict.Internal, "calling the daemon: %s", text)
	default:
		return verdict.Fail(verdict.DaemonUnreachable, "calling the daemon: %s", text)
	}
}

// hasReason tells whether somebody gave err a code.
func hasReason(err error) bool {
	_, failure := errors.AsType[*verdict.Failure](err)
	return failure || verdict.Refused(err)
}

// ReasonOf returns what is told of err: kind, code, text, authority, and how
// long to wait. A failure whose cause was a refusal is a failure.
func ReasonOf(err error) *Reason {
	if verdict.Refused(err) {
		return NewReason(Kind_KIND_REFUSAL, verdict.ReasonOf(err))
	}
	if f, ok := errors.AsType[*verdict.Failure](err); ok {
		r := NewReason(Kind_KIND_FAILURE, verdict.ReasonOf(err))
		wait := min(max(f.RetryAfter, 0), maxRetryAfter)
		r.RetryAfterSeconds = uint32((wait + time.Second - 1) / time.Second)
		return r
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return NewReason(Kind_KIND_FAILURE, verdict.Reason{Code: verdict.Overloaded, Text: "the call ended before there was an answer"})
	}
	return NewReason(Kind_KIND_FAILURE, verdict.Reason{Code: verdict.Internal, Text: "something that was not foreseen; the daemon's log has it"})
}

// NewReason returns r as it travels.
func NewReason(kind Kind, r verdict.Reason) *Reason {
	return &Reason{
		Kind: kind, Code: clip(string(r.Code), maxReasonCode),
		Text: clip(r.Text, maxReasonText), Authority: clip(r.Authority, maxReasonCode),
	}
}

// Reasons returns rs as they travel, each with the kind of its code.
func Reasons(rs []verdict.Reason) []*Reason {
	out := make([]*Reason, len(rs))
	for i, r := range rs {
		kind := Kind_KIND_FAILURE
		if info, ok := r.Code.Info(); ok {
			switch info.Kind {
			case verdict.KindRefusal:
				kind = Kind_KIND_REFUSAL
			case verdict.KindNote:
				kind = Kind_KIND_NOTE
			case verdict.KindFailure:
			}
		}
		out[i] = NewReason(kind, r)
	}
	return out
}

// Err turns a received reason into an error: a [*verdict.Refusal] where it says
// so, and else a [*verdict.Failure]. A code that this version does not know is
// internal.
func (r *Reason) Err() error {
	reason := verdict.Reason{Code: verdict.Code(clip(r.GetCode(), maxReasonCode)), Text: clip(r.GetText(), maxReasonText), Authority: clip(r.GetAuthority(), maxReasonCode)}
	if _, ok := reason.Code.Info(); !ok {
		return verdict.Fail(verdict.Internal, "the daemon answered with code %q, which is not known here: %s", string(reason.Code), reason.Text)
	}
	if r.GetKind() == Kind_KIND_REFUSAL {
		return &verdict.Refusal{Reason: reason}
	}
	wait := min(time.Duration(r.GetRetryAfterSeconds())*time.Second, maxRetryAfter)
	return &verdict.Failure{Reason: reason, RetryAfter: wait}
}

// clip bounds s to n bytes of valid UTF-8 without control characters: proto
// strings must be the former, and a line of a log the latter.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
	for len(s) > n {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
