package filter

import (
	"encoding/binary"
	"math"
)

// AppendCanonical appends bytes that are equal for two valid filters if and only if they
// are the same tree with the same operands (those of OpIn in any order), in this version
// and later ones: a hash of them ties a page token to its filter.
//
//	node      = 'A' | 'O' count node…   all, any
//	          | 'N' node                not
//	          | 'C' field [count string…] op operands
//	          | 0                       no filter
//	operands  = scalar                  equals, contains, prefix
//	          | count scalar…           in, ascending
//	          | set scalar…             range: bits 0–3 of set for gt, gte, lt, lte
//	          | bool                    exists
//	scalar    = kind (string | 8 bytes of float64 or int64, big-endian | bool)
//	string    = length bytes
//
// Counts and lengths are uvarints.
func (f *Filter) AppendCanonical(b []byte) []byte {
	switch {
	case f == nil:
		return append(b, 0)
	case f.Not != nil:
		return f.Not.AppendCanonical(append(b, 'N'))
	case f.Cond != nil:
		return f.Cond.appendCanonical(append(b, 'C'))
	case f.Any != nil:
		return appendNodes(append(b, 'O'), f.Any)
	default:
		return appendNodes(append(b, 'A'), f.All)
	}
}

func appendNodes(b []byte, filters []*Filter) []byte {
	b = binary.AppendUvarint(b, uint64(len(filters)))
	for _, f := range filters {
		b = f.AppendCanonical(b)
	}
	return b
}

func (c *Condition) appendCanonical(b []byte) []byte {
	b = append(b, byte(c.Field))
	if c.Field == FieldMetadata {
		b = binary.AppendUvarint(b, uint64(len(c.Path)))
		b = appendPath(b, c.Path)
	}
	b = append(b, byte(c.Op))
	switch c.Op {
	case OpIn:
		values := c.Values
		if !c.ordered {
			values = ordered(values)
		}
		b = binary.AppendUvarint(b, uint64(len(values)))
		for _, s := range values {
			b = s.appendCanonical(b)
		}
	case OpRange:
		set := len(b)
		b = append(b, 0)
		for i, bound := range c.Range.bounds() {
			if bound.Kind != 0 {
				b[set] |= 1 << i
				b = bound.appendCanonical(b)
			}
		}
	case OpExists:
		b = append(b, bit(c.Exists))
	default:
		for _, s := range c.Values {
			b = s.appendCanonical(b)
		}
	}
	return b
}

func (s Scalar) appendCanonical(b []byte) []byte {
	b = append(b, byte(s.Kind))
	switch s.Kind {
	case KindString:
		b = appendString(b, s.S)
	case KindNumber:
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(s.N+0)) // −0 + 0 is 0
	case KindTime:
		b = binary.BigEndian.AppendUint64(b, uint64(s.T))
	case KindBool:
		b = append(b, bit(s.B))
	}
	return b
}

// appendPath appends a path so that no two paths give the same bytes, whatever the keys.
func appendPath(b []byte, path []string) []byte {
	for _, key := range path {
		b = appendString(b, key)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}
