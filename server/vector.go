package server

import (
	"encoding/binary"
	"math"
	"unsafe"

	engramv1 "engram/proto/engram/v1"
)

// littleEndian tells whether a float32 lies in this machine's memory as on the wire.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// components gives the components of a vector, nil if none are set. Both forms at once,
// and bytes that make no whole number of components, are violations.
func components(v *violations, field string, p *engramv1.Vector) []float32 {
	switch {
	case len(p.GetF32()) == 0:
		return p.GetValues()
	case len(p.Values) > 0:
		v.add(field, "has both values and f32; set one")
		return nil
	case len(p.F32)%4 != 0:
		v.add(field, "has f32 of %d bytes, not a multiple of four", len(p.F32))
		return nil
	}
	return floats(p.F32)
}

// floats reads little-endian float32s, in place where the machine allows.
func floats(b []byte) []float32 {
	if first := unsafe.Pointer(unsafe.SliceData(b)); littleEndian && uintptr(first)%4 == 0 {
		return unsafe.Slice((*float32)(first), len(b)/4)
	}
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

// littleBytes writes float32s as little-endian bytes, in place where the machine allows.
func littleBytes(v []float32) []byte {
	if len(v) == 0 {
		return nil
	}
	if littleEndian {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
	}
	out := make([]byte, 0, 4*len(v))
	for _, x := range v {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	return out
}

// vectorProto writes a vector in the form asked for. It aliases v, which must not be a slab's.
func vectorProto(v []float32, form engramv1.VectorForm) *engramv1.Vector {
	if v == nil {
		return nil
	}
	if form == engramv1.VectorForm_VECTOR_FORM_F32 {
		return &engramv1.Vector{F32: littleBytes(v)}
	}
	return &engramv1.Vector{Values: v}
}
