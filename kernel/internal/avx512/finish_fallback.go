//go:build !amd64 || purego

package avx512

import "engram/kernel/internal/purego"

// PanelBias is kernel.PanelBias.
func PanelBias(dst []float32, stride int, sums, bias []float32, n int) {
	purego.PanelBias(dst, stride, sums, bias, n)
}

// PanelResidual is kernel.PanelResidual.
func PanelResidual(dst []float32, stride int, sums, bias []float32, n int) {
	purego.PanelResidual(dst, stride, sums, bias, n)
}

// PanelGELU is kernel.PanelGELU.
func PanelGELU(dst []float32, stride int, sums, bias []float32, n int) {
	purego.PanelGELU(dst, stride, sums, bias, n)
}
