package memory

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// CheckForget says what is wrong with a threshold of retention, or gives "".
func CheckForget(x float64) string {
	if !(x >= 0 && x < 1) {
		return fmt.Sprintf("is %v; give 0, to forget nothing, to less than 1", x)
	}
	return ""
}

// forgetEvery is how often a namespace looks for what it forgets: 64 times while a record
// that is never rehearsed fades so far, but at least once an hour and at most once a second.
func (s *settings) forgetEvery() int64 {
	fade := float64(s.retention.HalfLife) * -math.Log2(s.forget)
	return int64(min(max(fade/64, float64(time.Second)), float64(time.Hour)))
}

// forgets says whether a row's retention is below the namespace's threshold.
func (v *View) forgets(ref Ref, now int64) bool {
	set := v.settings.Value()
	s := &v.segments[ref.segment]
	w := &s.rows[ref.row]
	return set.forget > 0 && !w.has(flagPinned) && set.retention.Of(w.createTime, s.rehearsals(ref.row), now) < set.forget
}

// forget removes the records of a namespace whose retention is below its threshold.
func (db *DB) forget(ctx context.Context, ns *Namespace, now int64) error {
	v := ns.View()
	defer v.Release()
	set := v.settings.Value()
	if set.forget == 0 {
		return nil
	}
	least := math.Log2(set.forget)
	var ids []string
	commit := func() error {
		if len(ids) == 0 {
			return nil
		}
		err := db.commit(ctx, func(c *committer) error {
			m := c.begin(ns.name)
			d := c.draft(ns.name)
			if d == nil || d.ns != ns {
				return nil
			}
			for _, id := range ids { // some were rehearsed since, or are others now
				if ref, ok := d.Find(id); ok && d.forgets(ref, now) {
					m.Deletes = append(m.Deletes, id)
				}
			}
			if len(m.Deletes) == 0 {
				return nil
			}
			if err := c.commit(m, d); err != nil {
				return err
			}
			db.gone(ns, forgottenAt, len(m.Deletes))
			return nil
		})
		ids = ids[:0]
		return err
	}
	var logs []float64
	for i := range v.segments {
		s := &v.segments[i]
		logs = slices.Grow(logs[:0], int(s.n))[:s.n]
		s.logRetention(logs, 0, &set.retention, now)
		for row := range s.n {
			// Rounding may differ by a bit: the commit decides.
			if w := &s.rows[row]; logs[row] > least+1e-9 || s.isDead(row) || w.has(flagPinned) {
				continue
			}
			if ids = append(ids, string([]byte(readID(s.at(&s.rows[row]))))); len(ids) == removedAtOnce {
				if err := commit(); err != nil {
					return err
				}
			}
		}
	}
	return commit()
}
