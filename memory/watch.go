package memory

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A History gives the mutations of one namespace that a Log holds, in order, those after
// an LSN. It is used by one goroutine.
type History interface {
	// Next gives the next mutation of an LSN up to a bound; nil if there is none yet.
	// The mutation is the caller's. *Gone if the Log has moved on.
	Next(upTo LSN) (*Mutation, error)
	Close() error
}

// Gone says that a Log doesn't hold mutations any more, those from Earliest on aside.
type Gone struct {
	After    LSN // those asked for
	Earliest LSN
}

func (e *Gone) Error() string {
	return fmt.Sprintf("the journal no longer holds all mutations after LSN %d; the earliest that can be had after is LSN %d", e.After, e.Earliest)
}

// ErrBehind is the error of a watcher that reads more slowly than the log moves on.
var ErrBehind = errors.New("the watcher is so far behind that the journal has moved on")

// ErrNoJournal is the error of what needs a journal where there is none.
var ErrNoJournal = errors.New("the server has no data directory, and so no journal to read")

// watchBatch is about how many bytes of mutations are given at once.
const watchBatch = 1 << 20

// Watch gives a namespace's mutations after an LSN to yield, some at a time, as they are
// published, until ctx ends or yield fails. after is nil for those from now on, and 0 for
// those from the namespace's creation on. *Gone if the log doesn't hold them, ErrBehind
// once it doesn't any more.
func (db *DB) Watch(ctx context.Context, namespace string, after *LSN, yield func([]*Mutation) error) error {
	log, ok := db.Journal()
	if !ok {
		return ErrNoJournal
	}
	now := db.LSN()
	ns := db.lookup(namespace)
	start := now
	switch {
	case after == nil && ns == nil:
		return noNamespace(namespace)
	case after != nil && *after > now:
		return invalid("after_lsn", "is %d, and the server is at %d", *after, now)
	case after != nil:
		start = *after
	}
	h, err := log.Since(namespace, start)
	var gone *Gone
	if errors.As(err, &gone) && ns != nil && ns.created > start {
		h, err = log.Since(namespace, ns.created-1)
	}
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	w := watcher{db: db, history: h, name: namespace, last: start}
	for {
		changed := db.published.wait()
		if err := w.give(db.LSN(), yield); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A watcher is how far a Watch has come.
type watcher struct {
	db      *DB
	history History
	name    string
	ns      *Namespace // as it was last seen
	last    LSN        // up to which everything was given
}

// give gives what there is up to an LSN.
func (w *watcher) give(upTo LSN, yield func([]*Mutation) error) error {
	ns := w.db.lookup(w.name)
	if ns != nil && ns == w.ns && ns.view.Load().lsn <= w.last {
		w.last = upTo // of other namespaces
		return nil
	}
	w.ns = ns
	for {
		var batch []*Mutation
		for bytes := 0; bytes < watchBatch; {
			m, err := w.history.Next(upTo)
			var gone *Gone
			if errors.As(err, &gone) {
				return ErrBehind
			}
			if err != nil {
				return err
			}
			if m == nil {
				break
			}
			batch, bytes = append(batch, m), bytes+m.bytes()
		}
		if len(batch) == 0 {
			w.last = upTo
			return nil
		}
		if err := yield(batch); err != nil {
			return err
		}
	}
}

// A signal tells those who wait for the next time that something happens. Where nobody
// waits it costs a lock that is free.
type signal struct {
	mu      sync.Mutex
	waiting chan struct{}
}

// wait gives a channel that is closed the next time.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = make(chan struct{})
	}
	return s.waiting
}

func (s *signal) happened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting != nil {
		close(s.waiting)
		s.waiting = nil
	}
}
