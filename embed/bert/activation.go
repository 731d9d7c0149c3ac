package bert

import "math"

// The error function is x·P(x²)/Q(x²) on ±4, beyond which a float32 can't tell it from
// ±1. The coefficients, highest first, are those that Eigen and XLA use; the error is
// below 4e-7 (TestErf).
var (
	erfP = [...]float32{-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05, -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02}
	erfQ = [...]float32{-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02}
)

func erf(x float32) float32 {
	x = max(-4, min(4, x))
	z := x * x
	p := ((((((erfP[0]*z+erfP[1])*z+erfP[2])*z+erfP[3])*z+erfP[4])*z+erfP[5])*z + erfP[6])
	q := ((((erfQ[0]*z+erfQ[1])*z+erfQ[2])*z+erfQ[3])*z + erfQ[4])
	return x * p / q
}

// geluInto is x·Φ(x), Φ the normal distribution's (Hendrycks & Gimpel, "Gaussian Error
// Linear Units", 2016), by the error function.
func geluInto(y, x []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] = 0.5 * v * (1 + erf(v*(1/math.Sqrt2)))
	}
}

// A layerNorm brings each row to mean 0 and variance 1, then scales and shifts (Ba et
// al., "Layer Normalization", 2016).
type layerNorm struct {
	weight, bias []float32
	epsilon      float64
}

func (l *layerNorm) apply(row []float32) {
	weight, bias := l.weight[:len(row)], l.bias[:len(row)]
	mean := float32(sum(row) / float64(len(row)))
	var a, b, c, d float32
	i := 0
	for ; i+4 <= len(row); i += 4 {
		r := row[i : i+4 : i+4]
		r[0], r[1], r[2], r[3] = r[0]-mean, r[1]-mean, r[2]-mean, r[3]-mean
		a, b, c, d = a+r[0]*r[0], b+r[1]*r[1], c+r[2]*r[2], d+r[3]*r[3]
	}
	for ; i < len(row); i++ {
		row[i] -= mean
		a += row[i] * row[i]
	}
	variance := (float64(a) + float64(b) + float64(c) + float64(d)) / float64(len(row))
	scale := float32(1 / math.Sqrt(variance+l.epsilon))
	for i, x := range row {
		row[i] = x*scale*weight[i] + bias[i]
	}
}

// sum adds up in four float32s.
func sum(row []float32) float64 {
	var a, b, c, d float32
	for ; len(row) >= 4; row = row[4:] {
		a, b, c, d = a+row[0], b+row[1], c+row[2], d+row[3]
	}
	for _, x := range row {
		a += x
	}
	return float64(a) + float64(b) + float64(c) + float64(d)
}
