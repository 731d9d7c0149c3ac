// Command _asm writes the amd64 assembly of package kernel, by avo. It is run by
// go generate in that package.
//
// Both instruction sets come from one description of each operation: a vector of
// AVX2 has 8 float32s and that of AVX-512 16, and only masks, comparisons and
// the last steps of a sum differ.
package main

import (
	"flag"
	"log"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/gotypes"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A set is what differs between the two instruction sets.
type set struct {
	wide    bool  // AVX-512
	floats  int   // float32s in a vector
	width   int   // queries in a panel
	tiles   []int // rows in the tiles of the panel functions, the largest first
	queries int   // queries in a tile of the panel's weighted sum
}

var sets = map[string]set{
	"avx2":   {floats: 8, width: 16, tiles: []int{6, 2, 1}, queries: 4},
	"avx512": {wide: true, floats: 16, width: 32, tiles: []int{12, 4, 1}, queries: 8},
}

func main() {
	name := flag.String("set", "", "avx2, avx512 or roofline")
	flag.Parse()
	ConstraintExpr("amd64,!purego")
	if *name == "roofline" {
		for _, s := range []set{sets["avx2"], sets["avx512"]} {
			s.roofline()
		}
		Generate()
		return
	}
	s, ok := sets[*name]
	if !ok {
		log.Fatalf("no instruction set %q", *name)
	}
	s.constants()
	s.canonical("dot", false, false)
	s.canonical("DotAt", false, true)
	s.canonical("l2", true, false)
	s.canonical("L2At", true, true)
	s.sumSquares()
	for _, rows := range s.tiles {
		s.panelTile(rows, false)
		s.panelTile(rows, true)
	}
	s.panelScale()
	s.panelSelect()
	s.panelMax()
	s.max()
	s.exp()
	s.panelExp()
	s.weightedSum(4)
	s.weightedSum(1)
	s.weightedSum64()
	s.widen()
	s.weightedTail()
	for vectors := 3; vectors >= 1; vectors-- {
		s.panelWeightedSum(vectors, false)
	}
	s.panelWeightedSum(1, true)
	s.panelWiden()
	s.codeDot()
	s.codeDotLong()
	s.codeSelect()
	s.largest()
	s.quantise()
	s.decode()
	s.half()
	if s.wide {
		for _, rows := range s.tiles {
			s.codePanelTile(rows)
		}
		s.codePanelSelect()
	}
	for _, name := range []string{"PanelBias", "PanelResidual", "PanelGELU"} {
		s.panelFinish(name)
	}
	s.panelArgMax()
	s.fastScan()
	if s.wide {
		for _, several := range []int{4, 2, 1} {
			s.fastScans(several)
		}
	}
	s.fastSelect()
	s.prefetch()
	Generate()
}

// v is vector register i.
func (s set) v(i int) VecPhysical {
	if s.wide {
		return []VecPhysical{
			Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
			Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
		}[i]
	}
	return []VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}[i]
}

// bytes is the size of a vector.
func (s set) bytes() int { return s.floats * 4 }

// suffix tells the two sets apart where both are in one package.
func (s set) suffix() string {
	if s.wide {
		return "AVX512"
	}
	return "AVX2"
}

// zero clears a vector.
func (s set) zero(r VecPhysical) {
	if s.wide {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
}

// load gives a parameter in a register of its own.
func load(p gotypes.Component) Register { return Load(p, GP64()) }

func at(base Register, disp int) Mem { return Mem{Base: base, Disp: disp} }

// lowXY are the 128- and 256-bit parts of register i.
func lowX(i int) VecPhysical { return []VecPhysical{X0, X1, X2, X3, X4, X5, X6, X7}[i] }
func lowY(i int) VecPhysical { return []VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7}[i] }

var maskTable Mem

// constants writes the table that AVX2's masks are read from: at 8−n elements
// from its start, the first n of 8 lanes are set.
func (s set) constants() {
	if s.wide {
		return
	}
	maskTable = GLOBL("masks", RODATA|NOPTR)
	for i := range 16 {
		DATA(i*4, U32(map[bool]uint32{true: 0xffffffff}[i < 8]))
	}
}

// mask makes the mask of the first n lanes, n below the lanes of a vector of
// float32s: in vector register i for AVX2, in K1 for AVX-512.
func (s set) mask(n Register, i int) {
	if s.wide {
		MOVQ(n, RCX)
		one := GP64()
		MOVQ(U32(1), one)
		SHLQ(CL, one)
		DECQ(one)
		KMOVW(one.As32(), K1)
		return
	}
	p, off := GP64(), GP64()
	LEAQ(maskTable, p)
	MOVQ(U32(8), off)
	SUBQ(n, off)
	VMOVUPS(Mem{Base: p, Index: off, Scale: 4}, s.v(i))
}

// maskedLoad loads the lanes that mask chose, the others zero, without touching
// their memory.
func (s set) maskedLoad(m Mem, mask int, r VecPhysical) {
	if s.wide {
		VMOVUPS_Z(m, K1, r)
	} else {
		VMASKMOVPS(m, s.v(mask), r)
	}
}
