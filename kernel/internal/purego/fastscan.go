package purego

const fastScanRows = 32

// FastScan is kernel.FastScan.
func FastScan(sums []uint16, codes, table []byte, groups, blocks int) {
	for b := range blocks {
		var s [fastScanRows]uint16
		for g := range groups {
			t := (*[16]byte)(table[16*g:])
			for j, c := range (*[16]byte)(codes[16*(b*groups+g):]) {
				s[j] += uint16(t[c&15])
				s[16+j] += uint16(t[c>>4])
			}
		}
		*(*[fastScanRows]uint16)(sums[b*fastScanRows:]) = s
	}
}

// FastSelect is kernel.FastSelect.
func FastSelect(hits []uint32, sums []uint16, mul, add []float32, scale, shift, limit float32, n int) int {
	found := 0
	for i, s := range sums[:n] {
		if fma(mul[i], fma(float32(s), scale, shift), add[i]) >= limit {
			hits[found] = uint32(i)
			found++
		}
	}
	return found
}
