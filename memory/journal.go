package memory

// JournalInfo says how large a journal is.
type JournalInfo struct {
	Segments int   // files of it
	Bytes    int64 // of mutations in them
}

// A Journal is a Log that can be read, at little cost and beside its writer.
type Journal interface {
	Log
	Info() JournalInfo
	// Since gives the mutations of a namespace after an LSN; *Gone if it doesn't hold
	// them all.
	Since(namespace string, after LSN) (History, error)
}

// Journal is the log, if there is one that can be read.
func (db *DB) Journal() (j Journal, ok bool) {
	if l := db.journal.Load(); l != nil {
		j, ok = (*l).(Journal)
	}
	return j, ok
}

// Durabilities counts the namespaces of each durability.
func (db *DB) Durabilities() (n [None + 1]int) {
	db.sorted.Load().Scan(func(ns *Namespace) bool {
		n[ns.view.Load().settings.Value().durability]++
		return true
	})
	return n
}
