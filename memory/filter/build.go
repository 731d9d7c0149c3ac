package filter

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"

	"engram/internal/slab"
)

// Bounds of what Build looks at, so that hostile metadata costs no more than dear
// metadata. What falls outside is tested row by row.
const (
	maxCandidates  = 1024     // paths counted before the most frequent are chosen
	maxIndexedKeys = 16       // keys in an indexed path
	entriesARow    = MaxPaths // values indexed for a row, on average
)

// Build indexes the rows of [0, n) whose bit is set in live (nil: all), n at most
// MaxRows. A row not live now must not become so. What the index takes is charged to
// the pool; slab.ErrBudget comes back where it doesn't fit.
func Build(pool *slab.Pool, src Source, n int, live []uint64) (*Index, error) {
	if n < 1 || n > MaxRows {
		return nil, fmt.Errorf("indexing %d rows: a segment has 1 to %d", n, MaxRows)
	}
	b := &builder{src: src, n: n, live: live, complete: true}
	b.scratch, b.out = make([]uint64, MaxRows/64), make([]byte, 0, 32*n)
	b.count()
	b.choose()
	b.collect()
	b.fields()
	b.metadata()
	x := &Index{pool: pool, rows: n, complete: b.complete}
	x.data = b.out // only to compare names
	slices.SortFunc(b.columns, func(a, c column) int { return x.compareColumn(&a, c.field, x.name(&c), c.kind) })
	at := put(b, b.columns)
	data, err := pool.Alloc(len(b.out))
	if err != nil {
		return nil, fmt.Errorf("indexing %d rows: %w", n, err)
	}
	copy(data, b.out)
	x.data = data
	x.columns = section[column](x, at, len(b.columns))
	return x, nil
}

type builder struct {
	src      Source
	n        int
	live     []uint64
	root     pathNode
	nodes    []*pathNode // all below root
	chosen   []*pathNode
	complete bool

	session, speaker              texts
	time, createTime, importances []entry

	scratch []uint64
	columns []column
	out     []byte
}

// entry is one value of one row: its sortable form, or its number among texts.
type entry struct {
	key uint64
	row uint16
}

// pathNode is a key in the tree of all paths.
type pathNode struct {
	key      string
	parent   *pathNode
	children []*pathNode // ascending by key
	rows     int         // rows that have the path
	entries  int         // scalars at it, array elements included
	values   *values     // once chosen
}

// values are what stands at a chosen path.
type values struct {
	there          []uint16
	room           int // for entries, known from counting
	texts          texts
	numbers, bools []entry
	textArrays     bool
	numberArrays   bool
	boolArrays     bool
}

// rows calls yield for every live row.
func (b *builder) rows(yield func(row uint16, f *Fields)) {
	f := new(Fields)
	for row := range b.n {
		if b.live == nil || b.live[row/64]>>(row%64)&1 != 0 {
			b.src.Fields(uint32(row), f)
			yield(uint16(row), f)
		}
	}
}

// count takes in the fields and counts the paths.
func (b *builder) count() {
	b.time, b.createTime, b.importances = make([]entry, 0, b.n), make([]entry, 0, b.n), make([]entry, 0, b.n)
	b.session.entries, b.speaker.entries = make([]entry, 0, b.n), make([]entry, 0, b.n)
	b.rows(func(row uint16, f *Fields) {
		b.time = append(b.time, entry{Time(f.Time).sortable(), row})
		b.createTime = append(b.createTime, entry{Time(f.CreateTime).sortable(), row})
		if n := float64(f.Importance); !math.IsNaN(n) {
			b.importances = append(b.importances, entry{Number(n).sortable(), row})
		}
		if f.Session != "" {
			b.session.add(f.Session, row)
		}
		if f.Speaker != "" {
			b.speaker.add(f.Speaker, row)
		}
		b.countPaths(&b.root, f.Metadata, 1)
	})
}

func (b *builder) countPaths(node *pathNode, data []byte, depth int) {
	at := 0
	for o := (object{rest: data}); o.next(); {
		child, i := node.child(o.key, at)
		if at = i; child == nil {
			if len(b.nodes) == maxCandidates || depth > maxIndexedKeys {
				b.complete = false
				continue
			}
			child = &pathNode{key: string(o.key), parent: node}
			node.children = slices.Insert(node.children, i, child)
			b.nodes = append(b.nodes, child)
		}
		at++
		child.rows++
		switch v := parseValue(o.value); v.kind {
		case valueStruct:
			b.countPaths(child, v.data, depth+1)
		case valueList:
			for list := v.data; ; {
				_, rest, ok := nextMessage(list)
				if !ok {
					break
				}
				list = rest
				child.entries++
			}
		case valueString, valueNumber, valueBool:
			child.entries++
		}
	}
}

// child finds the child of a key not below the one at index at, which is where an
// object's next key is likely to be, and gives the index that it has or would have.
func (p *pathNode) child(key []byte, at int) (*pathNode, int) {
	if at < len(p.children) && p.children[at].key == text(key) {
		return p.children[at], at
	}
	i, found := slices.BinarySearchFunc(p.children[at:], text(key), func(c *pathNode, key string) int {
		return strings.Compare(c.key, key)
	})
	if found {
		return p.children[at+i], at + i
	}
	return nil, at + i
}

// choose picks the paths that most rows have, as far as their entries fit.
func (b *builder) choose() {
	byRows := slices.Clone(b.nodes)
	slices.SortStableFunc(byRows, func(a, c *pathNode) int { return cmp.Compare(c.rows, a.rows) })
	room := entriesARow * b.n
	for _, node := range byRows {
		if len(b.chosen) == MaxPaths || node.entries > room {
			b.complete = false
			continue
		}
		room -= node.entries
		node.values = &values{there: make([]uint16, 0, node.rows), room: node.entries}
		b.chosen = append(b.chosen, node)
	}
}

// collect takes in the values at the chosen paths.
func (b *builder) collect() {
	if len(b.chosen) == 0 {
		return
	}
	b.rows(func(row uint16, f *Fields) { collectPaths(&b.root, f.Metadata, row) })
}

func collectPaths(node *pathNode, data []byte, row uint16) {
	at := 0
	for o := (object{rest: data}); o.next(); {
		child, i := node.child(o.key, at)
		if at = i; child == nil {
			continue
		}
		at++
		v := parseValue(o.value)
		if v.kind == valueStruct && len(child.children) > 0 {
			collectPaths(child, v.data, row)
		}
		if child.values != nil {
			child.values.add(v, row)
		}
	}
}

func (p *values) add(v value, row uint16) {
	p.there = append(p.there, row)
	if v.kind != valueList {
		p.addScalar(v, row, false)
		return
	}
	for list := v.data; ; {
		data, rest, ok := nextMessage(list)
		if !ok {
			return
		}
		list = rest
		p.addScalar(parseValue(data), row, true)
	}
}

func (p *values) addScalar(v value, row uint16, element bool) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	switch s.Kind {
	case KindString:
		reserve(&p.texts.entries, p.room)
		p.texts.add(s.S, row)
		p.textArrays = p.textArrays || element
	case KindNumber:
		reserve(&p.numbers, p.room)
		p.numbers = append(p.numbers, entry{s.sortable(), row})
		p.numberArrays = p.numberArrays || element
	case KindBool:
		reserve(&p.bools, p.room)
		p.bools = append(p.bools, entry{s.sortable(), row})
		p.boolArrays = p.boolArrays || element
	}
}

// reserve makes room for the entries of a path when the first of a kind comes: most
// paths hold one kind only.
func reserve(entries *[]entry, room int) {
	if *entries == nil {
		*entries = make([]entry, 0, room)
	}
}

// texts numbers distinct strings, cut to maxString, as they come.
type texts struct {
	numbers  map[string]uint32
	distinct []string
	entries  []entry
	cut      bool
}

func (t *texts) add(s string, row uint16) {
	if len(s) > maxString {
		s, t.cut = s[:maxString], true
	}
	number, known := t.numbers[s]
	if !known {
		if t.numbers == nil {
			t.numbers = make(map[string]uint32)
		}
		s = strings.Clone(s)
		number = uint32(len(t.distinct))
		t.numbers[s] = number
		t.distinct = append(t.distinct, s)
	}
	t.entries = append(t.entries, entry{uint64(number), row})
}

// fields writes the columns of the records' fields.
func (b *builder) fields() {
	b.texts(column{field: FieldSession, kind: KindString}, &b.session)
	b.texts(column{field: FieldSpeaker, kind: KindString}, &b.speaker)
	same := slices.Equal(b.time, b.createTime)
	b.numbers(column{field: FieldTime, kind: KindTime}, b.time)
	if same { // no client has set times: one set of values serves both
		both := b.columns[len(b.columns)-1]
		both.field = FieldCreateTime
		b.columns = append(b.columns, both)
	} else {
		b.numbers(column{field: FieldCreateTime, kind: KindTime}, b.createTime)
	}
	b.numbers(column{field: FieldImportance, kind: KindNumber}, b.importances)
}

// metadata writes the columns of the chosen paths.
func (b *builder) metadata() {
	for _, node := range b.chosen {
		var path []string
		for p := node; p.parent != nil; p = p.parent {
			path = append(path, p.key)
		}
		slices.Reverse(path)
		name := appendPath(nil, path)
		place := column{field: FieldMetadata, name: put(b, name), nameLen: uint32(len(name))}

		v := node.values
		there := make([]entry, len(v.there))
		for i, row := range v.there {
			there[i].row = row
		}
		b.postings(place, there)
		if len(v.texts.entries) > 0 {
			c := place
			c.kind, c.arrays = KindString, v.textArrays
			b.texts(c, &v.texts)
		}
		if len(v.numbers) > 0 {
			c := place
			c.kind, c.arrays = KindNumber, v.numberArrays
			b.numbers(c, v.numbers)
		}
		if len(v.bools) > 0 {
			c := place
			c.kind, c.arrays = KindBool, v.boolArrays
			b.numbers(c, v.bools)
		}
		node.values = nil
	}
}

// texts writes a column of strings.
func (b *builder) texts(c column, t *texts) {
	order := make([]uint32, len(t.distinct))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(i, j uint32) int { return strings.Compare(t.distinct[i], t.distinct[j]) })
	ranks := make([]uint32, len(order))
	ends := make([]uint32, 1, len(order)+1)
	c.cut = t.cut
	c.blob = align(b)
	for rank, number := range order {
		ranks[number] = uint32(rank)
		b.out = append(b.out, t.distinct[number]...)
		ends = append(ends, uint32(len(b.out))-c.blob)
	}
	c.keys = put(b, ends)

	// Rows come ascending, so counting the ranks sorts by (rank, row).
	next := make([]int, len(order)+1)
	for _, e := range t.entries {
		next[ranks[e.key]+1]++
	}
	for rank := range order {
		next[rank+1] += next[rank]
	}
	sorted := make([]entry, len(t.entries))
	for _, e := range t.entries {
		rank := ranks[e.key]
		sorted[next[rank]] = entry{uint64(rank), e.row}
		next[rank]++
	}
	b.postings(c, slices.Compact(sorted))
}

// numbers writes a column of sortable values.
func (b *builder) numbers(c column, entries []entry) {
	entries = slices.Compact(sortByKey(entries))
	keys := make([]uint64, 0, len(entries))
	for i, e := range entries {
		if i == 0 || e.key != entries[i-1].key {
			keys = append(keys, e.key)
		}
	}
	c.keys = put(b, keys)
	b.postings(c, entries)
}

// sortByKey sorts entries, whose rows ascend, by (key, row): a stable radix sort, byte by
// byte from the last, that passes over bytes in which no two keys differ.
func sortByKey(entries []entry) []entry {
	if slices.IsSortedFunc(entries, func(a, b entry) int { return cmp.Compare(a.key, b.key) }) {
		return entries
	}
	var differ uint64
	for _, e := range entries {
		differ |= e.key ^ entries[0].key
	}
	other := make([]entry, len(entries))
	for shift := 0; shift < 64; shift += 8 {
		if differ>>shift&0xff == 0 {
			continue
		}
		var next [257]int
		for _, e := range entries {
			next[e.key>>shift&0xff+1]++
		}
		for i := range 256 {
			next[i+1] += next[i]
		}
		for _, e := range entries {
			digit := e.key >> shift & 0xff
			other[next[digit]] = e
			next[digit]++
		}
		entries, other = other, entries
	}
	return entries
}

// postings writes the rows of a column from its entries, ascending by (key, row).
func (b *builder) postings(c column, entries []entry) {
	posted := make([]uint16, 0, len(entries))
	starts := make([]uint32, 0, len(entries)+1)
	bitmaps := make([]bitmap, 0, len(entries)/minDense+1)
	before := uint32(0)
	for i := 0; i < len(entries); {
		from := len(posted)
		starts = append(starts, uint32(from))
		for key := entries[i].key; i < len(entries) && entries[i].key == key; i++ {
			posted = append(posted, entries[i].row)
		}
		at, size := align(b), 0
		if b.out, size = freeze(b.out, posted[from:], b.scratch); size > 0 {
			bitmaps = append(bitmaps, bitmap{uint32(len(starts)) - 1, at, uint32(size), before})
			before += uint32(len(posted) - from)
			posted = posted[:from]
		}
	}
	c.distinct = uint32(len(starts))
	c.single = len(posted) == len(starts) && len(bitmaps) == 0
	if !c.single {
		c.starts = put(b, append(starts, uint32(len(posted))))
	}
	c.postings, c.posted = put(b, posted), uint32(len(posted))
	c.dense = uint32(len(bitmaps))
	c.bitmaps = put(b, append(bitmaps, bitmap{rank: math.MaxUint32, before: before}))
	b.columns = append(b.columns, c)
}

// align pads the output so that the next section may hold anything, and gives its offset.
func align(b *builder) uint32 {
	for len(b.out)%8 != 0 {
		b.out = append(b.out, 0)
	}
	return uint32(len(b.out))
}

// put appends a section and gives its offset.
func put[T any](b *builder, s []T) uint32 {
	at := align(b)
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(*new(T))))
	b.out = append(b.out, bytes...)
	return at
}
