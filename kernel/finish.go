package kernel

import (
	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// The functions here finish a layer of a neural network: PanelDot's sums of n rows and a
// panel of W outputs go, with a bias, to W columns of a matrix whose rows are stride
// float32s apart. Between the columns nothing is touched.

// PanelBias sets dst[i*stride+j] to sums[i*W+j] + bias[j].
func PanelBias(dst []float32, stride int, sums, bias []float32, n int) {
	checkFinish(dst, stride, sums, bias, n)
	if n == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.PanelBias(dst, stride, sums, bias[:PanelWidth()], n)
	case setAVX2:
		avx2.PanelBias(dst, stride, sums, bias[:PanelWidth()], n)
	case setNEON:
		neon.PanelBias(dst, stride, sums, bias[:PanelWidth()], n)
	default:
		purego.PanelBias(dst, stride, sums, bias[:PanelWidth()], n)
	}
}

// PanelResidual adds sums[i*W+j] + bias[j] to dst[i*stride+j].
func PanelResidual(dst []float32, stride int, sums, bias []float32, n int) {
	checkFinish(dst, stride, sums, bias, n)
	if n == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.PanelResidual(dst, stride, sums, bias[:PanelWidth()], n)
	case setAVX2:
		avx2.PanelResidual(dst, stride, sums, bias[:PanelWidth()], n)
	case setNEON:
		neon.PanelResidual(dst, stride, sums, bias[:PanelWidth()], n)
	default:
		purego.PanelResidual(dst, stride, sums, bias[:PanelWidth()], n)
	}
}

// PanelGELU sets dst[i*stride+j] to x·Φ(x), x being sums[i*W+j] + bias[j] and Φ the
// normal distribution's function (Hendrycks & Gimpel, "Gaussian Error Linear Units",
// 2016). For finite x its error is at most 3e-7·max(1, |x|).
func PanelGELU(dst []float32, stride int, sums, bias []float32, n int) {
	checkFinish(dst, stride, sums, bias, n)
	if n == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.PanelGELU(dst, stride, sums, bias[:PanelWidth()], n)
	case setAVX2:
		avx2.PanelGELU(dst, stride, sums, bias[:PanelWidth()], n)
	case setNEON:
		neon.PanelGELU(dst, stride, sums, bias[:PanelWidth()], n)
	default:
		purego.PanelGELU(dst, stride, sums, bias[:PanelWidth()], n)
	}
}

func checkFinish(dst []float32, stride int, sums, bias []float32, n int) {
	checkRows(dst, stride, n, PanelWidth())
	checkLen("sums", len(sums), n, PanelWidth())
	checkLen("bias", len(bias), PanelWidth(), 1)
}
