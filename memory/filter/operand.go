package filter

import (
	"encoding/binary"
	"math"
)

// An Operand is what records are told apart by: what stands at a path of their metadata, as
// in a Condition, or a field that holds a string.
type Operand struct {
	Field Field // FieldMetadata: what stands at Path
	Path  []string
}

// Validate reports everything wrong with the operand, below a path of the API's fields.
func (o *Operand) Validate(limits Limits, path string) []Violation {
	v := validation{limits: limits}
	if o.Field == FieldMetadata {
		v.path(o.Path, path+".metadata.keys")
	} else if o.Field.kind() != KindString {
		v.add(path+".field", "is %v, which is not a string", o.Field)
	}
	return v.found
}

// AppendValue appends to dst what the operand is in a record, in a form that is the same for
// what is equal and no other: values of different kinds never are, null is one, and
// arrays and objects are equal as wholes. ok is false where the record lacks it.
func (o *Operand) AppendValue(dst []byte, r *Fields) (_ []byte, ok bool) {
	if o.Field != FieldMetadata {
		s, ok := r.scalar(o.Field)
		return append(dst, s.S...), ok
	}
	v, ok := lookup(r.Metadata, o.Path)
	if !ok || v.kind == valueUnset {
		return dst, false
	}
	dst = append(dst, byte(v.kind))
	switch v.kind {
	case valueNumber:
		if math.Float64frombits(v.bits) == 0 {
			v.bits = 0 // of −0, too
		}
		return binary.LittleEndian.AppendUint64(dst, v.bits), true
	case valueBool:
		return append(dst, byte(v.bits)), true
	}
	return append(dst, v.data...), true
}
