//go:build amd64 && !purego

// Package avx512 is the kernel in AVX-512 (F, BW and VL), as package purego describes it.
//
// Its assembly is generated. What stands here splits an operation into the runs
// of whole vectors and tiles that the assembly takes.
package avx512

import "math"

// Built says whether the assembly is in this build.
const Built = true

const (
	// Width is how many queries a panel holds: two vectors.
	Width = 2 * vector
	// vector is how many float32s a vector register holds.
	vector = 16
	// depth is how many components of a panel stay in the level 1 cache while
	// all rows of a block meet them: 16 KiB.
	depth = 4096 / Width
	// group and super are how many rows a weighted sum adds up in float32, and
	// how many in both its levels of float32, before it goes on in float64.
	group, super = 32, 512
	// chunk is how many components of a weighted sum are under way at a time.
	chunk = 256
	// line is how many float32s are in a cache line, quads how many tiles of queries a
	// panel's weighted sum takes.
	line, quads = 16, 4
)

// Dot is kernel.Dot.
func Dot(dst, q, rows []float32, stride int) {
	dot(dst, q, rows, stride, ahead(len(dst), len(q), stride, 512))
}

// L2 is kernel.L2.
func L2(dst, q, rows []float32, stride int) {
	l2(dst, q, rows, stride, ahead(len(dst), len(q), stride, 512))
}

// ahead is how many bytes ahead of its loads a scan of d components of n rows prefetches,
// since the processor's own prefetching stops at every 4 KiB page: near float32s; and where
// rows are parts of longer ones, whose other parts are due first, as many such rows.
func ahead(n, d, stride, near int) int {
	if stride >= 2*d {
		near = n * stride
	}
	return 4 * near
}

// PanelDot is kernel.PanelDot.
func PanelDot(dst, panel, rows []float32, stride, n, d int) {
	for k := 0; k < d; k += depth {
		wide, done := min(depth, d-k), 0
		if tiles := n / 12; tiles > 0 {
			panelDot12(&dst[0], &panel[k*Width], &rows[k], stride, tiles, wide, k > 0)
			done = tiles * 12
		}
		if tiles := (n - done) / 4; tiles > 0 {
			panelDot4(&dst[done*Width], &panel[k*Width], &rows[done*stride+k], stride, tiles, wide, k > 0)
			done += tiles * 4
		}
		if done < n {
			panelDot1(&dst[done*Width], &panel[k*Width], &rows[done*stride+k], stride, n-done, wide, k > 0)
		}
	}
}

// PanelL2 is kernel.PanelL2.
func PanelL2(dst, panel, rows []float32, stride, n, d int) {
	for k := 0; k < d; k += depth {
		wide, done := min(depth, d-k), 0
		if tiles := n / 12; tiles > 0 {
			panelL2x12(&dst[0], &panel[k*Width], &rows[k], stride, tiles, wide, k > 0)
			done = tiles * 12
		}
		if tiles := (n - done) / 4; tiles > 0 {
			panelL2x4(&dst[done*Width], &panel[k*Width], &rows[done*stride+k], stride, tiles, wide, k > 0)
			done += tiles * 4
		}
		if done < n {
			panelL2x1(&dst[done*Width], &panel[k*Width], &rows[done*stride+k], stride, n-done, wide, k > 0)
		}
	}
}

// Max is kernel.Max.
func Max(s []float32) float32 {
	m := float32(math.Inf(-1))
	if whole := len(s) &^ (vector - 1); whole > 0 {
		m = greatest(&s[0], whole)
		s = s[whole:]
	}
	for _, x := range s {
		m = max(m, x)
	}
	return m
}

// Exp is kernel.Exp.
func Exp(p, s []float32, scale, m float64) (sum, sumShift float64) {
	whole := len(s) &^ (vector - 1)
	if whole > 0 {
		sum, sumShift = exp(&p[0], &s[0], whole, scale, m)
	}
	if whole < len(s) {
		// The rest goes beside scores that count for nothing.
		var rest [vector]float32
		for i := copy(rest[:], s[whole:]); i < vector; i++ {
			rest[i] = float32(math.Inf(-1))
		}
		a, b := exp(&rest[0], &rest[0], vector, scale, m)
		copy(p[whole:], rest[:])
		sum += a
		sumShift += b
	}
	return sum, sumShift
}

// WeightedSum is kernel.WeightedSum.
func WeightedSum(sum []float64, w, rows []float32, stride int) {
	d := len(sum)
	// Whole fours of rows, about 16 KiB.
	ahead := ahead(len(w), d, stride, max(1, 1024/stride)*4*stride)
	for i := 0; i < len(w); i += group {
		n := min(group, len(w)-i)
		fours := n / 4
		if d < 256 {
			fours = 0 // short rows are read faster one after the other
		}
		for k := 0; k < d; {
			if d-k >= 64 && stride >= 2*d { // heads, whose rows aren't beside each other
				var part [64]float32
				weightedSum64(&part[0], &w[i], &rows[i*stride+k], stride, n, ahead)
				widen(&sum[k], &part[0], 64/vector)
				k += 64
				continue
			}
			var part [chunk]float32
			vectors := min(chunk, d-k) / vector
			if vectors == 0 {
				columns := d - k
				weightedTail(&part[0], &w[i], &rows[i*stride+k], stride, n, columns)
				for c, x := range part[:columns] {
					sum[k+c] += float64(x)
				}
				break
			}
			if fours > 0 {
				weightedSum4(&part[0], &w[i], &rows[i*stride+k], stride, fours, vectors, ahead)
			}
			if done := fours * 4; done < n {
				weightedSum1(&part[0], &w[i+done], &rows[(i+done)*stride+k], stride, n-done, vectors, ahead)
			}
			widen(&sum[k], &part[0], vectors)
			k += vectors * vector
		}
	}
}

// PanelWeightedSum is kernel.PanelWeightedSum.
func PanelWeightedSum(sum []float64, p, rows []float32, stride, n, d int, next []float32) []float32 {
	for i := 0; i < n; i += super {
		m := min(super, n-i)
		for k := 0; k < d; {
			var level2 [Width * 3 * vector]float32
			later, step := &rows[0], 0
			if len(next) > 0 && d-k >= vector {
				later, step = &next[0], 4*line
				next = next[min(m*quads*line, len(next)):]
			}
			// Two tiles of two vectors are better than one of three and one of one.
			switch vectors := (d - k) / vector; {
			case vectors >= 5 || vectors == 3:
				panelSum3(&level2[0], &p[i*Width], &rows[i*stride+k], stride, m, later, step)
				panelWiden(&sum[k], d, &level2[0], 3)
				k += 3 * vector
			case vectors >= 2:
				panelSum2(&level2[0], &p[i*Width], &rows[i*stride+k], stride, m, later, step)
				panelWiden(&sum[k], d, &level2[0], 2)
				k += 2 * vector
			case vectors == 1:
				panelSum1(&level2[0], &p[i*Width], &rows[i*stride+k], stride, m, later, step)
				panelWiden(&sum[k], d, &level2[0], 1)
				k += vector
			default:
				panelSumTail(&level2[0], &p[i*Width], &rows[i*stride+k], stride, m, d-k)
				for j := range Width {
					for c, x := range level2[j*vector:][:d-k] {
						sum[j*d+k+c] += float64(x)
					}
				}
				k = d
			}
		}
	}
	return next
}
