// SPDX-License-Identifier: Apache-2.0

package assayv1_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// TestHeadReader: pieces of at most 64 KiB, up to the limit, are put together.
func TestHeadReader(t *testing.T) {
	full := bytes.Repeat([]byte{1}, assayv1.HeadChunk)
	for _, tt := range []struct {
		name  string
		limit int
		sizes []int
		want  verdict.Code // of the last
	}{
		{"none yet", 10, nil, ""},
		{"as many as fit", assayv1.HeadChunk + 1, []int{assayv1.HeadChunk, 1}, ""},
		{"one byte more", assayv1.HeadChunk + 1, []int{assayv1.HeadChunk, 2}, verdict.HeadMalformed},
		{"an empty piece", 10, []int{1, 0}, verdict.HeadMalformed},
		{"a large piece", 1 << 20, []int{assayv1.HeadChunk + 1}, verdict.HeadMalformed},
		{"the zero value", 0, []int{1}, verdict.HeadMalformed},
	} {
		r := assayv1.HeadReader{Limit: tt.limit}
		var err error
		taken := 0
		for i, n := range tt.sizes {
			if err != nil {
				t.Fatalf("%s: piece %d: %v", tt.name, i, err)
			}
			if err = r.Add(&assayv1.PutHeadRequest{Chunk: append(full, 1)[:n]}); err == nil {
				taken += n
			}
		}
		if verdict.CodeOf(err) != tt.want || len(r.Bytes()) != taken {
			t.Errorf("%s: got %d bytes and %v, want %d and %q", tt.name, len(r.Bytes()), err, taken, tt.want)
		}
	}
}

// TestFromOtherError: what is no status of gRPC's is a failure to reach the daemon.
func TestFromOtherError(t *testing.T) {
	cause := errors.New("no route")
	if err := assayv1.FromStatus(cause); verdict.CodeOf(err) != verdict.DaemonUnreachable || !errors.Is(err, cause) {
		t.Errorf("got %v, want %s with its cause", err, verdict.DaemonUnreachable)
	}
}
