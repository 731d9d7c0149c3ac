package memory

import (
	"strings"
	"sync/atomic"

	"engram/index"
	"engram/internal/slab"
	"engram/memory/filter"
	"engram/memory/lexical"
)

// A segment is a run of rows: their vectors, their fixed columns with the table of
// ids, and their payloads, all in slabs. The committer appends; readers read the
// rows that their view has published, which never change. Each view that shows a
// segment holds a reference, and the last to let go frees the slabs.
type segment struct {
	refs     atomic.Int32
	capacity uint32
	pool     *slab.Pool
	vectors  *index.Segment
	block    []byte // rows, then the id table
	rows     []row  // capacity of them
	ids      idTable

	// The committer's alone. Readers have their view's part of chunks, which only
	// ever grows.
	chunks  [][]byte // payloads; all but the last are full
	used    int      // bytes of the last chunk
	first   [1][]byte
	payload int64 // bytes of all payloads

	// bounds let List pass over the segment: see list.go.
	bounds atomic.Pointer[bounds]

	inOrder atomic.Uint32 // so many first rows at least are in the order of the conversation

	// Where the budget had no room: maintenance leaves the segment alone until it
	// has more rows, more dead ones, or much less of the budget in use, than this.
	indexRefused, lexicalRefused, compactRefused atomic.Uint32
	encodeRefused                                atomic.Int64 // bytes of the budget that were in use then
}

// segmentBytes bounds the vectors of a segment, so that growing one stays quick, and
// segmentPayload its payloads, a batch more or less. So a copy takes little room.
const (
	segmentBytes   = 64 << 20
	segmentPayload = 64 << 20
)

// maxRows is the most rows of a segment whose vectors have a shape, in any encoding.
func (db *DB) maxRows(shape index.Shape, values bool) int {
	values = shape.OwnValues(values)
	shape.Encoding, shape.Values = index.F32, index.F32
	perRow := index.SegmentBytes(shape, 64, values) / 64
	return min(int(db.sizes.segmentRows), max(64, int(segmentBytes/perRow)&^63))
}

// blockBytes is the size of the block of a segment of capacity rows.
func blockBytes(capacity int) int { return capacity*rowBytes + 4*idTableSlots(capacity) }

// newSegment makes a segment for capacity rows, whose payloads take payload bytes
// at first, with one reference.
func newSegment(pool *slab.Pool, shape index.Shape, capacity, payload int, values bool) (*segment, error) {
	vectors, err := index.NewSegment(pool, shape, capacity, values)
	if err != nil {
		return nil, err
	}
	return segmentOf(pool, vectors, payload)
}

// segmentOf makes a segment of vectors, which it takes over.
func segmentOf(pool *slab.Pool, vectors *index.Segment, payload int) (*segment, error) {
	capacity := vectors.Cap()
	s := &segment{capacity: uint32(capacity), pool: pool, vectors: vectors}
	s.refs.Store(1)
	s.chunks = s.first[:0]
	var err error
	if s.block, err = pool.Alloc(blockBytes(capacity)); err != nil {
		s.free()
		return nil, err
	}
	s.rows = slab.Slice[row](s.block[:capacity*rowBytes])
	s.ids = slab.Slice[uint32](s.block[capacity*rowBytes:])
	if err = s.addChunk(pool, payload); err != nil {
		s.free()
		return nil, err
	}
	return s, nil
}

// segmentCost is what newSegment takes from the pool.
func segmentCost(shape index.Shape, capacity, payload int, values bool) int64 {
	n := index.SegmentBytes(shape, capacity, values) + int64(slab.ClassSize(blockBytes(capacity)))
	if payload > 0 {
		n += int64(slab.ClassSize(payload))
	}
	return n
}

// addChunk makes room for n more bytes of payloads, in one piece.
func (s *segment) addChunk(pool *slab.Pool, n int) error {
	if n == 0 {
		return nil
	}
	b, err := pool.Alloc(n)
	if err != nil {
		return err
	}
	s.chunks = append(s.chunks, b[:cap(b)])
	s.used = 0
	return nil
}

// room is how many bytes of payloads the last chunk still takes.
func (s *segment) room() int {
	if len(s.chunks) == 0 {
		return 0
	}
	return len(s.chunks[len(s.chunks)-1]) - s.used
}

// bytes is what the segment takes outside the heap.
func (s *segment) bytes() int64 { return s.vectors.Bytes() + int64(cap(s.block)) + s.chunkBytes() }

func (s *segment) chunkBytes() (n int64) {
	for _, c := range s.chunks {
		n += int64(cap(c))
	}
	return n
}

func (s *segment) release() {
	if s.refs.Add(-1) == 0 {
		s.free()
	}
}

func (s *segment) free() {
	if s.vectors != nil {
		s.vectors.Free()
	}
	if s.block != nil {
		s.pool.Free(s.block)
	}
	for _, c := range s.chunks {
		s.pool.Free(c)
	}
}

// A filterIndex is a filter.Index that views share.
type filterIndex struct {
	refs atomic.Int32
	*filter.Index
}

func (x *filterIndex) release() {
	if x != nil && x.refs.Add(-1) == 0 {
		x.Free()
	}
}

// A lexicalIndex is a lexical.Index that views share.
type lexicalIndex struct {
	refs atomic.Int32
	*lexical.Index
}

func (x *lexicalIndex) release() {
	if x != nil && x.refs.Add(-1) == 0 {
		x.Free()
	}
}

// A segView is what one view shows of a segment.
type segView struct {
	*segment
	n        uint32        // rows published
	deadRows uint32        // of those
	deadSize int           // bytes of their payloads
	dead     []uint64      // bit r of word r/64: row r is dead; short or nil where the rest is live
	chunks   [][]byte      // those that the rows need
	index    *filterIndex  // of a prefix of the rows; nil: none
	lexical  *lexicalIndex // likewise

	rehearsed []rehearsedRow // the rows that were, in order
	expiring  *expiring      // nil: no row expires
}

// keepIndexes takes references to the segment's indexes for one more who shows it.
func (s *segView) keepIndexes() {
	if s.index != nil {
		s.index.refs.Add(1)
	}
	if s.lexical != nil {
		s.lexical.refs.Add(1)
	}
}

func (s *segView) releaseIndexes() {
	s.index.release()
	s.lexical.release()
}

func (s *segView) live() int { return int(s.n - s.deadRows) }

func (s *segView) isDead(r uint32) bool {
	w := int(r / 64)
	return w < len(s.dead) && s.dead[w]>>(r%64)&1 != 0
}

func (s *segView) at(r *row) []byte { return s.chunks[r.chunk()][r.offset():] }

// find gives the live row of an id.
func (s *segView) find(hash uint32, id string) (uint32, bool) {
	if len(s.ids) == 0 {
		for r := range s.n {
			if w := &s.rows[r]; w.hash == hash && !s.isDead(r) && readID(s.at(w)) == id {
				return r, true
			}
		}
		return 0, false
	}
	mask, want := uint32(len(s.ids)-1), tag(hash)
	for i := hash & mask; ; i = (i + 1) & mask {
		slot := atomic.LoadUint32(&s.ids[i])
		if slot == 0 {
			return 0, false
		}
		if slot&^0xffff != want {
			continue
		}
		if r, ok := s.published(slot & 0xffff); ok && s.rows[r].hash == hash && readID(s.at(&s.rows[r])) == id {
			return r, !s.isDead(r)
		}
	}
}

// published goes back from a row that a slot names to the newest of the same id
// that this view shows. The view may not know the chunk of a later one, which
// therefore can't be asked for its id.
func (s *segView) published(r uint32) (uint32, bool) {
	for r >= s.n {
		prev := s.rows[r].prev
		if prev == noRow {
			return 0, false
		}
		r = uint32(prev)
	}
	return r, true
}

// append adds a row, for which there is room; r's payload position and prev are filled
// in here. lost is what the key was rounded by before.
func (s *segView) append(r row, p payload, key, value []float32, lost float32) error {
	if err := s.vectors.AppendLossy(key, value, lost); err != nil {
		return err
	}
	last := len(s.segment.chunks) - 1
	c := s.segment.chunks[last]
	r.payload |= uint64(last)<<32 | uint64(s.used)
	s.used = len(p.appendTo(c[:s.used]))
	s.segment.payload += int64(p.bytes())
	s.chunks = s.segment.chunks
	at := s.n
	s.n++
	s.insert(r, at, p.id)
	return nil
}

// insert puts r in place and makes it findable.
func (s *segView) insert(r row, at uint32, id string) {
	if len(s.ids) == 0 {
		r.prev = noRow
		s.rows[at] = r
		return
	}
	s.ids.insert(r.hash, at,
		func(o uint32) bool { return s.rows[o].hash == r.hash && readID(s.at(&s.rows[o])) == id },
		func(prev uint16) {
			r.prev = prev
			s.rows[at] = r
		})
}

// key and value alias the slab, or are decoded; the value is nil where it is the key.
func (s *segView) key(r uint32) []float32 {
	return s.vectors.Key(int(r))
}

// givenValues is true if the segment has room for values, and not only because keys must
// be rounded to be values: then a live record has one of its own.
func (s *segView) givenValues() bool {
	if !s.vectors.HasValues() || !s.vectors.Shape().OwnValues(false) {
		return s.vectors.HasValues()
	}
	for r := range s.n {
		if s.rows[r].has(flagValue) && !s.isDead(r) {
			return true
		}
	}
	return false
}

func (s *segView) value(r uint32) []float32 {
	if s.rows[r].has(flagValue) {
		return s.vectors.Value(int(r))
	}
	return nil
}

// Fields implements filter.Source.
func (s *segView) Fields(r uint32, f *filter.Fields) {
	w := &s.rows[r]
	p, _ := readPayload(s.at(w))
	*f = filter.Fields{
		ID: p.id, Text: p.text, Session: p.session, Speaker: p.speaker, Metadata: p.metadata,
		Time: w.time, CreateTime: w.createTime, UpdateTime: w.updateTime, Importance: w.importance,
	}
}

// Words implements lexical.Source.
func (s *segView) Words(r uint32) (terms lexical.Terms, session, speaker string) {
	p, _ := readPayload(s.at(&s.rows[r]))
	return p.terms, p.session, p.speaker
}

// age orders records of equal score: see index.Part.
func (s *segView) age(r uint32) (lsn uint64, place uint32) {
	w := &s.rows[r]
	return w.created, w.place
}

// record copies a row out of the slabs.
func (s *segView) record(r uint32, inc Include) Record {
	rec := s.alias(r, inc)
	rec.ID = strings.Clone(rec.ID)
	rec.Session = strings.Clone(rec.Session)
	rec.Speaker = strings.Clone(rec.Speaker)
	rec.Text = strings.Clone(rec.Text)
	rec.Metadata = append([]byte(nil), rec.Metadata...)
	rec.Key = append([]float32(nil), rec.Key...)
	rec.Value = append([]float32(nil), rec.Value...)
	rec.Sources = cloneSources(rec.Sources)
	return rec
}

// alias gives a row as it lies in the slabs.
func (s *segView) alias(r uint32, inc Include) Record {
	w := &s.rows[r]
	p, _ := readPayload(s.at(w))
	rec := Record{
		ID: p.id, Session: p.session, Speaker: p.speaker,
		Time: w.time, CreateTime: w.createTime, UpdateTime: w.updateTime,
		Importance: w.importance, Version: LSN(w.version), Created: LSN(w.created), Place: w.place,
		KeyFromText: w.has(flagKeyText), Rehearsed: s.rehearsals(r), Pinned: w.has(flagPinned), Expire: s.expires(r),
	}
	rec.Position, rec.HasPosition = p.at()
	if inc&IncludeText != 0 {
		rec.Text = p.text
	}
	if inc&IncludeMetadata != 0 && len(p.metadata) > 0 {
		rec.Metadata = p.metadata
	}
	if inc&IncludeKey != 0 {
		rec.Key, rec.KeyLost = s.key(r), s.vectors.Lost(int(r))
	}
	if inc&IncludeValue != 0 {
		rec.Value = s.value(r)
	}
	if inc&IncludeSources != 0 {
		rec.Sources, rec.Spread = readSources(p.sources)
	}
	return rec
}
