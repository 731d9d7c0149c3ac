package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/DataDog/zstd"
	"golang.org/x/sys/unix"

	"engram/internal/slab"
	"engram/memory"
	"engram/storage"
)

// restart measures how fast a memory is back, from a snapshot and from the journal, and
// what a snapshot takes.
func restart(b *bench) error {
	rows := 1_000_000
	if b.short {
		rows = 50_000
	}
	dir, err := os.MkdirTemp(b.peers.dir, "restart")
	if err != nil {
		return err
	}
	if err := replay(b, filepath.Join(dir, "journal"), rows); err != nil {
		return err
	}
	return restore(b, filepath.Join(dir, "snapshot"), rows)
}

// A stored is a memory with its data directory.
type stored struct {
	dir *storage.Dir
	db  *memory.DB
}

func (s *stored) close() error { return errors.Join(s.db.Close(), s.dir.Close()) }

// recovered opens a directory and has back what is in it.
func recovered(b *bench, path string, level int) (*stored, error) {
	dir, err := storage.Open(path, storage.Options{Log: slog.New(slog.DiscardHandler), Level: level})
	if err != nil {
		return nil, err
	}
	s := &stored{dir, memory.New(memory.Options{Pool: slab.NewPool(math.MaxInt64)})}
	if _, err := dir.Recover(b.ctx, s.db); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// restartDim is the dimension of what is there again.
const restartDim = 128

// fillWith stores random vectors with ids and texts, a hundred a mutation.
func (s *stored) fillWith(b *bench, rows int) error {
	r := rand.New(rand.NewPCG(uint64(rows), restartDim))
	const batch = 100
	keys := make([]float32, batch*restartDim)
	for from := 0; from < rows; from += batch {
		fill(r, keys)
		puts := make([]memory.Put, batch)
		for i := range puts {
			puts[i].ID = "record-" + strconv.Itoa(from+i)
			puts[i].Key = keys[i*restartDim:][:restartDim]
		}
		if _, err := s.db.Store(b.ctx, &memory.Store{Namespace: "restart", Records: puts}); err != nil {
			return err
		}
	}
	return nil
}

// replay measures the processors' time of replaying a journal against that of storing
// what is in it.
func replay(b *bench, path string, rows int) error {
	rounds := max(1, b.rounds/7)
	var stores, replays, ratios []float64
	for round := range rounds {
		path := path + strconv.Itoa(round)
		s, err := recovered(b, path, 0)
		if err != nil {
			return err
		}
		before := processorTime()
		if err := s.fillWith(b, rows); err != nil {
			return errors.Join(err, s.close())
		}
		stored := processorTime() - before
		if err := s.close(); err != nil {
			return err
		}
		runtime.GC()
		before = processorTime()
		if s, err = recovered(b, path, 0); err != nil {
			return err
		}
		replayed := processorTime() - before
		n := s.db.RecordCount()
		if err := s.close(); err != nil {
			return err
		}
		if n != int64(rows) {
			return fmt.Errorf("%d records of %d were replayed", n, rows)
		}
		stores, replays, ratios = append(stores, stored.Seconds()), append(replays, replayed.Seconds()), append(ratios, replayed.Seconds()/stored.Seconds())
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	b.report.lines = append(b.report.lines, line{
		what:    fmt.Sprintf("processors' time of replaying a journal of %s", shape(rows)),
		engram:  seconds(spreadOf(replays)),
		against: "storing it, durably, 100 records a mutation",
		theirs:  seconds(spreadOf(stores)),
		ratio:   spreadOf(ratios),
		goal:    1.5,
		atMost:  true,
	})
	return nil
}

func shape(rows int) string {
	if rows%1_000_000 == 0 {
		return fmt.Sprintf("%dM×%d", rows/1_000_000, restartDim)
	}
	return fmt.Sprintf("%dk×%d", rows/1000, restartDim)
}

// processorTime is what this process has used of the processors.
func processorTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// restore measures a restart from a snapshot against reading the file and against
// decoding its frames, and notes what snapshots of each level take.
func restore(b *bench, path string, rows int) error {
	var file string
	for _, level := range []int{3, 2, 1} { // the last stays
		s, err := recovered(b, path, level)
		if err != nil {
			return err
		}
		if s.db.RecordCount() == 0 {
			err = s.fillWith(b, rows)
		}
		start := time.Now()
		info, e := s.dir.Snapshots(s.db).Snapshot(b.ctx)
		took := time.Since(start)
		if err := errors.Join(err, e, s.close()); err != nil {
			return err
		}
		file = filepath.Join(path, info.File)
		b.report.note("a snapshot of %s at zstd level %d: %.3f of the float32 vectors' size, taken and verified at %.0f MB/s of those",
			shape(rows), level, float64(info.Bytes)/float64(4*rows*restartDim), float64(4*rows*restartDim)/took.Seconds()/1e6)
	}
	frames, size, err := framesOf(file)
	if err != nil {
		return err
	}
	raw := 0
	for _, f := range frames {
		raw += f.raw
	}
	b.report.note("the same uncompressed, with ids, times and versions: %.3f of the vectors' size", float64(raw)/float64(4*rows*restartDim))
	const reading, decoding = "reading the file", "decoding zstd"
	t, err := race(b.ctx, max(1, b.rounds/3), []contender{
		{engram, func() (time.Duration, error) {
			start := time.Now()
			s, err := recovered(b, path, 1)
			took := time.Since(start)
			if err != nil {
				return 0, err
			}
			n := s.db.RecordCount()
			if err := s.close(); err != nil || n != int64(rows) {
				return 0, fmt.Errorf("%d records of %d are back: %w", n, rows, err)
			}
			return took, nil
		}},
		timed(reading, func() error { return readFile(file, size) }),
		timed(decoding, func() error { return decode(frames) }),
	})
	if err != nil {
		return err
	}
	slower := t.best([]string{reading, decoding})
	for _, name := range []string{reading, decoding} {
		l := line{
			what:    "restart from a snapshot of " + shape(rows),
			engram:  seconds(spreadOf(t[engram])),
			against: fmt.Sprintf("%s, %d of %d cores", name, runtime.GOMAXPROCS(0), runtime.NumCPU()),
			theirs:  seconds(spreadOf(t[name])),
			ratio:   t.faster(engram, name),
		}
		if name != slower { // the other is the slower one
			l.goal = 0.8
		}
		b.report.lines = append(b.report.lines, l)
	}
	return nil
}

// A frame is one of a snapshot: docs/format.md.
type frame struct {
	data []byte
	raw  int
}

// framesOf reads all frames of a snapshot.
func framesOf(file string) (frames []frame, size int64, err error) {
	const head, frameHead, trailer = 40, 16, 32
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, 0, err
	}
	footer := int(binary.LittleEndian.Uint64(b[len(b)-trailer:]))
	for at := head; at < footer; {
		raw, n := int(binary.LittleEndian.Uint32(b[at:])), int(binary.LittleEndian.Uint32(b[at+4:]))
		at += frameHead
		frames = append(frames, frame{b[at : at+n], raw})
		at += n
	}
	return frames, int64(len(b)), nil
}

// decode decodes frames with every core, into memory that is used again.
func decode(frames []frame) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for i := range errs {
		wg.Go(func() {
			var to []byte
			for n := int(next.Add(1)) - 1; n < len(frames) && errs[i] == nil; n = int(next.Add(1)) - 1 {
				f := frames[n]
				if len(to) < f.raw {
					to = make([]byte, f.raw)
				}
				_, errs[i] = zstd.DecompressInto(to[:f.raw], f.data)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// readFile reads a file with every core.
func readFile(file string, size int64) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	const piece = 1 << 20
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for i := range errs {
		wg.Go(func() {
			to := make([]byte, piece)
			for at := (next.Add(1) - 1) * piece; at < size && errs[i] == nil; at = (next.Add(1) - 1) * piece {
				if _, err := f.ReadAt(to, at); err != nil && !errors.Is(err, io.EOF) {
					errs[i] = err
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
