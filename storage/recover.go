package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

// Recovered says what a memory was recovered from.
type Recovered struct {
	Snapshot memory.SnapshotInfo // File is empty if there was none
	Replayed int                 // mutations of the journal that the snapshot didn't have
	LSN      memory.LSN          // the last mutation
	Cut      *Cut                // nil: nothing
	Duration time.Duration
}

// A Cut is what lay behind the last whole frame of the journal. It was never
// acknowledged by a namespace of durability SYNC: no sync had covered it.
type Cut struct {
	File   string
	Offset int64
	Bytes  int64
	Want   string     // what was expected at the offset
	Beyond memory.LSN // the highest LSN of whole frames behind it; 0: there is none
}

// recovery is the state of Recover.
type recovery struct {
	dir   *Dir
	db    *memory.DB
	until memory.LSN // 0: everything

	info    memory.SnapshotInfo
	highest memory.LSN // up to which the journal was durable when the snapshot was taken
	old     bool       // it is of a version without a journal
	bad     []error    // newer snapshots that are damaged
	aside   []string   // their names

	chain  []string        // segments with what the snapshot lacks, the oldest first
	heads  []segmentHeader // of those
	walk   *walk           // through one of them
	passed bool            // what follows is later than wanted
	at     int             // which comes next
	last   memory.LSN      // of the frames read
	buffer []byte

	importing memory.LSN // of the mutation that next gave, if records in a file come with it
}

// Recover fills db, which is empty, from the newest snapshot that is whole and from the
// journal after it, then begins a new epoch and a new segment, and makes db write to it.
// The memory can be read, not written, before that.
//
// A damaged snapshot is set aside under the name FILE.damaged once the one before it and
// the longer journal have given everything. What was never synced at the journal's end
// may be torn, and is cut. Damage anywhere else is an error that names the place, and
// changes nothing.
func (d *Dir) Recover(ctx context.Context, db *memory.DB) (*Recovered, error) {
	r := &recovery{dir: d, db: db}
	began := d.opt.Clock.Now()
	l, err := d.list()
	if err != nil {
		return nil, err
	}
	noted, err := d.notedEpoch()
	if err != nil {
		return nil, err
	}
	out, err := r.run(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := r.begin(max(r.last, r.highest, memory.MakeLSN(max(l.epoch, noted), 0))); err != nil {
		return nil, err
	}
	if err := d.setAside(r.aside, out.Snapshot.File); err != nil {
		return nil, err
	}
	out.Duration = d.opt.Clock.Now().Sub(began)
	return out, nil
}

// RecoverUntil fills db, which is empty, with what there was as of an LSN, and makes it
// read-only. The directory stays as it is. If it doesn't reach that LSN, the error says
// what it reaches.
func (d *Dir) RecoverUntil(ctx context.Context, db *memory.DB, lsn memory.LSN) (*Recovered, error) {
	r := &recovery{dir: d, db: db, until: lsn}
	began := d.opt.Clock.Now()
	l, err := d.list()
	if err != nil {
		return nil, err
	}
	out, err := r.run(ctx, l)
	if err != nil {
		return nil, err
	}
	out.Duration = d.opt.Clock.Now().Sub(began)
	db.SetReadOnly(fmt.Sprintf("it was opened as of LSN %d", lsn))
	return out, nil
}

// run restores a snapshot and replays the journal.
func (r *recovery) run(ctx context.Context, l *listed) (*Recovered, error) {
	d := r.dir
	if err := d.unrepaired(); err != nil {
		return nil, err
	}
	if err := r.restore(ctx, l); err != nil {
		return nil, err
	}
	if err := r.link(l.segments); err != nil {
		return nil, err
	}
	replayed, err := r.db.Replay(func() (*memory.Mutation, error) { return r.next(ctx) })
	if err != nil {
		return nil, r.unimported(err)
	}
	out := &Recovered{Snapshot: r.info, Replayed: replayed, LSN: max(r.last, r.highest)}
	switch {
	case r.until != 0 && r.last < r.until && !r.passed:
		return nil, fmt.Errorf("this directory has nothing as late as LSN %d: it can be opened as of LSN %d to %d", r.until, r.lowest(l), out.LSN)
	case r.until != 0:
		out.LSN = r.until
		return out, nil
	}
	if err := r.lost(); err != nil {
		return nil, r.repairable(err)
	}
	if out.Cut = r.cut(); out.Cut != nil {
		d.opt.Log.Warn("cut the end of the journal, which was being written and had never been synced",
			"file", out.Cut.File, "offset", out.Cut.Offset, "bytes", out.Cut.Bytes, "expected", out.Cut.Want,
			"last_lsn", uint64(r.last), "lsn_behind", uint64(out.Cut.Beyond))
	}
	return out, nil
}

// lost is the error of a journal that ends before what a snapshot knows to be durable.
func (r *recovery) lost() error {
	if w := r.walk; w != nil && r.last < r.highest && !r.old {
		return &Damage{w.name, w.at, fmt.Sprintf("mutations up to LSN %d: they had reached the disk when the snapshot %s was taken", r.highest, r.info.File)}
	}
	return nil
}

// cut is what lies behind the end of what was read; nil if nothing does.
func (r *recovery) cut() *Cut {
	w := r.walk
	if w == nil || w.cut() == 0 {
		return nil
	}
	return &Cut{File: w.name, Offset: w.at, Bytes: w.cut(), Want: w.want, Beyond: w.beyond}
}

// restore reads the newest snapshot that is whole, and no newer than wanted.
func (r *recovery) restore(ctx context.Context, l *listed) error {
	d := r.dir
	for _, name := range l.snapshots {
		s, err := d.openSnapshot(name)
		if err == nil && r.until != 0 && (s.footer.highest > r.until || s.header.lsn > r.until) {
			s.close()
			continue
		}
		to := r.db.Restore()
		if err == nil {
			r.info, err = d.restoreFile(ctx, to, s)
			s.close()
		}
		if err == nil {
			r.highest, r.old = max(s.header.lsn, s.footer.highest, to.Highest()), s.header.version == 1
			if r.until != 0 && r.highest > r.until {
				to.Abort()
				r.info, r.highest, r.old = memory.SnapshotInfo{}, 0, false
				continue
			}
			return to.Done(r.highest)
		}
		to.Abort()
		r.info = memory.SnapshotInfo{}
		if !damaged(err) {
			return err
		}
		d.opt.Log.Error("a snapshot can't be read; the one before it is tried, with the longer journal", "file", name, "error", err.Error())
		r.bad, r.aside = append(r.bad, err), append(r.aside, name)
	}
	return nil
}

// link finds the segments that hold what the snapshot lacks, and checks that they
// follow it, and one another.
func (r *recovery) link(names []string) error {
	d := r.dir
	first := 0
	for i, name := range names {
		if n, _, _ := numberOf(name, segmentPrefix); memory.LSN(n) <= r.info.LSN {
			first = i
		}
	}
	r.chain = names[first:]
	r.last = 0
	for i, name := range r.chain {
		h, err := d.segmentHeaderOf(name)
		if err != nil {
			return r.because(err)
		}
		if i == 0 {
			r.last = h.previous
		} else if h.end == 0 {
			return r.because(&Damage{name, 32, fmt.Sprintf("the end of the frames of %s before it", r.chain[i-1])})
		}
		r.heads = append(r.heads, h)
	}
	if len(r.chain) == 0 {
		if r.info.File == "" && len(r.bad) == 0 || r.old {
			return nil // a new directory, or one of a version without a journal
		}
		return r.because(fmt.Errorf("the journal is missing in %s", d.path))
	}
	h := &r.heads[0]
	follows := h.previous <= r.info.LSN
	if h.end == 0 { // the journal began with what the snapshot holds
		follows = h.previous == r.highest || follows
	}
	if !follows {
		if r.until != 0 {
			return fmt.Errorf("this directory has nothing as early as LSN %d", r.until)
		}
		return r.because(fmt.Errorf("the journal in %s lacks the mutations from LSN %d to %d", d.path, r.info.LSN+1, h.previous))
	}
	return nil
}

// because adds to an error which snapshots couldn't be read, and what can be done.
func (r *recovery) because(err error) error {
	for _, bad := range r.bad {
		err = fmt.Errorf("%w; and %w", err, bad)
	}
	return fmt.Errorf("%w. See `engram check %s`", err, r.dir.path)
}

// lowest is the earliest LSN that RecoverUntil reaches, for its error.
func (r *recovery) lowest(l *listed) memory.LSN {
	if len(l.segments) > 0 {
		if h, err := r.dir.segmentHeaderOf(l.segments[0]); err == nil && h.end == 0 && h.previous == 0 {
			return h.base
		}
	}
	for i := len(l.snapshots) - 1; i >= 0; i-- {
		if s, err := r.dir.openSnapshot(l.snapshots[i]); err == nil {
			s.close()
			return max(s.header.lsn, s.footer.highest)
		}
	}
	return 0
}

// next gives the next mutation that the snapshot may lack, for Replay.
func (r *recovery) next(ctx context.Context) (*memory.Mutation, error) {
	r.importing = 0
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.walk == nil || r.at < len(r.chain) && r.ended() {
			if err := r.open(); err != nil {
				return nil, r.repairable(err)
			}
		}
		f, err := r.walk.next()
		if errors.Is(err, io.EOF) {
			if r.at < len(r.chain) {
				continue
			}
			return nil, err
		}
		if err != nil {
			return nil, r.repairable(err)
		}
		if r.until != 0 && f.lsn > r.until {
			r.passed = true
			return nil, io.EOF
		}
		if f.kind != kindMutation {
			r.last = f.lsn
			continue
		}
		m, err := r.mutation(&f)
		if err != nil {
			return nil, r.repairable(err)
		}
		r.last = f.lsn
		if m.LSN > r.info.LSN {
			if m.Import != "" {
				r.importing = m.LSN
			}
			return m, nil
		}
	}
}

// ended is true once a segment that isn't the last has no more frames.
func (r *recovery) ended() bool { return r.walk.limit > 0 && r.walk.at == r.walk.limit }

// open begins the next segment.
func (r *recovery) open() error {
	if r.at == len(r.chain) {
		return io.EOF
	}
	h := &r.heads[r.at]
	if r.walk != nil && h.previous != r.last {
		return &Damage{r.chain[r.at], 24, fmt.Sprintf("LSN %d, with which the segment before ends", r.last)}
	}
	if r.until != 0 && h.base > r.until {
		r.passed = true
		return io.EOF
	}
	s, err := r.dir.readSegment(r.chain[r.at], r.buffer)
	if err != nil {
		return err
	}
	limit := int64(0)
	if r.at+1 < len(r.heads) {
		limit = r.heads[r.at+1].end
	}
	r.buffer = s.data
	r.walk = s.walkFrom(limit)
	r.last = h.base
	r.at++
	return nil
}

// mutation decodes a frame, and sees to it that an import's records can be read.
func (r *recovery) mutation(f *journalFrame) (*memory.Mutation, error) {
	m, err := mutationIn(r.walk.name, f)
	if err != nil {
		return nil, err
	}
	if m.Import != "" {
		r.dir.named(m.Import, m.LSN)
		m.Imported = func() (*memory.Imported, error) { return r.dir.readImport(m.Import) }
	}
	return m, nil
}

// checkImport reads the file of an import, as a replay would.
func (r *recovery) checkImport(ctx context.Context, m *memory.Mutation) error {
	if m.Import == "" {
		return nil
	}
	f, _ := r.dir.checkSnapshot(ctx, m.Import)
	if f.Err == nil {
		return nil
	}
	return r.unimported(fmt.Errorf("the records of the import with LSN %d: %w", m.LSN, f.Err))
}

// unimported says what to run where it is the file of an import that is damaged, or
// missing: the mutation that names it can't be applied.
func (r *recovery) unimported(err error) error {
	switch {
	case r.importing == 0:
		return err
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w: %w", err, &Damage{r.walk.name, r.walk.before, "an import whose file is there"})
	}
	r.last = r.importing - 1
	return r.repairable(err)
}

// repairable says what to run where the journal is damaged. What a snapshot has behind
// the damage is not given up.
func (r *recovery) repairable(err error) error {
	if !damaged(err) {
		return err
	}
	at, whole := r.last, "what is whole"
	if at < r.highest {
		at, whole = r.highest, "the snapshot "+r.info.File
	}
	return fmt.Errorf("%w. Nothing was changed. `engram check %s` tells what there is; `engram repair %s --truncate-at %d` starts from %s, keeping a copy of the rest",
		err, r.dir.path, r.dir.path, uint64(at), whole)
}

// begin makes what was read durable, begins a new epoch in a new segment, and gives
// that to the memory as its log.
func (r *recovery) begin(last memory.LSN) error {
	d := r.dir
	previous, end := r.highest, int64(0)
	if w := r.walk; w != nil {
		if err := d.rewrite(w); err != nil {
			return err
		}
		previous, end = r.last, w.at
		for i, name := range r.chain {
			size := w.at
			if i+1 < len(r.heads) {
				size = r.heads[i+1].end
			}
			d.segments[name] = size
		}
	}
	base, err := r.db.Begin(last)
	if err != nil {
		return err
	}
	f, room, err := d.firstSegment()
	if err != nil {
		return diskFull(fmt.Errorf("the journal can't be begun in %s: %w", d.path, err))
	}
	h := d.segmentHeader(base, previous, end, room)
	if err := d.beginSegment(f, h); err != nil {
		return errors.Join(err, f.Close())
	}
	if w := r.walk; w != nil {
		d.shrink(w.name, w.at+w.cut())
	}
	d.mu.Lock()
	d.base = base
	d.journal = newJournal(d, f, h, room)
	d.mu.Unlock()
	return r.db.SetLog(d.journal)
}

// shrink gives back to the disk the zeros with which a segment that another follows ends.
// It need not succeed.
func (d *Dir) shrink(name string, end int64) {
	if f, err := d.fs.OpenReadWrite(d.in(name), vfs.WriteCategoryUnspecified); err == nil {
		trim(f, end)
		_ = f.Close()
	}
}

// rewrite writes the frames at the journal's end once more, from what was known to be
// durable on, and syncs them. What was read may be in the system's memory alone, even
// where an earlier sync failed and the system holds it for written.
func (d *Dir) rewrite(w *walk) error {
	f, err := d.fs.OpenReadWrite(d.in(w.name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	from := min(max(w.synced, segmentHead), w.at)
	_, err = f.WriteAt(w.data[from:w.at], from)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("sync what %s ends with: %w", w.name, err)
	}
	return nil
}

// firstSegment makes the file of a segment: of a quarter of the others' size, which is
// soon there, and a small one where the disk is nearly full, so that reads are served.
func (d *Dir) firstSegment() (vfs.File, int64, error) {
	size := d.opt.SegmentSize / 4
	f, err := d.makeSpare(size)
	if isFull(err) {
		size = min(size, 64<<10)
		f, err = d.makeSpare(size)
	}
	return f, size, err
}

// readImport opens the file of an imported namespace. Its records are read, and the
// file closed, by going through them.
func (d *Dir) readImport(name string) (*memory.Imported, error) {
	s, err := d.openSnapshot(name)
	if err != nil {
		return nil, fmt.Errorf("the records of an import: %w", err)
	}
	return &memory.Imported{LSN: s.footer.highest, Records: s.records()}, nil
}

// records goes through all records of a file, in order; they are good until the next.
func (s *snapshot) records() iter.Seq2[*memory.Record, error] {
	return func(yield func(*memory.Record, error) bool) {
		defer s.close()
		var buf buffers
		var rec memory.Record
		var key, value []float32
		var config memory.Config
		for i := range s.footer.frames {
			raw, err := s.frame(i, &buf)
			if err != nil {
				yield(nil, err)
				return
			}
			c := &cursor{b: raw, version: s.header.version}
			for c.err == nil && c.off < len(raw) {
				h, _, count := c.chunk()
				if h.part == 0 {
					config = h.config
				}
				for range count {
					if key, value = c.record(&rec, key, value, &config); c.err != nil {
						break
					}
					if !yield(&rec, nil) {
						return
					}
				}
			}
			if c.err != nil {
				yield(nil, s.undecoded(i, c))
				return
			}
		}
	}
}

// notedEpoch is the epoch in epochFile, 0 if there is no such file.
func (d *Dir) notedEpoch() (uint64, error) {
	b, err := d.read(epochFile, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	epoch, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%s: expected a number below 65536, found %.20q; write the highest epoch of the names of snapshots and segments (their first four digits, hexadecimal) into it", d.in(epochFile), b)
	}
	return epoch, nil
}

// setAside renames damaged snapshots, so that they don't count among those kept.
func (d *Dir) setAside(names []string, used string) error {
	for _, n := range names {
		if err := d.fs.Rename(d.in(n), d.in(n+".damaged")); err != nil {
			return err
		}
		d.opt.Log.Warn("set a damaged snapshot aside; nothing is lost, the journal had what it held", "file", n+".damaged", "used", used)
	}
	if len(names) == 0 {
		return nil
	}
	return d.sync()
}
