package index

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"engram/kernel"
)

// A Sharing lets concurrent reads of a large memory ride one pass over it: its
// workers walk the segments block by block, for all reads at once that are there. A
// read joins at the next block and leaves after one round. From some queries on,
// those of all riders are packed in panels, so that the pass costs multiply-adds
// rather than memory traffic.
//
// Riders may differ in everything but the shape: in the rows that are published to
// them, in masks and segments, in K and least score. Search's answers have the same
// bits in any company; Attend's stay within their bounds.
//
// Reads that have nothing to gain from company walk by themselves: small ones, those
// whose masks leave few rows, and those of so many queries that they fill panels.
type Sharing struct {
	least   int64 // bytes of eligible keys and values from which on a read rides
	yield   int   // multiply-adds after which a worker lets others have the processor
	workers []worker

	riders sync.Pool // of *rider

	mu     sync.Mutex
	idle   []int         // workers that have no goroutine
	spare  []*sharedPass // that nobody rides
	passes []*sharedPass
	turn   int // the pass that was walked last
	stats  SharingStats
}

// ShareOptions say how reads share passes.
type ShareOptions struct {
	Workers int   // goroutines at most, over all passes; 0: GOMAXPROCS
	Least   int64 // bytes of keys, and of values for Attend, from which on a read rides; 0: 8 MiB
	Yield   int   // multiply-adds after which a worker lets others have its processor; 0: 4 Mi
}

// SharingStats count what was shared.
type SharingStats struct {
	Reads  uint64  // that rode in passes, to their end or until they were cancelled
	Riding int     // now
	Passes float64 // over memory, in parts of the whole: Reads over Passes is the company that a read has
}

// leastShared is from where on a read rides: see docs/decisions/0010-shared-scan.md.
const leastShared = 8 << 20

// yieldWork takes some hundred microseconds.
const yieldWork = 4 << 20

// NewSharing makes a Sharing. It has goroutines only while there are riders.
func NewSharing(opt ShareOptions) *Sharing {
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	if opt.Least == 0 {
		opt.Least = leastShared
	}
	if opt.Yield == 0 {
		opt.Yield = yieldWork
	}
	s := &Sharing{least: opt.Least, yield: opt.Yield, workers: make([]worker, opt.Workers)}
	s.riders.New = func() any {
		return &rider{slots: make([]slot, len(s.workers)), done: make(chan struct{}, 1)}
	}
	for i := range s.workers {
		s.workers[i].id = i
		s.idle = append(s.idle, i)
	}
	return s
}

// Stats says what was shared so far.
func (s *Sharing) Stats() SharingStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// fullPanels is the number of panels that a call fills by itself from which on it
// has nothing to gain.
const fullPanels = 1

// takes says whether a read, of keys alone or of values too, has something to gain from
// company.
func (s *Sharing) takes(parts []Part, queries int, values bool) bool {
	if s == nil || queries == 0 || queries >= fullPanels*kernel.PanelWidth() {
		return false
	}
	rows, bytes := int64(0), int64(0)
	for i := range parts {
		rows += int64(parts[i].Rows)
		bytes += int64(parts[i].Rows) * parts[i].Segment.rowBytes(values)
	}
	if bytes < s.least {
		return false
	}
	eligible := int64(0)
	bytes = 0
	for i := range parts {
		n := int64(parts[i].eligible(0, parts[i].Rows))
		eligible += n
		bytes += n * parts[i].Segment.rowBytes(values)
	}
	return bytes >= s.least && eligible >= rows/sparse
}

// rowBytes is what scoring a row, and summing its value, reads.
func (s *Segment) rowBytes(values bool) int64 {
	n := pad(s.shape.Dim) * s.shape.Encoding.bytes()
	if values && s.HasValues() {
		n += pad(s.shape.ValueDim) * s.shape.Values.bytes()
	}
	return int64(n)
}

// search is Search in company; ok is false if the read can't ride.
func (s *Sharing) search(ctx context.Context, shape Shape, parts []Part, queries [][]float32, opt SearchOptions) (hits [][]Hit, stats Stats, ok bool, err error) {
	search := newSearch(shape, parts, queries, opt, 0)
	search.scans = make([]*scan, len(s.workers))
	defer search.release()
	r := s.riders.Get().(*rider)
	r.shape, r.parts, r.queries, r.search = shape, parts, queries, search
	if ok, err = s.ride(ctx, opt.Group, r); !ok || err != nil {
		return nil, Stats{}, ok, err
	}
	hits, stats = search.results()
	return hits, stats, true, nil
}

// attend is Attend in company; ok is false if the read can't ride.
func (s *Sharing) attend(ctx context.Context, shape Shape, parts []Part, queries [][]float32, opt AttendOptions) (out []Attention, stats Stats, ok bool, err error) {
	a := newAttend(shape, parts, queries, opt, 0)
	a.panels, a.passes = nil, make([]*pass, len(s.workers))
	defer a.release()
	r := s.riders.Get().(*rider)
	r.shape, r.parts, r.queries, r.attend = shape, parts, queries, a
	if ok, err = s.ride(ctx, opt.Group, r); !ok || err != nil {
		return nil, Stats{}, ok, err
	}
	// Of the workers that worked for it, which are some: it has eligible rows.
	a.passes = slices.DeleteFunc(a.passes, func(p *pass) bool { return p == nil })
	out, stats = a.results()
	return out, stats, true, nil
}

// ride joins the pass of a group and waits for the end of the round, or of ctx. When
// it returns, no worker works for the rider, which is given back. ok is false if r
// can't ride.
func (s *Sharing) ride(ctx context.Context, group any, r *rider) (ok bool, err error) {
	defer func() {
		// Workers may look at the slots, which are theirs, a while longer.
		r.parts, r.queries, r.search, r.attend = nil, nil, nil, nil
		s.riders.Put(r)
	}()
	if err := ctx.Err(); err != nil {
		return true, err
	}
	p, own := s.join(passKey{group, r.shape}, r)
	if p == nil {
		return false, nil
	}
	if own != nil {
		s.work(ctx, own, r)
	}
	select {
	case <-r.done:
		return true, ctx.Err()
	case <-ctx.Done():
		s.cancel(p, r)
		<-r.done
		return true, ctx.Err()
	}
}
