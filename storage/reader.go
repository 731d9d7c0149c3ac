package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/DataDog/zstd"
	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

// A snapshot is one open file whose header, footer and trailer have been checked.
type snapshot struct {
	file   string
	f      vfs.File
	size   int64
	header header
	footer footer
	sizes  []int64 // of each frame, with its head
}

// openSnapshot opens the file and checks all but the frames.
func (d *Dir) openSnapshot(name string) (*snapshot, error) {
	f, err := d.fs.Open(d.in(name))
	if err != nil {
		return nil, err
	}
	s := &snapshot{file: name, f: f}
	if err := s.open(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return s, nil
}

func (s *snapshot) open() error {
	st, err := s.f.Stat()
	if err != nil {
		return err
	}
	s.size = st.Size()
	if s.size < headerSize {
		return &Damage{s.file, s.size, "a header; the file was cut short"}
	}
	head := make([]byte, headerSize)
	if _, err := s.f.ReadAt(head, 0); err != nil {
		return err
	}
	if s.header, err = parseHeader(s.file, head); err != nil {
		return err
	}
	if s.size < headerSize+trailerSize {
		return &Damage{s.file, s.size, "a footer; the file was cut short"}
	}
	trailer := make([]byte, trailerSize)
	if _, err := s.f.ReadAt(trailer, s.size-trailerSize); err != nil {
		return err
	}
	if string(trailer[24:]) != endMagic {
		return &Damage{s.file, s.size - 8, "the magic word " + endMagic + "; the file was cut short"}
	}
	offset, length := int64(le.Uint64(trailer)), int64(le.Uint64(trailer[8:]))
	if offset < headerSize || length < 24 || offset > s.size-trailerSize || length != s.size-trailerSize-offset {
		return &Damage{s.file, s.size - trailerSize, "the footer's place"}
	}
	foot := make([]byte, length+16)
	if _, err := s.f.ReadAt(foot, offset); err != nil {
		return err
	}
	if xxhash.Sum64(foot) != le.Uint64(trailer[16:]) {
		return &Damage{s.file, offset, "the footer's checksum"}
	}
	return s.parseFooter(foot[:length], offset)
}

func (s *snapshot) parseFooter(b []byte, offset int64) error {
	n := le.Uint64(b)
	fixed := int64(24)
	if s.header.version > 1 {
		fixed += 8
	}
	if n > math.MaxInt32 || int64(len(b)) != fixed+16*int64(n) {
		return &Damage{s.file, offset, "as many frames as the footer has room for"}
	}
	counts := b[8+16*n:]
	s.footer.namespaces, s.footer.records = le.Uint64(counts), le.Uint64(counts[8:])
	if s.header.version > 1 {
		s.footer.highest = memory.LSN(le.Uint64(counts[16:]))
	}
	s.footer.frames = make([]frameRef, n)
	s.sizes = make([]int64, n)
	at := int64(headerSize)
	for i := range s.footer.frames {
		r := frameRef{int64(le.Uint64(b[8+16*i:])), le.Uint64(b[16+16*i:])}
		if r.offset != at {
			return &Damage{s.file, offset + 8 + int64(16*i), fmt.Sprintf("a frame at %d", at)}
		}
		s.footer.frames[i] = r
		at = offset
		if i+1 < len(s.footer.frames) {
			at = int64(le.Uint64(b[8+16*(i+1):]))
		}
		s.sizes[i] = at - r.offset
		if s.sizes[i] < frameHead || at > offset {
			return &Damage{s.file, offset + 8 + int64(16*i), "frames one after the other"}
		}
	}
	if at != offset {
		return &Damage{s.file, offset, "the last frame's end"}
	}
	return nil
}

func (s *snapshot) close() { _ = s.f.Close() }

// buffers are a worker's, used again for every frame.
type buffers struct{ packed, raw []byte }

// frame reads frame i, checks it and unpacks it; the result is buf's. Sizes are
// checked before memory is taken.
func (s *snapshot) frame(i int, buf *buffers) ([]byte, error) {
	r, size := s.footer.frames[i], s.sizes[i]
	if size > frameHead+int64(zstd.CompressBound(maxRaw)) {
		return nil, &Damage{s.file, r.offset, "a frame of less than " + fmt.Sprint(maxRaw) + " bytes"}
	}
	buf.packed = grow(buf.packed, int(size))
	if _, err := s.f.ReadAt(buf.packed, r.offset); err != nil {
		return nil, fmt.Errorf("snapshot %s at %d: %w", s.file, r.offset, err)
	}
	lengths, data := buf.packed[:8], buf.packed[frameHead:]
	if sum := frameSum(lengths, data); sum != r.sum || sum != le.Uint64(buf.packed[8:]) {
		return nil, &Damage{s.file, r.offset, "the frame's checksum"}
	}
	raw := le.Uint32(lengths)
	if int64(le.Uint32(lengths[4:])) != int64(len(data)) || raw > maxRaw {
		return nil, &Damage{s.file, r.offset, "the frame's lengths"}
	}
	buf.raw = grow(buf.raw, int(raw))
	n, err := zstd.DecompressInto(buf.raw, data)
	if err != nil || n != int(raw) {
		return nil, &Damage{s.file, r.offset + frameHead, fmt.Sprintf("zstd data of %d bytes", raw)}
	}
	return buf.raw, nil
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n, n+n/4)
	}
	return b[:n]
}

// each runs do for every frame on the directory's workers; frames are begun in
// order. The first error ends it and do's ctx.
func (s *snapshot) each(ctx context.Context, workers int, do func(ctx context.Context, raw []byte, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(workers, len(s.footer.frames)) {
		wg.Go(func() {
			var buf buffers
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(s.footer.frames) {
					return
				}
				raw, err := s.frame(i, &buf)
				if err == nil {
					err = do(ctx, raw, i)
				}
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// verify reads a whole file back and checks it, without restoring it.
func (d *Dir) verify(ctx context.Context, name string) error {
	s, err := d.openSnapshot(name)
	if err != nil {
		return err
	}
	defer s.close()
	return s.each(ctx, d.opt.Workers, func(context.Context, []byte, int) error { return nil })
}

// undecoded is the error of a whole frame whose data can't be read.
func (s *snapshot) undecoded(i int, c *cursor) error {
	offset := s.footer.frames[i].offset
	if errors.Is(c.err, ErrNewer) {
		return newer(s.file, offset, c.err)
	}
	return &Damage{s.file, offset, fmt.Sprintf("%v (%d bytes into the frame)", c.err, c.off)}
}

// damaged is true of errors that mean the file, not the machine.
func damaged(err error) bool {
	var d *Damage
	return errors.As(err, &d)
}
