package index

import (
	"context"
	"slices"
)

// A passKey names a pass: reads of the same key ride together.
type passKey struct {
	group any
	shape Shape
}

// A sharedPass is a walk, round and round, over the segments that its riders have.
// Sharing.mu guards it.
type sharedPass struct {
	key    passKey
	rows   int // of a block
	stops  []*stop
	passed []*stop // that were, for others to come
	of     map[*Segment]*stop
	riders int
	lanes  []*lanes
	packs  [][]*packed // per worker

	// A ticket is handed out with each join. A block carries the ticket that was the
	// newest when it was claimed last, so a rider lacks the blocks with older ones
	// than its own.
	ticket uint64
	total  int // blocks of all stops
	left   int // blocks that riders lack, summed over riders

	// Where the next stretch begins.
	stop, block int
}

// A stop is a segment on the way of a pass. Its riders' views keep the segment.
type stop struct {
	segment *Segment
	rides   []ride
	claimed []uint64 // per block, a ticket
}

// A ride is what a rider has of a segment.
type ride struct {
	*rider
	part, rows int
}

// A rider is one read in a pass.
type rider struct {
	shape   Shape
	parts   []Part
	queries [][]float32
	search  *search // or
	attend  *attend

	lanes []*lanes // of each head
	lane  []int    // of each query
	slots []slot
	done  chan struct{} // has something once no worker works for it, nor will

	// Guarded by Sharing.mu.
	joined  uint64
	left    int     // blocks that it lacks and no worker has claimed
	working int     // workers that work for it
	own     *worker // that its own goroutine is
	gone    bool
}

// A slot is what a worker, which alone uses it, does for a rider.
type slot struct {
	claim    uint64 // the worker's, that the rest is of
	part     int
	b        block
	packs    []*packed // that its lanes are in; none where no panel may be filled
	eligible int       // rows
	dense    bool      // enough of them that the whole block is scored
	_        [64]byte  // workers don't write to each other's cache lines
}

// sharedRows is how many rows of a stride make a block of a pass: for panels, and for
// one rider as quick as its own blocks.
func sharedRows(stride int) int {
	return (blockRows(stride) + mostPanelRows - 1) / mostPanelRows * mostPanelRows
}

// join puts a rider in the pass of a key and sees that there are workers: one of them,
// if there is one idle, is for the rider's own goroutine. The pass is nil if the rider
// can't ride: it has one segment in several parts.
func (s *Sharing) join(key passKey, r *rider) (*sharedPass, *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.passes, func(p *sharedPass) bool { return p.key == key })
	if i < 0 {
		i = len(s.passes)
		s.passes = append(s.passes, s.newPass(key))
	}
	p := s.passes[i]
	p.riders++
	s.stats.Riding++
	if !s.add(p, r) {
		s.drop(p, r)
		return nil, nil
	}
	s.stats.Reads++
	s.cut(p)
	var own *worker
	for n := min(len(s.idle), p.left); n > 0; n-- {
		w := &s.workers[s.idle[len(s.idle)-1]]
		s.idle = s.idle[:len(s.idle)-1]
		if n == 1 {
			own, r.own = w, w
		} else {
			go s.work(context.Background(), w, nil)
		}
	}
	return p, own
}

// cut has workers give back what they have not begun of a pass: they take it again for
// those who ride now.
func (s *Sharing) cut(p *sharedPass) {
	for i := range s.workers {
		if w := &s.workers[i]; w.pass == p {
			w.cut.Store(true)
		}
	}
}

// newPass takes a spare pass that no worker is in, or makes one.
func (s *Sharing) newPass(key passKey) *sharedPass {
	p := &sharedPass{of: make(map[*Segment]*stop), packs: make([][]*packed, len(s.workers))}
	i := slices.IndexFunc(s.spare, func(p *sharedPass) bool {
		return p.key.shape == key.shape && !s.busy(func(w *worker) bool { return w.pass == p })
	})
	if i >= 0 {
		p = s.spare[i]
		s.spare = slices.Delete(s.spare, i, i+1)
	}
	p.key, p.rows = key, sharedRows(pad(key.shape.Dim))
	return p
}

// busy says whether a worker is where is says.
func (s *Sharing) busy(is func(*worker) bool) bool {
	for i := range s.workers {
		if is(&s.workers[i]) {
			return true
		}
	}
	return false
}

// mostSpare is how many passes are kept for others to come.
const mostSpare = 8

// add puts r at the stops of its segments; false if a segment comes twice.
func (s *Sharing) add(p *sharedPass, r *rider) bool {
	p.ticket++
	r.joined = p.ticket
	r.left, r.working, r.own, r.gone = 0, 0, nil, false
	p.board(r)
	for i := range r.parts {
		part := &r.parts[i]
		if part.Rows == 0 {
			continue
		}
		st := p.of[part.Segment]
		if st == nil {
			st = s.newStop(p, part.Segment)
			p.of[part.Segment] = st
			p.stops = append(p.stops, st)
		}
		if n := len(st.rides); n > 0 && st.rides[n-1].rider == r {
			return false
		}
		st.rides = append(st.rides, ride{r, i, part.Rows})
		n := (part.Rows + p.rows - 1) / p.rows
		for len(st.claimed) < n {
			st.claimed = append(st.claimed, 0)
			p.total++
		}
		r.left += n
		p.left += n
	}
	return true
}

// drop takes a rider out of a pass, and the pass away with its last.
func (s *Sharing) drop(p *sharedPass, r *rider) {
	s.stats.Riding--
	if r.own != nil {
		r.own.cut.Store(true) // its goroutine has better to do now
	}
	p.left -= r.left
	r.left = 0
	p.leave(r)
	for i := range r.parts {
		st := p.of[r.parts[i].Segment]
		if st == nil {
			continue
		}
		if j := slices.IndexFunc(st.rides, func(x ride) bool { return x.rider == r }); j >= 0 {
			st.rides = slices.Delete(st.rides, j, j+1)
		}
		if len(st.rides) == 0 {
			p.pass(st)
		}
	}
	if p.riders--; p.riders > 0 {
		return
	}
	i := slices.Index(s.passes, p)
	s.passes = slices.Delete(s.passes, i, i+1)
	p.key.group = nil
	clear(p.packs) // panels are large where vectors are
	p.stop, p.block = 0, 0
	if len(s.spare) < mostSpare {
		s.spare = append(s.spare, p)
	}
}

// newStop takes a stop that the pass had before and no worker is at, or makes one.
func (s *Sharing) newStop(p *sharedPass, segment *Segment) *stop {
	st := new(stop)
	i := slices.IndexFunc(p.passed, func(st *stop) bool {
		return !s.busy(func(w *worker) bool { return w.stop == st })
	})
	if i >= 0 {
		st = p.passed[i]
		p.passed = slices.Delete(p.passed, i, i+1)
	}
	st.segment, st.claimed = segment, st.claimed[:0]
	return st
}

// pass takes a stop that no rider has off the way.
func (p *sharedPass) pass(st *stop) {
	i := slices.Index(p.stops, st)
	p.stops = slices.Delete(p.stops, i, i+1)
	p.passed = append(p.passed, st)
	delete(p.of, st.segment)
	p.total -= len(st.claimed)
	switch {
	case i < p.stop:
		p.stop--
	case i == p.stop:
		p.block = 0
	}
}

// cancel has a rider leave before the end of its round: at once, or where workers work
// for it, with the blocks that they have in hand.
func (s *Sharing) cancel(p *sharedPass, r *rider) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.gone {
		return // it was at its end
	}
	r.gone = true
	s.drop(p, r)
	s.cut(p)
	if r.working == 0 {
		r.done <- struct{}{}
	}
}

// lacked says whether a rider lacks a block.
func (p *sharedPass) lacked(st *stop, b int) bool {
	for i := range st.rides {
		if r := &st.rides[i]; r.joined > st.claimed[b] && b*p.rows < r.rows {
			return true
		}
	}
	return false
}

// along is the next lacked block of a worker's stretch, −1 if there is none.
func (w *worker) along() int {
	if w.pass == nil || w.pass.left == 0 {
		return -1
	}
	for ; w.next < w.until; w.next++ {
		if w.pass.lacked(w.stop, w.next) {
			w.next++
			return w.next - 1
		}
	}
	return -1
}

// enter takes a stretch of a pass, in which p.left is above zero, and gives its first
// lacked block.
func (w *worker) enter(p *sharedPass) int {
	w.pass = p
	// Shorter towards the end of the rounds, so that workers come to it together.
	stretch := max(1, min(stretchBytes/(4*p.rows*pad(p.key.shape.Dim)), p.left/(2*len(p.packs)*p.riders)))
	for {
		if p.stop >= len(p.stops) {
			p.stop = 0
		}
		st := p.stops[p.stop]
		for b := p.block; b < len(st.claimed); b++ {
			if p.lacked(st, b) {
				w.stop, w.next, w.until = st, b+1, min(b+stretch, len(st.claimed))
				p.block = w.until
				return b
			}
		}
		p.stop, p.block = p.stop+1, 0
	}
}
