// SPDX-License-Identifier: Apache-2.0

package verdict_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/verdict"
)

func TestLeaf(t *testing.T) {
	good := verdict.Leaf{Kind: verdict.LeafVerdict, Result: verdict.ResultFailed, Time: at, Object: [32]byte{1}, Policy: [32]byte{2}, Statement: [32]byte{31: 3}}.Encode()
	change := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] = v
		return b
	}
	tests := []struct {
		name string
		data []byte
		code verdict.Code
	}{
		{"good", good, ""},
		{"statement", verdict.Leaf{Kind: verdict.LeafStatement, Time: at}.Encode(), ""},
		{"exception", verdict.Leaf{Kind: verdict.LeafException, Time: at}.Encode(), ""},
		{"nothing", nil, verdict.InputMalformed},
		{"short", good[:107], verdict.InputMalformed},
		{"long", append(bytes.Clone(good), 0), verdict.InputMalformed},
		{"version 0", change(0, 0), verdict.InputMalformed},
		{"version 2", change(0, 2), verdict.InputMalformed},
		{"kind 0", change(1, 0), verdict.InputMalformed},
		{"kind 4", change(1, 4), verdict.InputMalformed},
		{"statement with a result", change(1, byte(verdict.LeafStatement)), verdict.InputMalformed},
		{"verdict without result", change(2, 0), verdict.InputMalformed},
		{"result 3", change(2, 3), verdict.InputMalformed},
		{"fourth byte", change(3, 1), verdict.InputMalformed},
		{"time beyond 2⁵³", change(4, 0xff), verdict.InputMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := verdict.ParseLeaf(tt.data)
			wantCode(t, err, tt.code)
			if err != nil && l != (verdict.Leaf{}) {
				t.Errorf("got %+v with an error, want the zero value", l)
			}
			if err == nil && !bytes.Equal(l.Encode(), tt.data) {
				t.Errorf("got %x, want %x", l.Encode(), tt.data)
			}
		})
	}
	if got := len(good); got != verdict.LeafSize {
		t.Errorf("got %d bytes, want %d", got, verdict.LeafSize)
	}
	if got := (verdict.Leaf{Time: time.Unix(-5, 0)}).Encode()[4:12]; !bytes.Equal(got, make([]byte, 8)) {
		t.Errorf("got time %x before 1970, want zero", got)
	}
}

func FuzzLeaf(f *testing.F) {
	inputs := fuzz.New(f, golden(f, "leaf.bin"), make([]byte, verdict.LeafSize))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(len(data) == verdict.LeafSize)
		l, err := verdict.ParseLeaf(data)
		if err != nil {
			if l != (verdict.Leaf{}) {
				t.Fatalf("got %+v with an error, want the zero value", l)
			}
			return
		}
		if !bytes.Equal(l.Encode(), data) {
			t.Fatalf("got %x, want %x", l.Encode(), data)
		}
	})
}
