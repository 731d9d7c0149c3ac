package memory

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"engram/index"
	"engram/memory/filter"
)

// A namespace can have a similarity from which on a record that is stored without an id
// repeats another of the same speaker: it isn't added then, and that one is rehearsed. Which
// record is repeated is decided like everything in a Store, against the pending state; but
// the committer, which is one for all, looks only at rows that came since the caller's
// goroutine looked at all the others.

// CheckRepeats says what is wrong with a namespace's similarity of repeats, or gives "". 0
// stands for none.
func CheckRepeats(similarity float64) string {
	if !(similarity >= 0 && similarity <= 1) {
		return fmt.Sprintf("is %v; give a cosine above 0, to 1, or 0 for none", similarity)
	}
	return ""
}

// A priorSearch is what was found in a view before the commit, by number of the record.
type priorSearch struct {
	view  *View // held; nil: nothing was looked at
	found []repeated
}

func (p *priorSearch) release() {
	if p.view != nil {
		p.view.Release()
	}
}

// A repeated record of those that are stored.
type repeated struct {
	id         string // "": none
	version    LSN
	similarity float32
	Position   // its Time counts for nothing
}

// better is true if r is nearer than another, or as near and older.
func (r *repeated) better(other *repeated) bool {
	if r.id == "" || other.id == "" {
		return r.id != ""
	}
	return cmp.Or(cmp.Compare(other.similarity, r.similarity), cmp.Compare(r.Created, other.Created), cmp.Compare(r.Place, other.Place)) < 0
}

// searchPrior looks for what a Store's records repeat, before it is committed.
func (db *DB) searchPrior(ctx context.Context, s *Store) (p priorSearch, err error) {
	if ns := db.lookup(s.Namespace); ns == nil || ns.view.Load().settings.Value().repeats == 0 {
		return p, nil // the committer looks at all, should that have changed by then
	}
	v, err := db.View(s.Namespace)
	if err != nil {
		return p, nil // it is gone since
	}
	defer func() {
		if p.view == nil {
			v.Release()
		}
	}()
	set := v.settings.Value()
	if set.repeats == 0 || slices.ContainsFunc(s.Records, func(r Put) bool { return len(r.Key) != set.dim }) {
		return p, nil
	}
	if p.found, err = v.nearest(ctx, s.Records, db.workers, nil); err == nil {
		p.view = v
	}
	return p, err
}

// nearest gives for each record without an id the nearest stored one of its speaker that is
// near enough to be repeated, and isn't written itself by its id. Rows that since shows, nil
// for none, aren't looked at.
func (v *View) nearest(ctx context.Context, puts []Put, workers int, since *View) ([]repeated, error) {
	set := v.settings.Value()
	out := make([]repeated, len(puts))
	named := make(map[string]bool) // by the request
	bySpeaker := make(map[string][]int)
	for i := range puts {
		if id := puts[i].ID; id != "" {
			named[id] = true
		} else {
			bySpeaker[puts[i].Speaker] = append(bySpeaker[puts[i].Speaker], i)
		}
	}
	opt := index.SearchOptions{K: 1 + len(named), MinScore: float32(set.repeats), Workers: workers}
	for speaker, numbers := range bySpeaker {
		queries := make([][]float32, len(numbers))
		for j, i := range numbers {
			queries[j] = puts[i].Key
		}
		r := read([]*View{v}, spokenBy(speaker))
		r.leaveOut(since)
		hits, _, err := index.Search(ctx, set.shape(), r.parts, queries, opt)
		for j := range hits {
			for _, h := range hits[j] {
				rec := r.at[h.Part].segment.record(h.Row, 0)
				if !named[rec.ID] {
					out[numbers[j]] = repeated{rec.ID, rec.Version, h.Score, PositionOf(&rec)}
					break
				}
			}
		}
		r.done()
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// spokenBy is the filter of records by a speaker, "" for none.
func spokenBy(speaker string) *filter.Filter {
	c := &filter.Condition{Field: filter.FieldSpeaker, Op: filter.OpEquals, Values: []filter.Scalar{filter.String(speaker)}}
	if speaker == "" {
		c.Op, c.Values = filter.OpExists, nil
	}
	return &filter.Filter{Cond: c} // valid as it is
}

// leaveOut makes rows that another view of the namespace shows in the same place not
// eligible.
func (r *reading) leaveOut(since *View) {
	if since == nil {
		return
	}
	for i := range r.parts {
		for j := range since.segments {
			if old := &since.segments[j]; old.segment == r.at[i].segment.segment {
				mask := r.parts[i].Mask
				clear(mask[:old.n/64])
				if old.n%64 != 0 {
					mask[old.n/64] &^= 1<<(old.n%64) - 1
				}
			}
		}
	}
}

// A repeat is what a record of a Store repeats: a stored record, or one of the Store before it.
type repeat struct {
	id string // "": none that is stored
	of int    // −1: none of the Store
}

// repeats decides for each record of a Store which one it repeats.
func (c *committer) repeats(d *draft, s *Store, prior *priorSearch) ([]repeat, error) {
	if v := prior.view; v != nil && v.settings.Value().repeats != d.settings.Value().repeats {
		prior = &priorSearch{}
	}
	found, err := d.nearest(c.call.ctx, s.Records, c.db.workers, prior.view)
	if err != nil {
		return nil, err
	}
	stale := func(p *repeated) bool {
		if p.id == "" {
			return false
		}
		ref, ok := d.Find(p.id)
		return !ok || LSN(d.segments[ref.segment].rows[ref.row].version) != p.version
	}
	for i := range prior.found {
		p := &prior.found[i]
		if stale(p) { // the next best was never asked for
			if found, err = d.nearest(c.call.ctx, s.Records, c.db.workers, nil); err != nil {
				return nil, err
			}
			break
		}
		if p.better(&found[i]) {
			found[i] = *p
		}
	}
	within, err := c.repeatsWithin(d, s.Records)
	if err != nil {
		return nil, err
	}
	out := make([]repeat, len(s.Records))
	for i := range out {
		out[i] = repeat{found[i].id, -1}
		for _, w := range within[i] { // best first
			// What repeats another isn't there; a stored record that is as near is older.
			if w.Score > found[i].similarity && out[w.Row].id == "" && out[w.Row].of < 0 {
				out[i] = repeat{"", int(w.Row)}
				break
			}
		}
	}
	return out, nil
}

// repeatsWithin gives for each record without an id those before it in the Store that it may
// repeat, the nearest first.
func (c *committer) repeatsWithin(d *draft, puts []Put) ([][]index.Hit, error) {
	out := make([][]index.Hit, len(puts))
	if len(puts) == 1 {
		return out, nil
	}
	set := d.settings.Value()
	batch, err := index.NewSegment(c.db.pool, set.shape(), len(puts), false)
	if err != nil {
		return nil, err
	}
	defer batch.Free()
	keys := make([][]float32, len(puts))
	for i := range puts {
		keys[i] = puts[i].Key
		if err := batch.Append(puts[i].Key, nil); err != nil {
			return nil, err
		}
	}
	part := index.Part{Segment: batch, Rows: len(puts), Age: func(row uint32) (uint64, uint32) { return 0, row }}
	opt := index.SearchOptions{K: len(puts), MinScore: float32(set.repeats), Workers: c.db.workers}
	hits, _, err := index.Search(c.call.ctx, set.shape(), []index.Part{part}, keys, opt)
	if err != nil {
		return nil, err
	}
	for i := range hits {
		if puts[i].ID != "" {
			continue
		}
		for _, h := range hits[i] {
			if int(h.Row) < i && puts[h.Row].Speaker == puts[i].Speaker {
				out[i] = append(out[i], h)
			}
		}
	}
	return out, nil
}

// rehearsalsOf is what a Store rehearses, in the order of ids.
func rehearsalsOf(ids []string, now int64) []Rehearsal {
	slices.Sort(ids)
	var out []Rehearsal
	for _, id := range ids {
		if n := len(out); n > 0 && out[n-1].ID == id {
			out[n-1].Count = min(out[n-1].Count, math.MaxUint32-1) + 1
			continue
		}
		out = append(out, Rehearsal{id, now, 1})
	}
	return out
}
