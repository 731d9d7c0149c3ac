package memory

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"engram/memory/filter"

	"google.golang.org/protobuf/types/known/structpb"
)

// model is a namespace by plain means: what the real one must agree with.
type model map[string]Record

// metadataOf makes {"n": n}.
func metadataOf(n int) []byte {
	s, err := structpb.NewStruct(map[string]any{"n": n})
	if err != nil {
		panic(err)
	}
	b, err := filter.EncodeMetadata(s)
	if err != nil {
		panic(err)
	}
	return b
}

// store applies an acknowledged Store.
func (m model) store(puts []Put, r *StoreResult) {
	for i, p := range puts {
		rec := p.Record
		rec.ID, rec.Version = r.Results[i].ID, r.LSN
		rec.Created, rec.Place = r.LSN, uint32(i)
		if old, ok := m[rec.ID]; ok {
			rec.Created, rec.Place = old.Created, old.Place
			rec.CreateTime, rec.Rehearsed = old.CreateTime, old.Rehearsed
		}
		if !p.HasImportance {
			rec.Importance = defaultImportance
		}
		m[rec.ID] = rec
	}
}

// update applies an acknowledged Update of text, metadata and key.
func (m model) update(mask Mask, puts []Put, lsn LSN) {
	for _, p := range puts {
		rec := m[p.ID]
		rec.Version = lsn
		if mask&MaskText != 0 {
			rec.Text = p.Text
		}
		if mask&MaskMetadata != 0 {
			rec.Metadata = p.Metadata
		}
		if mask&MaskKey != 0 {
			rec.Key = p.Key
		}
		if mask&MaskValue != 0 {
			rec.Value = p.Value
		}
		if mask&MaskExpire != 0 {
			rec.Expire = p.Expire
		}
		if mask&MaskPinned != 0 {
			rec.Pinned = p.Pinned
		}
		m[p.ID] = rec
	}
}

// list gives the records in an order.
func (m model) list(o Order, keep func(*Record) bool) []Record {
	var out []Record
	for _, r := range m {
		if keep == nil || keep(&r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Record) int { return o.compare(PositionOf(&a), PositionOf(&b)) })
	return out
}

// same compares what the model knows of a record.
func same(got, want *Record) error {
	if got.ID != want.ID || got.Text != want.Text || got.Version != want.Version || got.Created != want.Created ||
		got.Place != want.Place || got.Rehearsed != want.Rehearsed || got.Time != want.Time || got.Importance != want.Importance ||
		got.Expire != want.Expire || got.Pinned != want.Pinned ||
		!slices.Equal(got.Key, want.Key) || !slices.Equal(got.Value, want.Value) || !bytes.Equal(got.Metadata, want.Metadata) {
		return fmt.Errorf("got %+v, want %+v", *got, *want)
	}
	return nil
}

func sameRecords(got, want []Record) error {
	if len(got) != len(want) {
		return fmt.Errorf("got %d records, want %d", len(got), len(want))
	}
	for i := range got {
		if err := same(&got[i], &want[i]); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
	}
	return nil
}

// nearest gives the ids that a Retrieve under DOT gives. Keys are of small whole
// numbers, so that scores are exact and ties are many.
func (m model) nearest(q []float32, k int, keep func(*Record) bool) []string {
	all := m.list(CreatedAsc, keep)
	score := func(r *Record) (s float32) {
		for i, x := range r.Key {
			s += x * q[i]
		}
		return s
	}
	slices.SortStableFunc(all, func(a, b Record) int { return cmp.Compare(score(&b), score(&a)) })
	var ids []string
	for _, r := range all[:min(k, len(all))] {
		ids = append(ids, r.ID)
	}
	return ids
}

// where is metadata n < bound, as a filter and as a predicate.
func where(bound int) (*filter.Filter, func(*Record) bool) {
	f := &filter.Filter{Cond: &filter.Condition{
		Path: []string{"n"}, Op: filter.OpRange, Range: filter.Range{Lt: filter.Number(float64(bound))},
	}}
	if bad := f.Validate(filter.DefaultLimits()); len(bad) > 0 {
		panic(bad)
	}
	return f, func(r *Record) bool {
		return slices.ContainsFunc(less[:bound], func(b []byte) bool { return bytes.Equal(b, r.Metadata) })
	}
}

// less is the metadata of n = 0, 1, 2, …
var less = func() (out [][]byte) {
	for n := range 16 {
		out = append(out, metadataOf(n))
	}
	return out
}()
