package kernel

import (
	"fmt"

	"github.com/klauspost/cpuid/v2"

	"engram/kernel/internal/avx512"
	"engram/kernel/internal/purego"
)

// CodePanelWidth is how many queries a panel of codes holds, on every instruction
// set.
const CodePanelWidth = purego.CodeWidth

// vnni says that the processor has dot products of bytes (tests change it).
var vnni = cpuid.CPU.Supports(cpuid.AVX512VNNI)

// CodePanels says whether panels of codes are faster than panels of float32: with
// AVX-512 and VNNI they do twice as much at a time. Elsewhere they are slow, and here
// only so that tests can compare.
func CodePanels() bool { return active == setAVX512 && vnni }

// CodePanelLen is how many bytes a packed panel of queries of d components holds.
func CodePanelLen(d int) int { return 2 * CodePanelWidth * QueryCodes(d) }

// PackCodes lays out at most CodePanelWidth queries of QueryCodes(d) codes, which
// QuantiseQuery gave, for CodePanelDot. A code p is kept as two bytes, p = 128·(high
// − 64) + low with low < 128: of each four components the high bytes of all queries,
// then the low ones. A lane without a query has codes 0.
func PackCodes(panel []uint8, queries [][]int16, d int) {
	n := QueryCodes(d)
	if len(queries) > CodePanelWidth {
		panic(fmt.Sprintf("kernel: %d queries in a panel of %d", len(queries), CodePanelWidth))
	}
	checkLen("panel", len(panel), CodePanelLen(d), 1)
	for k := range n {
		high := panel[k/4*128+k%4:]
		for j := range CodePanelWidth {
			p := 0
			if j < len(queries) {
				p = int(queries[j][k])
			}
			high[4*j], high[64+4*j] = uint8(p>>7+64), uint8(p&127)
		}
	}
}

// CodePanelDot sets dst[i·CodePanelWidth+j] to what CodeDot gives for query j of the
// panel and row i, exactly. The rows have QueryCodes(d) codes each; sums[i] is Σₖ
// rows[i·stride+k], what CodeDot gives for a query of ones.
func CodePanelDot(dst []int32, panel []uint8, rows []int8, sums []int32, stride, n, d int) {
	d = QueryCodes(d)
	checkCodes(rows, stride, n, d)
	checkLen("panel", len(panel), CodePanelLen(d), 1)
	checkLen("sums", len(sums), n, 1)
	checkLen("dst", len(dst), n, CodePanelWidth)
	switch {
	case n == 0:
	case d == 0:
		clear(dst[:n*CodePanelWidth])
	case CodePanels():
		avx512.CodePanelDot(dst, panel, rows, sums, stride, n, d)
	default:
		purego.CodePanelDot(dst, panel, rows, stride, n, d)
	}
}

// A CodePanelBound is a CodeBound for each query of a panel.
type CodePanelBound = purego.CodePanelBound

// CodePanelSelect writes to hits, ascending, i·CodePanelWidth+j of every row i and
// query j that CodeSelect would select for that query, and returns how many there
// are. hits needs room for n·CodePanelWidth.
func CodePanelSelect(hits []uint32, sums []int32, scale, err, offset []float32, b *CodePanelBound, n int) int {
	checkLen("hits", len(hits), n, CodePanelWidth)
	checkLen("sums", len(sums), n, CodePanelWidth)
	checkLen("scale", len(scale), n, 1)
	checkLen("err", len(err), n, 1)
	checkLen("offset", len(offset), n, 1)
	if n == 0 {
		return 0
	}
	if active == setAVX512 {
		return avx512.CodePanelSelect(hits, sums, scale, err, offset, b, n)
	}
	return purego.CodePanelSelect(hits, sums, scale, err, offset, b, n)
}
