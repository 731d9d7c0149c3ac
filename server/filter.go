package server

import (
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"engram/memory/filter"
	engramv1 "engram/proto/engram/v1"
)

// filterOf converts and checks a filter; nil is no filter. The violations of its parts
// stand below "filter".
func (s *Server) filterOf(v *violations, p *engramv1.Filter) *filter.Filter {
	if p == nil {
		return nil
	}
	c := filterReader{v: v, depth: s.limits.FilterDepth}
	f := c.filter(p, "filter", 1)
	if c.failed {
		return nil
	}
	limits := filter.DefaultLimits()
	limits.Nodes, limits.Depth = s.limits.FilterNodes, s.limits.FilterDepth
	for _, bad := range f.Validate(limits) {
		v.add(bad.Path, "%s", bad.Reason)
	}
	return f
}

// filterReader turns a filter of the API into the DB's. What the DB's type can't say is a
// violation here; all else is left to Validate.
type filterReader struct {
	v      *violations
	depth  int
	failed bool
}

func (c *filterReader) bad(field, format string, args ...any) {
	c.failed = true
	c.v.add(field, format, args...)
}

func (c *filterReader) filter(p *engramv1.Filter, path string, depth int) *filter.Filter {
	f := new(filter.Filter)
	if depth > c.depth {
		return f // too deep: Validate says so, without looking into it
	}
	list := func(l *engramv1.FilterList, path string) []*filter.Filter {
		out := make([]*filter.Filter, len(l.GetFilters()))
		for i, p := range l.GetFilters() {
			out[i] = c.filter(p, at(path+".filters", i), depth+1)
		}
		return out
	}
	switch n := p.GetNode().(type) {
	case *engramv1.Filter_All:
		f.All = list(n.All, path+".all")
	case *engramv1.Filter_Any:
		f.Any = list(n.Any, path+".any")
	case *engramv1.Filter_Not:
		f.Not = c.filter(n.Not, path+".not", depth+1)
	case *engramv1.Filter_Condition:
		f.Cond = c.condition(n.Condition, path+".condition")
	}
	return f
}

var filterFields = map[engramv1.Field]filter.Field{
	engramv1.Field_FIELD_ID:          filter.FieldID,
	engramv1.Field_FIELD_TEXT:        filter.FieldText,
	engramv1.Field_FIELD_SESSION:     filter.FieldSession,
	engramv1.Field_FIELD_SPEAKER:     filter.FieldSpeaker,
	engramv1.Field_FIELD_TIME:        filter.FieldTime,
	engramv1.Field_FIELD_CREATE_TIME: filter.FieldCreateTime,
	engramv1.Field_FIELD_UPDATE_TIME: filter.FieldUpdateTime,
	engramv1.Field_FIELD_IMPORTANCE:  filter.FieldImportance,
}

func (c *filterReader) condition(p *engramv1.Condition, path string) *filter.Condition {
	out := new(filter.Condition)
	isTime := false
	switch o := p.GetOperand().(type) {
	case *engramv1.Condition_Metadata:
		out.Path = o.Metadata.GetKeys()
	case *engramv1.Condition_Field:
		field, ok := filterFields[o.Field]
		if !ok {
			c.bad(path+".field", "is %v, which is no field of a record", o.Field)
		}
		out.Field = field
		isTime = field == filter.FieldTime || field == filter.FieldCreateTime || field == filter.FieldUpdateTime
	default:
		c.bad(path, "has no operand; set one of metadata and field")
	}
	one := func(v *structpb.Value, path string) []filter.Scalar {
		return []filter.Scalar{c.scalar(v, path, isTime)}
	}
	switch t := p.GetTest().(type) {
	case *engramv1.Condition_Equals:
		out.Op, out.Values = filter.OpEquals, one(t.Equals, path+".equals")
	case *engramv1.Condition_In:
		out.Op = filter.OpIn
		for i, v := range t.In.GetValues() {
			out.Values = append(out.Values, c.scalar(v, at(path+".in.values", i), isTime))
		}
	case *engramv1.Condition_Range:
		out.Op = filter.OpRange
		bound := func(v *structpb.Value, name string) filter.Scalar {
			if v == nil {
				return filter.Scalar{}
			}
			return c.scalar(v, path+".range."+name, isTime)
		}
		r := t.Range
		out.Range = filter.Range{
			Gt: bound(r.GetGt(), "gt"), Gte: bound(r.GetGte(), "gte"),
			Lt: bound(r.GetLt(), "lt"), Lte: bound(r.GetLte(), "lte"),
		}
	case *engramv1.Condition_Contains:
		out.Op, out.Values = filter.OpContains, one(t.Contains, path+".contains")
	case *engramv1.Condition_Prefix:
		out.Op, out.Values = filter.OpPrefix, []filter.Scalar{filter.String(t.Prefix)}
	case *engramv1.Condition_Exists:
		out.Op, out.Exists = filter.OpExists, t.Exists
	default:
		c.bad(path, "has no test; set one of equals, in, range, contains, prefix and exists")
	}
	return out
}

// scalar converts an operand. Where a field of time is tested, a string is RFC 3339.
func (c *filterReader) scalar(v *structpb.Value, path string, isTime bool) filter.Scalar {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		if !isTime {
			return filter.String(k.StringValue)
		}
		t, err := time.Parse(time.RFC3339Nano, k.StringValue)
		if err != nil {
			c.bad(path, "is %q, not a time like 1969-07-20T20:17:40Z", k.StringValue)
			return filter.Scalar{}
		}
		ns, ok := nanoseconds(t)
		if !ok {
			c.bad(path, "is %q; times are from the years 1678 to 2261", k.StringValue)
		}
		return filter.Time(ns)
	case *structpb.Value_NumberValue:
		return filter.Number(k.NumberValue)
	case *structpb.Value_BoolValue:
		return filter.Bool(k.BoolValue)
	}
	c.bad(path, "is not a string, a number or a bool")
	return filter.Scalar{}
}
