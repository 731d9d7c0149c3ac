//go:build arm64 && !purego

package neon

// FastScan is kernel.FastScan.
func FastScan(sums []uint16, codes, table []byte, groups, blocks int) {
	fastScan(&sums[0], &codes[0], &table[0], groups, blocks)
}

// FastSelect is kernel.FastSelect.
func FastSelect(hits []uint32, sums []uint16, mul, add []float32, scale, shift, limit float32, n int) int {
	return fastSelect(&hits[0], &sums[0], &mul[0], &add[0], scale, shift, limit, n)
}

// PanelArgMax is kernel.PanelArgMax.
func PanelArgMax(best []float32, at []uint32, scores, bias []float32, n int, first uint32) {
	panelArgMax(&best[0], &at[0], &scores[0], &bias[0], n, first)
}

// Prefetch is kernel.Prefetch.
func Prefetch(v []float32) { prefetch(&v[0], len(v)) }

//go:noescape
func prefetch(v *float32, n int)

//go:noescape
func fastScan(sums *uint16, codes, table *byte, groups, blocks int)

//go:noescape
func fastSelect(hits *uint32, sums *uint16, mul, add *float32, scale, shift, limit float32, n int) int

//go:noescape
func panelArgMax(best *float32, at *uint32, scores, bias *float32, n int, first uint32)
