package filter

import (
	"math"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// The shape of google.protobuf.Struct on the wire:
//
//	Struct    1: Entry, repeated
//	Entry     1: key string   2: Value
//	Value     1: null varint  2: number fixed64  3: string  4: bool varint  5: Struct  6: List
//	List      1: Value, repeated
//
// What is read here is what EncodeMetadata wrote, but any bytes are safe: an object or
// array ends where its bytes stop making sense, or where its keys stop ascending, and
// every reader in this package goes through the same two functions, so that tests and
// indexes agree even then.

// valueKind is what a Value holds: its field number.
type valueKind uint8

const (
	valueUnset  valueKind = 0
	valueNull   valueKind = 1
	valueNumber valueKind = 2
	valueString valueKind = 3
	valueBool   valueKind = 4
	valueStruct valueKind = 5
	valueList   valueKind = 6
)

// value is one Value, aliasing the bytes that it was read from.
type value struct {
	kind valueKind
	bits uint64 // of a number or bool
	data []byte // of a string, struct or list
}

// scalar gives a string, number or bool as a Scalar that aliases the metadata; ok is
// false for everything else.
func (v value) scalar() (s Scalar, ok bool) {
	switch v.kind {
	case valueString:
		return String(text(v.data)), true
	case valueNumber:
		n := math.Float64frombits(v.bits)
		return Number(n), !math.IsNaN(n) // which CheckMetadata keeps out, and has no order
	case valueBool:
		return Bool(v.bits != 0), true
	}
	return Scalar{}, false
}

// text views bytes as a string without a copy.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// object walks the entries of a Struct.
type object struct {
	rest  []byte
	key   []byte
	value []byte
	begun bool
}

// next moves to the next entry, and is false at the end.
func (o *object) next() bool {
	entry, rest, ok := nextMessage(o.rest)
	if !ok {
		return false
	}
	o.rest = rest
	var key, value []byte
	for len(entry) > 0 {
		num, data, rest, ok := nextBytes(entry)
		if !ok {
			return false
		}
		switch entry = rest; num {
		case 1:
			key = data
		case 2:
			value = data
		}
	}
	if o.begun && text(key) <= text(o.key) {
		o.rest = nil
		return false
	}
	o.begun, o.key, o.value = true, key, value
	return true
}

// nextMessage takes the next member of a message whose only field is number 1, repeated.
func nextMessage(b []byte) (data, rest []byte, ok bool) {
	num, data, rest, ok := nextBytes(b)
	return data, rest, ok && num == 1
}

// nextBytes takes the next field if it is length-delimited.
func nextBytes(b []byte) (num protowire.Number, data, rest []byte, ok bool) {
	// Tags and lengths below 128 are all that real metadata has.
	if len(b) >= 2 && b[0] < 0x80 && b[0]&7 == byte(protowire.BytesType) && b[0] >= 8 && b[1] < 0x80 {
		if end := 2 + int(b[1]); end <= len(b) {
			return protowire.Number(b[0] >> 3), b[2:end], b[end:], true
		}
		return 0, nil, nil, false
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || typ != protowire.BytesType {
		return 0, nil, nil, false
	}
	data, m := protowire.ConsumeBytes(b[n:])
	if m < 0 {
		return 0, nil, nil, false
	}
	return num, data, b[n+m:], true
}

// parseValue reads a Value's first field.
func parseValue(b []byte) value {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return value{}
	}
	switch b = b[n:]; {
	case (num == 1 || num == 4) && typ == protowire.VarintType:
		if bits, m := protowire.ConsumeVarint(b); m > 0 {
			return value{kind: valueKind(num), bits: bits}
		}
	case num == 2 && typ == protowire.Fixed64Type:
		if bits, m := protowire.ConsumeFixed64(b); m > 0 {
			return value{kind: valueNumber, bits: bits}
		}
	case (num == 3 || num == 5 || num == 6) && typ == protowire.BytesType:
		if data, m := protowire.ConsumeBytes(b); m > 0 {
			return value{kind: valueKind(num), data: data}
		}
	}
	return value{}
}

// lookup finds what stands at a path.
func lookup(metadata []byte, path []string) (v value, ok bool) {
	data := metadata
	for i, want := range path {
		o := object{rest: data}
		for {
			if !o.next() {
				return value{}, false
			}
			if key := text(o.key); key >= want {
				if key > want {
					return value{}, false
				}
				break
			}
		}
		v = parseValue(o.value)
		if i+1 < len(path) && v.kind != valueStruct {
			return value{}, false
		}
		data = v.data
	}
	return v, true
}
