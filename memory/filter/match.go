package filter

import (
	"math"
	"slices"
	"strings"
)

// Match tells whether the filter, which must be valid, lets a record through.
func (f *Filter) Match(r *Fields) bool {
	switch {
	case f == nil:
		return true
	case f.Cond != nil:
		return f.Cond.match(r)
	case f.Not != nil:
		return !f.Not.Match(r)
	case f.Any != nil:
		return matchAny(f.Any, r)
	default:
		return matchAll(f.All, r)
	}
}

func matchAll(filters []*Filter, r *Fields) bool {
	for _, f := range filters {
		if !f.Match(r) {
			return false
		}
	}
	return true
}

func matchAny(filters []*Filter, r *Fields) bool {
	for _, f := range filters {
		if f.Match(r) {
			return true
		}
	}
	return false
}

func (c *Condition) match(r *Fields) bool {
	if c.Field != FieldMetadata {
		s, ok := r.scalar(c.Field)
		if c.Op == OpExists {
			return ok == c.Exists
		}
		return ok && c.matchScalar(s)
	}
	v, ok := lookup(r.Metadata, c.Path)
	if c.Op == OpExists {
		return ok == c.Exists
	}
	if !ok {
		return false
	}
	if v.kind == valueList {
		return c.matchList(v.data)
	}
	s, ok := v.scalar()
	return ok && c.matchScalar(s)
}

// scalar gives a field's content; ok is false where the record lacks it.
func (r *Fields) scalar(field Field) (s Scalar, ok bool) {
	switch field {
	case FieldID:
		return String(r.ID), true
	case FieldText:
		return String(r.Text), r.Text != ""
	case FieldSession:
		return String(r.Session), r.Session != ""
	case FieldSpeaker:
		return String(r.Speaker), r.Speaker != ""
	case FieldTime:
		return Time(r.Time), true
	case FieldCreateTime:
		return Time(r.CreateTime), true
	case FieldUpdateTime:
		return Time(r.UpdateTime), true
	default:
		n := float64(r.Importance)
		return Number(n), !math.IsNaN(n)
	}
}

// operand is a scalar as it compares with the condition's field: against importance, a
// number is rounded to float32, so that the 0.3 that was stored equals the 0.3 asked for.
func (c *Condition) operand(s Scalar) Scalar {
	if c.Field == FieldImportance {
		s.N = float64(float32(s.N))
	}
	return s
}

func (c *Condition) matchList(list []byte) bool {
	for {
		data, rest, ok := nextMessage(list)
		if !ok {
			return false
		}
		list = rest
		s, ok := parseValue(data).scalar()
		if !ok {
			continue
		}
		if c.Op == OpContains { // of an array: an element, not a part of one
			if s.compare(c.Values[0]) == 0 {
				return true
			}
		} else if c.matchScalar(s) {
			return true
		}
	}
}

func (c *Condition) matchScalar(s Scalar) bool {
	switch c.Op {
	case OpEquals:
		return s.compare(c.operand(c.Values[0])) == 0
	case OpIn:
		return c.in(s)
	case OpRange:
		return c.inRange(s)
	case OpContains:
		return s.Kind == KindString && c.Values[0].Kind == KindString && strings.Contains(s.S, c.Values[0].S)
	case OpPrefix:
		return s.Kind == KindString && strings.HasPrefix(s.S, c.Values[0].S)
	}
	return false
}

func (c *Condition) in(s Scalar) bool {
	if !c.ordered || len(c.Values) < 8 {
		for i := range c.Values {
			if c.operand(c.Values[i]).compare(s) == 0 {
				return true
			}
		}
		return false
	}
	// Rounding keeps order, so the rounded operands ascend too.
	_, found := slices.BinarySearchFunc(c.Values, s, func(v, s Scalar) int { return c.operand(v).compare(s) })
	return found
}

func (c *Condition) inRange(s Scalar) bool {
	above := func(b *Scalar, atLeast int) bool {
		return b.Kind == 0 || b.Kind == s.Kind && s.compare(c.operand(*b)) >= atLeast
	}
	below := func(b *Scalar, atMost int) bool {
		return b.Kind == 0 || b.Kind == s.Kind && s.compare(c.operand(*b)) <= atMost
	}
	r := &c.Range
	return above(&r.Gt, 1) && above(&r.Gte, 0) && below(&r.Lt, -1) && below(&r.Lte, 0)
}
