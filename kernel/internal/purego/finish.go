package purego

import "math"

// The error function is x·P(x²)/Q(x²) on ±4, beyond which float32 can't tell it from ±1.
// The coefficients, highest first, are those of Eigen and XLA.
var (
	erfP = [...]float32{-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05, -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02}
	erfQ = [...]float32{-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02}
)

func erf(x float32) float32 {
	x = max(-4, min(4, x))
	z := x * x
	p := (((((erfP[0]*z+erfP[1])*z+erfP[2])*z+erfP[3])*z+erfP[4])*z+erfP[5])*z + erfP[6]
	q := (((erfQ[0]*z+erfQ[1])*z+erfQ[2])*z+erfQ[3])*z + erfQ[4]
	return x * p / q
}

// PanelBias is kernel.PanelBias, for panels as wide as bias is long.
func PanelBias(dst []float32, stride int, sums, bias []float32, n int) {
	for i := range n {
		d, s := dst[i*stride:][:len(bias)], sums[i*len(bias):][:len(bias)]
		for j, b := range bias {
			d[j] = s[j] + b
		}
	}
}

// PanelResidual is kernel.PanelResidual, for panels as wide as bias is long.
func PanelResidual(dst []float32, stride int, sums, bias []float32, n int) {
	for i := range n {
		d, s := dst[i*stride:][:len(bias)], sums[i*len(bias):][:len(bias)]
		for j, b := range bias {
			d[j] += s[j] + b
		}
	}
}

// PanelGELU is kernel.PanelGELU, for panels as wide as bias is long.
func PanelGELU(dst []float32, stride int, sums, bias []float32, n int) {
	for i := range n {
		d, s := dst[i*stride:][:len(bias)], sums[i*len(bias):][:len(bias)]
		for j, b := range bias {
			x := s[j] + b
			d[j] = 0.5 * x * (1 + erf(x*(1/math.Sqrt2)))
		}
	}
}
