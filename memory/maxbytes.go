package memory

import (
	"errors"
	"fmt"
	"slices"

	"engram/internal/slab"
)

// max_bytes bounds what a namespace takes from memory: blocks of slabs as they are, room for
// growth and indexes included. Without an eviction that is all, and a write for which a block
// would pass it is refused.
//
// With one, what counts is what a sweep would leave: a segment whose dead rows could be swept
// out counts as its copy without them would. So a record that is evicted makes room at once,
// in the mutation that evicts it, though its bytes come free only when its segment is copied,
// or when nothing of that lives. What dead rows may take on top of max_bytes meanwhile is
// bounded: past a 16th of it segments are compacted behind the writes, past an eighth before
// the write goes on. What a single mutation evicts and replaces comes on top of that, for it
// is dead only afterwards. The server's budget bounds all of it as ever.
const (
	sweepShare = 16 // maintenance sweeps past max_bytes and this part of it
	deadShare  = 8  // a write does itself
)

// errCrowded says that a write has to sweep out dead rows before it goes on.
var errCrowded = errors.New("dead rows take too much of max_bytes")

// doomed is what the mutation that is being decided kills of a segment.
type doomed struct {
	rows uint32
	size int // of their payloads
}

// without is what a segment, with a further chunk of so many bytes, takes at most once so many
// of its rows, with payloads of a size, are swept out. It keeps room for as many others as it
// has, and has indexes again.
func (s *segView) without(rows uint32, size int, chunk int64) int64 {
	total := s.totalBytes() + chunk
	if rows == 0 {
		return total
	}
	copied := segmentCost(s.vectors.Shape(), max(1, int(s.capacity-rows)), max(1, int(s.chunkBytes()+chunk)-size), s.vectors.HasValues())
	return min(total, copied+s.indexBytes())
}

// sweepable is what sweeping out a segment's dead rows would free.
func (s *segView) sweepable() int64 { return s.totalBytes() - s.without(s.deadRows, s.deadSize, 0) }

// left is what counts of a segment that gets a further chunk of so many bytes.
func (d *draft) left(i int, chunk int64) int64 {
	s := &d.segments[i]
	if d.settings.Value().eviction == EvictNone {
		return s.totalBytes() + chunk
	}
	dead := d.doomedOf(i)
	dead.rows, dead.size = dead.rows+s.deadRows, dead.size+s.deadSize
	if dead.rows == s.n && i < d.open { // no row will come to it
		return 0
	}
	return s.without(dead.rows, dead.size, chunk)
}

func (d *draft) doomedOf(i int) doomed {
	if i < len(d.doomed) {
		return d.doomed[i]
	}
	return doomed{}
}

// counted is what counts of a namespace, but for a segment; none: of all.
func (d *draft) counted(but int) (n int64) {
	if d.ivf != nil {
		n = d.ivf.Bytes()
	}
	for i := range d.segments {
		if i != but {
			n += d.left(i, 0)
		}
	}
	return n
}

// fits says what is wrong with what a try of attempt makes, at a cost, which would bring the
// namespace to total bytes.
func (d *draft) fits(limit, total, cost int64, at int, try [2]int, values bool) error {
	need := d.counted(at)
	switch {
	case at == none:
		need += cost
	case try[0] == 0:
		need += d.left(at, cost)
	default:
		if x := d.doomedOf(at); x.rows > 0 {
			rows, size := try[0]-int(x.rows), slab.ClassSize(max(try[1], 1))-x.size
			cost = min(cost, segmentCost(d.shape(), max(1, rows), max(1, size), values))
		}
		if need += cost; d.segments[at].deadRows == 0 { // it keeps its indexes
			need += d.segments[at].indexBytes()
		}
	}
	switch {
	case need > limit:
		return &Exhausted{What: fmt.Sprintf("namespace %q", d.ns.name), Limit: limit, Need: need}
	case total > limit+limit/deadShare && !d.swept:
		return errCrowded
	}
	return nil
}

// makeBytes makes room in memory for a mutation's changes. Where max_bytes has none, it adds
// to the mutation the deletion of those that are to go for it. Records that it changes or
// rehearses stay.
func (d *draft) makeBytes(m *Mutation) error {
	defer d.decided()
	trimmed := false
	for {
		err := d.reserveFor(m)
		if errors.Is(err, errCrowded) {
			d.swept = !d.sweepWorst()
			continue
		}
		var full *Exhausted
		if !errors.As(err, &full) || full.cause != nil || d.settings.Value().eviction == EvictNone {
			return err
		}
		switch {
		case d.doomed == nil: // what it replaces and evicts anyway may do
			d.doom(m)
		case d.evict(m, full.Need-full.Limit):
		case !trimmed && d.trim():
			trimmed = true
		default:
			full.What += ", whose eviction makes no more room,"
			return full
		}
	}
}

// decided forgets what was only for the mutation that was being decided.
func (d *draft) decided() { d.doomed, d.swept = nil, false }

// doom notes what a mutation replaces and deletes.
func (d *draft) doom(m *Mutation) {
	d.doomed = make([]doomed, len(d.segments))
	for i := range m.Changes {
		if c := &m.Changes[i]; c.Created != m.LSN {
			d.doomID(c.ID)
		}
	}
	for _, id := range m.Deletes {
		d.doomID(id)
	}
}

func (d *draft) doomID(id string) {
	if ref, ok := d.Find(id); ok {
		s := &d.segments[ref.segment]
		_, size := readPayload(s.at(&s.rows[ref.row]))
		x := &d.doomed[ref.segment]
		x.rows++
		x.size += size
	}
}

// evict adds to a mutation the deletion of records that take so many bytes, and some more, as
// far as there are any. It is false if there is none.
func (d *draft) evict(m *Mutation, over int64) bool {
	least := int64(0) // that a record takes
	for i := range d.segments {
		if row := d.segments[i].rowCost(); least == 0 || row < least {
			least = row
		}
	}
	if least == 0 {
		return false
	}
	share := d.settings.Value().maxBytes / evictShare
	ids := d.victims(int((over+share)/least)+1, m.Time, m.spared(), func(n int, taken int64) bool {
		return taken < over || taken < over+share && n < evictAtOnce
	})
	m.Deletes = append(m.Deletes, ids...)
	for _, id := range ids {
		d.doomID(id)
	}
	return len(ids) > 0
}

// evictFor evicts by a mutation until the namespace may take so many bytes more; false if it can't.
func (d *draft) evictFor(m *Mutation, more int64) bool {
	limit := d.settings.Value().maxBytes
	d.doom(m)
	for {
		over := d.counted(none) + more - limit
		if over <= 0 {
			return true
		}
		if !d.evict(m, over) {
			return false
		}
	}
}

// rowCost is about what a row takes but for its payload.
func (s *segView) rowCost() int64 {
	return segmentCost(s.vectors.Shape(), 64, 0, s.vectors.HasValues()) / 64
}

// makeRoom says whether a namespace may take so many bytes more for what it makes of its
// records. It evicts some for that by a mutation of its own, where that is what the namespace
// does; but not where it takes too much without, which the next write will see to.
func (c *committer) makeRoom(d *draft, more int64) (bool, error) {
	set := d.settings.Value()
	need := d.counted(none) + more
	switch {
	case set.maxBytes == 0 || need <= set.maxBytes:
		return true, nil
	case set.eviction != EvictNone && c.db.restoring.Load():
		return true, nil // nothing but the log evicts now; the next write will
	case set.eviction == EvictNone || need-more > set.maxBytes:
		return false, nil
	}
	defer d.decided()
	m := c.begin(d.ns.name)
	if !d.evictFor(m, more) {
		return false, nil
	}
	if err := c.room(m); err != nil {
		return false, err
	}
	if err := c.commit(m, d); err != nil {
		return false, err
	}
	d.db.gone(d.ns, evictedAt, len(m.Deletes))
	return true, nil
}

// makeImported fits a namespace that comes whole into its max_bytes, and says how many of its
// records are left out for that.
func (d *draft) makeImported() (evicted int, err error) {
	set := d.settings.Value()
	if set.maxBytes == 0 || d.bytes() <= set.maxBytes || d.trim() && d.bytes() <= set.maxBytes {
		return 0, nil
	}
	full := &Exhausted{What: fmt.Sprintf("namespace %q", d.ns.name), Limit: set.maxBytes, Need: d.bytes()}
	if set.eviction == EvictNone {
		return 0, full
	}
	defer d.decided()
	m := &Mutation{Time: d.db.clock.Now().UnixNano()}
	if !d.evictFor(m, 0) {
		return 0, full
	}
	for _, id := range m.Deletes {
		ref, _ := d.Find(id)
		d.kill(ref)
		d.count--
	}
	d.sweep()
	for d.bytes() > set.maxBytes && d.sweepWorst() {
	}
	return len(m.Deletes), nil
}

// sweepWorst sweeps the dead rows out of the segment where they take most; false if they take
// nothing, or there is no room for the copy.
func (d *draft) sweepWorst() bool {
	i := worst(d.segments)
	return i != none && d.copyTight(i)
}

// worst is the place of the segment that sweeping would free most of; none: of no one anything.
func worst(segments []segView) int {
	at, most := none, int64(0)
	for i := range segments {
		if n := segments[i].sweepable(); n > most {
			at, most = i, n
		}
	}
	return at
}

// trim takes from the last segment its dead rows and the room for others; false if it can't.
func (d *draft) trim() bool { return len(d.segments) > 0 && d.copyTight(len(d.segments)-1) }

// copyTight puts in a segment's place a copy of its live rows, with room for no others.
func (d *draft) copyTight(i int) bool {
	from := slices.Clone(d.segments[i : i+1])
	s := &from[0]
	moved := [][]uint32{make([]uint32, s.n)}
	to := func(_ int, r, to uint32) { moved[0][r] = to }
	made, err := rewrite(d.db.beyond, s.vectors.Shape(), from, max(1, s.live()), max(1, s.livePayload()), s.givenValues(), to)
	if err != nil {
		if !errors.Is(err, slab.ErrBudget) {
			d.db.log.Error("a segment can't be copied", "namespace", d.ns.name, "error", err.Error())
		}
		return false
	}
	if !d.swapIn(from, made, moved) {
		made.release()
		return false
	}
	return true
}

// tight tells that a namespace takes more than its max_bytes, as dead rows are yet to be swept
// out.
func (v *View) tight() bool {
	set := v.settings.Value()
	return set.maxBytes > 0 && set.eviction != EvictNone && v.bytes() > set.maxBytes
}

// crowdedBy is the place of the segment to compact next where dead rows take too much of
// max_bytes; none: there is none.
func (v *View) crowdedBy() int {
	set := v.settings.Value()
	if !v.tight() || v.bytes() <= set.maxBytes+set.maxBytes/sweepShare {
		return none
	}
	if i := worst(v.segments); i != none && v.segments[i].deadRows > v.segments[i].compactRefused.Load() {
		return i
	}
	return none
}
