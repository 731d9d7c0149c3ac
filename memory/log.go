package memory

import (
	"context"
	"fmt"
	"iter"
)

// Durability says when a namespace's writes are acknowledged and shown to readers.
type Durability uint8

// The durabilities. All go through the one log, in one order.
const (
	Sync     Durability = iota // once the log is synced: no crash or power cut loses them
	Interval                   // at once; the log is synced on an interval, and a power cut loses what came since
	None                       // at once; a crash of the machine loses what the system hadn't written by itself
)

func (d Durability) String() string {
	switch d {
	case Sync:
		return "SYNC"
	case Interval:
		return "INTERVAL"
	case None:
		return "NONE"
	}
	return fmt.Sprintf("Durability(%d)", uint8(d))
}

// A Log keeps mutations, so that they outlive the process. Append, Epoch, Flush and
// Room are called by one goroutine, Sync by another beside them. Any error but
// Room's and Import's is final: nothing is written to the log after it.
type Log interface {
	// Append takes a mutation, behind those before it. It keeps nothing of m.
	Append(m *Mutation) error
	// Epoch notes that LSNs go on from base, which has the last one's number in a
	// higher epoch.
	Epoch(base LSN) error
	// Flush hands what was appended to the operating system: it survives this
	// process, and not yet a power cut.
	Flush() error
	// Sync flushes, and makes durable what had been appended when it was called.
	Sync() error
	// Room is nil, or *NoSpace if the disk lacks room for a mutation of so many
	// bytes beside what is kept for deletes.
	Room(bytes int) error
	// Import makes a namespace that comes whole durable, in a file of its own that
	// the mutation which commits it names.
	Import(ctx context.Context, v *View) (file string, err error)
}

// Imported is the state of a namespace that comes whole, as a Log read it back.
type Imported struct {
	LSN     LSN // the namespace's own where the records come from
	Records iter.Seq2[*Record, error]
}

// ReadOnly says that the DB takes no writes; reads go on.
type ReadOnly struct{ Reason string }

func (e *ReadOnly) Error() string { return "the memory is read-only: " + e.Reason }

// NoSpace says that the disk has no room for a write.
type NoSpace struct{ Reason string }

func (e *NoSpace) Error() string { return "the disk is full: " + e.Reason }

// SetLog makes every mutation from now on go to a log.
func (db *DB) SetLog(l Log) error {
	return db.commit(db.maintenance.ctx, func(c *committer) error {
		c.log = l
		c.db.journal.Store(&l)
		c.db.restoring.Store(false)
		return nil
	})
}

// Barrier returns when every mutation before it is durable, whatever its namespace's
// durability, and gives the LSN of the last of them. Readers may see later ones already,
// which are not.
func (db *DB) Barrier(ctx context.Context) (durable LSN, err error) {
	err = db.commit(ctx, func(c *committer) error {
		durable, c.call.waits = c.lsn, c.log != nil
		return nil
	})
	return durable, err
}

// SyncInterval makes the writes of namespaces of durability INTERVAL durable, if
// there were any since it did so last.
func (db *DB) SyncInterval(ctx context.Context) error {
	if !db.unsynced.Swap(false) {
		return nil
	}
	_, err := db.Barrier(ctx)
	return err
}

// ReadOnly is nil, or *ReadOnly if writes are refused.
func (db *DB) ReadOnly() error {
	if r := db.readOnly.Load(); r != nil {
		return r
	}
	return nil
}

// SetReadOnly refuses all writes from now on. The first reason stays.
func (db *DB) SetReadOnly(reason string) {
	if !db.readOnly.CompareAndSwap(nil, &ReadOnly{reason}) {
		return
	}
	db.log.Warn("the memory is read-only until the next start", "reason", reason)
	if f := db.onReadOnly.Load(); f != nil {
		(*f)(db.ReadOnly())
	}
}

// OnReadOnly has f called once writes are refused, at once if they are already.
func (db *DB) OnReadOnly(f func(error)) {
	db.onReadOnly.Store(&f)
	if err := db.ReadOnly(); err != nil {
		f(err)
	}
}
