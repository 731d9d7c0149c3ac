//go:build amd64 && !purego

package avx512

// FastScans is kernel.FastScans, with VBMI and VNNI, where there is a block and a group.
func FastScans(sums []uint16, codes []byte, tables [][]byte, groups, blocks int) {
	const rows = 32
	next := 2 * rows * blocks
	for len(tables) > 0 {
		t, done := tables, 1
		switch {
		case len(t) >= 4:
			done = 4
			fastScans4(&sums[0], next, &codes[0], &t[0][0], &t[1][0], &t[2][0], &t[3][0], groups, blocks)
		case len(t) >= 2:
			done = 2
			fastScans2(&sums[0], next, &codes[0], &t[0][0], &t[1][0], groups, blocks)
		default:
			fastScans1(&sums[0], next, &codes[0], &t[0][0], groups, blocks)
		}
		sums, tables = sums[min(done*rows*blocks, len(sums)):], tables[done:]
	}
}
