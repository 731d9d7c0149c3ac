package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/renameio/v2"

	"engram/memory"
)

// epochFile holds the epoch of the process that last opened the directory, so
// that no LSN is used twice even where no snapshot was taken in between.
const epochFile = "EPOCH"

// Restore reads the newest snapshot into db, which must be empty and not yet
// served, and begins a new epoch; found is false where there is no snapshot. A
// snapshot that is damaged is set aside under the name FILE.damaged, and the one
// before it is read; if none is whole the error is of the newest, and the
// directory stays as it is. A file of a newer version is ErrNewer.
func (d *Dir) Restore(ctx context.Context, db *memory.DB) (info memory.SnapshotInfo, found bool, err error) {
	names, err := d.snapshots()
	if err != nil {
		return info, false, err
	}
	last, err := d.lastEpoch(names)
	if err != nil {
		return info, false, err
	}
	var bad []error
	for _, name := range names {
		began := d.opt.Clock.Now()
		r := db.Restore()
		info, err = d.restoreFile(ctx, r, filepath.Join(d.path, name))
		if err != nil {
			r.Abort()
			if !damaged(err) {
				return info, false, err
			}
			d.opt.Log.Error("snapshot can't be read", "file", name, "error", err)
			bad = append(bad, err)
			continue
		}
		info.Duration = d.opt.Clock.Now().Sub(began)
		if err := d.setAside(names[:len(bad)], name); err != nil {
			return info, true, err
		}
		return info, true, d.begin(db, r, max(last, info.LSN))
	}
	if len(bad) > 0 {
		return info, false, fmt.Errorf("no snapshot in %s can be read: %w. Restore one from a backup, or move the damaged files away to start empty", d.path, errors.Join(bad...))
	}
	return info, false, d.begin(db, db.Restore(), last)
}

// begin ends the restoring and makes the new epoch durable.
func (d *Dir) begin(db *memory.DB, r *memory.Restorer, last memory.LSN) error {
	if err := r.Done(last); err != nil {
		return err
	}
	epoch := strconv.FormatUint(db.LSN().Epoch(), 10) + "\n"
	if err := renameio.WriteFile(filepath.Join(d.path, epochFile), []byte(epoch), 0o600, renameio.WithTempDir(d.path)); err != nil {
		return diskFull(fmt.Errorf("data directory: %w", err))
	}
	return d.sync()
}

// lastEpoch gives an LSN of the highest epoch that may have been used: the one
// noted, or that of a snapshot's name, be the file whole or not.
func (d *Dir) lastEpoch(names []string) (memory.LSN, error) {
	var last memory.LSN
	b, err := os.ReadFile(filepath.Join(d.path, epochFile))
	switch {
	case err == nil:
		epoch, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%s: expected a number below 65536, found %.20q; write the highest epoch of the snapshots' names (their first four digits, hexadecimal) into it", filepath.Join(d.path, epochFile), b)
		}
		last = memory.MakeLSN(epoch, 0)
	case !errors.Is(err, fs.ErrNotExist):
		return 0, err
	}
	for _, n := range names {
		hex := strings.TrimSuffix(strings.TrimPrefix(n, "snapshot-"), ".engram")
		if lsn, err := strconv.ParseUint(hex, 16, 64); err == nil {
			last = max(last, memory.LSN(lsn))
		}
	}
	return last, nil
}

// setAside renames the damaged files, so that they don't count among those kept.
func (d *Dir) setAside(names []string, used string) error {
	for _, n := range names {
		if err := os.Rename(filepath.Join(d.path, n), filepath.Join(d.path, n+".damaged")); err != nil {
			return err
		}
		d.opt.Log.Error("set a damaged snapshot aside; what it held beyond the one used is lost", "file", n+".damaged", "used", used)
	}
	if len(names) == 0 {
		return nil
	}
	return d.sync()
}

func (d *Dir) restoreFile(ctx context.Context, r *memory.Restorer, path string) (memory.SnapshotInfo, error) {
	s, err := openSnapshot(path)
	if err != nil {
		return memory.SnapshotInfo{}, err
	}
	defer s.close()
	re := &restorer{snapshot: s, to: r}
	if err := s.each(ctx, d.opt.Workers, re.frame); err != nil {
		return memory.SnapshotInfo{}, err
	}
	if re.namespaces.Load() != s.footer.namespaces || re.records.Load() != s.footer.records {
		return memory.SnapshotInfo{}, &Damage{s.file, s.size - trailerSize,
			fmt.Sprintf("%d namespaces and %d records, as the frames hold", re.namespaces.Load(), re.records.Load())}
	}
	return memory.SnapshotInfo{
		File: s.file, LSN: s.header.lsn, Time: time.Unix(0, s.header.time).UTC(), Bytes: s.size,
		Namespaces: int(s.footer.namespaces), Records: int(s.footer.records),
	}, nil
}

// A restorer puts frames, unpacked in any order, into a DB: the parts of a
// namespace one after the other.
type restorer struct {
	*snapshot
	to *memory.Restorer

	parts               sync.Map // partKey → *partDone
	namespaces, records atomic.Uint64
}

type partKey struct {
	name string
	part uint64
}

// partDone passes a namespace from the part that was put in to the one after it.
type partDone struct {
	done chan struct{}
	ns   *memory.NamespaceRestorer
	cfg  memory.Config
	left uint64 // records still to come
}

func (r *restorer) part(name string, part uint64) *partDone {
	p, _ := r.parts.LoadOrStore(partKey{name, part}, &partDone{done: make(chan struct{})})
	return p.(*partDone)
}

func (r *restorer) frame(ctx context.Context, raw []byte, i int) error {
	c := &cursor{b: raw}
	var rec memory.Record
	var key, value []float32
	for c.off < len(raw) {
		h, flags, count := c.chunk()
		if c.err != nil {
			break
		}
		ns, err := r.begin(ctx, &h)
		if err != nil {
			return r.refused(i, c, err)
		}
		if uint64(count) > ns.left || flags&chunkLast != 0 && uint64(count) != ns.left {
			c.fail(fmt.Errorf("%d more records of namespace %q, not %d", ns.left, h.name, count))
		}
		for range count {
			key, value = c.record(&rec, key, value, &ns.cfg)
			if c.err != nil {
				break
			}
			if err := ns.ns.Add(&rec); err != nil {
				return r.refused(i, c, err)
			}
		}
		if c.err != nil {
			break
		}
		r.records.Add(uint64(count))
		if flags&chunkLast != 0 {
			if err := ns.ns.Done(); err != nil {
				return r.refused(i, c, err)
			}
			r.namespaces.Add(1)
			continue
		}
		next := r.part(h.name, h.part)
		next.ns, next.cfg, next.left = ns.ns, ns.cfg, ns.left-uint64(count)
		close(next.done)
	}
	if c.err != nil {
		return &Damage{r.file, r.footer.frames[i].offset, fmt.Sprintf("%v (%d bytes into the frame)", c.err, c.off)}
	}
	return nil
}

// begin gives the namespace of a chunk: a new one for its first part, else that
// of the part before, waiting for it.
func (r *restorer) begin(ctx context.Context, h *chunkHeader) (*partDone, error) {
	if h.part == 0 {
		ns, err := r.to.Namespace(h.config, h.lsn, h.requests)
		return &partDone{ns: ns, cfg: h.config, left: h.records}, err
	}
	before := r.part(h.name, h.part-1)
	defer r.parts.Delete(partKey{h.name, h.part - 1})
	select {
	case <-before.done:
		return before, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refused is the error of data that the memory won't take. If it is for want of
// memory, or because another frame failed, the file is not to blame.
func (r *restorer) refused(i int, c *cursor, err error) error {
	var full *memory.Exhausted
	if errors.As(err, &full) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("restore snapshot %s: %w", r.file, err)
	}
	return &Damage{r.file, r.footer.frames[i].offset, fmt.Sprintf("records that this memory takes, but: %v (%d bytes into the frame)", err, c.off)}
}
