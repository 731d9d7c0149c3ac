package storage

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

// A failing history is one of which a call fails.
type failing struct {
	h     *script
	at    int           // the call
	errno syscall.Errno // that it fails with
	dead  bool          // and every later one that changes anything

	fs      *faultFS
	calls   atomic.Int64
	hit     atomic.Pointer[call]
	running atomic.Bool // a memory is served, neither starting nor stopping
	served  atomic.Bool // it was when the call failed
	latched atomic.Bool // the memory is read-only
	retried atomic.Pointer[string]
}

// changes is true of the calls that change anything.
func (c *call) changes() bool {
	switch c.op {
	case "open", "opendir", "read", "stat", "list", "close", "lock":
		return false
	}
	return true
}

func (f *failing) before(c *call) error {
	n := int(f.calls.Add(1))
	segment := strings.HasPrefix(c.file, segmentPrefix)
	if f.latched.Load() && f.running.Load() && segment && c.changes() && c.op != "create" {
		s := c.kind()
		f.retried.CompareAndSwap(nil, &s)
	}
	if n != f.at && (!f.dead || n < f.at || !c.changes()) {
		return nil
	}
	one := *c
	if f.hit.CompareAndSwap(nil, &one) {
		f.served.Store(f.running.Load())
		// From here on nothing is written to the segment that failed, whenever the
		// memory comes to know of it.
		if f.running.Load() && segment && (c.op == "write" || c.op == "datasync") {
			f.latched.Store(true)
		}
	}
	return f.errno
}

// run plays the history, and says what is not as it should be.
func (f *failing) run(t *testing.T) error {
	w := newWorld(f.fs)
	w.retry = time.Millisecond
	f.fs.watch(f.before)
	state, durable := "", -1 // as of the last step that was answered
	complained := 0
	for i, s := range f.h.steps {
		w.clock.move(time.Second)
		if w.db == nil && s.name != starting.name {
			continue
		}
		var before map[string]string
		if s.name == starting.name {
			before = contents(t, f.fs.mem)
		}
		if s.name == stopping.name {
			f.running.Store(false)
		}
		err := s.do(w)
		for full := (*memory.NoSpace)(nil); errors.As(err, &full) && !f.dead; {
			if f.errno != syscall.ENOSPC {
				return fmt.Errorf("step %d (%s): %w", i, s.name, err)
			}
			w.dir.journal.spare.made()
			err = s.do(w)
		}
		var readOnly *memory.ReadOnly
		switch {
		case err == nil:
		case f.hit.Load() == nil:
			return fmt.Errorf("step %d (%s) failed where nothing did: %w", i, s.name, err)
		case s.name == starting.name:
			if err := f.refused(t, err, before); err != nil {
				return fmt.Errorf("step %d (%s): %w", i, s.name, err)
			}
			if f.dead {
				return f.after(t, w, state, durable, i)
			}
			if err := s.do(w); err != nil {
				return fmt.Errorf("step %d (%s), again: %w", i, s.name, err)
			}
		case errors.As(err, &readOnly):
			f.latched.Store(true)
		default:
			if complained > 0 && !f.dead && depends(err) {
				break
			}
			if complained++; complained > 1 && !f.dead {
				return fmt.Errorf("step %d (%s) failed, and was not the first to: %w", i, s.name, err)
			}
			if f.errno == syscall.ENOSPC && s.name == taking.name && !errors.Is(err, memory.ErrDiskFull) && f.hit.Load().op != "datasync" {
				return fmt.Errorf("step %d (%s): a full disk is told as: %w", i, s.name, err)
			}
		}
		if w.db == nil {
			if s.name == stopping.name && (err == nil || !f.latched.Load()) {
				durable = i
			}
			continue
		}
		f.running.Store(true)
		got := dump(w.db)
		if s.name == starting.name || err != nil {
			if d := differ(got, state); d != "" {
				return fmt.Errorf("step %d (%s, error %q) leaves %s", i, s.name, fmt.Sprint(err), d)
			}
		}
		if w.db.ReadOnly() != nil {
			return f.readOnly(t, w, state, durable, i)
		}
		if state = got; s.durable && err == nil {
			durable = i
		}
	}
	return f.after(t, w, state, len(f.h.steps), len(f.h.steps))
}

// depends is true of the errors of steps that count on one that was refused.
func depends(err error) bool {
	var missing *memory.NotFound
	var exists *memory.Exists
	var invalid *memory.Invalid
	return errors.As(err, &missing) || errors.As(err, &exists) || errors.As(err, &invalid) || errors.Is(err, errNotRefused)
}

// refused checks the error of a start whose call failed.
func (f *failing) refused(t *testing.T, err error, before map[string]string) error {
	c := f.hit.Load()
	if !errors.Is(err, f.errno) {
		return fmt.Errorf("the error is not the one that was met: %w", err)
	}
	if !strings.Contains(err.Error(), c.file) && !strings.Contains(err.Error(), c.to) {
		return fmt.Errorf("the error does not name %s: %w", c.file, err)
	}
	if !c.changes() {
		after := contents(t, f.fs.mem)
		for _, m := range []map[string]string{before, after} {
			maps.DeleteFunc(m, func(name, _ string) bool { return isTemporary(name) })
		}
		if c.op != "opendir" && c.op != "close" && !maps.Equal(before, after) {
			return fmt.Errorf("a start that could not read %s changed something: %v, then %v", c.file, slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
		}
	}
	return nil
}

// readOnly checks a memory that takes no writes any more, and what is left of it.
func (f *failing) readOnly(t *testing.T, w *world, state string, durable, i int) error {
	c := f.hit.Load()
	if c == nil {
		return errors.New("read-only for no reason")
	}
	for _, prefix := range []string{snapshotPrefix, "." + snapshotPrefix, importPrefix, "." + importPrefix} {
		if strings.HasPrefix(c.file, prefix) && !f.dead {
			return fmt.Errorf("an error of %s made it read-only", c.file)
		}
	}
	for j, s := range f.h.steps[i:] {
		if s.name == stopping.name || s.name == starting.name {
			break
		}
		if s.name == idling.name || s.name == taking.name {
			_ = s.do(w)
			continue
		}
		err := s.do(w)
		var readOnly *memory.ReadOnly
		if err != nil && !errors.As(err, &readOnly) && !depends(err) {
			return fmt.Errorf("step %d (%s) of a read-only memory: %w", i+j, s.name, err)
		}
		if d := differ(dump(w.db), state); d != "" {
			return fmt.Errorf("step %d (%s) of a read-only memory leaves %s", i+j, s.name, d)
		}
	}
	return f.after(t, w, state, durable, i)
}

// after stops it, and starts it where nothing fails: on what there is, and on what a
// power cut leaves, as a sync that failed may have lost what it should have written.
func (f *failing) after(t *testing.T, w *world, state string, durable, i int) error {
	f.fs.mu.Lock()
	left := f.fs.powerCut(0, nil)
	f.fs.mu.Unlock()
	// Closing may well tell of the error again, or of the next.
	if err := w.stop(); err != nil && f.hit.Load() == nil {
		return fmt.Errorf("stop: %w", err)
	}
	if retried := f.retried.Load(); retried != nil {
		return fmt.Errorf("after it failed, there was: %s", *retried)
	}
	f.fs.watch(nil)
	for what, mem := range map[string]*vfs.MemFS{"what there is": f.fs.mem, "what a power cut leaves": left} {
		w := newWorld(mem)
		r, err := w.start()
		if err != nil {
			return fmt.Errorf("the start after it, on %s: %w", what, err)
		}
		got := dump(w.db)
		if got != state && f.h.at(got, durable, i) < 0 {
			return errors.Join(fmt.Errorf("the start after it, on %s (%+v), has: %s", what, *r, differ(got, state)), w.stop())
		}
		if err := errors.Join(storing("after", true, "", scripted("one", 3000, 1, 2)).do(w), w.stop()); err != nil {
			return err
		}
	}
	return nil
}

// Every call of a history on the file system fails, one at a time. What was acknowledged
// is there after a restart, and:
//   - Where the active segment can't be written or synced, the memory is read-only, reads
//     go on, and nothing is written to that segment, nor synced, again.
//   - A start that can't read says which file, and changes nothing.
//   - Anything else fails at most the one thing that was asked for.
func TestEveryCallFails(t *testing.T) {
	var calls []string
	h := play(t, everything(), newFaultFS(vfs.NewMem(), func(c *call) error {
		calls = append(calls, c.kind())
		return nil
	}))
	// The short form tries some of those that are alike.
	seen := make(map[string]int)
	chosen := make(map[int]bool)
	for i, k := range calls {
		if seen[k]++; seen[k] == 1 || !raced && seen[k] <= 3 || !raced && seen[k]%8 == 0 {
			chosen[i+1] = true
		}
	}
	for name, c := range map[string]struct {
		errno syscall.Errno
		dead  bool
	}{
		"once":              {syscall.EIO, false},
		"full once":         {syscall.ENOSPC, false},
		"from then on":      {syscall.EIO, true},
		"full for the rest": {syscall.ENOSPC, true},
	} {
		t.Run(name, func(t *testing.T) {
			kinds := make(map[string]int)
			tried, latched := 0, 0
			for at := 1; ; at++ {
				if !*long && !chosen[at] && at <= len(calls) {
					continue
				}
				f := &failing{h: h, at: at, errno: c.errno, dead: c.dead}
				f.fs = newFaultFS(vfs.NewCrashableMem(), nil)
				err := f.run(t)
				hit := f.hit.Load()
				if err != nil {
					kind := "nothing"
					if hit != nil {
						kind = hit.kind()
					}
					t.Errorf("call %d, %s: %v", at, kind, err)
				}
				if hit == nil {
					break
				}
				tried++
				kinds[hit.kind()]++
				if f.latched.Load() {
					latched++
				}
				if journal := strings.HasPrefix(hit.file, segmentPrefix) && (hit.op == "write" || hit.op == "datasync"); journal && f.served.Load() && !f.latched.Load() {
					t.Errorf("call %d, %s, left the memory open for writes", at, hit.kind())
				}
			}
			t.Logf("%d calls failed, of %d kinds; %d made the memory read-only", tried, len(kinds), latched)
		})
	}
}
