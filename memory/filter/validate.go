package filter

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Limits bound a filter. All are inclusive.
type Limits struct {
	Nodes  int // Filters in the tree
	Depth  int // Filters from the root to a leaf
	Values int // operands of one OpIn
	Keys   int // keys of one path
}

// DefaultLimits are the ones that the API documents.
func DefaultLimits() Limits { return Limits{Nodes: 128, Depth: 8, Values: 1000, Keys: 16} }

// Violation is one thing wrong: where, as a path of the API's field names, and why.
type Violation struct{ Path, Reason string }

// Validate reports everything wrong with the tree, below "filter". It also puts the
// operands of each OpIn in order, so a filter is validated before it is shared.
func (f *Filter) Validate(limits Limits) []Violation {
	if f == nil {
		return nil
	}
	v := validation{limits: limits}
	v.filter(f, "filter", 1)
	if v.nodes > limits.Nodes {
		reason := fmt.Sprintf("has %d nodes or more; at most %d are allowed", v.nodes, limits.Nodes)
		v.found = append(v.found, Violation{"filter", reason})
	}
	return v.found
}

type validation struct {
	limits Limits
	nodes  int
	found  []Violation
}

// add notes a violation, unless there are too many nodes already to look into each.
func (v *validation) add(path, format string, args ...any) {
	if v.nodes > v.limits.Nodes {
		return
	}
	v.found = append(v.found, Violation{path, fmt.Sprintf(format, args...)})
}

// filter checks the node at a path. Nothing below the deepest level is visited.
func (v *validation) filter(f *Filter, path string, depth int) {
	v.nodes++
	if depth > v.limits.Depth {
		v.add(path, "is nested %d deep; at most %d is allowed", depth, v.limits.Depth)
		return
	}
	if f == nil {
		v.add(path, "is empty; set one of all, any, not and condition")
		return
	}
	set := 0
	list := func(filters []*Filter, path string) {
		if filters == nil {
			return
		}
		set++
		if len(filters) == 0 {
			v.add(path, "is empty; give at least one filter")
		}
		for i, f := range filters {
			v.filter(f, fmt.Sprintf("%s.filters[%d]", path, i), depth+1)
		}
	}
	list(f.All, path+".all")
	list(f.Any, path+".any")
	if f.Not != nil {
		set++
		v.filter(f.Not, path+".not", depth+1)
	}
	if f.Cond != nil {
		set++
		if v.nodes <= v.limits.Nodes {
			v.condition(f.Cond, path+".condition")
		}
	}
	if set != 1 {
		v.add(path, "has %d of all, any, not and condition; set exactly one", set)
	}
}

func (v *validation) condition(c *Condition, path string) {
	switch {
	case c.Field >= fields:
		v.add(path+".field", "%d is no field", c.Field)
	case c.Field != FieldMetadata && len(c.Path) > 0:
		v.add(path, "has both a field and a metadata path; set exactly one")
	case c.Field == FieldMetadata:
		v.path(c.Path, path+".metadata.keys")
	}
	switch c.Op {
	case OpEquals:
		v.one(c, path+".equals")
	case OpIn:
		v.in(c, path+".in.values")
	case OpRange:
		v.bounds(c, path+".range")
	case OpContains:
		v.strings(c, path+".contains")
		v.one(c, path+".contains")
	case OpPrefix:
		v.strings(c, path+".prefix")
		if v.one(c, path+".prefix") && c.Values[0].Kind != KindString {
			v.add(path+".prefix", "is a %v; a prefix is a string", c.Values[0].Kind)
		}
	case OpExists:
		if len(c.Values) > 0 {
			v.add(path+".exists", "has %d operands; it takes none", len(c.Values))
		}
	default:
		v.add(path, "has no test; set one of equals, in, range, contains, prefix and exists")
	}
}

func (v *validation) path(keys []string, path string) {
	if len(keys) == 0 || len(keys) > v.limits.Keys {
		v.add(path, "has %d keys; give 1 to %d", len(keys), v.limits.Keys)
		return
	}
	for i, key := range keys {
		if key == "" {
			v.add(fmt.Sprintf("%s[%d]", path, i), "is empty")
		}
	}
}

// strings objects to a test of strings on a field that holds none.
func (v *validation) strings(c *Condition, path string) {
	if k := c.Field.kind(); k == KindTime || k == KindNumber {
		v.add(path, "is not for %v, which is a %v", c.Field, k)
	}
}

// one checks the single operand and tells whether there is one.
func (v *validation) one(c *Condition, path string) bool {
	if len(c.Values) != 1 {
		v.add(path, "has %d operands; it takes one", len(c.Values))
		return false
	}
	v.operand(c.Field, c.Values[0], path)
	return true
}

func (v *validation) in(c *Condition, path string) {
	if n := len(c.Values); n == 0 || n > v.limits.Values {
		v.add(path, "has %d values; give 1 to %d", n, v.limits.Values)
		return
	}
	for i, s := range c.Values {
		v.operand(c.Field, s, fmt.Sprintf("%s[%d]", path, i))
	}
	c.Values = ordered(c.Values)
	c.ordered = true
}

func (v *validation) bounds(c *Condition, path string) {
	r := &c.Range
	var first *bound
	for _, b := range r.bounds() {
		switch {
		case b.Kind == 0:
		case b.Kind == KindBool:
			v.add(path+"."+b.name, "is a bool; bools have no order")
		case first != nil && b.Kind != first.Kind:
			v.add(path+"."+b.name, "is a %v and %s is a %v; bounds are of one type", b.Kind, first.name, first.Kind)
		default:
			v.operand(c.Field, b.Scalar, path+"."+b.name)
		}
		if first == nil && b.Kind != 0 {
			first = &b
		}
	}
	if first == nil {
		v.add(path, "has no bound; set at least one of gt, gte, lt and lte")
	}
	if r.Gt.Kind != 0 && r.Gte.Kind != 0 {
		v.add(path, "has both gt and gte; set one")
	}
	if r.Lt.Kind != 0 && r.Lte.Kind != 0 {
		v.add(path, "has both lt and lte; set one")
	}
}

// operand checks that a scalar can be compared with a field.
func (v *validation) operand(field Field, s Scalar, path string) {
	want := field.kind()
	switch {
	case s.Kind == 0 || s.Kind > KindTime:
		v.add(path, "is not set to a string, number or bool")
	case want != 0 && s.Kind != want:
		v.add(path, "is a %v; %v is a %v", s.Kind, field, want)
	case want == 0 && s.Kind == KindTime:
		v.add(path, "is a time; metadata holds strings, numbers and bools")
	case s.Kind == KindNumber && (math.IsNaN(s.N) || math.IsInf(s.N, 0)):
		v.add(path, "is %v; numbers must be finite", s.N)
	}
}

// ordered gives the distinct scalars, ascending; the argument stays as it is.
func ordered(values []Scalar) []Scalar {
	values = slices.Clone(values)
	slices.SortFunc(values, Scalar.compare)
	return slices.CompactFunc(values, func(a, b Scalar) bool { return a.compare(b) == 0 })
}

// compare orders scalars by kind, then by value. NaN doesn't occur and −0 equals 0.
func (s Scalar) compare(t Scalar) int {
	if s.Kind != t.Kind {
		return cmp.Compare(s.Kind, t.Kind)
	}
	switch s.Kind {
	case KindString:
		return strings.Compare(s.S, t.S)
	case KindNumber:
		return cmp.Compare(s.N, t.N)
	case KindTime:
		return cmp.Compare(s.T, t.T)
	case KindBool:
		if s.B != t.B {
			if t.B {
				return -1
			}
			return 1
		}
	}
	return 0
}
