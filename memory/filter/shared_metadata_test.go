package filter

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestSharedMetadata(t *testing.T) {
	type object = map[string]any
	for name, c := range map[string]struct {
		of   []object
		want object
	}{
		"none":              {nil, object{}},
		"one":               {[]object{{"a": 1.0}}, object{"a": 1.0}},
		"equal":             {[]object{{"a": 1.0, "b": nil}, {"a": 1.0, "b": nil}}, object{"a": 1.0, "b": nil}},
		"some":              {[]object{{"a": 1.0, "b": "x", "c": true}, {"a": 1.0, "b": "y"}, {"a": 1.0, "b": "x", "c": true}}, object{"a": 1.0}},
		"nothing":           {[]object{{"a": 1.0}, {"b": 1.0}}, object{}},
		"of one without":    {[]object{{"a": 1.0}, {}, {"a": 1.0}}, object{}},
		"the first without": {[]object{{}, {"a": 1.0}}, object{}},
		"another type":      {[]object{{"a": 1.0}, {"a": "1"}}, object{}},
		"null isn't absent": {[]object{{"a": nil}, {}}, object{}},
		"inner ones whole":  {[]object{{"a": object{"x": 1.0, "y": 2.0}, "b": []any{1.0}}, {"a": object{"x": 1.0}, "b": []any{1.0}}}, object{"b": []any{1.0}}},
	} {
		encode := func(o object) []byte {
			s, err := structpb.NewStruct(o)
			if err != nil {
				t.Fatal(err)
			}
			b, err := EncodeMetadata(s)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		var list [][]byte
		for _, o := range c.of {
			list = append(list, encode(o))
		}
		got, err := SharedMetadata(list)
		if err != nil || string(got) != string(encode(c.want)) {
			s, _ := DecodeMetadata(got)
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	if _, err := SharedMetadata([][]byte{{1}, {2}}); err == nil {
		t.Error("what is no metadata is shared")
	}
	b, _ := proto.Marshal(&structpb.Struct{})
	if got, err := SharedMetadata([][]byte{b, {0xff}}); err != nil || len(got) != 0 {
		t.Errorf("of nothing %v, %v", got, err)
	}
}
