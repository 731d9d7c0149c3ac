package filter

import (
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"
)

// record is a record as the naive evaluation sees it.
type record struct {
	Fields
	metadata *structpb.Struct
}

// records is a Source of rows in plain memory.
type records []record

func (r records) Fields(row uint32, f *Fields) { *f = r[row].Fields }

// newRecord fills in the encoded metadata.
func newRecord(f Fields, metadata map[string]any) record {
	s, err := structpb.NewStruct(metadata)
	if err != nil {
		panic(err)
	}
	if f.Metadata, err = EncodeMetadata(s); err != nil {
		panic(err)
	}
	return record{f, s}
}

// naive evaluates a filter over structpb messages, by the words of the API.
func naive(f *Filter, r *record) bool {
	switch {
	case f == nil:
		return true
	case f.Not != nil:
		return !naive(f.Not, r)
	case f.Any != nil:
		for _, kid := range f.Any {
			if naive(kid, r) {
				return true
			}
		}
		return false
	case f.All != nil:
		for _, kid := range f.All {
			if !naive(kid, r) {
				return false
			}
		}
		return true
	}
	c := f.Cond
	operand, there := naiveOperand(c, r)
	if c.Op == OpExists {
		return there == c.Exists
	}
	if !there {
		return false
	}
	list, isList := operand.([]any)
	if c.Op == OpContains {
		if s, ok := operand.(string); ok {
			return c.Values[0].Kind == KindString && strings.Contains(s, c.Values[0].S)
		}
		for _, e := range list {
			if naiveScalar(c.Values[0]) == e {
				return true
			}
		}
		return false
	}
	if isList {
		for _, e := range list {
			if naiveTest(c, e) {
				return true
			}
		}
		return false
	}
	return naiveTest(c, operand)
}

func naiveOperand(c *Condition, r *record) (any, bool) {
	switch c.Field {
	case FieldID:
		return r.ID, true
	case FieldText:
		return r.Text, r.Text != ""
	case FieldSession:
		return r.Session, r.Session != ""
	case FieldSpeaker:
		return r.Speaker, r.Speaker != ""
	case FieldTime:
		return r.Time, true
	case FieldCreateTime:
		return r.CreateTime, true
	case FieldUpdateTime:
		return r.UpdateTime, true
	case FieldImportance:
		return r.Importance, true
	}
	var at any = r.metadata.AsMap()
	for _, key := range c.Path {
		object, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = object[key]; !ok {
			return nil, false
		}
	}
	return at, true
}

func naiveScalar(s Scalar) any {
	return map[Kind]any{KindString: s.S, KindNumber: s.N, KindBool: s.B, KindTime: s.T}[s.Kind]
}

func naiveTest(c *Condition, v any) bool {
	switch c.Op {
	case OpEquals, OpIn:
		for _, s := range c.Values {
			want := naiveScalar(s)
			if c.Field == FieldImportance {
				want = float32(s.N)
			}
			if want == v {
				return true
			}
		}
		return false
	case OpPrefix:
		s, ok := v.(string)
		return ok && strings.HasPrefix(s, c.Values[0].S)
	}
	r := c.Range
	holds := func(b Scalar, ok func(v, b any) bool) bool {
		if b.Kind == 0 {
			return true
		}
		if c.Field == FieldImportance {
			return ok(v, float32(b.N))
		}
		return ok(v, naiveScalar(b))
	}
	return holds(r.Gt, func(v, b any) bool { return naiveLess(b, v) }) &&
		holds(r.Lt, naiveLess) &&
		holds(r.Gte, func(v, b any) bool { return naiveLess(b, v) || v == b }) &&
		holds(r.Lte, func(v, b any) bool { return naiveLess(v, b) || v == b })
}

// naiveLess compares values of one type; those of two are not less.
func naiveLess(a, b any) bool {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		return ok && a < b
	case float64:
		b, ok := b.(float64)
		return ok && a < b
	case float32:
		b, ok := b.(float32)
		return ok && a < b
	case int64:
		b, ok := b.(int64)
		return ok && a < b
	}
	return false
}

// Small pools make conditions meet records, and long strings share what a column keeps.
var (
	long     = strings.Repeat("x", maxString)
	strs     = []string{"", "a", "ab", "b", "é", "日本", "a.b", "3", "true", long[1:], long, long + "a", long + "b", long + "bc"}
	keys     = []string{"a", "b", "a.b", "é", "deep"}
	numbers  = []float64{0, -1, 1, 3, 3.5, -2.25, 1e15, 0.1}
	drawStr  = rapid.SampledFrom(strs)
	drawKey  = rapid.SampledFrom(keys)
	drawNum  = rapid.SampledFrom(numbers)
	drawTime = rapid.Int64Range(-3, 3)
)

// drawJSON draws a value of metadata.
func drawJSON(t *rapid.T, depth int) any {
	kinds := 6
	if depth == 0 {
		kinds = 4
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return drawNum.Draw(t, "number")
	case 2:
		return drawStr.Draw(t, "string")
	case 3:
		return rapid.Bool().Draw(t, "bool")
	case 4:
		return drawObject(t, depth-1)
	}
	list := make([]any, rapid.IntRange(0, 3).Draw(t, "length"))
	for i := range list {
		list[i] = drawJSON(t, depth-1)
	}
	return list
}

func drawObject(t *rapid.T, depth int) map[string]any {
	object := map[string]any{}
	for range rapid.IntRange(0, 4).Draw(t, "keys") {
		object[drawKey.Draw(t, "key")] = drawJSON(t, depth)
	}
	return object
}

func drawRecord(t *rapid.T) record {
	return newRecord(Fields{
		ID:         "id" + drawStr.Draw(t, "id"),
		Text:       drawStr.Draw(t, "text"),
		Session:    drawStr.Draw(t, "session"),
		Speaker:    drawStr.Draw(t, "speaker"),
		Time:       drawTime.Draw(t, "time"),
		CreateTime: drawTime.Draw(t, "create time"),
		UpdateTime: drawTime.Draw(t, "update time"),
		Importance: rapid.SampledFrom([]float32{0.1, 0.3, 0.5, 1}).Draw(t, "importance"),
	}, drawObject(t, 3))
}

// drawFilter draws a valid filter, not yet validated.
func drawFilter(t *rapid.T, depth int) *Filter {
	shape := 0
	if depth > 0 {
		shape = rapid.IntRange(0, 4).Draw(t, "shape")
	}
	switch shape {
	case 1:
		return &Filter{Not: drawFilter(t, depth-1)}
	case 2, 3:
		kids := make([]*Filter, rapid.IntRange(1, 3).Draw(t, "kids"))
		for i := range kids {
			kids[i] = drawFilter(t, depth-1)
		}
		if shape == 2 {
			return &Filter{All: kids}
		}
		return &Filter{Any: kids}
	}
	return &Filter{Cond: drawCondition(t)}
}

func drawCondition(t *rapid.T) *Condition {
	c := &Condition{Field: Field(rapid.IntRange(0, int(fields)-1).Draw(t, "field"))}
	if rapid.Bool().Draw(t, "metadata") {
		c.Field = FieldMetadata
	}
	if c.Field == FieldMetadata {
		c.Path = rapid.SliceOfN(drawKey, 1, 3).Draw(t, "path")
	}
	kind := c.Field.kind()
	ops := []Op{OpEquals, OpIn, OpRange, OpExists}
	if kind == 0 || kind == KindString {
		ops = append(ops, OpContains, OpPrefix)
	}
	scalar := func(kinds ...Kind) Scalar {
		k := kind
		if k == 0 {
			k = rapid.SampledFrom(kinds).Draw(t, "kind")
		}
		switch k {
		case KindString:
			return String(drawStr.Draw(t, "string"))
		case KindNumber:
			if c.Field == FieldImportance {
				return Number(rapid.SampledFrom([]float64{0.1, 0.3, 0.4, 0.5, 1}).Draw(t, "importance"))
			}
			return Number(drawNum.Draw(t, "number"))
		case KindTime:
			return Time(drawTime.Draw(t, "time"))
		}
		return Bool(rapid.Bool().Draw(t, "bool"))
	}
	any := []Kind{KindString, KindNumber, KindBool}
	switch c.Op = rapid.SampledFrom(ops).Draw(t, "op"); c.Op {
	case OpEquals, OpContains:
		c.Values = []Scalar{scalar(any...)}
	case OpPrefix:
		c.Values = []Scalar{String(drawStr.Draw(t, "prefix"))}
	case OpIn:
		for range rapid.IntRange(1, 12).Draw(t, "values") {
			c.Values = append(c.Values, scalar(any...))
		}
	case OpExists:
		c.Exists = rapid.Bool().Draw(t, "exists")
	case OpRange:
		k := rapid.SampledFrom([]Kind{KindString, KindNumber}).Draw(t, "bounds")
		sides := rapid.IntRange(1, 8).Draw(t, "sides") // as ternary digits: absent, open, closed
		for i, b := range []*Scalar{&c.Range.Gt, &c.Range.Lt} {
			switch sides / (1 + 2*i) % 3 {
			case 1:
				*b = scalar(k)
			case 2:
				*[]*Scalar{&c.Range.Gte, &c.Range.Lte}[i] = scalar(k)
			}
		}
	}
	return c
}

// valid validates a filter that ought to be valid.
func valid(t interface{ Fatalf(string, ...any) }, f *Filter) *Filter {
	if found := f.Validate(DefaultLimits()); found != nil {
		t.Fatalf("a valid filter is refused: %v", found)
	}
	return f
}
