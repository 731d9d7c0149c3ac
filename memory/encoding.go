package memory

import "engram/index"

// narrow is true where an encoding can't keep every vector: then writes are checked once
// more in their turn, since the encoding may have changed after the first time.
func (s *settings) narrow() bool { return s.encoding == index.F16 || s.values == index.F16 }

// canBecome refuses encodings that can't keep what is stored. It reads all keys or values
// that a change to F16 concerns, in the committer's turn.
func (d *draft) canBecome(u *UpdateNamespace) error {
	now := d.settings.Value()
	then := now
	if u.KeyEncoding != nil {
		then.encoding = *u.KeyEncoding
	}
	if u.ValueEncoding != nil {
		then.values = *u.ValueEncoding
	}
	if !then.narrow() || then.encoding == now.encoding && then.values == now.values {
		return nil
	}
	var key, value []float32
	for i := range d.segments {
		s := &d.segments[i]
		for r := range s.n {
			if s.isDead(r) {
				continue
			}
			c := checker{limits: &d.db.limits}
			key = s.vectors.KeyInto(key[:0], int(r))
			c.fitsKey(of("key"), key, &then)
			if s.rows[r].has(flagValue) {
				value = s.vectors.ValueInto(value[:0], int(r))
				c.fits(of("value"), value, false, then.values)
			}
			if len(c.found) > 0 {
				v := c.found[0]
				return precondition("record %q has a %s that this encoding can't keep: it %s", readID(s.at(&s.rows[r])), v.Field, v.Reason)
			}
		}
	}
	return nil
}
