package kernel

import (
	"fmt"

	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// PackedLen is how many float32s a packed panel of d components holds, d·W.
func PackedLen(d int) int { return d * PanelWidth() }

// Pack lays out at most W queries of d components for the Panel functions:
// panel[k*W+j] = queries[j][k], the lanes without a query zero.
func Pack(panel []float32, queries [][]float32, d int) {
	w := PanelWidth()
	if len(queries) > w {
		panic(fmt.Sprintf("kernel: %d queries in a panel of %d", len(queries), w))
	}
	checkLen("panel", len(panel), d, w)
	if len(queries) < w {
		clear(panel[:d*w])
	}
	for j, q := range queries {
		if len(q) != d {
			panic(fmt.Sprintf("kernel: query %d has %d components, the panel %d", j, len(q), d))
		}
		for k, x := range q {
			panel[k*w+j] = x
		}
	}
}

// PanelDot sets dst[i*W+j] to the inner product of query j and row i. Its error is
// at most γ_d·Σ|qₖ·rowₖ|. It is fastest where the rows stay in the level 2 cache.
func PanelDot(dst, panel, rows []float32, stride, n, d int) {
	checkPanel(dst, panel, rows, stride, n, d)
	if d == 0 {
		clear(dst[:n*PanelWidth()])
		return
	}
	if n == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.PanelDot(dst, panel, rows, stride, n, d)
	case setAVX2:
		avx2.PanelDot(dst, panel, rows, stride, n, d)
	case setNEON:
		neon.PanelDot(dst, panel, rows, stride, n, d)
	default:
		purego.PanelDot(dst, panel, rows, stride, n, d)
	}
}

// PanelL2 sets dst[i*W+j] to −½·Σₖ(qₖ − rowₖ)² of query j and row i, from the
// differences. Its error is at most γ_{d+3} of the exact value.
func PanelL2(dst, panel, rows []float32, stride, n, d int) {
	checkPanel(dst, panel, rows, stride, n, d)
	if d == 0 {
		clear(dst[:n*PanelWidth()])
		return
	}
	if n == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.PanelL2(dst, panel, rows, stride, n, d)
	case setAVX2:
		avx2.PanelL2(dst, panel, rows, stride, n, d)
	case setNEON:
		neon.PanelL2(dst, panel, rows, stride, n, d)
	default:
		purego.PanelL2(dst, panel, rows, stride, n, d)
	}
}

func checkPanel(dst, panel, rows []float32, stride, n, d int) {
	checkRows(rows, stride, n, d)
	checkLen("panel", len(panel), d, PanelWidth())
	checkLen("dst", len(dst), n, PanelWidth())
}

// PanelScale multiplies scores[i*W+j] by rowScale[i], and the rounded product by
// laneScale[j], rounding again: cosines from inner products and inverse norms.
func PanelScale(scores, rowScale, laneScale []float32, n int) {
	checkLen("scores", len(scores), n, PanelWidth())
	checkLen("rowScale", len(rowScale), n, 1)
	checkLen("laneScale", len(laneScale), PanelWidth(), 1)
	if n == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.PanelScale(scores, rowScale, laneScale, n)
	case setAVX2:
		avx2.PanelScale(scores, rowScale, laneScale, n)
	case setNEON:
		neon.PanelScale(scores, rowScale, laneScale, n)
	default:
		purego.PanelScale(scores, rowScale, laneScale, n)
	}
}

// PanelSelect writes to hits, ascending, i*W+j of every score ≥ threshold[j], and
// returns how many there are. A NaN is never selected. hits needs room for n·W. It
// is fastest where few are.
func PanelSelect(hits []uint32, scores, threshold []float32, n int) int {
	checkLen("hits", len(hits), n, PanelWidth())
	checkLen("scores", len(scores), n, PanelWidth())
	checkLen("threshold", len(threshold), PanelWidth(), 1)
	if n == 0 {
		return 0
	}
	switch active {
	case setAVX512:
		return avx512.PanelSelect(hits, scores, threshold, n)
	case setAVX2:
		return avx2.PanelSelect(hits, scores, threshold, n)
	case setNEON:
		return neon.PanelSelect(hits, scores, threshold, n)
	default:
		return purego.PanelSelect(hits, scores, threshold, n)
	}
}
