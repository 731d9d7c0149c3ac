package storage

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

// A spare is the segment that comes next, made ahead in a goroutine of its own: of its
// full size and filled with zeros, so that a sync of what is written to it later has
// only data to write, and so that a full disk is met before it is needed.
type spare struct {
	dir *Dir

	mu      sync.Mutex
	changed sync.Cond
	file    vfs.File // nil: not there
	size    int64
	busy    bool  // it is being made
	held    bool  // whoever took it still has its name
	err     error // why it could not be made
	closed  bool
	wake    chan struct{}
	done    chan struct{}
}

func newSpare(d *Dir) *spare {
	s := &spare{dir: d, wake: make(chan struct{}, 1), done: make(chan struct{}), busy: true}
	s.changed.L = &s.mu
	go s.run()
	return s
}

// run makes the file, again whenever it was taken, and while it can't be made tries
// anew at intervals.
func (s *spare) run() {
	defer close(s.done)
	for {
		s.mu.Lock()
		closed, need := s.closed, s.file == nil && !s.held
		if s.busy = need && !closed; !s.busy {
			s.changed.Broadcast()
		}
		s.mu.Unlock()
		if closed {
			return
		}
		var retry <-chan time.Time
		if need {
			f, err := s.dir.makeSpare(s.dir.opt.SegmentSize)
			s.mu.Lock()
			if err != nil && (s.err == nil || s.err.Error() != err.Error()) {
				s.dir.opt.Log.Error("the journal's next segment can't be made; it is tried again", "error", err.Error())
			} else if err == nil && s.err != nil {
				s.dir.opt.Log.Info("the journal's next segment is made: there is room again")
			}
			s.file, s.size, s.err, s.busy = f, s.dir.opt.SegmentSize, err, false
			s.changed.Broadcast()
			s.mu.Unlock()
			if err != nil {
				retry = time.After(s.dir.opt.retry)
			}
		}
		select {
		case <-s.wake:
		case <-retry:
		}
	}
}

func (s *spare) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// makeSpare makes the file; what can't be made whole is removed.
func (d *Dir) makeSpare(size int64) (vfs.File, error) {
	f, err := d.create(spareFile)
	if err != nil {
		return nil, err
	}
	if err := reserve(f, 0, size); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", spareFile, err), f.Close(), d.remove(spareFile))
	}
	return f, nil
}

// reserve gives a file room, and zeros, from one offset to another.
func reserve(f vfs.File, from, to int64) error {
	if err := preallocate(f, from, to-from); err != nil {
		return err
	}
	for at := from; at < to; {
		n := min(int64(len(zeroPage)), to-at)
		if _, err := f.WriteAt(zeroPage[:n], at); err != nil {
			return err
		}
		at += n
		// Little by little, so that a sync of the journal never waits for much.
		if at%(4<<20) == 0 || at == to {
			if err := f.SyncData(); err != nil {
				return err
			}
		}
	}
	return nil
}

// preallocate takes room on the disk. File systems that can't say so by an error that
// isn't one.
func preallocate(f vfs.File, from, n int64) error {
	for {
		err := f.Preallocate(from, n)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
			return nil
		default:
			return err
		}
	}
}

// take gives the file, waiting for it if it is being made. Its name is the caller's
// until taken.
func (s *spare) take() (f vfs.File, size int64, err error) {
	s.mu.Lock()
	for s.busy {
		s.changed.Wait()
	}
	f, size = s.file, s.size
	s.file, s.held = nil, true
	s.mu.Unlock()
	if f == nil {
		// A last attempt: what is needed now has no later.
		size = s.dir.opt.SegmentSize
		f, err = s.dir.makeSpare(size)
	}
	return f, size, err
}

// ready waits for the file if it is being made, and says whether it is there.
func (s *spare) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.busy || s.held {
		s.changed.Wait()
	}
	return s.file != nil
}

// taken says that the file has another name, or is of no use, so that the next can be made.
func (s *spare) taken() {
	s.mu.Lock()
	s.held = false
	s.busy = true
	s.mu.Unlock()
	s.poke()
}

// reserve is nil if the file is there, with room for at least so many bytes, waiting
// if it is being made. A full disk is *memory.NoSpace; another error is met, and
// final, when the file is taken.
func (s *spare) reserve(bytes int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.busy || s.held {
		s.changed.Wait()
	}
	err := s.err
	if s.file != nil && s.size < bytes {
		if err = reserve(s.file, s.size, bytes); err == nil {
			s.size = bytes
		} else {
			trim(s.file, s.size)
		}
	}
	if isFull(err) {
		return &memory.NoSpace{Reason: fmt.Sprintf("the journal needs %d bytes ahead: %v. Writes go on once there is room; deletes still work", max(bytes, s.dir.opt.SegmentSize), err)}
	}
	return nil
}

// close ends the goroutine and removes the file.
func (s *spare) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.poke()
	<-s.done
	if s.file == nil {
		return nil
	}
	return errors.Join(s.file.Close(), s.dir.remove(spareFile))
}
