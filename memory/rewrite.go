package memory

import (
	"engram/index"
)

// livePayload is what the payloads of the live rows take.
func (s *segView) livePayload() (n int) {
	for r := range s.n {
		if !s.isDead(r) {
			_, size := readPayload(s.at(&s.rows[r]))
			n += size
		}
	}
	return n
}

// gone is where a dead row went.
const gone = ^uint32(0)

// rewrite copies the live rows of segments into a new one with room for capacity
// rows and payload bytes, in order. moved, if not nil, is told where each row
// went, gone for the dead.
func (db *DB) rewrite(shape index.Shape, from []segView, capacity, payload int, values bool, moved func(segment int, row, to uint32)) (segView, error) {
	for i := range from {
		values = values || from[i].vectors.HasValues()
	}
	made, err := newSegment(db.pool, shape, capacity, payload, values)
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

// copyRow appends a row of another segment.
func (s *segView) copyRow(from *segView, r uint32) error {
	w := from.rows[r]
	p, _ := readPayload(from.at(&w))
	w.payload &= flagValue | flagKeyText
	return s.append(w, p, from.key(r), from.value(r))
}
