package storage

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"engram/memory"
	"engram/memory/filter"

	"google.golang.org/protobuf/types/known/structpb"
)

// A historyModel is what a memory must hold, by plain means: namespaces by name. States
// that were are kept, so nothing that a state points to changes.
type historyModel map[string]*historyNamespace

type historyNamespace struct {
	config   memory.Config
	lsn      memory.LSN
	records  map[string]memory.Record
	requests []*historyRequest // the oldest first
}

// A historyRequest is an acknowledged write with a request id.
type historyRequest struct {
	store   *memory.Store
	result  memory.StoreResult
	removal *memory.Delete
	removed memory.DeleteResult
}

// with gives the model after a change of one namespace by a mutation.
func (m historyModel) with(name string, lsn memory.LSN, change func(*historyNamespace)) historyModel {
	out := maps.Clone(m)
	n := historyNamespace{records: map[string]memory.Record{}}
	if old := m[name]; old != nil {
		n = *old
		n.records, n.requests = maps.Clone(old.records), slices.Clone(old.requests)
	}
	change(&n)
	n.lsn = lsn
	out[name] = &n
	return out
}

func (m historyModel) without(name string) historyModel {
	out := maps.Clone(m)
	delete(out, name)
	return out
}

// An outcome of a write that is refused, as the type of its error.
const (
	historyFine     = ""
	historyExists   = "exists"
	historyMissing  = "not found"
	historyConflict = "conflict"
)

func historyOutcome(err error) string {
	var exists *memory.Exists
	var missing *memory.NotFound
	var conflict *memory.Conflict
	switch {
	case err == nil:
		return historyFine
	case errors.As(err, &exists):
		return historyExists
	case errors.As(err, &missing):
		return historyMissing
	case errors.As(err, &conflict):
		return historyConflict
	}
	return err.Error()
}

// outcome is what a write of puts must meet: an id that exists or doesn't, a condition.
func (n *historyNamespace) outcome(puts []memory.Put, exist, missing bool) string {
	for _, p := range puts {
		old, there := memory.Record{}, false
		if n != nil {
			old, there = n.records[p.ID]
		}
		switch {
		case p.IfVersion != nil && *p.IfVersion != old.Version:
			return historyConflict
		case there && !exist:
			return historyExists
		case !there && !missing:
			return historyMissing
		}
	}
	return historyFine
}

// put writes records of which the fields in mask are given.
func (n *historyNamespace) put(puts []memory.Put, mask memory.Mask, r *memory.StoreResult, now time.Time) {
	for i, p := range puts {
		id := r.Results[i].ID
		rec, there := n.records[id]
		if !there {
			rec = memory.Record{ID: id, Created: r.LSN, Place: uint32(i), CreateTime: now.UnixNano()}
		}
		rec.Version, rec.UpdateTime = r.LSN, now.UnixNano()
		for _, f := range []struct {
			mask memory.Mask
			set  func()
		}{
			{memory.MaskKey, func() { rec.Key = p.Key }},
			{memory.MaskValue, func() { rec.Value = p.Value }},
			{memory.MaskText, func() { rec.Text = p.Text }},
			{memory.MaskMetadata, func() { rec.Metadata = p.Metadata }},
			{memory.MaskSession, func() { rec.Session = p.Session }},
			{memory.MaskSpeaker, func() { rec.Speaker = p.Speaker }},
			{memory.MaskTime, func() {
				if rec.Time = rec.CreateTime; p.HasTime {
					rec.Time = p.Time
				}
			}},
			{memory.MaskImportance, func() {
				if rec.Importance = 0.5; p.HasImportance {
					rec.Importance = p.Importance
				}
			}},
			{memory.MaskPosition, func() { rec.Position, rec.HasPosition = p.Position, p.HasPosition }},
			{memory.MaskExpire, func() { rec.Expire = p.Expire }},
			{memory.MaskPinned, func() { rec.Pinned = p.Pinned }},
		} {
			if mask&f.mask != 0 {
				f.set()
			}
		}
		n.records[id] = rec
	}
}

// differs says how a memory isn't what the model says; nil if it is.
func (m historyModel) differs(db *memory.DB) error {
	seen := 0
	var err error
	fail := func(format string, args ...any) {
		if err == nil {
			err = fmt.Errorf(format, args...)
		}
	}
	db.Views(func(v *memory.View) bool {
		seen++
		c := v.Config()
		n := m[c.Name]
		if n == nil {
			fail("namespace %q is there", c.Name)
			return false
		}
		if c != n.config || v.LSN() != n.lsn {
			fail("namespace %+v at LSN %d, want %+v at %d", c, v.LSN(), n.config, n.lsn)
		}
		left := maps.Clone(n.records)
		var last memory.Record
		v.Records(func(r *memory.Record) bool {
			want, ok := left[r.ID]
			delete(left, r.ID)
			switch {
			case !ok:
				fail("record %q of %q is there, or there twice", r.ID, c.Name)
			case !historySame(r, &want):
				fail("a record of %q is %+v, want %+v", c.Name, *r, want)
			case r.Created < last.Created || r.Created == last.Created && r.Place <= last.Place && last.ID != "":
				fail("record %q of %q comes after %q", r.ID, c.Name, last.ID)
			}
			last = memory.Record{ID: r.ID, Created: r.Created, Place: r.Place}
			return err == nil
		})
		for id := range left {
			fail("record %q of %q isn't there", id, c.Name)
		}
		requests := v.Requests()
		if len(requests) != len(n.requests) {
			fail("%d requests of %q are remembered, of %d", len(requests), c.Name, len(n.requests))
		}
		return err == nil
	})
	if seen != len(m) {
		fail("%d namespaces, want %d", seen, len(m))
	}
	return err
}

func historySame(a, b *memory.Record) bool {
	return a.ID == b.ID && slices.Equal(a.Key, b.Key) && slices.Equal(a.Value, b.Value) && a.Text == b.Text &&
		bytes.Equal(a.Metadata, b.Metadata) && a.Session == b.Session && a.Speaker == b.Speaker &&
		a.Time == b.Time && a.CreateTime == b.CreateTime && a.UpdateTime == b.UpdateTime && a.Importance == b.Importance &&
		a.Rehearsed == b.Rehearsed && a.Expire == b.Expire && a.Pinned == b.Pinned && a.Position == b.Position && a.HasPosition == b.HasPosition &&
		a.Version == b.Version && a.Created == b.Created && a.Place == b.Place
}

// historyMetadata is {"n": n}, by n.
var historyMetadata = func() (out [][]byte) {
	for n := range 10 {
		s, err := structpb.NewStruct(map[string]any{"n": n})
		if err != nil {
			panic(err)
		}
		b, err := filter.EncodeMetadata(s)
		if err != nil {
			panic(err)
		}
		out = append(out, b)
	}
	return out
}()

// historyWhere is n < bound, as a filter and as a predicate.
func historyWhere(bound int) (*filter.Filter, func(*memory.Record) bool) {
	f := &filter.Filter{Cond: &filter.Condition{
		Path: []string{"n"}, Op: filter.OpRange, Range: filter.Range{Lt: filter.Number(float64(bound))},
	}}
	if bad := f.Validate(filter.DefaultLimits()); len(bad) > 0 {
		panic(bad)
	}
	return f, func(r *memory.Record) bool {
		return slices.ContainsFunc(historyMetadata[:bound], func(b []byte) bool { return bytes.Equal(b, r.Metadata) })
	}
}
