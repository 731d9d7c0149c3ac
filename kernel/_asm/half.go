package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// halfAhead is how many bytes of numbers of 16 bits are prefetched ahead: what is
// decoded is used before the next call, and memory shouldn't wait for that.
const halfAhead = 8192

// halves is how many numbers of 16 bits are done at a time.
const halves = 16

// half writes the functions between float32 and the two forms of 16 bits.
func (s set) half() {
	s.decodeHalf("decodeF16", "DecodeF16", func(m Mem, r VecPhysical) { VCVTPH2PS(m, r) })
	s.decodeHalf("decodeBF16", "DecodeBF16", func(m Mem, r VecPhysical) {
		VPMOVZXWD(m, r)
		VPSLLD(Imm(16), r, r)
	})
	s.encodeF16()
	s.encodeBF16()
}

// halfLoop begins a function that takes halves components at a time.
func (s set) halfLoop(name, of, sig string) (dst, src, n Register) {
	TEXT(name, NOSPLIT, sig)
	Doc(name + " is purego." + of + " of n components, whole sixteens of them.")
	Pragma("noescape")
	return load(Param("dst")), load(Param("src")), load(Param("n"))
}

// halfNext goes on to the next components, and ends.
func (s set) halfNext(dst, src, n Register, dstBytes, srcBytes int) {
	ADDQ(Imm(uint64(srcBytes*halves)), src)
	ADDQ(Imm(uint64(dstBytes*halves)), dst)
	SUBQ(Imm(halves), n)
	JNZ(LabelRef("components"))
	VZEROUPPER()
	RET()
}

func (s set) decodeHalf(name, of string, widen func(Mem, VecPhysical)) {
	dst, src, n := s.halfLoop(name, of, "func(dst *float32, src *uint16, n int)")
	Label("components")
	PREFETCHT0(at(src, halfAhead))
	for i := 0; i < halves; i += s.floats {
		r := s.v(i / s.floats)
		widen(at(src, 2*i), r)
		VMOVUPS(r, at(dst, 4*i))
	}
	s.halfNext(dst, src, n, 4, 2)
}

func (s set) encodeF16() {
	dst, src, n := s.halfLoop("encodeF16", "EncodeF16", "func(dst *uint16, src *float32, n int)")
	Label("components")
	for i := 0; i < halves; i += s.floats {
		r := s.v(i / s.floats)
		VMOVUPS(at(src, 4*i), r)
		VCVTPS2PH(Imm(0), r, at(dst, 2*i)) // to nearest, ties to even
	}
	s.halfNext(dst, src, n, 2, 4)
}

// encodeBF16 adds just below half of the last place, and that place's own bit, and cuts
// the lower 16 bits off. Of a NaN, where that could carry, it sets the quiet bit instead.
func (s set) encodeBF16() {
	dst, src, n := s.halfLoop("encodeBF16", "EncodeBF16", "func(dst *uint16, src *float32, n int)")
	one, most, quiet := s.v(5), s.v(6), s.v(7)
	bits := GP32()
	for _, c := range []struct {
		bits uint32
		low  VecPhysical
		r    VecPhysical
	}{{1, X5, one}, {0x7fff, X6, most}, {0x400000, X7, quiet}} {
		MOVL(U32(c.bits), bits)
		VMOVD(bits, c.low)
		VPBROADCASTD(c.low, c.r)
	}
	Label("components")
	for i := 0; i < halves; i += s.floats {
		x, y := s.v(i/s.floats), s.v(2+i/s.floats)
		VMOVUPS(at(src, 4*i), x)
		VPSRLD(Imm(16), x, y)
		if s.wide {
			VCMPPS(Imm(3), x, x, K1) // unordered
			VPANDD(one, y, y)
			VPADDD(x, y, y)
			VPADDD(most, y, y)
			VPORD(quiet, x, K1, y)
			VPSRLD(Imm(16), y, y)
			VPMOVDW(y, at(dst, 2*i))
			continue
		}
		nan := s.v(4)
		VCMPPS(Imm(3), x, x, nan)
		VPAND(one, y, y)
		VPADDD(x, y, y)
		VPADDD(most, y, y)
		VPOR(quiet, x, x)
		VBLENDVPS(nan, x, y, y)
		VPSRLD(Imm(16), y, y)
	}
	if !s.wide {
		VPACKUSDW(s.v(3), s.v(2), s.v(2))
		VPERMQ(Imm(0xd8), s.v(2), s.v(2))
		VMOVDQU(s.v(2), at(dst, 0))
	}
	s.halfNext(dst, src, n, 2, 4)
}
