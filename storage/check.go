package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"engram/memory"
)

// A Report says what there is in a directory, and what a start would make of it.
type Report struct {
	Files []FileReport
	// Snapshot is the file that a start begins with, Replay how many mutations it
	// takes from the journal, and LSN the last of them. RecoverUntil reaches from
	// Lowest on. Cut is what it would leave out of the journal's end.
	Snapshot string
	Replay   int
	Lowest   memory.LSN
	LSN      memory.LSN
	Cut      *Cut
	Err      error // why it would refuse
}

// A FileReport is of one snapshot, segment of the journal, or file of an import.
type FileReport struct {
	Name  string
	Bytes int64
	// From is the first and To the last LSN that it holds, Count how many records
	// (of a snapshot) or mutations (of the journal).
	From, To memory.LSN
	Count    int
	Err      error // what is wrong with it
}

// Check reads everything in the directory and changes nothing.
func (d *Dir) Check(ctx context.Context) (*Report, error) {
	l, err := d.list()
	if err != nil {
		return nil, err
	}
	out := &Report{}
	r := &recovery{dir: d}
	for _, name := range l.snapshots {
		f, s := d.checkSnapshot(ctx, name)
		out.Files = append(out.Files, f)
		switch {
		case f.Err == nil && r.info.File == "":
			r.info.File, r.info.LSN = name, s.header.lsn
			r.highest, r.old = f.To, s.header.version == 1
		case f.Err != nil && r.info.File == "":
			r.bad = append(r.bad, f.Err)
		}
	}
	for i, name := range l.segments {
		next := ""
		if i+1 < len(l.segments) {
			next = l.segments[i+1]
		}
		out.Files = append(out.Files, d.checkSegment(ctx, name, next))
	}
	for _, name := range l.imports {
		f, _ := d.checkSnapshot(ctx, name)
		out.Files = append(out.Files, f)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out.Snapshot, out.Lowest = r.info.File, r.lowest(l)
	out.Err = r.rehearse(ctx, l, out)
	return out, nil
}

// rehearse goes through the journal as a start would.
func (r *recovery) rehearse(ctx context.Context, l *listed, out *Report) error {
	if err := r.dir.unrepaired(); err != nil {
		return err
	}
	if r.info.File == "" && len(r.bad) > 0 && len(l.segments) == 0 {
		return r.because(errors.New("no snapshot can be read"))
	}
	if err := r.link(l.segments); err != nil {
		return err
	}
	for {
		m, err := r.next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := r.checkImport(ctx, m); err != nil {
			return err
		}
		out.Replay++
	}
	out.LSN = max(r.last, r.highest)
	out.Cut = r.cut()
	return r.lost()
}

func (d *Dir) checkSnapshot(ctx context.Context, name string) (FileReport, *snapshot) {
	out := FileReport{Name: name}
	s, err := d.openSnapshot(name)
	if err != nil {
		out.Err = err
		return out, nil
	}
	out.Bytes, out.To = s.size, max(s.header.lsn, s.footer.highest)
	for rec, err := range s.records() {
		if err = errors.Join(err, ctx.Err()); err != nil {
			out.Err = err
			return out, s
		}
		out.Count++
		out.To = max(out.To, rec.Version)
	}
	if uint64(out.Count) != s.footer.records {
		out.Err = &Damage{name, s.size - trailerSize, fmt.Sprintf("%d records, as the frames hold", out.Count)}
	}
	return out, s
}

func (d *Dir) checkSegment(ctx context.Context, name, next string) FileReport {
	out := FileReport{Name: name}
	s, err := d.readSegment(name, nil)
	if err != nil {
		out.Err = err
		return out
	}
	out.Bytes, out.To = int64(len(s.data)), s.header.base
	limit := int64(0)
	if next != "" {
		h, err := d.segmentHeaderOf(next)
		if err != nil {
			return out // which that one's report tells
		}
		limit = h.end
	}
	w := s.walkFrom(limit)
	for ctx.Err() == nil {
		f, err := w.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && f.kind == kindMutation {
			_, err = mutationIn(name, &f)
			if out.Count++; out.From == 0 {
				out.From = f.lsn
			}
		}
		if err != nil {
			out.Err = err
			break
		}
	}
	out.To = w.last
	return out
}

// unrepaired refuses a directory whose repair was interrupted.
func (d *Dir) unrepaired() error {
	b, err := d.read(repairFile, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("a repair of %s was interrupted: run `engram repair %s --truncate-at %.20s` again", d.path, d.path, b)
}
