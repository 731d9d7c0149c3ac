package filter

import (
	"math"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"
)

// Two records have the same value just where what stands at the path is equal.
func TestAppendValue(t *testing.T) {
	negative := math.Copysign(0, -1)
	values := []any{
		nil, false, true, 0.0, 1.0, -1.0, "", "1", "true", []any{}, []any{1.0}, []any{"1"}, []any{1.0, 1.0},
		map[string]any{}, map[string]any{"a": 1.0}, map[string]any{"a": "1"}, map[string]any{"a": 1.0, "b": 1.0},
	}
	of := func(v any) string {
		s, err := structpb.NewStruct(map[string]any{"x": map[string]any{"y": v}, "z": 1})
		if err != nil {
			t.Fatal(err)
		}
		b, err := EncodeMetadata(s)
		if err != nil {
			t.Fatal(err)
		}
		o := Operand{Path: []string{"x", "y"}}
		value, ok := o.AppendValue([]byte("before"), &Fields{Metadata: b})
		if !ok || string(value[:6]) != "before" {
			t.Fatalf("%v is not there", v)
		}
		return string(value)
	}
	for i, a := range values {
		for j, b := range values {
			if (of(a) == of(b)) != (i == j) {
				t.Errorf("%#v and %#v are the same: %v", a, b, i != j)
			}
		}
	}
	if of(negative) != of(0.0) {
		t.Error("−0 is not 0")
	}
	for _, path := range [][]string{{"y"}, {"x", "z"}, {"z", "x"}} {
		o := Operand{Path: path}
		if _, ok := o.AppendValue(nil, &Fields{Metadata: []byte("\n\x05\n\x01x\x12\x00")}); ok {
			t.Errorf("there is something at %q", path)
		}
	}
	speaker := Operand{Field: FieldSpeaker}
	if v, ok := speaker.AppendValue(nil, &Fields{Speaker: "Ann", Session: "s"}); !ok || string(v) != "Ann" {
		t.Errorf("the speaker is %q, %v", v, ok)
	}
	if _, ok := speaker.AppendValue(nil, &Fields{Session: "s"}); ok {
		t.Error("there is a speaker")
	}
}

func TestOperandValidate(t *testing.T) {
	for path, o := range map[string]Operand{
		"by.metadata.keys":    {},
		"by.metadata.keys[0]": {Path: []string{""}},
		"by.field":            {Field: FieldTime},
	} {
		if bad := o.Validate(DefaultLimits(), "by"); len(bad) != 1 || bad[0].Path != path {
			t.Errorf("%+v: %v, want %s", o, bad, path)
		}
	}
	for _, o := range []Operand{{Path: []string{"a", "b"}}, {Field: FieldSession}} {
		if bad := o.Validate(DefaultLimits(), "by"); len(bad) != 0 {
			t.Errorf("%+v: %v", o, bad)
		}
	}
}
