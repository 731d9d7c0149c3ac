package filter

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	ok := metadata(OpEquals, "k", String("v"))
	cond := func(c Condition) *Filter { return &Filter{Cond: &c} }
	k := []string{"k"}
	nested := ok
	for range 8 {
		nested = &Filter{Not: nested}
	}
	for _, test := range []struct {
		name   string
		filter *Filter
		want   []string // each "path: part of the reason"
	}{
		{"no filter", nil, nil},
		{"a condition", ok, nil},
		{"8 deep", nested.Not, nil},
		{"9 deep", nested, []string{"filter" + strings.Repeat(".not", 8) + ": nested 9 deep; at most 8"}},
		{"128 nodes", &Filter{All: slices.Repeat([]*Filter{ok}, 127)}, nil},
		{"129 nodes", &Filter{All: slices.Repeat([]*Filter{ok}, 128)}, []string{"filter: 129 nodes or more; at most 128"}},
		{"nothing set", &Filter{}, []string{"filter: has 0 of all"}},
		{"two set", &Filter{Not: ok, Cond: ok.Cond}, []string{"filter: has 2 of all"}},
		{"empty all", &Filter{All: []*Filter{}}, []string{"filter.all: is empty"}},
		{"empty any", &Filter{Any: []*Filter{}}, []string{"filter.any: is empty"}},
		{"nil kid", &Filter{Any: []*Filter{ok, nil}}, []string{"filter.any.filters[1]: is empty"}},
		{"no op", cond(Condition{Path: k}), []string{"filter.condition: has no test"}},
		{"no path", cond(Condition{Op: OpExists}), []string{"filter.condition.metadata.keys: has 0 keys; give 1 to 16"}},
		{"17 keys", cond(Condition{Path: make([]string, 17), Op: OpExists}), []string{"filter.condition.metadata.keys: has 17 keys"}},
		{"empty key", cond(Condition{Path: []string{"a", ""}, Op: OpExists}), []string{"filter.condition.metadata.keys[1]: is empty"}},
		{"field and path", cond(Condition{Field: FieldID, Path: k, Op: OpExists}), []string{"filter.condition: has both a field and a metadata path"}},
		{"no such field", cond(Condition{Field: fields, Op: OpExists}), []string{"filter.condition.field: 9 is no field"}},
		{"no operand", metadata(OpEquals, "k"), []string{"filter.condition.equals: has 0 operands"}},
		{"two operands", metadata(OpContains, "k", Number(1), Number(2)), []string{"filter.condition.contains: has 2 operands"}},
		{"unset operand", metadata(OpEquals, "k", Scalar{}), []string{"filter.condition.equals: is not set"}},
		{"NaN", metadata(OpEquals, "k", Number(math.NaN())), []string{"filter.condition.equals: is NaN"}},
		{"time on metadata", metadata(OpEquals, "k", Time(1)), []string{"filter.condition.equals: is a time"}},
		{"string on time", field(FieldTime, OpEquals, String("now")), []string{"filter.condition.equals: is a string; time is a time"}},
		{"number on id", field(FieldID, OpIn, String("a"), Number(1)), []string{"filter.condition.in.values[1]: is a number; id is a string"}},
		{"in of nothing", metadata(OpIn, "k"), []string{"filter.condition.in.values: has 0 values; give 1 to 1000"}},
		{"in of 1,001", metadata(OpIn, "k", make([]Scalar, 1001)...), []string{"filter.condition.in.values: has 1001 values"}},
		{"prefix of a number", metadata(OpPrefix, "k", Number(1)), []string{"filter.condition.prefix: is a number"}},
		{"prefix of time", field(FieldTime, OpPrefix, Time(1)), []string{"filter.condition.prefix: is not for time", "filter.condition.prefix: is a time"}},
		{"contains of importance", field(FieldImportance, OpContains, Number(1)), []string{"filter.condition.contains: is not for importance"}},
		{"operand of exists", metadata(OpExists, "k", Number(1)), []string{"filter.condition.exists: has 1 operands"}},
		{"no bound", cond(Condition{Path: k, Op: OpRange}), []string{"filter.condition.range: has no bound"}},
		{"bools have no order", cond(Condition{Path: k, Op: OpRange, Range: Range{Lt: Bool(true)}}), []string{"filter.condition.range.lt: is a bool"}},
		{"bounds of two types", cond(Condition{Path: k, Op: OpRange, Range: Range{Gt: Number(1), Lt: String("x")}}), []string{"filter.condition.range.lt: is a string and gt is a number"}},
		{"gt and gte, lt and lte", cond(Condition{Path: k, Op: OpRange, Range: Range{Number(1), Number(1), Number(2), Number(2)}}),
			[]string{"filter.condition.range: has both gt and gte", "filter.condition.range: has both lt and lte"}},
		{"infinite bound of importance", cond(Condition{Field: FieldImportance, Op: OpRange, Range: Range{Gt: Number(math.Inf(1))}}), []string{"filter.condition.range.gt: is +Inf"}},
		{"everything at once", &Filter{All: []*Filter{metadata(OpEquals, "k"), {Not: &Filter{Any: []*Filter{ok, metadata(OpPrefix, "k", Number(1))}}}}},
			[]string{"filter.all.filters[0].condition.equals: has 0", "filter.all.filters[1].not.any.filters[1].condition.prefix: is a number"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := test.filter.Validate(DefaultLimits())
			if len(found) != len(test.want) {
				t.Fatalf("found %v; want %v", found, test.want)
			}
			for i, want := range test.want {
				path, reason, _ := strings.Cut(want, ": ")
				if found[i].Path != path || !strings.Contains(found[i].Reason, reason) {
					t.Errorf("found %v; want %v", found[i], want)
				}
			}
		})
	}
}

// A hostile tree costs no more to refuse than to read: no list of violations grows with it.
func TestValidateHostile(t *testing.T) {
	wide := &Filter{All: make([]*Filter, 100_000)}
	if found := wide.Validate(DefaultLimits()); len(found) > 128 {
		t.Errorf("%d violations for a list of nothings; want at most one a node allowed", len(found))
	}
	values := make([]Scalar, 1000)
	for i := range values {
		values[i] = String(fmt.Sprint(i % 500))
	}
	f := valid(t, metadata(OpIn, "k", values...))
	if n := len(f.Cond.Values); n != 500 {
		t.Errorf("%d operands stay of 500 distinct ones", n)
	}
}
