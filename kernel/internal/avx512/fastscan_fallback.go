//go:build !amd64 || purego

package avx512

import "engram/kernel/internal/purego"

// FastScan is kernel.FastScan.
func FastScan(sums []uint16, codes, table []byte, groups, blocks int) {
	purego.FastScan(sums, codes, table, groups, blocks)
}

// FastScans is kernel.FastScans.
func FastScans(sums []uint16, codes []byte, tables [][]byte, groups, blocks int) {
	for i, t := range tables {
		purego.FastScan(sums[i*32*blocks:], codes, t, groups, blocks)
	}
}

// FastSelect is kernel.FastSelect.
func FastSelect(hits []uint32, sums []uint16, mul, add []float32, scale, shift, limit float32, n int) int {
	return purego.FastSelect(hits, sums, mul, add, scale, shift, limit, n)
}

// PanelArgMax is kernel.PanelArgMax.
func PanelArgMax(best []float32, at []uint32, scores, bias []float32, n int, first uint32) {
	purego.PanelArgMax(best, at, scores, bias, n, first)
}

// Prefetch is kernel.Prefetch: nothing, here.
func Prefetch([]float32) {}
