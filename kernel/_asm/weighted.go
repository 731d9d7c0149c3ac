package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// group is how many rows are added up in float32 before they go a level up.
const group = 32

// widen adds the vector of float32s in register i to the float64s at m.
func (s set) widen(i int, m Register, disp int, tmp [2]VecPhysical) {
	if s.wide {
		VEXTRACTF64X4(Imm(1), s.v(i), Y31)
		VCVTPS2PD(lowY(i), tmp[0])
		VCVTPS2PD(Y31, tmp[1])
	} else {
		VEXTRACTF128(Imm(1), s.v(i), X15)
		VCVTPS2PD(lowX(i), tmp[0])
		VCVTPS2PD(X15, tmp[1])
	}
	for h, t := range tmp {
		VADDPD(at(m, disp+h*s.bytes()), t, t)
		VMOVUPD(t, at(m, disp+h*s.bytes()))
	}
}

// weightedSum takes 64 columns at a time down the rows of a group.
func (s set) weightedSum() {
	TEXT("weightedSum", NOSPLIT, "func(sum *float64, w, rows *float32, stride, n, tiles int)")
	Doc("weightedSum adds the weighted sum of n ≤ 32 rows to sum, for 64·tiles components.")
	Pragma("noescape")
	sum, w, rows := load(Param("sum")), load(Param("w")), load(Param("rows"))
	stride, n, tiles := load(Param("stride")), load(Param("n")), load(Param("tiles"))
	SHLQ(Imm(2), stride)
	vectors := 64 / s.floats
	ahead := GP64() // the same place in the next group
	IMUL3Q(Imm(group), stride, ahead)
	a, r, k := GP64(), GP64(), GP64()
	Label("tile")
	MOVQ(w, a)
	MOVQ(rows, r)
	MOVQ(n, k)
	for i := range vectors {
		s.zero(s.v(i))
	}
	Label("row")
	VBROADCASTSS(at(a, 0), s.v(vectors))
	for i := range vectors {
		VFMADD231PS(at(r, i*s.bytes()), s.v(vectors), s.v(i))
	}
	for line := range 4 {
		PREFETCHT0(Mem{Base: r, Index: ahead, Scale: 1, Disp: 64 * line})
	}
	ADDQ(Imm(4), a)
	ADDQ(stride, r)
	DECQ(k)
	JNZ(LabelRef("row"))
	for i := range vectors {
		s.widen(i, sum, i*s.floats*8, [2]VecPhysical{s.v(vectors + 1), s.v(vectors + 2)})
	}
	ADDQ(U32(256), rows)
	ADDQ(U32(512), sum)
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// weightedTail is the rest: up to a vector of columns.
func (s set) weightedTail() {
	TEXT("weightedTail", NOSPLIT, "func(dst, w, rows *float32, stride, n, columns int)")
	Doc(fmt.Sprintf("weightedTail sets %d float32s to the weighted sum of the first columns of n ≤ 32 rows, zero beyond.", s.floats))
	Pragma("noescape")
	dst, w, rows := load(Param("dst")), load(Param("w")), load(Param("rows"))
	stride, n, columns := load(Param("stride")), load(Param("n")), load(Param("columns"))
	SHLQ(Imm(2), stride)
	s.mask(columns, 3)
	s.zero(s.v(0))
	Label("row")
	VBROADCASTSS(at(w, 0), s.v(1))
	s.maskedLoad(at(rows, 0), 3, s.v(2))
	VFMADD231PS(s.v(2), s.v(1), s.v(0))
	ADDQ(Imm(4), w)
	ADDQ(stride, rows)
	DECQ(n)
	JNZ(LabelRef("row"))
	VMOVUPS(s.v(0), at(dst, 0))
	VZEROUPPER()
	RET()
}

// panelWeightedSum keeps a tile of some queries by some vectors of columns in
// registers, down the rows of a group; then adds it to the second level.
func (s set) panelWeightedSum(vectors int, masked bool) {
	name, sig := fmt.Sprintf("panelSum%d", vectors), "func(level2, p, rows *float32, stride, n int)"
	if masked {
		name, sig = "panelSumTail", "func(level2, p, rows *float32, stride, n, columns int)"
	}
	TEXT(name, NOSPLIT, sig)
	Doc(fmt.Sprintf("%s adds the weighted sums of n rows, %d columns of them, to level2: those of a query beside each other.", name, vectors*s.floats))
	Pragma("noescape")
	level2, p, rows := load(Param("level2")), load(Param("p")), load(Param("rows"))
	stride, n := load(Param("stride")), load(Param("n"))
	SHLQ(Imm(2), stride)
	acc := func(q, v int) VecPhysical { return s.v(q*vectors + v) }
	column := func(v int) VecPhysical { return s.v(s.queries*3 + v) }
	weight, mask := s.v(s.queries*3+3), s.queries*3+2
	if masked {
		s.mask(load(Param("columns")), mask)
	}
	m, l, pq, quads, r, a, k := GP64(), GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	Label("group")
	MOVQ(U32(group), m)
	CMPQ(n, m)
	CMOVQLT(n, m)
	MOVQ(level2, l)
	MOVQ(p, pq)
	MOVQ(U32(uint32(s.width/s.queries)), quads)
	Label("queries")
	for i := range s.queries * vectors {
		s.zero(s.v(i))
	}
	MOVQ(rows, r)
	MOVQ(pq, a)
	MOVQ(m, k)
	Label("row")
	for v := range vectors {
		if masked {
			s.maskedLoad(at(r, 0), mask, column(v))
		} else {
			VMOVUPS(at(r, v*s.bytes()), column(v))
		}
	}
	for q := range s.queries {
		VBROADCASTSS(at(a, 4*q), weight)
		for v := range vectors {
			VFMADD231PS(column(v), weight, acc(q, v))
		}
	}
	ADDQ(stride, r)
	ADDQ(U32(uint32(4*s.width)), a)
	DECQ(k)
	JNZ(LabelRef("row"))
	for i := range s.queries * vectors {
		VADDPS(at(l, i*s.bytes()), s.v(i), s.v(i))
		VMOVUPS(s.v(i), at(l, i*s.bytes()))
	}
	ADDQ(U32(uint32(s.queries*vectors*s.bytes())), l)
	ADDQ(Imm(uint64(4*s.queries)), pq)
	DECQ(quads)
	JNZ(LabelRef("queries"))
	MOVQ(r, rows)
	LEAQ(at(a, -4*(s.width-s.queries)), p)
	SUBQ(m, n)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// panelWiden is the step from the second level to float64.
func (s set) panelWiden() {
	TEXT("panelWiden", NOSPLIT, "func(sum *float64, d int, level2 *float32, vectors int)")
	Doc(fmt.Sprintf("panelWiden adds level2, %d·vectors columns of each query, to sums that are d apart.", s.floats))
	Pragma("noescape")
	sum, d, level2, vectors := load(Param("sum")), load(Param("d")), load(Param("level2")), load(Param("vectors"))
	SHLQ(Imm(3), d)
	lane, a, k := GP64(), GP64(), GP64()
	MOVQ(U32(uint32(s.width)), lane)
	Label("lane")
	MOVQ(sum, a)
	MOVQ(vectors, k)
	Label("vector")
	for h := range 2 {
		VCVTPS2PD(at(level2, h*s.bytes()/2), s.v(h))
		VADDPD(at(a, h*s.bytes()), s.v(h), s.v(h))
		VMOVUPD(s.v(h), at(a, h*s.bytes()))
	}
	ADDQ(Imm(uint64(s.bytes())), level2)
	ADDQ(U32(uint32(2*s.bytes())), a)
	DECQ(k)
	JNZ(LabelRef("vector"))
	ADDQ(d, sum)
	DECQ(lane)
	JNZ(LabelRef("lane"))
	VZEROUPPER()
	RET()
}
