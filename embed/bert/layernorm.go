package bert

import "math"

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
