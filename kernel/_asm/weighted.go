package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// group is how many rows are added up in float32 before they go a level up.
const group = 32

// weightedSum goes down the rows one or four at a time, each along its whole
// length, so memory is read in order; the sums wait in the cache.
func (s set) weightedSum(rows int) {
	name := fmt.Sprintf("weightedSum%d", rows)
	TEXT(name, NOSPLIT, "func(sum *float32, w, rows *float32, stride, tiles, vectors, ahead int)")
	Doc(fmt.Sprintf("%s adds the weighted sum of %d·tiles rows to sum, for %d·vectors components, and prefetches what lies ahead bytes on.", name, rows, s.floats))
	Pragma("noescape")
	sum, w, first := load(Param("sum")), load(Param("w")), load(Param("rows"))
	stride, tiles, vectors := load(Param("stride")), load(Param("tiles")), load(Param("vectors"))
	ahead, later := load(Param("ahead")), GP64()
	SHLQ(Imm(2), stride)
	at3, out, r, k := GP64(), GP64(), GP64(), GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, at3)
	row := func(r Register, i, disp int) Mem {
		m := Mem{Base: r, Disp: disp}
		switch i {
		case 1, 2:
			m.Index, m.Scale = stride, uint8(i)
		case 3:
			m.Index, m.Scale = at3, 1
		}
		return m
	}
	Label("tile")
	for i := range rows {
		VBROADCASTSS(at(w, 4*i), s.v(i))
	}
	MOVQ(sum, out)
	MOVQ(first, r)
	LEAQ(Mem{Base: first, Index: ahead, Scale: 1}, later)
	MOVQ(vectors, k)
	// Two vectors a turn, and what is left.
	SUBQ(Imm(2), k)
	JL(LabelRef("one"))
	Label("two")
	for v := range 2 {
		VMOVUPS(at(out, v*s.bytes()), s.v(4+v))
	}
	for i := range rows {
		for v := range 2 {
			VFMADD231PS(row(r, i, v*s.bytes()), s.v(i), s.v(4+v))
		}
		PREFETCHT0(row(later, i, 0))
		if s.wide {
			PREFETCHT0(row(later, i, 64))
		}
	}
	for v := range 2 {
		VMOVUPS(s.v(4+v), at(out, v*s.bytes()))
	}
	ADDQ(U32(uint32(2*s.bytes())), out)
	ADDQ(U32(uint32(2*s.bytes())), r)
	ADDQ(U32(uint32(2*s.bytes())), later)
	SUBQ(Imm(2), k)
	JGE(LabelRef("two"))
	Label("one")
	ADDQ(Imm(2), k)
	JZ(LabelRef("next"))
	VMOVUPS(at(out, 0), s.v(4))
	for i := range rows {
		VFMADD231PS(row(r, i, 0), s.v(i), s.v(4))
	}
	VMOVUPS(s.v(4), at(out, 0))
	Label("next")
	ADDQ(Imm(uint64(4*rows)), w)
	LEAQ(Mem{Base: first, Index: stride, Scale: uint8(rows)}, first)
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// weightedSum64 keeps the sums of 64 columns in registers, down the rows: of AVX-512 those
// of every other row apart, since an addition takes as long as two rows' loads.
func (s set) weightedSum64() {
	TEXT("weightedSum64", NOSPLIT, "func(dst, w, rows *float32, stride, n, ahead int)")
	Doc("weightedSum64 sets dst to the weighted sum of 64 columns of n ≤ 32 rows, and prefetches what lies ahead bytes on.")
	Pragma("noescape")
	dst, w, rows := load(Param("dst")), load(Param("w")), load(Param("rows"))
	stride, n, ahead := load(Param("stride")), load(Param("n")), load(Param("ahead"))
	SHLQ(Imm(2), stride)
	vectors, weight := 64/s.floats, s.v(8)
	for i := range 8 {
		s.zero(s.v(i))
	}
	later := GP64()
	row := func(of int) {
		VBROADCASTSS(at(w, 0), weight)
		for v := range vectors {
			VFMADD231PS(at(rows, v*s.bytes()), weight, s.v(of*vectors+v))
		}
		LEAQ(Mem{Base: rows, Index: ahead, Scale: 1}, later)
		for line := range 4 {
			PREFETCHT0(at(later, 64*line))
		}
		ADDQ(Imm(4), w)
		ADDQ(stride, rows)
	}
	if s.wide {
		SUBQ(Imm(2), n)
		JL(LabelRef("last"))
		Label("rows")
		row(0)
		row(1)
		SUBQ(Imm(2), n)
		JGE(LabelRef("rows"))
		Label("last")
		ADDQ(Imm(2), n)
		JZ(LabelRef("store"))
		row(0)
		Label("store")
		for v := range vectors {
			VADDPS(s.v(vectors+v), s.v(v), s.v(v))
		}
	} else {
		Label("rows")
		row(0)
		DECQ(n)
		JNZ(LabelRef("rows"))
	}
	for v := range vectors {
		VMOVUPS(s.v(v), at(dst, v*s.bytes()))
	}
	VZEROUPPER()
	RET()
}

// widen is the step from float32 to float64 of one query.
func (s set) widen() {
	TEXT("widen", NOSPLIT, "func(sum *float64, part *float32, vectors int)")
	Doc(fmt.Sprintf("widen adds %d·vectors float32s to sum.", s.floats))
	Pragma("noescape")
	sum, part, vectors := load(Param("sum")), load(Param("part")), load(Param("vectors"))
	Label("vector")
	for h := range 2 {
		VCVTPS2PD(at(part, h*s.bytes()/2), s.v(h))
		VADDPD(at(sum, h*s.bytes()), s.v(h), s.v(h))
		VMOVUPD(s.v(h), at(sum, h*s.bytes()))
	}
	ADDQ(Imm(uint64(s.bytes())), part)
	ADDQ(U32(uint32(2*s.bytes())), sum)
	DECQ(vectors)
	JNZ(LabelRef("vector"))
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
	name, sig := fmt.Sprintf("panelSum%d", vectors), "func(level2, p, rows *float32, stride, n int, later *float32, step int)"
	doc := ", and prefetches a line, of a step, for each row and tile"
	if masked {
		name, sig, doc = "panelSumTail", "func(level2, p, rows *float32, stride, n, columns int)", ""
	}
	TEXT(name, NOSPLIT, sig)
	Doc(fmt.Sprintf("%s adds the weighted sums of n rows, %d columns of them, to level2, those of a query beside each other%s.", name, vectors*s.floats, doc))
	Pragma("noescape")
	level2, p, rows := load(Param("level2")), load(Param("p")), load(Param("rows"))
	stride, n := load(Param("stride")), load(Param("n"))
	SHLQ(Imm(2), stride)
	acc := func(q, v int) VecPhysical { return s.v(q*vectors + v) }
	column := func(v int) VecPhysical { return s.v(s.queries*3 + v) }
	weight, mask := s.v(s.queries*3+3), s.queries*3+2
	var later, step Register
	if masked {
		s.mask(load(Param("columns")), mask)
	} else {
		later, step = load(Param("later")), load(Param("step"))
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
	if !masked {
		PREFETCHT1(at(later, 0))
		ADDQ(step, later)
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
