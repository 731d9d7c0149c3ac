package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// The error function's coefficients, highest first, as in package purego.
var (
	erfP = []float32{-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05, -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02}
	erfQ = []float32{-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02}
)

var floats = map[float32]Mem{}

// float is a vector of 16 copies of x in memory, enough for either set.
func float(x float32) Mem {
	m, ok := floats[x]
	if !ok {
		m = GLOBL(fmt.Sprintf("s%08x", math.Float32bits(x)), RODATA|NOPTR)
		for i := range 16 {
			DATA(i*4, U32(math.Float32bits(x)))
		}
		floats[x] = m
	}
	return m
}

// panelFinish writes PanelBias, PanelResidual or PanelGELU, row after row.
func (s set) panelFinish(name string) {
	TEXT(name, NOSPLIT, "func(dst []float32, stride int, sums, bias []float32, n int)")
	Doc(fmt.Sprintf("%s is kernel.%s.", name, name))
	Pragma("noescape")
	dst, stride := load(Param("dst").Base()), load(Param("stride"))
	sums, bias, n := load(Param("sums").Base()), load(Param("bias").Base()), load(Param("n"))
	SHLQ(Imm(2), stride)
	b, v := [2]int{0, 1}, [2]int{2, 3}
	each := func(f func(i int)) { f(0); f(1) }
	each(func(i int) { VMOVUPS(at(bias, i*s.bytes()), s.v(b[i])) })
	Label("row")
	each(func(i int) { VADDPS(at(sums, i*s.bytes()), s.v(b[i]), s.v(v[i])) })
	switch name {
	case "PanelResidual":
		each(func(i int) { VADDPS(at(dst, i*s.bytes()), s.v(v[i]), s.v(v[i])) })
	case "PanelGELU":
		s.gelu(v)
	}
	each(func(i int) { VMOVUPS(s.v(v[i]), at(dst, i*s.bytes())) })
	ADDQ(U32(uint32(2*s.bytes())), sums)
	ADDQ(stride, dst)
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// gelu sets two vectors to ½v·(1 + erf(v/√2)). It uses registers 4 to 11.
func (s set) gelu(v [2]int) {
	x, z, p, q := [2]int{4, 5}, [2]int{6, 7}, [2]int{8, 9}, [2]int{10, 11}
	each := func(f func(i int)) { f(0); f(1) }
	each(func(i int) {
		VMULPS(float(1/math.Sqrt2), s.v(v[i]), s.v(x[i]))
		VMAXPS(float(-4), s.v(x[i]), s.v(x[i]))
		VMINPS(float(4), s.v(x[i]), s.v(x[i]))
		VMULPS(s.v(x[i]), s.v(x[i]), s.v(z[i]))
	})
	horner := func(r [2]int, c []float32) {
		each(func(i int) { VMOVUPS(float(c[0]), s.v(r[i])) })
		for _, c := range c[1:] {
			each(func(i int) { VFMADD213PS(float(c), s.v(z[i]), s.v(r[i])) })
		}
	}
	horner(p, erfP)
	horner(q, erfQ)
	each(func(i int) { VMULPS(s.v(x[i]), s.v(p[i]), s.v(p[i])) })
	each(func(i int) { VDIVPS(s.v(q[i]), s.v(p[i]), s.v(p[i])) })
	each(func(i int) { VMULPS(float(0.5), s.v(v[i]), s.v(v[i])) })
	each(func(i int) { VFMADD213PS(s.v(v[i]), s.v(p[i]), s.v(v[i])) }) // v·p + v
}
