package memory

import (
	"engram/index"
	"engram/internal/slab"
)

// livePayload is what the payloads of the live rows take.
func (s *segView) livePayload() (n int) {
	if s.deadRows == 0 {
		return sum(s.chunkUse())
	}
	for r := range s.n {
		if !s.isDead(r) {
			_, size := readPayload(s.at(&s.rows[r]))
			n += size
		}
	}
	return n
}

// chunkUse gives how many bytes of each chunk the rows use.
func (s *segView) chunkUse() []int {
	use := make([]int, len(s.chunks))
	for r := s.n; r > 0; r-- { // a chunk's last row ends it
		w := &s.rows[r-1]
		if c := w.chunk(); use[c] == 0 {
			_, size := readPayload(s.at(w))
			if use[c] = int(w.offset()) + size; c == 0 {
				break
			}
		}
	}
	return use
}

// gone is where a dead row went.
const gone = ^uint32(0)

// rewrite copies the live rows of segments into a new one of a pool, with room for
// capacity rows and payload bytes, in order. moved, if not nil, is told where each row
// went, gone for the dead.
func rewrite(pool *slab.Pool, shape index.Shape, from []segView, capacity, payload int, values bool, moved func(segment int, row, to uint32)) (segView, error) {
	for i := range from {
		values = values || from[i].givenValues()
	}
	made, err := newSegment(pool, shape, capacity, payload, values)
	if err != nil {
		return segView{}, err
	}
	out := segView{segment: made, chunks: made.chunks}
	for i := range from {
		s := &from[i]
		for r := range s.n {
			to := gone
			if !s.isDead(r) {
				to = out.n
				if err := out.copyRow(s, r); err != nil {
					out.release()
					return segView{}, err
				}
			}
			if moved != nil {
				moved(i, r, to)
			}
		}
	}
	return out, nil
}

// grow copies a segment without dead rows into a new one of a pool, with more room or
// with values. Rows keep their numbers.
func grow(pool *slab.Pool, from *segView, capacity, payload int, values bool) (segView, error) {
	vectors, err := from.vectors.Copy(pool, capacity, values)
	if err != nil {
		return segView{}, err
	}
	made, err := segmentOf(pool, vectors, payload)
	if err != nil {
		return segView{}, err
	}
	copy(made.rows, from.rows[:from.n])
	moved := make([]int, len(from.chunks)) // where the payloads of a chunk begin now
	for i, n := range from.chunkUse() {
		moved[i] = made.used
		made.used += copy(made.chunks[0][made.used:], from.chunks[i][:n])
	}
	if len(moved) > 1 {
		for r := range made.rows[:from.n] {
			w := &made.rows[r]
			w.payload = w.payload&flags | uint64(moved[w.chunk()]+int(w.offset()))
		}
	}
	made.payload = from.segment.payload
	switch {
	case len(made.ids) == len(from.ids):
		copy(made.ids, from.ids)
	case len(made.ids) > 0:
		for r := range made.rows[:from.n] {
			made.ids.insertNew(made.rows[r].hash, uint32(r))
		}
	}
	return segView{segment: made, n: from.n, chunks: made.chunks, rehearsed: from.rehearsed, expiring: from.expiring}, nil
}

// copyRow appends a row of another segment.
func (s *segView) copyRow(from *segView, r uint32) error {
	w := from.rows[r]
	p, _ := readPayload(from.at(&w))
	w.payload &= flags
	if err := s.append(w, p, from.key(r), from.value(r), from.vectors.Lost(int(r))); err != nil {
		return err
	}
	s.addRehearsed(s.n-1, from.rehearsals(r))
	s.addExpiring(s.n-1, from.expires(r))
	return nil
}
