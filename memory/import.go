package memory

import (
	"context"
	"iter"
)

// Import makes a namespace with records as they were, all or nothing; *Exists if
// it is there. Where they don't fit its max_bytes its eviction leaves some out, or it is
// refused. lsn is the namespace's own where the records come from: it may be
// of any server, and this one's epoch rises above it, so that the import, which is
// a mutation of this server, follows everything imported.
func (db *DB) Import(ctx context.Context, c Config, lsn LSN, records iter.Seq2[*Record, error]) error {
	if db.lookup(c.Name) != nil { // before the work; the commit asks again
		return &Exists{kindNamespace, c.Name, c.Name}
	}
	n, err := db.restoreNamespace(c, lsn, nil)
	if err != nil {
		return err
	}
	d := n.draft
	taken := false
	defer func() {
		if !taken {
			d.discard()
		}
	}()
	for r, err := range records {
		if err != nil {
			return err
		}
		if err := n.Add(r); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := n.Done(); err != nil {
		return err
	}
	evicted, err := d.makeImported()
	if err != nil {
		return err
	}
	file := ""
	if l := db.journal.Load(); l != nil {
		if err := db.ReadOnly(); err != nil {
			return err
		}
		if file, err = (*l).Import(ctx, d.View); err != nil {
			return err
		}
	}
	return db.commit(ctx, func(cm *committer) error {
		if cm.draft(c.Name) != nil {
			return &Exists{kindNamespace, c.Name, c.Name}
		}
		if lsn.Epoch() >= cm.lsn.Epoch() {
			next, err := max(lsn, cm.lsn).nextEpoch()
			if err != nil {
				return invalid("lsn", "is %d: %v", lsn, err)
			}
			if cm.log != nil {
				if err := cm.log.Epoch(next); err != nil {
					cm.fail(err)
					return db.ReadOnly()
				}
			}
			cm.lsn = next
		}
		m := cm.begin(c.Name)
		m.Create, m.Import = &c, file
		if err := cm.room(m); err != nil {
			return err
		}
		if err := cm.commit(m, d); err != nil {
			return err
		}
		taken = true
		db.gone(d.ns, evictedAt, evicted)
		return nil
	})
}
