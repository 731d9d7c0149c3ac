package filter

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"engram/internal/slab"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"
)

func TestMetadataRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRecord(Fields{}, drawObject(t, 4))
		back, err := DecodeMetadata(r.Fields.Metadata)
		if err != nil || !proto.Equal(back, r.metadata) {
			t.Fatalf("%v comes back as %v, %v", r.metadata, back, err)
		}
		if again, err := EncodeMetadata(back); err != nil || !bytes.Equal(again, r.Fields.Metadata) {
			t.Fatalf("the bytes differ at the second writing: %x, %x, %v", r.Fields.Metadata, again, err)
		}
		if found := CheckMetadata(back, len(r.Fields.Metadata)); found != nil {
			t.Fatalf("%v is refused: %v", back, found)
		}
	})
}

// Snapshots keep these bytes, so they must not change with the protobuf library.
func TestMetadataBytes(t *testing.T) {
	r := newRecord(Fields{}, map[string]any{"b": map[string]any{"z": nil, "a": true}, "a": []any{1.0, "é"}, "B": ""})
	want := "\x0a\x07\x0a\x01B\x12\x02\x1a\x00" +
		"\x0a\x18\x0a\x01a\x12\x132\x11\x0a\x09\x11\x00\x00\x00\x00\x00\x00\xf0?\x0a\x04\x1a\x02é" +
		"\x0a\x19\x0a\x01b\x12\x14*\x12\x0a\x07\x0a\x01a\x12\x02 \x01\x0a\x07\x0a\x01z\x12\x02\x08\x00"
	if got := string(r.Fields.Metadata); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for _, s := range []*structpb.Struct{nil, {}} {
		if b, err := EncodeMetadata(s); err != nil || len(b) != 0 {
			t.Errorf("no metadata gives %x, %v; want no bytes", b, err)
		}
	}
}

func TestCheckMetadata(t *testing.T) {
	deep := structpb.NewStringValue("leaf")
	for range MaxMetadataDepth - 1 {
		deep = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{deep}})
	}
	deeper := structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"k": deep}})
	for _, test := range []struct {
		name  string
		key   string
		value *structpb.Value
		want  string // "path: part of the reason"
	}{
		{"a string", "k", structpb.NewStringValue("v"), ""},
		{"null", "k", structpb.NewNullValue(), ""},
		{"the largest whole number", "k", structpb.NewNumberValue(1<<53 - 1), ""},
		{"2^53", "k", structpb.NewNumberValue(1 << 53), `metadata["k"]: is 9.007199254740992e+15; whole numbers of 2^53`},
		{"-2^53", "k", structpb.NewNumberValue(-1 << 53), `metadata["k"]: is -9.007199254740992e+15`},
		{"NaN", "k", structpb.NewNumberValue(math.NaN()), `metadata["k"]: is NaN`},
		{"infinity", "k", structpb.NewNumberValue(math.Inf(-1)), `metadata["k"]: is -Inf`},
		{"no value", "k", &structpb.Value{}, `metadata["k"]: has no value`},
		{"a nil value", "k", nil, `metadata["k"]: has no value`},
		{"a string that isn't UTF-8", "k", structpb.NewStringValue("\xff"), `metadata["k"]: isn't valid UTF-8`},
		{"a key that isn't UTF-8", "\xff", structpb.NewNullValue(), `metadata: has the key "\xff"`},
		{"in an array", "a.b", structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewNullValue(), structpb.NewNumberValue(1e300)}}),
			`metadata["a.b"][1]: is 1e+300`},
		{"as deep as allowed", "k", deep, ""},
		{"too deep", "k", deeper, `nested 33 deep; at most 32`},
		{"as long as allowed", "k", structpb.NewStringValue(strings.Repeat("x", 988)), ""},
		{"too long", "k", structpb.NewStringValue(strings.Repeat("x", 992)), "metadata: takes 1004 bytes; at most 1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := CheckMetadata(&structpb.Struct{Fields: map[string]*structpb.Value{test.key: test.value}}, 1000)
			if test.want == "" {
				if found != nil {
					t.Errorf("refused: %v", found)
				}
				return
			}
			if len(found) != 1 || !strings.Contains(found[0].Path+": "+found[0].Reason, test.want) {
				t.Errorf("found %v; want %q", found, test.want)
			}
		})
	}
	if found := CheckMetadata(nil, 0); found != nil {
		t.Errorf("no metadata is refused: %v", found)
	}
}

// Any bytes are safe to read, give one answer by test and by index, and if they are what
// EncodeMetadata writes, the answer of the decoded message.
func FuzzMetadata(f *testing.F) {
	for _, object := range []map[string]any{
		{"a": "x", "b": []any{1.0, true, "y", nil}},
		{"a": map[string]any{"a": map[string]any{"b": 2.5}}, "a.b": nil, "é": false},
		{"a": strings.Repeat("long", 40)},
	} {
		f.Add(newRecord(Fields{}, object).Fields.Metadata)
	}
	paths := [][]string{{"a"}, {"b"}, {"a.b"}, {"é"}, {"a", "a"}, {"a", "a", "b"}}
	var filters []*Filter
	for _, path := range paths {
		for _, c := range []Condition{
			{Op: OpExists, Exists: true},
			{Op: OpEquals, Values: []Scalar{String("x")}},
			{Op: OpIn, Values: []Scalar{Number(2.5), Bool(false), String("y")}},
			{Op: OpRange, Range: Range{Gte: Number(0), Lt: Number(3)}},
			{Op: OpRange, Range: Range{Gt: String("long")}},
			{Op: OpContains, Values: []Scalar{String("n")}},
			{Op: OpContains, Values: []Scalar{Bool(true)}},
			{Op: OpPrefix, Values: []Scalar{String("lon")}},
		} {
			c.Path = path
			filters = append(filters, valid(f, &Filter{Cond: &c}))
		}
	}
	pool := slab.NewPool(poolBytes)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := record{Fields: Fields{Metadata: b}}
		decoded, err := DecodeMetadata(b)
		canonical := false
		if err == nil && CheckMetadata(decoded, len(b)) == nil {
			again, err := EncodeMetadata(decoded)
			canonical = err == nil && bytes.Equal(again, b)
			r.metadata = decoded
		}
		rows := records{r}
		x, err := Build(pool, rows, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer x.Free()
		for _, f := range filters {
			got := f.Match(&r.Fields)
			mask := []uint64{1}
			if byIndex(f, mask, rows, x); has(mask, 0) != got {
				t.Fatalf("%v: Match is %v, by the index it isn't", f.Cond, got)
			}
			if canonical && naive(f, &r) != got {
				t.Fatalf("%v: Match is %v, naively it isn't: %v", f.Cond, got, decoded)
			}
		}
	})
}
