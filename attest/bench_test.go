// SPDX-License-Identifier: Apache-2.0

package attest_test

import (
	"bytes"
	"runtime"
	"sync"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
)

// BenchmarkAppraise is one appraisal, of a full statement for SNP and a TPM, and of
// a quote with all of Intel's collateral for TDX. Nothing is kept from one to the next.
func BenchmarkAppraise(b *testing.B) {
	b.Run("snp", func(b *testing.B) {
		s, in := goodSNP(b, attest.SNP)
		data := s.Bytes(b)
		for b.Loop() {
			if _, err := attest.Appraise(data, in, attesttest.At); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tdx", func(b *testing.B) {
		x := attesttest.NewTDX(b, tdxAt)
		quote, collateral, trust, expected := x.QuoteBytes(), x.Collateral(), x.Trust(), x.Expected()
		for b.Loop() {
			if _, err := attest.AppraiseTDX(quote, collateral, trust, expected, tdxAt); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tpm", func(b *testing.B) {
		p, in := goodTPM(b)
		data := p.Bytes(b)
		for b.Loop() {
			if _, err := attest.Appraise(data, in, attesttest.At); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHundred appraises the statements of a hundred daemons at once, and reports
// all the memory that this takes, before anything of it is collected.
func BenchmarkHundred(b *testing.B) {
	s, in := goodSNP(b, attest.SNP)
	data := s.Bytes(b)
	var most float64
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if _, err := attest.Appraise(bytes.Clone(data), in, attesttest.At); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
		runtime.ReadMemStats(&after)
		most = max(most, float64(after.TotalAlloc-before.TotalAlloc+after.StackInuse-before.StackInuse)/(1<<20))
	}
	b.ReportMetric(most, "MiB")
}
