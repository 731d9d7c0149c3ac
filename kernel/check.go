package kernel

import "fmt"

// checkRows panics unless a block of n rows of d components lies within rows.
func checkRows(rows []float32, stride, n, d int) {
	if n < 0 || d < 0 || stride < d {
		panic(fmt.Sprintf("kernel: block of %d rows of %d components with stride %d: the counts may not be negative, nor the stride below the components", n, d, stride))
	}
	// In a form that can't overflow.
	if n > 0 && (len(rows) < d || stride > 0 && n-1 > (len(rows)-d)/stride) {
		panic(fmt.Sprintf("kernel: block of %d rows of %d components with stride %d exceeds its %d float32s", n, d, stride, len(rows)))
	}
}

// checkAt panics unless every row at names lies within rows.
func checkAt(dst, rows []float32, stride, d int, at []uint32) {
	if len(dst) != len(at) {
		panic(fmt.Sprintf("kernel: %d results for %d rows", len(dst), len(at)))
	}
	last := -1
	for _, r := range at {
		last = max(last, int(r))
	}
	checkRows(rows, stride, last+1, d)
}

// checkLen panics if a slice holds fewer than a·b elements.
func checkLen(what string, have, a, b int) {
	if a < 0 || b < 0 || b > 0 && a > have/b {
		panic(fmt.Sprintf("kernel: %s holds %d elements, %d×%d are needed", what, have, a, b))
	}
}

// checkCodes panics unless a block of n rows of d codes lies within rows.
func checkCodes(rows []int8, stride, n, d int) {
	if n < 0 || stride < d || d%CodeUnit != 0 {
		panic(fmt.Sprintf("kernel: block of %d rows of %d codes with stride %d: the codes are a multiple of %d, the stride no fewer", n, d, stride, CodeUnit))
	}
	if n > 0 && (len(rows) < d || stride > 0 && n-1 > (len(rows)-d)/stride) {
		panic(fmt.Sprintf("kernel: block of %d rows of %d codes with stride %d exceeds its %d codes", n, d, stride, len(rows)))
	}
}
