package storage

import (
	"errors"

	"engram/memory"
)

// prune deletes all but the Kept newest snapshots, and once there are so many, the
// segments that the oldest of them doesn't need, and the import files that no segment
// names any more.
func (d *Dir) prune() error {
	l, err := d.list()
	if err != nil || len(l.snapshots) < Kept {
		return err
	}
	gone := 0
	remove := func(name string) {
		gone++
		err = errors.Join(err, d.remove(name))
	}
	for _, name := range l.snapshots[Kept:] {
		remove(name)
	}
	n, _, _ := numberOf(l.snapshots[Kept-1], snapshotPrefix)
	oldest := memory.LSN(n)
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := memory.LSN(0) // where the journal begins
	for i, name := range l.segments {
		if i+1 < len(l.segments) {
			if next, _, _ := numberOf(l.segments[i+1], segmentPrefix); memory.LSN(next) <= oldest {
				remove(name)
				delete(d.segments, name)
				continue
			}
		}
		base, _, _ := numberOf(name, segmentPrefix)
		kept = memory.LSN(base)
		break
	}
	for _, name := range l.imports {
		// A file that nothing has named since the start is of a segment from before,
		// or of an import that came to nothing.
		lsn, named := d.imports[name]
		if !named {
			lsn = d.base
		}
		if lsn <= kept {
			remove(name)
			delete(d.imports, name)
		}
	}
	if gone > 0 {
		err = errors.Join(err, d.sync())
	}
	return err
}
