package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// codeDot has four rows at a time, so that a load of the query serves four, and so
// does the reduction at the end. A vector of words meets codes that are widened as
// they are loaded.
func (s set) codeDot() {
	const rows = 4
	TEXT("codeDot", NOSPLIT, "func(dst *int32, query *int16, rows *int8, stride, fours, n, ahead int)")
	Doc("codeDot does n codes of four times fours rows, prefetching so many bytes ahead of the first row.")
	Pragma("noescape")
	dst, query, first := load(Param("dst")), load(Param("query")), load(Param("rows"))
	stride, fours, n, ahead := load(Param("stride")), load(Param("fours")), load(Param("n")), load(Param("ahead"))
	step := 2 * s.floats // codes in a vector of words
	at3, a, b, b3, k, p := GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, at3)
	row := func(r, disp int) Mem {
		switch r {
		case 0:
			return Mem{Base: b, Disp: disp}
		case 3:
			return Mem{Base: b3, Disp: disp}
		}
		return Mem{Base: b, Index: stride, Scale: uint8(r), Disp: disp}
	}
	q := s.v(2 * rows)
	words := func(i int) {
		s.loadWords(at(a, 2*i*step), q)
		for r := range rows {
			x := s.v(rows + r)
			VPMOVSXBW(row(r, i*step), x)
			VPMADDWD(q, x, x)
			VPADDD(x, s.v(r), s.v(r))
		}
		// The processor's own prefetching stops at every 4 KiB page, and rows in step
		// confuse it: as many bytes as were read, in order.
		for line := 0; line < rows*step; line += 64 {
			PREFETCHT0(at(p, rows*i*step+line))
		}
	}
	next := func(steps int) {
		ADDQ(U32(uint32(rows*steps*step)), p)
		ADDQ(U32(uint32(2*steps*step)), a)
		ADDQ(Imm(uint64(steps*step)), b)
		ADDQ(Imm(uint64(steps*step)), b3)
	}

	Label("four")
	MOVQ(query, a)
	MOVQ(first, b)
	LEAQ(Mem{Base: first, Index: ahead, Scale: 1}, p)
	LEAQ(Mem{Base: first, Index: at3, Scale: 1}, b3)
	LEAQ(Mem{Base: first, Index: stride, Scale: 4}, first)
	for r := range rows {
		s.zero(s.v(r))
	}
	MOVQ(n, k)
	SUBQ(Imm(64), k)
	JL(LabelRef("short"))
	Label("line")
	for i := range 64 / step {
		words(i)
	}
	next(64 / step)
	SUBQ(Imm(64), k)
	JGE(LabelRef("line"))
	Label("short")
	ADDQ(Imm(64), k)
	JZ(LabelRef("reduce"))
	Label("step")
	words(0)
	next(1)
	SUBQ(Imm(uint64(step)), k)
	JNZ(LabelRef("step"))
	Label("reduce")
	if s.wide {
		for r := range rows {
			VEXTRACTI64X4(Imm(1), s.v(r), lowY(rows+r))
			VPADDD(lowY(rows+r), lowY(r), lowY(r))
		}
	}
	VPHADDD(Y1, Y0, Y0)
	VPHADDD(Y3, Y2, Y2)
	VPHADDD(Y2, Y0, Y0)
	VEXTRACTI128(Imm(1), Y0, X1)
	VPADDD(X1, X0, X0)
	VMOVDQU(X0, at(dst, 0))
	ADDQ(Imm(16), dst)
	DECQ(fours)
	JNZ(LabelRef("four"))
	VZEROUPPER()
	RET()
}

// codeDotLong has one row at a time, so that memory is read in order: what rows in
// step save doesn't count where a row is long.
func (s set) codeDotLong() {
	const sums = 4
	TEXT("codeDotLong", NOSPLIT, "func(dst *int32, query *int16, rows *int8, stride, count, n, ahead int)")
	Doc("codeDotLong does n codes of each of count rows, prefetching so many bytes ahead.")
	Pragma("noescape")
	dst, query, first := load(Param("dst")), load(Param("query")), load(Param("rows"))
	stride, count, n, ahead := load(Param("stride")), load(Param("count")), load(Param("n")), load(Param("ahead"))
	step := 2 * s.floats
	a, b, k := GP64(), GP64(), GP64()
	words := func(i int) {
		x := s.v(sums + i%sums)
		VPMOVSXBW(at(b, i*step), x)
		VPMADDWD(at(a, 2*i*step), x, x)
		VPADDD(x, s.v(i%sums), s.v(i%sums))
	}
	Label("row")
	MOVQ(query, a)
	MOVQ(first, b)
	ADDQ(stride, first)
	for i := range sums {
		s.zero(s.v(i))
	}
	MOVQ(n, k)
	SUBQ(Imm(128), k)
	JL(LabelRef("short"))
	Label("lines")
	for i := range 128 / step {
		words(i)
	}
	PREFETCHT0(Mem{Base: b, Index: ahead, Scale: 1})
	PREFETCHT0(Mem{Base: b, Index: ahead, Scale: 1, Disp: 64})
	ADDQ(U32(256), a)
	ADDQ(U32(128), b)
	SUBQ(Imm(128), k)
	JGE(LabelRef("lines"))
	Label("short")
	ADDQ(Imm(128), k)
	JZ(LabelRef("reduce"))
	PREFETCHT0(Mem{Base: b, Index: ahead, Scale: 1})
	Label("step")
	words(0)
	ADDQ(U32(uint32(2*step)), a)
	ADDQ(Imm(uint64(step)), b)
	SUBQ(Imm(uint64(step)), k)
	JNZ(LabelRef("step"))
	Label("reduce")
	VPADDD(s.v(1), s.v(0), s.v(0))
	VPADDD(s.v(3), s.v(2), s.v(2))
	VPADDD(s.v(2), s.v(0), s.v(0))
	if s.wide {
		VEXTRACTI64X4(Imm(1), Z0, Y1)
		VPADDD(Y1, Y0, Y0)
	}
	VEXTRACTI128(Imm(1), Y0, X1)
	VPADDD(X1, X0, X0)
	VPSHUFD(Imm(0xee), X0, X1)
	VPADDD(X1, X0, X0)
	VPSHUFD(Imm(0x55), X0, X1)
	VPADDD(X1, X0, X0)
	VMOVD(X0, at(dst, 0))
	ADDQ(Imm(4), dst)
	DECQ(count)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// loadWords loads a vector of integers.
func (s set) loadWords(m Mem, r VecPhysical) {
	if s.wide {
		VMOVDQU32(m, r)
	} else {
		VMOVDQU(m, r)
	}
}

// codeSelect has a vector of rows at a time.
func (s set) codeSelect() {
	const notLess = 0x15 // or unordered, quiet
	TEXT("codeSelect", NOSPLIT, "func(hits *uint32, sums *int32, scale, err, offset, bound *float32, n int) int")
	Doc("codeSelect is kernel.CodeSelect for n rows, whole vectors of them.")
	Pragma("noescape")
	start, p := load(Param("hits")), load(Param("sums"))
	scale, err, offset := load(Param("scale")), load(Param("err")), load(Param("offset"))
	bound, n := load(Param("bound")), load(Param("n"))
	out, index, bits, rest := GP64(), GP64(), GP64(), GP64()
	MOVQ(start, out)
	XORQ(index, index)
	unit, base, slope, limit := s.v(0), s.v(1), s.v(2), s.v(3)
	for i, r := range []VecPhysical{unit, base, slope, limit} {
		VBROADCASTSS(at(bound, 4*i), r)
	}
	x, y := s.v(4), s.v(5)
	column := func(p Register) Mem { return Mem{Base: p, Index: index, Scale: 4} }
	Label("rows")
	VCVTDQ2PS(column(p), x)
	VMULPS(unit, x, x)
	VADDPS(base, x, x)
	VMULPS(column(scale), x, x)
	VMULPS(column(err), slope, y)
	VADDPS(y, x, x)
	VADDPS(column(offset), x, x)
	if s.wide {
		VCMPPS(Imm(notLess), limit, x, K1)
		KMOVW(K1, bits.As32())
	} else {
		VCMPPS(Imm(notLess), limit, x, x)
		VMOVMSKPS(x, bits.As32())
	}
	TESTL(bits.As32(), bits.As32())
	JZ(LabelRef("next"))
	Label("hit")
	BSFL(bits.As32(), rest.As32())
	ADDQ(index, rest)
	MOVL(rest.As32(), at(out, 0))
	ADDQ(Imm(4), out)
	LEAL(at(bits, -1), rest.As32())
	ANDL(rest.As32(), bits.As32())
	JNZ(LabelRef("hit"))
	Label("next")
	ADDQ(Imm(uint64(s.floats)), index)
	SUBQ(Imm(uint64(s.floats)), n)
	JNZ(LabelRef("rows"))
	SUBQ(start, out)
	SHRQ(Imm(2), out)
	Store(out, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// largest compares magnitudes as integers, which puts a NaN above all.
func (s set) largest() {
	TEXT("largest", NOSPLIT, "func(row *float32, n int) uint32")
	Doc("largest is purego.Largest of n components, whole vectors of them.")
	Pragma("noescape")
	p, n := load(Param("row")), load(Param("n"))
	all, most, x := s.v(0), s.v(1), s.v(2)
	s.zero(most)
	bits := GP32()
	MOVL(U32(0x7fffffff), bits)
	VMOVD(bits, X0)
	VPBROADCASTD(X0, all)
	Label("components")
	if s.wide {
		VPANDD(at(p, 0), all, x)
	} else {
		VPAND(at(p, 0), all, x)
	}
	VPMAXUD(x, most, most)
	ADDQ(Imm(uint64(s.bytes())), p)
	SUBQ(Imm(uint64(s.floats)), n)
	JNZ(LabelRef("components"))
	if s.wide {
		VEXTRACTI64X4(Imm(1), Z1, Y2)
		VPMAXUD(Y2, Y1, Y1)
	}
	VEXTRACTI128(Imm(1), Y1, X2)
	VPMAXUD(X2, X1, X1)
	VPSHUFD(Imm(0xee), X1, X2)
	VPMAXUD(X2, X1, X1)
	VPSHUFD(Imm(0x55), X1, X2)
	VPMAXUD(X2, X1, X1)
	VMOVD(X1, bits)
	Store(bits, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// quantise rounds as the processor does by default, to even.
func (s set) quantise() {
	TEXT("quantise", NOSPLIT, "func(codes *int8, left, row *float32, scale float32, n int)")
	Doc("quantise is purego.Quantise of n components, whole vectors of them.")
	Pragma("noescape")
	codes, left, p, n := load(Param("codes")), load(Param("left")), load(Param("row")), load(Param("n"))
	scale, x, c, f := s.v(0), s.v(1), s.v(2), s.v(3)
	VBROADCASTSS(NewParamAddr("scale", 24), scale)
	Label("components")
	VMOVUPS(at(p, 0), x)
	VDIVPS(scale, x, c)
	VCVTPS2DQ(c, c)
	VCVTDQ2PS(c, f)
	VMULPS(scale, f, f)
	VSUBPS(f, x, x)
	VMOVUPS(x, at(left, 0))
	if s.wide {
		VPMOVDB(c, X4)
		VMOVDQU(X4, at(codes, 0))
	} else {
		VEXTRACTI128(Imm(1), Y2, X4)
		VPACKSSDW(X4, X2, X2)
		VPACKSSWB(X2, X2, X2)
		VMOVQ(X2, at(codes, 0))
	}
	ADDQ(Imm(uint64(s.floats)), codes)
	ADDQ(Imm(uint64(s.bytes())), left)
	ADDQ(Imm(uint64(s.bytes())), p)
	SUBQ(Imm(uint64(s.floats)), n)
	JNZ(LabelRef("components"))
	VZEROUPPER()
	RET()
}

// decode widens a vector of codes at a time.
func (s set) decode() {
	TEXT("decode", NOSPLIT, "func(dst *float32, codes *int8, scale float32, n int)")
	Doc("decode is purego.Decode of n components, whole vectors of them.")
	Pragma("noescape")
	dst, codes, n := load(Param("dst")), load(Param("codes")), load(Param("n"))
	VBROADCASTSS(NewParamAddr("scale", 16), s.v(0))
	Label("components")
	VPMOVSXBD(at(codes, 0), s.v(1))
	VCVTDQ2PS(s.v(1), s.v(1))
	VMULPS(s.v(0), s.v(1), s.v(1))
	VMOVUPS(s.v(1), at(dst, 0))
	ADDQ(Imm(uint64(s.floats)), codes)
	ADDQ(Imm(uint64(s.bytes())), dst)
	SUBQ(Imm(uint64(s.floats)), n)
	JNZ(LabelRef("components"))
	VZEROUPPER()
	RET()
}
