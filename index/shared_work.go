package index

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"
)

// A worker walks blocks for the riders of passes.
type worker struct {
	id     int
	claims uint64

	// Where it walks: a stretch in order, as memory is read fastest.
	pass        *sharedPass
	stop        *stop
	next, until int // blocks of it

	// The run of blocks that it has claimed and not walked, for the same riders all.
	block, end  int
	was, ticket uint64      // what the blocks carried before, and carry now
	cut         atomic.Bool // who joins or leaves has it give back what it has not begun
	riders      []*rider
	packs       []*packed // of the riders' lanes, if they may fill a panel

	// The block that it is at.
	segment  *Segment
	from, to int // rows that some rider scores
	perRow   int // multiply-adds
	work     int // multiply-adds since it let others have the processor
	panels   panelScratch
	_        [64]byte
}

// work walks blocks until no pass has any left. A rider whose own goroutine does it,
// so that one who comes alone waits for nobody, goes when its round or ctx ends, and
// leaves the work to another goroutine.
func (s *Sharing) work(ctx context.Context, w *worker, own *rider) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.claim(w) {
		s.mu.Unlock()
		over := false
		for w.block < w.end && !w.cut.Load() && !over {
			w.walk()
			over = own != nil && ctx.Err() != nil
			if w.work += w.perRow * (w.to - w.from); w.work >= s.yield {
				// Whoever waits for a processor has it now, such as those who bring reads
				// to come.
				w.work = 0
				runtime.Gosched()
			}
		}
		s.mu.Lock()
		ended := s.finish(w)
		if own != nil && (over || own.gone) {
			own.own = nil
			if w.block < w.end || s.blocksLeft() {
				go s.work(context.Background(), w, nil)
				return
			}
			break
		}
		if ended { // those whose round it was have an answer to give
			s.mu.Unlock()
			runtime.Gosched()
			s.mu.Lock()
		}
	}
	if own != nil {
		own.own = nil
	}
	w.pass, w.stop, w.segment = nil, nil, nil
	w.packs, w.panels = nil, panelScratch{}
	w.next, w.until = 0, 0
	s.idle = append(s.idle, w.id)
}

// blocksLeft says whether a pass has blocks that nobody has claimed.
func (s *Sharing) blocksLeft() bool {
	return slices.ContainsFunc(s.passes, func(p *sharedPass) bool { return p.left > 0 })
}

// claim takes a run of blocks: of the pass that the worker is in until its stretch
// ends, then of the next pass, so that passes go on by turns.
func (s *Sharing) claim(w *worker) bool {
	if w.block < w.end {
		return true
	}
	b := w.along()
	if b < 0 {
		p := s.following()
		if p == nil {
			return false
		}
		b = w.enter(p)
	}
	p, st := w.pass, w.stop
	w.claims++
	w.cut.Store(false)
	w.was, w.ticket = st.claimed[b], p.ticket
	w.block, w.end = b, w.until
	queries := 0
	for i := range st.rides {
		x := &st.rides[i]
		if x.joined <= w.was || x.rows <= b*p.rows {
			continue
		}
		w.riders = append(w.riders, x.rider)
		w.end = min(w.end, (x.rows+p.rows-1)/p.rows)
		sl := &x.slots[w.id]
		*sl = slot{claim: w.claims, part: x.part, packs: sl.packs[:0]}
		queries += len(x.queries) / x.heads()
	}
	for e := b; e < w.end; e++ {
		if st.claimed[e] != w.was {
			w.end = e
			break
		}
		st.claimed[e] = w.ticket
	}
	w.next = w.end
	for _, r := range w.riders {
		r.working++
		r.left -= w.end - b
		p.left -= w.end - b
	}
	w.perRow = queries * pad(p.key.shape.Dim)
	s.stats.Passes += float64(w.end-b) / float64(p.total)
	w.packs = w.packs[:0]
	if queries >= min(panelQueries, attendPanelQueries) {
		for _, r := range w.riders {
			for _, l := range r.lanes {
				sl := &r.slots[w.id]
				sl.packs = append(sl.packs, w.pack(l))
			}
		}
	}
	return true
}

// following is the next pass in turn that has blocks left, nil if none has.
func (s *Sharing) following() *sharedPass {
	for range s.passes {
		s.turn = (s.turn + 1) % len(s.passes)
		if p := s.passes[s.turn]; p.left > 0 {
			return p
		}
	}
	return nil
}

// finish gives back what a worker has not walked of its run, and says whether a
// rider's round ended with what it has. Blocks that others have claimed since, for
// riders who came since, can't be given back: they, and those before, stay.
func (s *Sharing) finish(w *worker) (ended bool) {
	p, st := w.pass, w.stop
	w.cut.Store(false)
	back := 0
	for w.block < w.end && st.claimed[w.end-1] == w.ticket {
		w.end--
		st.claimed[w.end] = w.was
		back++
	}
	if back > 0 {
		w.next = w.end
		s.stats.Passes -= float64(back) / float64(max(1, p.total))
		for _, r := range w.riders {
			if !r.gone {
				r.left += back
				p.left += back
			}
		}
	}
	if w.block < w.end {
		return false
	}
	for _, r := range w.riders {
		r.working--
		if r.working > 0 {
			continue
		}
		if r.left == 0 && !r.gone {
			r.gone = true
			s.drop(p, r)
		}
		if r.gone {
			r.done <- struct{}{}
			ended = true
		}
	}
	clear(w.riders)
	w.riders = w.riders[:0]
	return ended
}

// walk scores the next block of the run for its riders.
func (w *worker) walk() {
	w.segment, w.from, w.to = w.stop.segment, w.block*w.pass.rows, 0
	for _, r := range w.riders {
		sl := &r.slots[w.id]
		sl.b = block{sl.part, w.from, min(w.from+w.pass.rows, r.parts[sl.part].Rows)}
		w.to = max(w.to, sl.b.to)
	}
	w.block++
	if len(w.packs) == 0 {
		for _, r := range w.riders {
			r.alone(w.id, r.slots[w.id].b)
		}
		return
	}
	for _, pk := range w.packs {
		pk.active = 0
	}
	for _, r := range w.riders {
		sl := &r.slots[w.id]
		sl.eligible = r.parts[sl.b.part].eligible(sl.b.from, sl.b.to)
		if sl.dense = sl.eligible > 0 && sl.eligible >= (sl.b.to-sl.b.from)/sparse; sl.dense {
			for _, pk := range sl.packs {
				pk.active += len(r.queries) / len(sl.packs)
			}
		}
	}
	for _, r := range w.riders {
		if sl := &r.slots[w.id]; !sl.dense || !sl.packs[0].pays(w.segment) {
			r.alone(w.id, sl.b)
		}
	}
	for _, pk := range w.packs {
		if !pk.pays(w.segment) {
			continue
		}
		w.repack(pk)
		if pk.group.attend {
			w.attend(pk)
		} else {
			w.nominate(pk)
		}
	}
}

// alone scores a block for one rider, as its read would by itself.
func (r *rider) alone(worker int, b block) {
	if r.attend != nil {
		rows := min(blockRows(pad(r.shape.Dim)+pad(r.shape.ValueDim)), attendRows)
		for from := b.from; from < b.to; from += rows {
			r.attend.block(worker, block{b.part, from, min(from+rows, b.to)})
		}
		return
	}
	rows := 2 * blockRows(pad(r.shape.Dim)) // a block of few components is one call
	for from := b.from; from < b.to; from += rows {
		r.search.block(worker, block{b.part, from, min(from+rows, b.to)})
	}
}
