package memory

import "sync/atomic"

// A Namespace is one memory. It stays valid after it is deleted, as an empty one.
type Namespace struct {
	name       string
	createTime int64
	created    LSN
	view       atomic.Pointer[View]
	asking     atomic.Pointer[asking]   // nil: it never had an index
	saved      atomic.Pointer[savedIVF] // of a snapshot; nil once it is an index again
	due        int64                    // its first entry in the agenda, whose lock guards it; 0: none
	removed    removed
	forgetDue  int64 // when it looks next for what it forgets, of the agenda too; 0: never

	consolidateDue int64   // when it looks next for what it merges, guarded by mu of DB.consolidating; 0: never
	passed         *passed // what a pass over it left for the next, likewise by passing; nil: nothing
}

// View acquires the current view; the caller releases it.
func (n *Namespace) View() *View {
	for {
		if v := n.view.Load(); v.tryAcquire() {
			return v
		}
		// It was replaced and let go since: there is a newer one.
	}
}

// Config is the namespace's.
func (n *Namespace) Config() Config {
	return n.view.Load().Config() // plain memory, with or without references
}

// removed counts the records that went by themselves since the process began.
type removed [4]atomic.Uint64

// Why they went.
const (
	expiredAt = iota
	evictedAt
	forgottenAt
	mergedAt
)

// gone counts records of the namespace that went, here and in the DB.
func (db *DB) gone(ns *Namespace, why, records int) {
	if records > 0 {
		ns.removed[why].Add(uint64(records))
		db.removed[why].Add(uint64(records))
	}
}

// Removed is how many records of all namespaces went since the process began because they
// had expired, were evicted, were forgotten and were merged.
func (db *DB) Removed() (n [4]uint64) {
	for i := range n {
		n[i] = db.removed[i].Load()
	}
	return n
}
