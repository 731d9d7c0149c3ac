package filter

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// parser reads canonical bytes back: that it can shows that they tell filters apart.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) byte() byte {
	if len(p.b) == 0 {
		p.bad = true
		return 0
	}
	c := p.b[0]
	p.b = p.b[1:]
	return c
}

func (p *parser) count() int {
	n, size := binary.Uvarint(p.b)
	if size <= 0 || n > uint64(len(p.b)) { // every item takes a byte
		p.bad = true
		return 0
	}
	p.b = p.b[size:]
	return int(n)
}

func (p *parser) bytes(n int) []byte {
	if n > len(p.b) {
		p.bad = true
		return make([]byte, n)
	}
	b := p.b[:n]
	p.b = p.b[n:]
	return b
}

func (p *parser) string() string { return string(p.bytes(p.count())) }

func (p *parser) filter(depth int) *Filter {
	if p.bad = p.bad || depth > 8; p.bad {
		return nil
	}
	list := func() []*Filter {
		filters := make([]*Filter, p.count())
		for i := range filters {
			filters[i] = p.filter(depth + 1)
		}
		return filters
	}
	switch p.byte() {
	case 'A':
		return &Filter{All: list()}
	case 'O':
		return &Filter{Any: list()}
	case 'N':
		return &Filter{Not: p.filter(depth + 1)}
	case 'C':
		return &Filter{Cond: p.condition()}
	}
	p.bad = true
	return nil
}

func (p *parser) condition() *Condition {
	c := &Condition{Field: Field(p.byte())}
	if c.Field == FieldMetadata {
		c.Path = make([]string, p.count())
		for i := range c.Path {
			c.Path[i] = p.string()
		}
	}
	switch c.Op = Op(p.byte()); c.Op {
	case OpIn:
		c.Values = make([]Scalar, p.count())
		for i := range c.Values {
			c.Values[i] = p.scalar()
		}
	case OpRange:
		set := p.byte()
		for i, b := range []*Scalar{&c.Range.Gt, &c.Range.Gte, &c.Range.Lt, &c.Range.Lte} {
			if set>>i&1 != 0 {
				*b = p.scalar()
			}
		}
	case OpExists:
		c.Exists = p.byte() != 0
	default:
		c.Values = []Scalar{p.scalar()}
	}
	return c
}

func (p *parser) scalar() Scalar {
	switch k := Kind(p.byte()); k {
	case KindString:
		return String(p.string())
	case KindNumber:
		return Number(math.Float64frombits(binary.BigEndian.Uint64(p.bytes(8))))
	case KindTime:
		return Time(int64(binary.BigEndian.Uint64(p.bytes(8))))
	case KindBool:
		return Bool(p.byte() != 0)
	}
	p.bad = true
	return Scalar{}
}

func TestCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFilter(t, 3)
		before := f.AppendCanonical(nil)
		if after := valid(t, f).AppendCanonical([]byte("x")); !bytes.Equal(after[1:], before) {
			t.Fatalf("validating changes the bytes: %q and %q", before, after[1:])
		}
		p := parser{b: before}
		back := p.filter(1)
		if p.bad || len(p.b) > 0 {
			t.Fatalf("%q can't be read back", before)
		}
		if again := valid(t, back).AppendCanonical(nil); !bytes.Equal(again, before) {
			t.Fatalf("read back and written again %q is %q", before, again)
		}
		r := drawRecord(t)
		if f.Match(&r.Fields) != back.Match(&r.Fields) {
			t.Fatalf("%q reads back as another filter", before)
		}
	})
}

// The bytes are part of page tokens, which outlive an upgrade.
func TestCanonicalBytes(t *testing.T) {
	f := &Filter{All: []*Filter{
		{Not: metadata(OpIn, "k", String("b"), Number(negativeZero()), String("a"), String("b"))},
		{Any: []*Filter{field(FieldTime, OpEquals, Time(1))}},
		{Cond: &Condition{Path: []string{"a", "b"}, Op: OpExists, Exists: true}},
		{Cond: &Condition{Field: FieldID, Op: OpRange, Range: Range{Gt: String("x"), Lte: String("y")}}},
	}}
	want := "A\x04" +
		"NC\x00\x01\x01k\x02\x03\x01\x01a\x01\x01b\x02\x00\x00\x00\x00\x00\x00\x00\x00" +
		"O\x01C\x05\x01\x04\x00\x00\x00\x00\x00\x00\x00\x01" +
		"C\x00\x02\x01a\x01b\x06\x01" +
		"C\x01\x03\x09\x01\x01x\x01\x01y"
	if got := f.AppendCanonical(nil); string(got) != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if got := (*Filter)(nil).AppendCanonical(nil); !slices.Equal(got, []byte{0}) {
		t.Errorf("no filter gives %q; want a zero", got)
	}
}

// Any tree that the bytes can name is refused or works the same by test and by index.
func FuzzFilter(f *testing.F) {
	rows := segment(400)
	rows = append(rows, newRecord(Fields{ID: "x"}, map[string]any{"topic": []any{"topic-1", 2.0, nil}, "even": map[string]any{"k": "v"}}))
	x := build(f, rows, 401, nil)
	for _, seed := range []*Filter{
		metadata(OpEquals, "topic", String("topic-7")),
		{All: []*Filter{metadata(OpIn, "rating", Number(1), Number(2)), {Not: field(FieldSession, OpPrefix, String("session-1"))}}},
		{Any: []*Filter{{Cond: &Condition{Field: FieldTime, Op: OpRange, Range: Range{Gt: Time(1e9), Lte: Time(3e11)}}}, metadata(OpContains, "topic", String("9"))}},
	} {
		f.Add(seed.AppendCanonical(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := parser{b: b}
		tree := p.filter(1)
		if p.bad || tree.Validate(DefaultLimits()) != nil {
			return
		}
		canonical := tree.AppendCanonical(nil)
		q := parser{b: canonical}
		if again := q.filter(1).AppendCanonical(nil); !bytes.Equal(again, canonical) {
			t.Fatalf("%q is written again as %q", canonical, again)
		}
		mask := allRows(len(rows))
		byIndex(tree, mask, rows, x)
		for row := range rows {
			want := naive(tree, &rows[row])
			if tree.Match(&rows[row].Fields) != want || has(mask, row) != want {
				t.Fatalf("row %d: want %v; Match %v, index %v", row, want, !want, has(mask, row))
			}
		}
	})
}
