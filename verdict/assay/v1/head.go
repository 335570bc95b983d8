// SPDX-License-Identifier: Apache-2.0

package assayv1

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/assayd/assay/verdict"
)

// HeadChunk is how much of a head set one message of PutHead has, in bytes.
const HeadChunk = 64 << 10

// SendHead offers an encoded head set by PutHead. The error is that of gRPC: see
// [FromStatus].
func SendHead(ctx context.Context, c AssayServiceClient, set []byte) (*PutHeadResponse, error) {
	stream, err := c.PutHead(ctx)
	if err != nil {
		return nil, err
	}
	for chunk := range slices.Chunk(set, HeadChunk) {
		if err := stream.Send(&PutHeadRequest{Chunk: chunk}); errors.Is(err, io.EOF) {
			break // the server has answered already: CloseAndRecv has what
		} else if err != nil {
			return nil, err
		}
	}
	return stream.CloseAndRecv()
}

// A HeadReader puts the pieces of a head set together. The zero value takes
// nothing.
type HeadReader struct {
	// Limit bounds the encoded head set, in bytes.
	Limit int
	set   []byte
}

// Add takes the next piece. The error is a *verdict.Refusal with
// head.malformed for a piece or a whole that is too large.
func (r *HeadReader) Add(q *PutHeadRequest) error {
	chunk := q.GetChunk()
	if len(chunk) == 0 || len(chunk) > HeadChunk {
		return verdict.Refuse(verdict.HeadMalformed, "reading head set: a piece of %d bytes, want 1 to %d", len(chunk), HeadChunk)
	}
	if len(r.set)+len(chunk) > r.Limit {
		return verdict.Refuse(verdict.HeadMalformed, "reading head set: more than %d bytes", r.Limit)
	}
	r.set = append(r.set, chunk...)
	return nil
}

// Bytes returns what has come.
func (r *HeadReader) Bytes() []byte { return r.set }
