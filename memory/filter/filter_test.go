package filter

import (
	"math"
	"strings"
	"testing"
)

// One record, and what each kind of condition says of it.
func TestMatch(t *testing.T) {
	r := newRecord(Fields{
		ID: "r1", Text: "The Eagle has landed", Session: "day 5", Time: 100, CreateTime: 200, UpdateTime: 300, Importance: 0.3,
	}, map[string]any{
		"topic": "landing", "n": 3.5, "zero": 0.0, "ok": true, "null": nil, "empty": "",
		"tags": []any{"moon", "Eagle", 7.0, false, nil, []any{"inner"}}, "none": []any{},
		"a.b": "dotted", "a": map[string]any{"b": "nested", "c": map[string]any{"d": 1.0}}, "é": "日本語",
		"objects": []any{map[string]any{"k": "v"}},
	})
	at := func(op Op, path string, values ...Scalar) *Filter {
		return &Filter{Cond: &Condition{Path: strings.Split(path, "/"), Op: op, Values: values}}
	}
	exists := func(f Field, path string, want bool) *Filter {
		c := &Condition{Field: f, Op: OpExists, Exists: want}
		if f == FieldMetadata {
			c.Path = strings.Split(path, "/")
		}
		return &Filter{Cond: c}
	}
	between := func(f Field, path string, r Range) *Filter {
		c := &Condition{Field: f, Op: OpRange, Range: r}
		if f == FieldMetadata {
			c.Path = strings.Split(path, "/")
		}
		return &Filter{Cond: c}
	}
	yes, no := at(OpEquals, "ok", Bool(true)), at(OpEquals, "ok", Bool(false))
	for _, test := range []struct {
		name   string
		filter *Filter
		want   bool
	}{
		{"no filter", nil, true},
		{"equal string", at(OpEquals, "topic", String("landing")), true},
		{"other case", at(OpEquals, "topic", String("Landing")), false},
		{"equal number", at(OpEquals, "n", Number(3.5)), true},
		{"number is no string", at(OpEquals, "n", String("3.5")), false},
		{"bool is no string", at(OpEquals, "ok", String("true")), false},
		{"bool is no number", at(OpEquals, "ok", Number(1)), false},
		{"minus zero is zero", at(OpEquals, "zero", Number(negativeZero())), true},
		{"empty string", at(OpEquals, "empty", String("")), true},
		{"null equals nothing", at(OpEquals, "null", String("")), false},
		{"array element", at(OpEquals, "tags", String("moon")), true},
		{"array element of another type", at(OpEquals, "tags", String("7")), false},
		{"element of an inner array", at(OpEquals, "tags", String("inner")), false},
		{"object equals nothing", at(OpEquals, "a", String("nested")), false},
		{"nested", at(OpEquals, "a/b", String("nested")), true},
		{"nested twice", at(OpEquals, "a/c/d", Number(1)), true},
		{"dot in a key", at(OpEquals, "a.b", String("dotted")), true},
		{"not through arrays", at(OpEquals, "objects/k", String("v")), false},
		{"not through scalars", at(OpEquals, "topic/x", String("landing")), false},
		{"unicode", at(OpEquals, "é", String("日本語")), true},
		{"missing", at(OpEquals, "nowhere", String("x")), false},
		{"not of missing", &Filter{Not: at(OpEquals, "nowhere", String("x"))}, true},

		{"in", at(OpIn, "topic", Number(1), String("landing"), Bool(true)), true},
		{"in others", at(OpIn, "topic", Number(1), String("land")), false},
		{"in many", at(OpIn, "n", Number(9), Number(8), Number(7), Number(6), Number(5), Number(4), Number(3.5), Number(2), String("3.5")), true},
		{"in many others", at(OpIn, "n", Number(9), Number(8), Number(7), Number(6), Number(5), Number(4), Number(3), Number(2), String("3.5")), false},
		{"in, an element", at(OpIn, "tags", Number(7), Number(8)), true},

		{"gt", between(FieldMetadata, "n", Range{Gt: Number(3.5)}), false},
		{"gte", between(FieldMetadata, "n", Range{Gte: Number(3.5)}), true},
		{"lt", between(FieldMetadata, "n", Range{Lt: Number(3.5)}), false},
		{"lte", between(FieldMetadata, "n", Range{Lte: Number(3.5)}), true},
		{"between", between(FieldMetadata, "n", Range{Gt: Number(3), Lt: Number(4)}), true},
		{"empty interval", between(FieldMetadata, "n", Range{Gt: Number(4), Lt: Number(3)}), false},
		{"range of strings by bytes", between(FieldMetadata, "topic", Range{Gte: String("l"), Lt: String("m")}), true},
		{"range of strings on a number", between(FieldMetadata, "n", Range{Gte: String("")}), false},
		{"range meets an element", between(FieldMetadata, "tags", Range{Gt: Number(6)}), true},
		{"range by one element, not two", between(FieldMetadata, "tags", Range{Gt: String("F"), Lt: String("G")}), false},

		{"substring", at(OpContains, "topic", String("and")), true},
		{"no substring", at(OpContains, "topic", String("xyz")), false},
		{"contains the empty string", at(OpContains, "topic", String("")), true},
		{"element", at(OpContains, "tags", String("moon")), true},
		{"part of an element", at(OpContains, "tags", String("moo")), false},
		{"number element", at(OpContains, "tags", Number(7)), true},
		{"bool element", at(OpContains, "tags", Bool(false)), true},
		{"number contains nothing", at(OpContains, "n", Number(3.5)), false},
		{"empty array", at(OpContains, "none", String("")), false},

		{"prefix", at(OpPrefix, "topic", String("land")), true},
		{"no prefix", at(OpPrefix, "topic", String("and")), false},
		{"prefix of an element", at(OpPrefix, "tags", String("Ea")), true},
		{"empty prefix of a string", at(OpPrefix, "empty", String("")), true},
		{"empty prefix of a number", at(OpPrefix, "n", String("")), false},

		{"exists", exists(FieldMetadata, "topic", true), true},
		{"null exists", exists(FieldMetadata, "null", true), true},
		{"empty array exists", exists(FieldMetadata, "none", true), true},
		{"object exists", exists(FieldMetadata, "a/c", true), true},
		{"missing doesn't exist", exists(FieldMetadata, "a/x", true), false},
		{"exists=false of missing", exists(FieldMetadata, "a/x", false), true},
		{"exists=false of null", exists(FieldMetadata, "null", false), false},
		{"session exists", exists(FieldSession, "", true), true},
		{"no speaker exists", exists(FieldSpeaker, "", true), false},
		{"time exists", exists(FieldTime, "", true), true},

		{"id", field(FieldID, OpEquals, String("r1")), true},
		{"id in", field(FieldID, OpIn, String("r0"), String("r2")), false},
		{"text contains", field(FieldText, OpContains, String("Eagle")), true},
		{"session prefix", field(FieldSession, OpPrefix, String("day")), true},
		{"unset speaker has no prefix", field(FieldSpeaker, OpPrefix, String("")), false},
		{"unset speaker isn't empty", field(FieldSpeaker, OpEquals, String("")), false},
		{"time", field(FieldTime, OpEquals, Time(100)), true},
		{"create time", between(FieldCreateTime, "", Range{Gte: Time(200), Lt: Time(201)}), true},
		{"update time", between(FieldUpdateTime, "", Range{Gt: Time(300)}), false},
		{"importance as it was written", field(FieldImportance, OpEquals, Number(0.3)), true},
		{"importance isn't above itself", between(FieldImportance, "", Range{Gt: Number(0.3)}), false},
		{"importance in", field(FieldImportance, OpIn, Number(0.1), Number(0.3)), true},

		{"all", &Filter{All: []*Filter{yes, yes}}, true},
		{"not all", &Filter{All: []*Filter{yes, no}}, false},
		{"any", &Filter{Any: []*Filter{no, yes}}, true},
		{"not any", &Filter{Any: []*Filter{no, no}}, false},
		{"not", &Filter{Not: no}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			// The plain form and the validated one, by test and by index.
			if got := test.filter.Match(&r.Fields); got != test.want {
				t.Errorf("before validation Match is %v; want %v", got, test.want)
			}
			if got := valid(t, test.filter).Match(&r.Fields); got != test.want {
				t.Errorf("Match is %v; want %v", got, test.want)
			}
			if got := naive(test.filter, &r); got != test.want {
				t.Errorf("the naive evaluation is %v; want %v", got, test.want)
			}
			if test.filter == nil {
				return
			}
			rows := records{r}
			mask := []uint64{1}
			if byIndex(test.filter, mask, rows, build(t, rows, 1, nil)); has(mask, 0) != test.want {
				t.Errorf("the index says %v; want %v", !test.want, test.want)
			}
		})
	}
}

func negativeZero() float64 { return math.Copysign(0, -1) }

func TestMatchAllocatesNothing(t *testing.T) {
	rows := segment(1)
	f := valid(t, &Filter{All: []*Filter{
		metadata(OpIn, "topic", String("topic-1"), String("x"), Number(5), Bool(true), String("y"), String("z"), String("v"), String("w"), String("u")),
		{Not: metadata(OpPrefix, "topic", String("x"))},
	}})
	if n := testing.AllocsPerRun(100, func() { f.Match(&rows[0].Fields) }); n != 0 {
		t.Errorf("%v allocations; want none", n)
	}
	mask := make([]uint64, 1)
	if n := testing.AllocsPerRun(100, func() { mask[0] = 1; f.Select(mask, rows, 1, nil) }); n > 1 {
		t.Errorf("%v allocations to select without an index; want at most one", n)
	}
}
