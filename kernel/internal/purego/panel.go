package purego

// PanelDot is kernel.PanelDot.
func PanelDot(dst, panel, rows []float32, stride, n, d int) {
	for i := range n {
		var s [Width]float32
		for k, x := range row(rows, stride, i, d) {
			for j, y := range (*[Width]float32)(panel[k*Width:]) {
				s[j] += x * y
			}
		}
		*(*[Width]float32)(dst[i*Width:]) = s
	}
}

// PanelL2 is kernel.PanelL2.
func PanelL2(dst, panel, rows []float32, stride, n, d int) {
	for i := range n {
		var s [Width]float32
		for k, x := range row(rows, stride, i, d) {
			for j, y := range (*[Width]float32)(panel[k*Width:]) {
				s[j] += (y - x) * (y - x)
			}
		}
		for j := range s {
			s[j] *= -0.5
		}
		*(*[Width]float32)(dst[i*Width:]) = s
	}
}

// PanelScale is kernel.PanelScale.
func PanelScale(scores, rowScale, laneScale []float32, n int) {
	l := (*[Width]float32)(laneScale)
	for i, r := range rowScale[:n] {
		s := (*[Width]float32)(scores[i*Width:])
		for j := range s {
			s[j] = float32(s[j]*r) * l[j]
		}
	}
}

// PanelSelect is kernel.PanelSelect.
func PanelSelect(hits []uint32, scores, threshold []float32, n int) int {
	t := (*[Width]float32)(threshold)
	found := 0
	for i := range n {
		for j, s := range (*[Width]float32)(scores[i*Width:]) {
			if s >= t[j] {
				hits[found] = uint32(i*Width + j)
				found++
			}
		}
	}
	return found
}

// PanelMax is kernel.PanelMax.
func PanelMax(max, scores []float32, n int) {
	m := (*[Width]float32)(max)
	for i := range n {
		for j, s := range (*[Width]float32)(scores[i*Width:]) {
			if s > m[j] {
				m[j] = s
			}
		}
	}
}

// PanelExp is kernel.PanelExp.
func PanelExp(p, scores []float32, n int, scale float64, m, sum, sumShift []float64) {
	c, a, b := (*[Width]float64)(m), (*[Width]float64)(sum), (*[Width]float64)(sumShift)
	for i := range n {
		in, out := (*[Width]float32)(scores[i*Width:]), (*[Width]float32)(p[i*Width:])
		for j, s := range in {
			shift, e := exp(s, scale, c[j])
			out[j] = float32(e)
			a[j] += e
			b[j] += e * shift
		}
	}
}

const (
	// group is how many rows a weighted sum adds up in float32 before it adds
	// the result to the next level; super how many before float64.
	group = 32
	super = 512
)

// PanelWeightedSum is kernel.PanelWeightedSum.
func PanelWeightedSum(sum []float64, p, rows []float32, stride, n, d int) {
	// Columns are taken a few at a time so that both levels stay in the cache.
	const columns = 16
	for from := 0; from < n; from += super {
		to := min(from+super, n)
		for k := 0; k < d; k += columns {
			wide := min(columns, d-k)
			var level2 [Width][columns]float32
			for g := from; g < to; g += group {
				var level1 [Width][columns]float32
				for i := g; i < min(g+group, to); i++ {
					r := rows[i*stride+k:][:wide]
					for j, w := range (*[Width]float32)(p[i*Width:]) {
						s := level1[j][:len(r)]
						for c, x := range r {
							s[c] += w * x
						}
					}
				}
				for j := range level1 {
					for c, x := range level1[j] {
						level2[j][c] += x
					}
				}
			}
			for j := range level2 {
				s := sum[j*d+k:][:wide]
				for c := range s {
					s[c] += float64(level2[j][c])
				}
			}
		}
	}
}

// PanelArgMax is kernel.PanelArgMax.
func PanelArgMax(best []float32, at []uint32, scores, bias []float32, n int, first uint32) {
	m, a := (*[Width]float32)(best), (*[Width]uint32)(at)
	for i, b := range bias[:n] {
		for j, s := range (*[Width]float32)(scores[i*Width:]) {
			if s += b; s > m[j] {
				m[j], a[j] = s, first+uint32(i)
			}
		}
	}
}
