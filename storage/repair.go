package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"engram/memory"
)

// Repaired says what a repair did.
type Repaired struct {
	LSN   memory.LSN // the last mutation that is left
	Files []string   // what was taken away, or copied, as it now is
}

// Repair makes the directory end with a mutation: what is later is not used any more.
// Nothing is deleted: snapshots and segments that are later are renamed to FILE.cut, and
// the segment that the mutation is in is copied there. If it is interrupted the directory
// refuses to start until it has been repeated.
func (d *Dir) Repair(ctx context.Context, at memory.LSN) (*Repaired, error) {
	l, err := d.list()
	if err != nil {
		return nil, err
	}
	p, err := d.planRepair(ctx, l, at)
	if err != nil {
		return nil, err
	}
	if err := d.write(repairFile, strconv.FormatUint(uint64(at), 10)); err != nil {
		return nil, err
	}
	if err := d.write(epochFile, strconv.FormatUint(p.epoch, 10)+"\n"); err != nil {
		return nil, err
	}
	out := &Repaired{LSN: at}
	if p.segment != "" {
		if err := d.copyCut(p.segment); err != nil {
			return nil, err
		}
		out.Files = append(out.Files, p.segment+cutSuffix)
	}
	for _, name := range p.later {
		if err := d.rename(name, name+cutSuffix); err != nil {
			return nil, err
		}
		out.Files = append(out.Files, name+cutSuffix)
	}
	f, room, err := d.firstSegment()
	if err != nil {
		return nil, diskFull(err)
	}
	h := d.segmentHeader(memory.MakeLSN(p.epoch, at.Number()), at, p.end, room)
	if err := errors.Join(d.beginSegment(f, h), f.Close()); err != nil {
		return nil, err
	}
	if err := errors.Join(d.remove(repairFile), d.sync()); err != nil {
		return nil, err
	}
	return out, nil
}

// A repairPlan is what a repair will do.
type repairPlan struct {
	segment string   // that the mutation is in; empty: a snapshot has it, and stays alone
	end     int64    // of its frame
	later   []string // snapshots and segments to take away
	epoch   uint64   // the one that begins
}

func (d *Dir) planRepair(ctx context.Context, l *listed, at memory.LSN) (*repairPlan, error) {
	noted, err := d.notedEpoch()
	if err != nil {
		return nil, err
	}
	p := &repairPlan{epoch: max(l.epoch, noted, at.Epoch())}
	// What would be left must hold everything up to the mutation.
	left := &recovery{dir: d}
	for _, name := range l.snapshots {
		f, s := d.checkSnapshot(ctx, name)
		switch n, _, _ := numberOf(name, snapshotPrefix); {
		case f.Err != nil && memory.LSN(n) <= at:
			left.bad = append(left.bad, f.Err)
		case f.Err != nil, f.To > at:
			p.later = append(p.later, name)
		case left.info.File == "":
			left.info.File, left.info.LSN = name, s.header.lsn
			left.highest, left.old = f.To, s.header.version == 1
		}
	}
	for i, name := range l.segments {
		base, _, _ := numberOf(name, segmentPrefix)
		behind := memory.LSN(base) > at
		if memory.LSN(base) == at && i > 0 {
			// Where no epoch began, the mutation is in the segment before.
			h, err := d.segmentHeaderOf(name)
			if err != nil && !damaged(err) {
				return nil, err
			}
			behind = err != nil || h.previous == at
		}
		if behind {
			p.later = append(p.later, l.segments[i:]...)
			break
		}
		p.segment = name
	}
	if p.epoch, err = d.highestEpoch(p); err != nil {
		return nil, err
	}
	if p.epoch++; p.epoch > 1<<16-1 {
		return nil, fmt.Errorf("the last epoch, %d, is used: no new one can begin", p.epoch-1)
	}
	if p.segment == "" {
		if left.info.File == "" || left.highest != at {
			return nil, fmt.Errorf("nothing in %s ends with LSN %d. %s", d.path, at, d.choices(l))
		}
		return p, nil
	}
	keep := l.segments[:slices.Index(l.segments, p.segment)+1]
	p.end, err = left.reach(ctx, keep, at)
	if damaged(err) && left.highest == at {
		// The journal doesn't lead there any more, and the snapshot is there without it.
		// Its end goes first, so that a repair that is repeated finds the same.
		slices.Reverse(keep)
		p.segment, p.later = "", append(p.later, keep...)
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// reach reads the journal up to a mutation, and says where its frame ends.
func (r *recovery) reach(ctx context.Context, segments []string, at memory.LSN) (end int64, err error) {
	if err := r.link(segments); err != nil {
		return 0, fmt.Errorf("what is up to LSN %d can't be put together: %w", at, err)
	}
	r.until = at
	for {
		m, err := r.next(ctx)
		if errors.Is(err, io.EOF) || damaged(err) && r.last == at {
			break
		}
		if err == nil {
			err = r.checkImport(ctx, m)
		}
		if err != nil {
			return 0, fmt.Errorf("LSN %d lies behind damage: %w", at, err)
		}
	}
	switch {
	case r.last == at && r.passed:
		return r.walk.before, nil
	case r.last == at:
		return r.walk.at, nil
	case r.last < r.highest:
		return 0, r.lost()
	}
	return 0, fmt.Errorf("the journal in %s has no mutation with LSN %d; the last before it has %d", r.dir.path, at, r.last)
}

// highestEpoch is the highest epoch of what a repair takes away.
func (d *Dir) highestEpoch(p *repairPlan) (uint64, error) {
	epoch := p.epoch
	for _, name := range append([]string{p.segment}, p.later...) {
		if _, _, ok := numberOf(name, segmentPrefix); !ok {
			continue
		}
		s, err := d.readSegment(name, nil)
		if damaged(err) {
			epoch++ // one that an import began may be in it
			continue
		}
		if err != nil {
			return 0, err
		}
		w := s.walkFrom(0)
		for err == nil {
			_, err = w.next()
		}
		epoch = max(epoch, w.last.Epoch(), w.beyond.Epoch())
	}
	return epoch, nil
}

// choices says where a repair could cut.
func (d *Dir) choices(l *listed) string {
	s := "Snapshots end with"
	for _, name := range l.snapshots {
		if f, _ := d.checkSnapshot(context.Background(), name); f.Err == nil {
			s += fmt.Sprintf(" %d,", f.To)
		}
	}
	return s[:len(s)-1]
}

// write writes a small file, whole and durably.
func (d *Dir) write(name, content string) error {
	f, err := d.create(name + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(content), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, d.remove(name+".tmp"))
	}
	return d.rename(name+".tmp", name)
}

// copyCut copies a file to FILE.cut, durably.
func (d *Dir) copyCut(name string) error {
	b, err := d.read(name, nil)
	if err != nil {
		return err
	}
	return d.write(name+cutSuffix, string(b))
}
