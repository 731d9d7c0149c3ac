package kernel

import (
	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// PanelArgMax looks per lane j for a greater score than best[j]: where
// scores[i*W+j] + bias[i], rounded once, exceeds it, that becomes best[j] and
// first+i at[j], i ascending. A NaN exceeds nothing.
func PanelArgMax(best []float32, at []uint32, scores, bias []float32, n int, first uint32) {
	checkLen("best", len(best), PanelWidth(), 1)
	checkLen("at", len(at), PanelWidth(), 1)
	checkLen("scores", len(scores), n, PanelWidth())
	checkLen("bias", len(bias), n, 1)
	if n == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.PanelArgMax(best, at, scores, bias, n, first)
	case setAVX2:
		avx2.PanelArgMax(best, at, scores, bias, n, first)
	case setNEON:
		neon.PanelArgMax(best, at, scores, bias, n, first)
	default:
		purego.PanelArgMax(best, at, scores, bias, n, first)
	}
}
