package kernel

import (
	"fmt"
	"math"

	"github.com/klauspost/cpuid/v2"

	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// FastScanRows is how many rows a block of 4-bit codes holds.
const FastScanRows = 32

// FastScanBytes is the size of a block of 4-bit codes: FastScanRows rows of so many groups.
func FastScanBytes(groups int) int { return FastScanRows / 2 * groups }

// FastScan sets sums[32b+r] to Σ_g table[16g + c], c being row r's code of group g
// in block b, modulo 2¹⁶: the look-up scan of André, Kermarrec and Le Scouarnec,
// "Accelerated Nearest Neighbor Search with Quick ADC" (2017), in registers. A
// block has 16 bytes a group: byte j holds row j's code in its low half and row
// 16+j's in its high one. groups is a multiple of 4. All instruction sets give the
// same sums, which are exact where a table's greatest entries add up to less than
// 2¹⁶.
func FastScan(sums []uint16, codes, table []byte, groups, blocks int) {
	checkBlocks(groups, blocks)
	checkLen("sums", len(sums), blocks, FastScanRows)
	checkLen("codes", len(codes), blocks, FastScanBytes(groups))
	checkLen("table", len(table), groups, 16)
	if groups == 0 {
		clear(sums[:blocks*FastScanRows])
		return
	}
	if blocks == 0 {
		return
	}
	switch active {
	case setAVX512:
		if vbmi {
			avx512.FastScans(sums, codes, [][]byte{table}, groups, blocks)
			return
		}
		avx512.FastScan(sums, codes, table, groups, blocks)
	case setAVX2:
		avx2.FastScan(sums, codes, table, groups, blocks)
	case setNEON:
		neon.FastScan(sums, codes, table, groups, blocks)
	default:
		purego.FastScan(sums, codes, table, groups, blocks)
	}
}

// vbmi says that the processor looks bytes up among 64 and adds them up by fours (tests
// change it).
var vbmi = cpuid.CPU.Supports(cpuid.AVX512VBMI, cpuid.AVX512VNNI)

// FastScans sets sums[i·32·blocks:] to what FastScan gives for table i, of the same
// codes. That is faster than one table after the other.
func FastScans(sums []uint16, codes []byte, tables [][]byte, groups, blocks int) {
	if active == setAVX512 && vbmi && blocks > 0 && groups > 0 {
		checkBlocks(groups, blocks)
		checkLen("sums", len(sums), blocks*len(tables), FastScanRows)
		checkLen("codes", len(codes), blocks, FastScanBytes(groups))
		for i := range tables {
			checkLen("a table", len(tables[i]), groups, 16)
		}
		avx512.FastScans(sums, codes, tables, groups, blocks)
		return
	}
	for i, t := range tables {
		FastScan(sums[i*blocks*FastScanRows:], codes, t, groups, blocks)
	}
}

func checkBlocks(groups, blocks int) {
	if groups < 0 || groups%4 != 0 || blocks < 0 {
		panic(fmt.Sprintf("kernel: %d blocks of %d groups: the groups must be a multiple of 4, and neither may be negative", blocks, groups))
	}
}

// FastSelect writes to hits, ascending, each i below n with
//
//	mul[i]·(sums[i]·scale + shift) + add[i] ≥ limit,
//
// each product and sum being one fused multiply-add, so that all instruction sets
// select the same, and returns how many there are. What is NaN is never selected.
// n is a multiple of FastScanRows, and hits has room for n.
func FastSelect(hits []uint32, sums []uint16, mul, add []float32, scale, shift, limit float32, n int) int {
	if n < 0 || n%FastScanRows != 0 || uint64(n) > math.MaxUint32 {
		panic(fmt.Sprintf("kernel: %d rows of codes are no whole blocks", n))
	}
	checkLen("hits", len(hits), n, 1)
	checkLen("sums", len(sums), n, 1)
	checkLen("mul", len(mul), n, 1)
	checkLen("add", len(add), n, 1)
	if n == 0 {
		return 0
	}
	switch active {
	case setAVX512:
		return avx512.FastSelect(hits, sums, mul, add, scale, shift, limit, n)
	case setAVX2:
		return avx2.FastSelect(hits, sums, mul, add, scale, shift, limit, n)
	case setNEON:
		return neon.FastSelect(hits, sums, mul, add, scale, shift, limit, n)
	default:
		return purego.FastSelect(hits, sums, mul, add, scale, shift, limit, n)
	}
}

// Prefetch asks for v to be brought into the cache, without waiting for it: rows that
// are scored a little later, and lie where a processor can't foresee.
func Prefetch(v []float32) {
	if len(v) == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.Prefetch(v)
	case setAVX2:
		avx2.Prefetch(v)
	case setNEON:
		neon.Prefetch(v)
	}
}
