package kernel

import (
	"fmt"
	"slices"
	"testing"

	"engram/kernel/roofline"
)

// Each benchmark has the machine's limit beside it, measured in the same run:
// Read for what streams through memory, MultiplyAdd for the panels.

func benchmarkBlock(n, d int) block {
	r := source(1)
	b := block{rows: make([]float32, n*d), stride: d, n: n, d: d}
	for i := range b.rows {
		b.rows[i] = r.Float32() - 0.5
	}
	return b
}

var streams = []struct{ n, d int }{{65536, 128}, {32768, 768}}

func BenchmarkRead(b *testing.B) {
	for _, s := range streams {
		b.Run(fmt.Sprintf("%d×%d", s.n, s.d), func(b *testing.B) {
			bytes := make([]byte, s.n*s.d*4)
			for i := range bytes {
				bytes[i] = byte(i)
			}
			b.SetBytes(int64(len(bytes)))
			for b.Loop() {
				roofline.Read(bytes)
			}
		})
	}
}

func BenchmarkMultiplyAdd(b *testing.B) {
	done := 0
	for b.Loop() {
		done += roofline.MultiplyAdd(1 << 16)
	}
	perSecond(b, done)
}

// perSecond reports multiply-adds.
func perSecond(b *testing.B, multiplyAdds int) {
	b.ReportMetric(float64(multiplyAdds)/b.Elapsed().Seconds()/1e9, "Gfma/s")
}

func benchmarkStream(b *testing.B, run func(q, dst, sums []float32, wide []float64, x block)) {
	for _, s := range streams {
		b.Run(fmt.Sprintf("%d×%d", s.n, s.d), func(b *testing.B) {
			x := benchmarkBlock(s.n, s.d)
			q, dst, wide := make([]float32, s.d), make([]float32, s.n), make([]float64, s.n)
			copy(q, x.rows)
			copy(dst, x.rows)
			b.SetBytes(int64(4 * len(x.rows)))
			for b.Loop() {
				run(q, dst, nil, wide, x)
			}
		})
	}
}

func BenchmarkDot(b *testing.B) {
	benchmarkStream(b, func(q, dst, _ []float32, _ []float64, x block) { Dot(dst, q, x.rows, x.stride) })
}

func BenchmarkL2(b *testing.B) {
	benchmarkStream(b, func(q, dst, _ []float32, _ []float64, x block) { L2(dst, q, x.rows, x.stride) })
}

func BenchmarkSumSquares(b *testing.B) {
	benchmarkStream(b, func(_, _, _ []float32, wide []float64, x block) { SumSquares(wide, x.rows, x.stride, x.d) })
}

func BenchmarkWeightedSum(b *testing.B) {
	benchmarkStream(b, func(_, w, _ []float32, wide []float64, x block) { WeightedSum(wide[:x.d], w, x.rows, x.stride) })
}

// panels are blocks of at most 256 KiB.
var panels = []struct{ n, d int }{{480, 128}, {504, 128}, {84, 768}}

func benchmarkPanel(b *testing.B, run func(dst, panel []float32, sum []float64, x block)) {
	for _, s := range panels {
		b.Run(fmt.Sprintf("%d×%d", s.n, s.d), func(b *testing.B) {
			x := benchmarkBlock(s.n, s.d)
			dst, panel, sum := make([]float32, s.n*PanelWidth()), make([]float32, PackedLen(s.d)), make([]float64, PackedLen(s.d))
			copy(panel, x.rows)
			done := 0
			for b.Loop() {
				run(dst, panel, sum, x)
				done += s.n * s.d * PanelWidth()
			}
			perSecond(b, done)
		})
	}
}

func BenchmarkPanelDot(b *testing.B) {
	benchmarkPanel(b, func(dst, panel []float32, _ []float64, x block) {
		PanelDot(dst, panel, x.rows, x.stride, x.n, x.d)
	})
}

func BenchmarkPanelL2(b *testing.B) {
	benchmarkPanel(b, func(dst, panel []float32, _ []float64, x block) {
		PanelL2(dst, panel, x.rows, x.stride, x.n, x.d)
	})
}

func BenchmarkPanelWeightedSum(b *testing.B) {
	benchmarkPanel(b, func(dst, _ []float32, sum []float64, x block) {
		PanelWeightedSum(sum, dst, x.rows, x.stride, x.n, x.d, nil)
	})
}

// BenchmarkScores is what is done once a score, whatever the dimension.
func BenchmarkScores(b *testing.B) {
	const n = 512
	w := PanelWidth()
	r := source(1)
	scores, p, hits := make([]float32, n*w), make([]float32, n*w), make([]uint32, n*w)
	high, m, sum, shift := make([]float32, w), make([]float64, w), make([]float64, w), make([]float64, w)
	far := slices.Repeat([]float64{90}, w) // the exponentials count as zero
	for i := range scores {
		scores[i] = -r.Float32() * 10
	}
	row, lane := make([]float32, n), make([]float32, w)
	for name, run := range map[string]func(){
		"Max":         func() { Max(scores) },
		"Exp":         func() { Exp(p, scores, 1, 0) },
		"PanelMax":    func() { PanelMax(high, scores, n) },
		"PanelExp":    func() { PanelExp(p, scores, n, 1, m, sum, shift) },
		"PanelExpFar": func() { PanelExp(p, scores, n, 1, far, sum, shift) },
		"PanelScale":  func() { PanelScale(p, row, lane, n) },
		"PanelSelect": func() { PanelSelect(hits, scores, high, n) },
	} {
		b.Run(fmt.Sprintf("%s/%d×%d", name, n, w), func(b *testing.B) {
			for j := range high {
				high[j] = 1
			}
			for b.Loop() {
				run()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n*w), "ns/score")
		})
	}
}

// BenchmarkFastScan is a list of 256 rows, as many times as make up 1M rows, read from
// memory that no cache holds.
func BenchmarkFastScan(b *testing.B) {
	const rows = 256
	for _, groups := range []int{32, 64, 96, 192} {
		lists := (1 << 20) / rows
		codes := make([]byte, lists*rows/FastScanRows*FastScanBytes(groups))
		table, sums := make([]byte, 16*groups), make([]uint16, rows)
		mul, add, hits := make([]float32, rows), make([]float32, rows), make([]uint32, rows)
		for i := range codes {
			codes[i] = byte(i * 7)
		}
		for i := range table {
			table[i] = byte(i)
		}
		size := rows / FastScanRows * FastScanBytes(groups)
		perRow := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		}
		b.Run(fmt.Sprintf("Scan/groups=%d", groups), func(b *testing.B) {
			i := 0
			for b.Loop() {
				FastScan(sums, codes[i*size:][:size], table, groups, rows/FastScanRows)
				i = (i + 1) % lists
			}
			perRow(b)
		})
		cached := func(b *testing.B) {
			for _, n := range []int{1, 2, 16} {
				tables, sums := make([][]byte, n), make([]uint16, n*rows)
				for i := range tables {
					tables[i] = slices.Clone(table)
				}
				b.Run(fmt.Sprintf("tables=%d", n), func(b *testing.B) {
					for b.Loop() {
						FastScans(sums, codes[:size], tables, groups, rows/FastScanRows)
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows*n), "ns/row")
				})
			}
		}
		b.Run(fmt.Sprintf("ScanCached/groups=%d", groups), cached)
		if active == setAVX512 && vbmi {
			b.Run(fmt.Sprintf("ScanCachedWithoutVBMI/groups=%d", groups), func(b *testing.B) {
				defer func() { vbmi = true }()
				vbmi = false
				cached(b)
			})
		}
		if groups == 32 {
			b.Run("Select", func(b *testing.B) {
				for b.Loop() {
					FastSelect(hits, sums, mul, add, 1, 1, 1, rows)
				}
				perRow(b)
			})
		}
	}
}
