package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// fmas is how many independent multiply-adds a turn of the peak loop holds: more
// than any processor has under way, fewer than AVX2 has registers.
const fmas = 12

// roofline writes the loops that measure the machine: one only reads, one only
// multiplies and adds.
func (s set) roofline() {
	TEXT("read"+s.suffix(), NOSPLIT, "func(p *byte, blocks int)")
	Doc("read" + s.suffix() + " loads blocks of 512 bytes.")
	Pragma("noescape")
	p, n := load(Param("p")), load(Param("blocks"))
	Label("block")
	for i := range 512 / s.bytes() {
		VMOVUPS(at(p, i*s.bytes()), s.v(i%8))
	}
	for line := range 8 {
		PREFETCHT0(at(p, 2048+64*line))
	}
	ADDQ(U32(512), p)
	DECQ(n)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()

	TEXT("multiplyAdd"+s.suffix(), NOSPLIT, "func(turns int)")
	Doc("multiplyAdd" + s.suffix() + " makes 12 independent multiply-adds of vectors a turn.")
	turns := load(Param("turns"))
	for i := range fmas + 2 {
		s.zero(s.v(i))
	}
	Label("turn")
	for i := range fmas {
		VFMADD231PS(s.v(fmas), s.v(fmas+1), s.v(i))
	}
	DECQ(turns)
	JNZ(LabelRef("turn"))
	VZEROUPPER()
	RET()
}
