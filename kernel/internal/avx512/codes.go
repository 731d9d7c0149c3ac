//go:build amd64 && !purego

package avx512

import "engram/kernel/internal/purego"

const (
	// longRow is how many codes a row has from which on rows are read one by one.
	longRow = 256
	// codesAhead is how many bytes CodeDot prefetches ahead.
	codesAhead = 8192
)

// CodeDot is kernel.CodeDot.
func CodeDot(dst []int32, query []int16, rows []int8, stride int) {
	n := len(dst)
	if len(query) >= longRow || n < 4 {
		codeDotLong(&dst[0], &query[0], &rows[0], stride, n, len(query), codesAhead)
		return
	}
	codeDot(&dst[0], &query[0], &rows[0], stride, n/4, len(query), codesAhead)
	if n%4 > 0 { // the last four, some of them again
		codeDot(&dst[n-4], &query[0], &rows[(n-4)*stride], stride, 1, len(query), 0)
	}
}

// CodeSelect is kernel.CodeSelect.
func CodeSelect(hits []uint32, sums []int32, scale, err, offset []float32, b *purego.CodeBound) int {
	found, whole := 0, len(sums)&^(vector-1)
	if whole > 0 {
		found = codeSelect(&hits[0], &sums[0], &scale[0], &err[0], &offset[0], &b.Unit, whole)
	}
	return found + purego.CodeSelect(hits[found:], sums[whole:], scale[whole:], err[whole:], offset[whole:], b, whole)
}

// Largest is purego.Largest.
func Largest(row []float32) uint32 {
	m, whole := uint32(0), len(row)&^(vector-1)
	if whole > 0 {
		m = largest(&row[0], whole)
	}
	return max(m, purego.Largest(row[whole:]))
}

// Quantise is purego.Quantise.
func Quantise(codes []int8, left, row []float32, scale float32) {
	whole := len(row) &^ (vector - 1)
	if whole > 0 {
		quantise(&codes[0], &left[0], &row[0], scale, whole)
	}
	purego.Quantise(codes[whole:], left[whole:], row[whole:], scale)
}

// Decode is purego.Decode.
func Decode(dst []float32, codes []int8, scale float32) {
	whole := len(dst) &^ (vector - 1)
	if whole > 0 {
		decode(&dst[0], &codes[0], scale, whole)
	}
	purego.Decode(dst[whole:], codes[whole:], scale)
}

// CodePanelDot is kernel.CodePanelDot, for processors with VNNI.
func CodePanelDot(dst []int32, panel []uint8, rows []int8, sums []int32, stride, n, d int) {
	const width = purego.CodeWidth
	done := n / 12 * 12
	if done > 0 {
		codePanel12(&dst[0], &panel[0], &rows[0], &sums[0], stride, n/12, d)
	}
	if tiles := (n - done) / 4; tiles > 0 {
		codePanel4(&dst[done*width], &panel[0], &rows[done*stride], &sums[done], stride, tiles, d)
		done += 4 * tiles
	}
	if done < n {
		codePanel1(&dst[done*width], &panel[0], &rows[done*stride], &sums[done], stride, n-done, d)
	}
}

// CodePanelSelect is kernel.CodePanelSelect.
func CodePanelSelect(hits []uint32, sums []int32, scale, err, offset []float32, b *purego.CodePanelBound, n int) int {
	return codePanelSelect(&hits[0], &sums[0], &scale[0], &err[0], &offset[0], &b.Unit[0], n)
}
