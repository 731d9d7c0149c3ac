package memory

import (
	"errors"
	"fmt"
	"io"

	"engram/internal/slab"
)

// Begin starts the epoch after that of last and of every LSN there is, and gives
// what its LSNs go on from. An empty DB that no one used before stays in its first.
func (db *DB) Begin(last LSN) (base LSN, err error) {
	err = db.commit(db.maintenance.ctx, func(c *committer) error {
		if last != 0 || c.lsn != MakeLSN(1, 0) {
			next, err := max(last, c.lsn).nextEpoch()
			if err != nil {
				return err
			}
			c.lsn = next
		}
		base = c.lsn
		return nil
	})
	return base, err
}

// replayed is how many mutations are applied between two that are published.
const replayed = 1024

// Replay applies mutations of a log, in order, to what was restored, which may have
// some of them; next ends with io.EOF. It is called before SetLog.
func (db *DB) Replay(next func() (*Mutation, error)) (applied int, err error) {
	db.restoring.Store(true)
	missing := map[string]LSN{} // of namespaces that a mutation has and the memory hasn't
	var held *Mutation          // for which there was no room
	for done := false; !done; {
		if held != nil {
			// When it was committed, dead rows had made room behind the writes.
			db.maintenance.compactAll()
		}
		err := db.commit(db.maintenance.ctx, func(c *committer) error {
			for range replayed {
				m, again := held, held != nil
				if held = nil; !again {
					var err error
					if m, err = next(); err != nil {
						return err
					}
				}
				ok, err := c.replay(m, missing)
				if errors.Is(err, slab.ErrBudget) && !again {
					held = m
					return nil
				}
				if err != nil {
					return fmt.Errorf("mutation %d of namespace %q: %w", m.LSN, m.Namespace, err)
				}
				if ok {
					applied++
				}
			}
			return nil
		})
		if errors.Is(err, io.EOF) {
			done = true
		} else if err != nil {
			return applied, err
		}
	}
	for name, lsn := range missing {
		return applied, fmt.Errorf("mutation %d is of namespace %q, which was neither there nor deleted later: a part of the log is missing", lsn, name)
	}
	return applied, nil
}

// replay applies a mutation unless the namespace is as of a later one already. One of a
// namespace that isn't there is passed over: a snapshot that was taken meanwhile doesn't
// have what was deleted then.
func (c *committer) replay(m *Mutation, missing map[string]LSN) (applied bool, err error) {
	c.lsn = max(c.lsn, m.LSN)
	d := c.draft(m.Namespace)
	if d != nil && m.LSN <= d.lsn {
		return false, nil
	}
	switch {
	case m.Create == nil && d == nil:
		if m.Drop {
			delete(missing, m.Namespace)
		} else {
			missing[m.Namespace] = m.LSN
		}
		return false, nil
	case m.Create != nil && d != nil:
		return false, &Exists{kindNamespace, m.Namespace, m.Namespace}
	case m.Imported != nil:
		if d, err = c.db.imported(m); err != nil {
			return false, err
		}
	case m.Create != nil:
		if err := c.db.checkConfig(m.Create); err != nil {
			return false, err
		}
		d = c.db.newDraft(m.Create)
	}
	delete(missing, m.Namespace)
	d.unbounded, d.admitted = true, true
	err = d.reserveFor(m)
	d.unbounded, d.admitted = false, false
	if err != nil {
		if m.Create != nil {
			d.discard()
		}
		return false, err
	}
	c.apply(m, d)
	return true, nil
}

// imported builds the state of a namespace that came whole.
func (db *DB) imported(m *Mutation) (*draft, error) {
	from, err := m.Imported()
	if err != nil {
		return nil, err
	}
	n, err := db.restoreNamespace(*m.Create, from.LSN, nil)
	if err != nil {
		return nil, err
	}
	n.draft.admitted = true
	for r, err := range from.Records {
		if err == nil {
			err = n.Add(r)
		}
		if err != nil {
			n.discard()
			return nil, err
		}
	}
	if err := n.Done(); err != nil {
		n.discard()
		return nil, err
	}
	return n.draft, nil
}
