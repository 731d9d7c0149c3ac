package storage

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

var (
	long = flag.Bool("long", false, "try every fault, not a sample of those that are many")
	seed = flag.Uint64("seed", 1, "of what is random in the tests of faults")
)

// random gives a source that -seed and a salt make.
func random(salt uint64) *rand.Rand { return rand.New(rand.NewPCG(*seed, salt)) }

// cutter cuts the power while a history runs, and sees what comes of it.
type cutter struct {
	t       testing.TB
	h       *script
	rng     *rand.Rand
	points  int            // operations at which the power was cut
	starts  int            // recoveries after that
	kinds   map[string]int // of those operations
	failure error
}

// A cutoff says what must be there after a power cut: the state after one of some steps.
type cutoff struct{ low, high int }

// kind tells an operation for people.
func (c *call) kind() string {
	of := func(name string) string {
		for _, k := range []string{snapshotPrefix, segmentPrefix, importPrefix} {
			switch {
			case strings.HasPrefix(name, k) && strings.HasSuffix(name, cutSuffix):
				return k + "*.cut"
			case strings.HasPrefix(name, k) && strings.HasSuffix(name, ".tmp"):
				return k + "*.tmp"
			case strings.HasPrefix(name, k):
				return k + "*"
			case strings.HasPrefix(name, "."+k):
				return "." + k + "*"
			}
		}
		return name
	}
	if c.op == "rename" {
		return "rename " + of(c.file) + " to " + of(c.to)
	}
	return c.op + " " + of(c.file)
}

// cut tries what a power cut right before a call can leave.
func (p *cutter) cut(fsys *faultFS, c *call, durable, done, current int) {
	if p.failure != nil {
		return
	}
	if p.kinds[c.kind()]++; raced && !*long && p.kinds[c.kind()]%10 != 1 {
		return
	}
	p.points++
	try := func(what string, mem *vfs.MemFS, low int) {
		if err := p.verify(mem, cutoff{low, current}, 1); err != nil && p.failure == nil {
			name := "the end"
			if current < len(p.h.steps) {
				name = p.h.steps[current].name
			}
			p.failure = fmt.Errorf("operation %d (%s), in step %d (%s), %s: %w", p.points, c.kind(), current, name, what, err)
		}
	}
	try("nothing unsynced left", fsys.powerCut(0, nil), durable)
	try("killed", fsys.powerCut(100, p.rng), done)
	if percent := 10 + p.rng.IntN(80); *long || p.rng.IntN(4) == 0 || c.op == "sync" || c.op == "datasync" {
		try(fmt.Sprintf("%d%% of the unsynced left", percent), fsys.powerCut(percent, p.rng), durable)
	}
	if c.op == "write" && strings.HasPrefix(c.file, segmentPrefix) {
		mem := fsys.powerCut(100, p.rng)
		tear(p.t, mem, c, p.rng)
		try("torn write", mem, done)
	}
}

// tear makes some of a write.
func tear(t testing.TB, mem *vfs.MemFS, c *call, rng *rand.Rand) {
	t.Helper()
	f, err := mem.OpenReadWrite(path.Join(data, c.file), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	grain := 1 << rng.IntN(10)
	for at := 0; at < len(c.data); at += grain {
		if rng.IntN(2) == 0 {
			if _, err := f.WriteAt(c.data[at:min(at+grain, len(c.data))], c.at+int64(at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, _ = f.Sync(), f.Close()
}

// verify recovers a directory, compares what is there, uses it, and recovers it again.
// The power is cut once more while it recovers, as deep as asked for.
func (p *cutter) verify(mem *vfs.MemFS, want cutoff, depth int) (err error) {
	fsys := newFaultFS(mem, nil)
	w := newWorld(fsys)
	report, err := p.check(w)
	if err != nil {
		return err
	}
	op, at := 0, -1
	if depth > 0 {
		at = p.rng.IntN(60)
	}
	var nested error
	fsys.watch(func(c *call) error {
		if op++; nested == nil && (op == at || depth > 0 && *long && p.rng.IntN(8) == 0) {
			percent := p.rng.IntN(101)
			if e := p.verify(fsys.powerCut(percent, p.rng), want, depth-1); e != nil {
				nested = fmt.Errorf("and again at operation %d of the start (%s), %d%% left: %w", op, c.kind(), percent, e)
			}
		}
		return nil
	})
	r, err := w.start()
	fsys.watch(nil)
	if nested != nil || err != nil {
		if err == nil {
			err = w.stop()
		}
		return cmpErr(nested, err)
	}
	defer func() {
		if e := w.stop(); err == nil {
			err = e
		}
	}()
	p.starts++
	got := dump(w.db)
	if p.h.at(got, want.low, want.high) < 0 {
		return fmt.Errorf("not a state after step %d to %d, but of step %d: %+v: %s", want.low, want.high, p.h.at(got, -1, len(p.h.states)), *r, differ(got, p.h.states[max(0, want.low)]))
	}
	if report != nil && (report.Replay < r.Replayed || fmt.Sprint(report.Cut) != fmt.Sprint(r.Cut) && (report.Cut == nil || r.Cut == nil || *report.Cut != *r.Cut)) {
		return fmt.Errorf("check told %+v (cut %+v), and the start %+v (cut %+v)", report, report.Cut, *r, r.Cut)
	}
	// It works on.
	if err := storing("after", true, "", scripted("one", 3000, 1, 2), scripted("two", 300, 1, 2)).do(w); err != nil {
		return fmt.Errorf("a store after it: %w", err)
	}
	got = dump(w.db)
	if err := w.stop(); err != nil {
		return fmt.Errorf("the stop after it: %w", err)
	}
	r, err = w.start()
	if err != nil {
		return fmt.Errorf("the start after it: %w", err)
	}
	if again := dump(w.db); again != got || r.Cut != nil {
		return fmt.Errorf("the start after it: %s (%+v)", differ(again, got), *r)
	}
	return nil
}

func cmpErr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// check has `engram check` look at a directory, if there is one yet.
func (p *cutter) check(w *world) (*Report, error) {
	if names, _ := w.fs.List(data); len(names) == 0 {
		return nil, nil
	}
	d, err := Inspect(data, w.options())
	if err != nil {
		return nil, err
	}
	r, err := d.Check(context.Background())
	return r, errors.Join(err, r.Err, d.Close())
}

// every plays a history once more, in a directory with files in it, and cuts the power
// at every operation.
func (p *cutter) every(files map[string]string) {
	t := p.t
	t.Helper()
	var current, durable atomic.Int64
	durable.Store(-1)
	mem := vfs.NewCrashableMem()
	if files != nil {
		mem = withFiles(t, files)
	}
	fsys := newFaultFS(mem, nil)
	fsys.watch(func(c *call) error {
		i := int(current.Load())
		p.cut(fsys, c, int(durable.Load()), i-1, i)
		return nil
	})
	w := newWorld(fsys)
	for i, s := range p.h.steps {
		w.clock.move(1e9)
		if err := s.do(w); err != nil {
			t.Fatalf("step %d, %s: %v", i, s.name, err)
		}
		if w.db != nil {
			if got := dump(w.db); got != p.h.states[i] {
				t.Fatalf("step %d, %s, isn't what it was: %s", i, s.name, differ(got, p.h.states[i]))
			}
		}
		if s.durable {
			durable.Store(int64(i))
		}
		current.Store(int64(i + 1))
		if p.failure != nil {
			break
		}
	}
	fsys.watch(nil)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if p.failure != nil {
		t.Fatal(p.failure)
	}
}

// At every operation of a history the power is cut. Whatever of the unsynced is left:
// the directory starts, all that was durable is there, and what is there is the state
// after one of the steps up to that which was under way. A kill loses nothing at all.
func TestPowerCut(t *testing.T) {
	p := &cutter{t: t, h: play(t, everything(), vfs.NewMem()), rng: random(1), kinds: make(map[string]int)}
	p.every(nil)
	for _, k := range []string{
		"rename .snapshot-* to snapshot-*", "rename .import-* to import-*", "rename journal.next to journal-*",
		"sync data", "remove snapshot-*", "remove journal-*", "remove import-*", "datasync journal-*", "write journal-*", "sync journal-*", "datasync journal.next",
	} {
		if p.kinds[k] == 0 {
			t.Errorf("no power cut at: %s", k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(p.kinds)) {
		t.Logf("%5d %s", p.kinds[k], k)
	}
	t.Logf("%d points, %d recoveries compared", p.points, p.starts)
}

// The power is cut at every operation of a start that has something to mend: a snapshot
// to set aside, an end of the journal to cut.
func TestPowerCutInRecovery(t *testing.T) {
	mem := vfs.NewCrashableMem()
	steps := everything()
	h := play(t, steps, mem)
	whole := contents(t, mem)
	l, err := (&Dir{fs: mem, path: data}).list()
	if err != nil {
		t.Fatal(err)
	}
	newest, last := l.snapshots[0], l.segments[len(l.segments)-1]
	flipped := func(s string, at int) string { return s[:at] + string(s[at]^1) + s[at+1:] }
	for name, change := range map[string]func(map[string]string){
		"whole":              func(map[string]string) {},
		"a damaged snapshot": func(f map[string]string) { f[newest] = flipped(f[newest], len(f[newest])/2) },
		"an empty snapshot":  func(f map[string]string) { f[newest] = "" },
		"leftovers":          func(f map[string]string) { f["."+newest+"1"], f[spareFile] = "half", "half" },
		"something behind the journal's end": func(f map[string]string) {
			end := len(strings.TrimRight(f[last], "\x00"))
			f[last] = f[last][:end+16] + strings.Repeat("torn", 30) + f[last][end+16+120:]
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(whole)
			change(files)
			nothing := step{"nothing", func(*world) error { return nil }, true}
			again := play(t, []step{nothing, starting, storing("s", true, "", scripted("j", 1300, 7, 8)), taking, stopping}, withFiles(t, files))
			if d := differ(again.states[1], h.states[len(h.states)-1]); d != "" {
				t.Fatal("recovered " + d)
			}
			again.states[0] = again.states[1] // before the start is done, there is what there was
			p := &cutter{t: t, h: again, rng: random(2), kinds: make(map[string]int)}
			p.every(files)
			t.Logf("%d points, %d recoveries compared", p.points, p.starts)
		})
	}
}

// While a repair runs, the power is cut at every operation. After that either the
// directory starts as it was, or as the repair leaves it, or it says that the repair is to
// be repeated; and that does it.
func TestPowerCutInRepair(t *testing.T) {
	steps := everything()
	steps = steps[:len(steps)-10]
	mem := vfs.NewCrashableMem()
	h := play(t, append(steps, stopping), mem)
	before := contents(t, mem)
	l, err := (&Dir{fs: mem, path: data}).list()
	if err != nil || len(l.segments) < 3 {
		t.Fatal(l, err)
	}
	points, starts, refused, last := 0, 0, 0, memory.LSN(0)
	for i, at := range h.lsns {
		oldest, _, _ := numberOf(l.snapshots[len(l.snapshots)-1], snapshotPrefix)
		if at <= memory.LSN(oldest) || at == last {
			continue
		}
		last = at
		rng := random(uint64(i))
		var failure error
		var verify func(fsys *vfs.MemFS, depth int) error
		verify = func(mem *vfs.MemFS, depth int) error {
			w := newWorld(mem)
			_, err := w.start()
			if err != nil {
				refused++
				if !strings.Contains(err.Error(), fmt.Sprintf("engram repair %s --truncate-at %d", data, at)) {
					return err
				}
				fsys := newFaultFS(mem, nil)
				op, cut := 0, rng.IntN(30)
				var nested error
				fsys.watch(func(c *call) error {
					if op++; op == cut && depth > 0 {
						if e := verify(fsys.powerCut(rng.IntN(101), rng), depth-1); e != nil {
							nested = fmt.Errorf("and again at operation %d of the repair (%s): %w", op, c.kind(), e)
						}
					}
					return nil
				})
				if err := repair(fsys, at); cmpErr(nested, err) != nil {
					return fmt.Errorf("repeated: %w", cmpErr(nested, err))
				}
				if _, err = w.start(); err != nil {
					return fmt.Errorf("after the repair was repeated: %w", err)
				}
				if got := dump(w.db); got != h.states[i] {
					return errors.Join(fmt.Errorf("after the repair was repeated: %s", differ(got, h.states[i])), w.stop())
				}
			}
			starts++
			got := dump(w.db)
			if got != h.states[i] && got != h.states[len(h.states)-1] {
				return errors.Join(fmt.Errorf("after the repair: %s", differ(got, h.states[i])), w.stop())
			}
			if err := storing("after", true, "", scripted("one", 3000, 1, 2)).do(w); err != nil {
				return err
			}
			got = dump(w.db)
			if err := w.stop(); err != nil {
				return err
			}
			if _, err := w.start(); err != nil {
				return fmt.Errorf("the start after it: %w", err)
			}
			if again := dump(w.db); again != got {
				return errors.Join(fmt.Errorf("the start after it: %s", differ(again, got)), w.stop())
			}
			return w.stop()
		}
		fsys := newFaultFS(withFiles(t, before), nil)
		fsys.watch(func(c *call) error {
			if points++; raced && !*long && points%20 != 0 {
				return nil
			}
			for _, percent := range []int{0, 10 + rng.IntN(80), 100} {
				if err := verify(fsys.powerCut(percent, rng), 1); err != nil && failure == nil {
					failure = fmt.Errorf("repair to the LSN of step %d (%s), %s, %d%% left: %w", i, h.steps[i].name, c.kind(), percent, err)
				}
			}
			return nil
		})
		if err := repair(fsys, at); err != nil {
			t.Fatalf("repair to the LSN %d of step %d (%s): %v", at, i, h.steps[i].name, err)
		}
		fsys.watch(nil)
		if failure != nil {
			t.Fatal(failure)
		}
		if err := verify(fsys.mem, 0); err != nil {
			t.Fatal(err)
		}
	}
	if starts == 0 || refused == 0 {
		t.Error("nothing was tried")
	}
	t.Logf("%d points, %d recoveries compared, of which %d after the repair was repeated", points, starts, refused)
}

// repair is what engram repair does.
func repair(fsys vfs.FS, at memory.LSN) error {
	d, err := Open(data, newWorld(fsys).options())
	if err != nil {
		return err
	}
	_, err = d.Repair(context.Background(), at)
	return errors.Join(err, d.Close())
}
