// Package purego is the kernel in plain Go: the form for processors without a
// set of their own, and the reference the assembly is tested against.
//
// Package kernel has checked every argument before it calls: lengths fit, and
// there is at least one row and one component.
package purego

// Width is how many queries a panel holds.
const Width = 16

// row gives row i of a block.
func row(rows []float32, stride, i, d int) []float32 {
	return rows[i*stride:][:d:d]
}
