package purego

// lanes is the number of partial sums of the canonical arithmetic.
const lanes = 64

// Dot is kernel.Dot.
func Dot(dst, q, rows []float32, stride int) {
	for i := range dst {
		dst[i] = dot(q, row(rows, stride, i, len(q)))
	}
}

// DotAt is kernel.DotAt.
func DotAt(dst, q, rows []float32, stride int, at []uint32) {
	for i, r := range at {
		dst[i] = dot(q, row(rows, stride, int(r), len(q)))
	}
}

// L2 is kernel.L2.
func L2(dst, q, rows []float32, stride int) {
	for i := range dst {
		dst[i] = l2(q, row(rows, stride, i, len(q)))
	}
}

// L2At is kernel.L2At.
func L2At(dst, q, rows []float32, stride int, at []uint32) {
	for i, r := range at {
		dst[i] = l2(q, row(rows, stride, int(r), len(q)))
	}
}

func dot(q, r []float32) float32 {
	var s [lanes]float32
	r = r[:len(q)]
	for len(q) >= lanes {
		a, b := (*[lanes]float32)(q), (*[lanes]float32)(r)
		for i := range s {
			s[i] = fma(a[i], b[i], s[i])
		}
		q, r = q[lanes:], r[lanes:]
	}
	for i, x := range q {
		s[i] = fma(x, r[i], s[i])
	}
	return tree(&s) + 0
}

func l2(q, r []float32) float32 {
	var s [lanes]float32
	r = r[:len(q)]
	for len(q) >= lanes {
		a, b := (*[lanes]float32)(q), (*[lanes]float32)(r)
		for i := range s {
			x := float32(a[i] - b[i])
			s[i] = fma(x, x, s[i])
		}
		q, r = q[lanes:], r[lanes:]
	}
	for i, x := range q {
		x = float32(x - r[i])
		s[i] = fma(x, x, s[i])
	}
	return float32(tree(&s)*-0.5) + 0
}

func tree(s *[lanes]float32) float32 {
	for w := lanes / 2; w > 0; w /= 2 {
		for i := range w {
			s[i] += s[i+w]
		}
	}
	return s[0]
}

// SumSquares is kernel.SumSquares. A square of a float32 is exact in float64,
// so it makes no difference whether it is fused with the sum.
func SumSquares(dst []float64, rows []float32, stride, d int) {
	for i := range dst {
		var s [16]float64
		r := row(rows, stride, i, d)
		for len(r) >= len(s) {
			for j, x := range (*[16]float32)(r) {
				s[j] += float64(x) * float64(x)
			}
			r = r[len(s):]
		}
		for j, x := range r {
			s[j] += float64(x) * float64(x)
		}
		for w := len(s) / 2; w > 0; w /= 2 {
			for j := range w {
				s[j] += s[j+w]
			}
		}
		dst[i] = s[0]
	}
}
