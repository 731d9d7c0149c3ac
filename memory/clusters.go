package memory

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"

	"engram/index"
	"engram/memory/filter"
	"engram/memory/lexical"
)

// Which records are merged is decided by leaders (Hartigan, Clustering Algorithms, 1975,
// chapter 3), here with a bound on the whole cluster. Of the eligible records of one session
// and speaker, in the order of the conversation, each that is in no cluster leads one: it
// takes in, the nearest first and of as near ones the older, those after it that are in none
// and whose cosine with it is at least Similarity, at most nearest of them, unless with one
// more a member would be farther than that from the mean of all, or the text or the sources
// would be too many. A cluster of one is none.
//
// The index names those who may be near; cosines are decided in float64. The outcome is one
// of the view, the time and the consolidation alone, whatever the number of workers, the
// instruction set, or how rows are spread over segments.

const (
	nearest       = MaxSources - 1 // that a leader asks for
	leadersAtOnce = 64             // that ask the index together, at most
	// nominate is how much less than Similarity a canonical score may be that the index
	// gives: more than such a score can be wrong by.
	nominate = 1e-4
	// consolidateBytes is about what a row takes while clusters are looked for.
	consolidateBytes = 64
)

// ConsolidateBytes is about what a Consolidate of a view takes while it lasts.
func (v *View) ConsolidateBytes() int64 { return consolidateBytes * int64(v.Rows()) }

// A scope is what merged records have in common.
type scope struct{ session, speaker string }

func compareScopes(a, b scope) int {
	return cmp.Or(cmp.Compare(a.session, b.session), cmp.Compare(a.speaker, b.speaker))
}

// An elder is a record that may be merged.
type elder struct {
	Ref
	Position
}

func comparePositions(a, b Position) int {
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Created, b.Created), cmp.Compare(a.Place, b.Place))
}

// A led is the scope and the position of the last record that led.
type led struct {
	scope
	Position
}

// A clustering looks for clusters in a view.
type clustering struct {
	v       *View
	by      Consolidation
	now     int64 // Unix nanoseconds
	filter  *filter.Filter
	limits  *Limits
	workers int

	after *led // where it begins, behind one that led; nil: at the start
	// How many multiply-adds it may take about, before it stops behind the leaders at hand;
	// 0: no bound.
	most, done int64

	// The first time at which a record becomes old enough that isn't; 0: none does.
	ripens int64

	r     *reading
	parts []index.Part // those of r that have records of the scope at hand
	of    []uint32     // by number of these, the number of the segment
	slot  []int        // by number of the segment, the number in parts, where it is there
}

// A cluster is records that are merged, at least two.
type cluster struct {
	members []member // in the order of the conversation
	merged  Record   // without what the commit decides: id, create time, rehearsals
	analysed
}

type member struct {
	elder
	id         string
	version    LSN
	cosine     float64 // with the leader
	key, value []float32
	norm       float64 // squared, of the key
	importance float32
	spread     float64
	sources    []Source
	text       string
}

// run yields the clusters, until yield gives an error. stopped is behind whom it must go on,
// nil if there is nothing more.
func (c *clustering) run(ctx context.Context, yield func(*cluster) error) (stopped *led, err error) {
	c.r = read([]*View{c.v}, c.filter)
	defer c.r.done()
	elders := c.elders()
	scopes := make([]scope, 0, len(elders))
	for s := range elders {
		scopes = append(scopes, s)
	}
	slices.SortFunc(scopes, compareScopes)
	for _, s := range scopes {
		list := elders[s]
		slices.SortFunc(list, func(a, b elder) int { return comparePositions(a.Position, b.Position) })
		if c.after != nil {
			switch n := compareScopes(s, c.after.scope); {
			case n < 0:
				continue
			case n == 0:
				list = list[lenUpTo(list, c.after.Position):]
			}
		}
		last, err := c.within(ctx, list, yield)
		if err != nil {
			return nil, err
		}
		if last != nil {
			return &led{scope{strings.Clone(s.session), strings.Clone(s.speaker)}, *last}, nil
		}
	}
	return nil, nil
}

// lenUpTo is how many of a list, in order, are not after a position.
func lenUpTo(list []elder, at Position) int {
	n, found := slices.BinarySearchFunc(list, at, func(e elder, at Position) int { return comparePositions(e.Position, at) })
	if found {
		n++
	}
	return n
}

// elders gives the records that may be merged.
func (c *clustering) elders() map[scope][]elder {
	out := make(map[scope][]elder)
	old := c.now - int64(c.by.MinAge)
	for i := range c.r.parts {
		s := c.r.at[i].segment
		each(c.r.parts[i].Mask, int(s.n), func(row uint32) {
			w := &s.rows[row]
			if w.has(flagPinned) || s.expires(row) != 0 {
				return
			}
			if since := max(w.time, w.createTime); since > old {
				if ripe := since + int64(c.by.MinAge); ripe > 0 && (c.ripens == 0 || ripe < c.ripens) {
					c.ripens = ripe
				}
				return
			}
			p, _ := readPayload(s.at(w))
			of := scope{p.session, p.speaker}
			out[of] = append(out[of], elder{Ref{uint32(i), row}, Position{w.time, LSN(w.created), w.place}})
		})
	}
	return out
}

// within yields the clusters of records of one scope, in order. last is the last that led, if
// it stopped before the end.
func (c *clustering) within(ctx context.Context, list []elder, yield func(*cluster) error) (last *Position, err error) {
	if len(list) < 2 {
		return nil, nil
	}
	c.release(list)
	leaders := make([]elder, 0, leadersAtOnce)
	atOnce := 8 // what earlier ones take in asks in vain; how many there are changes no cluster
	for at := 0; at < len(list); {
		leaders = leaders[:0]
		for ; at < len(list) && len(leaders) < atOnce; at++ {
			if c.free(list[at].Ref) {
				leaders = append(leaders, list[at])
			}
		}
		if len(leaders) == 0 {
			return nil, nil
		}
		found, err := c.near(ctx, leaders, nearest+1)
		if err != nil {
			return nil, err
		}
		vain := 0
		for i, l := range leaders {
			if !c.free(l.Ref) { // an earlier one has it
				vain++
				continue
			}
			c.take(l.Ref)
			hits := slices.DeleteFunc(slices.Clone(found[i]), func(e elder) bool { return !c.free(e.Ref) })
			if len(found[i]) > nearest && len(hits) < nearest { // there may be more
				again, err := c.near(ctx, []elder{l}, nearest)
				if err != nil {
					return nil, err
				}
				hits = again[0]
			}
			x, err := c.grow(l, hits[:min(len(hits), nearest)])
			if err != nil {
				return nil, err
			}
			if x == nil {
				continue
			}
			for _, m := range x.members {
				c.take(m.Ref)
			}
			if err := yield(x); err != nil {
				return nil, err
			}
		}
		if atOnce = min(2*atOnce, leadersAtOnce); 4*vain > len(leaders) {
			atOnce = max(1, atOnce/4)
		}
		if c.most > 0 && c.done >= c.most {
			return &leaders[len(leaders)-1].Position, nil
		}
	}
	return nil, nil
}

// release makes the records of a list those that are free, and no others.
func (c *clustering) release(list []elder) {
	c.parts, c.of = c.parts[:0], c.of[:0]
	c.slot = slices.Grow(c.slot[:0], len(c.r.parts))[:len(c.r.parts)]
	for i := range c.slot {
		c.slot[i] = -1
	}
	for _, e := range list {
		if c.slot[e.segment] < 0 {
			p := c.r.parts[e.segment]
			p.Mask = make([]uint64, (p.Rows+63)/64)
			c.slot[e.segment] = len(c.parts)
			c.parts, c.of = append(c.parts, p), append(c.of, e.segment)
		}
		c.mask(e.segment)[e.row/64] |= 1 << (e.row % 64)
	}
}

// mask is that of a segment which has records of the scope.
func (c *clustering) mask(segment uint32) []uint64 { return c.parts[c.slot[segment]].Mask }

func (c *clustering) free(r Ref) bool { return c.mask(r.segment)[r.row/64]>>(r.row%64)&1 != 0 }
func (c *clustering) take(r Ref)      { c.mask(r.segment)[r.row/64] &^= 1 << (r.row % 64) }

// near gives for each of some leaders the k nearest that are free and about as near as they
// must be.
func (c *clustering) near(ctx context.Context, leaders []elder, k int) ([][]elder, error) {
	queries := make([][]float32, len(leaders))
	for i, l := range leaders {
		queries[i] = c.v.segments[l.segment].key(l.row)
	}
	opt := index.SearchOptions{K: k, MinScore: float32(c.by.Similarity - nominate), Workers: c.workers}
	set := c.v.settings.Value()
	hits, stats, err := index.Search(ctx, set.shape(), c.parts, queries, opt)
	if err != nil {
		return nil, err
	}
	c.done += stats.RowsScanned * int64(set.dim)
	for i := range c.parts {
		c.done += int64(c.parts[i].Rows) // to see which are eligible
	}
	out := make([][]elder, len(leaders))
	for i := range hits {
		for _, h := range hits[i] {
			at := c.of[h.Part]
			w := &c.v.segments[at].rows[h.Row]
			out[i] = append(out[i], elder{Ref{at, h.Row}, Position{w.time, LSN(w.created), w.place}})
		}
	}
	return out, nil
}

// member reads a record.
func (c *clustering) member(e elder) member {
	s := &c.v.segments[e.segment]
	w := &s.rows[e.row]
	p, _ := readPayload(s.at(w))
	m := member{
		elder: e, id: p.id, version: LSN(w.version), key: s.key(e.row), value: s.value(e.row), importance: w.importance, text: p.text,
	}
	m.norm = dot64(m.key, m.key)
	m.sources, m.spread = readSources(p.sources)
	if m.sources == nil {
		m.sources = []Source{{p.id, w.time}}
	}
	return m
}

// grow makes the cluster of a leader, of the records that may be near; nil: there is none.
func (c *clustering) grow(leader elder, hits []elder) (*cluster, error) {
	if len(hits) == 0 {
		return nil, nil
	}
	first := c.member(leader)
	near := make([]member, 0, len(hits))
	for _, h := range hits {
		m := c.member(h)
		if m.cosine = cosine64(&first, &m); m.cosine >= c.by.Similarity {
			near = append(near, m)
		}
	}
	slices.SortFunc(near, func(a, b member) int {
		return cmp.Or(cmp.Compare(b.cosine, a.cosine), comparePositions(a.Position, b.Position))
	})
	g := growing{similarity: c.by.Similarity, key: newMean(len(first.key)), limit: c.limits.TextBytes, texts: make(map[string]bool)}
	g.add(&first)
	for i := range near {
		if g.takes(&near[i]) {
			g.add(&near[i])
		}
	}
	if len(g.members) < 2 {
		return nil, nil
	}
	return c.merge(&g)
}

// A growing is a cluster to which records are added.
type growing struct {
	similarity float64
	members    []member
	key        mean
	sources    int
	texts      map[string]bool // each once
	bytes      int             // of the joined texts
	limit      int
	trial      []float32
}

// takes says whether a cluster stays one with one more record.
func (g *growing) takes(m *member) bool {
	if g.sources+len(m.sources) > MaxSources || g.with(m.text) > g.limit {
		return false
	}
	g.trial = g.key.with(g.trial, m)
	norm := dot64(g.trial, g.trial)
	if !g.within(m, norm) {
		return false
	}
	for i := range g.members {
		if !g.within(&g.members[i], norm) {
			return false
		}
	}
	return true
}

// within says whether all that a record is made of is near enough to the trial key, of a
// squared norm. Angles add up at most: the triangle inequality of the sphere.
func (g *growing) within(m *member, norm float64) bool {
	cosine := dot64(g.trial, m.key) / math.Sqrt(norm*m.norm)
	if m.spread == 0 {
		return cosine >= g.similarity
	}
	return angle(cosine)+m.spread <= angle(g.similarity)
}

// with is how many bytes the joined texts have with one more.
func (g *growing) with(text string) int {
	switch {
	case text == "" || g.texts[text]:
		return g.bytes
	case g.bytes == 0:
		return len(text)
	}
	return g.bytes + 1 + len(text)
}

func (g *growing) add(m *member) {
	g.bytes = g.with(m.text)
	g.texts[m.text] = true
	g.sources += len(m.sources)
	g.key.add(m.key, m.importance)
	g.members = append(g.members, *m)
}

// merge gives the cluster, unless the mean is no key or no value that can be kept: then it is
// none.
func (c *clustering) merge(g *growing) (*cluster, error) {
	r := Record{Key: g.key.rounded(nil)}
	if slices.ContainsFunc(g.members, func(m member) bool { return m.value != nil }) {
		value := newMean(c.v.settings.Value().valueDim)
		for i := range g.members {
			if m := &g.members[i]; m.value != nil {
				value.add(m.value, m.importance)
			} else {
				value.add(m.key, m.importance)
			}
		}
		r.Value = value.rounded(nil)
	}
	norm := dot64(r.Key, r.Key)
	for i := range g.members {
		m := &g.members[i]
		r.Spread = max(r.Spread, angle(dot64(r.Key, m.key)/math.Sqrt(norm*m.norm))+m.spread)
		r.Importance = max(r.Importance, m.importance)
	}
	slices.SortFunc(g.members, func(a, b member) int { return comparePositions(a.Position, b.Position) })
	var texts []string
	var metadata [][]byte
	seen := make(map[string]bool)
	for i := range g.members {
		m := &g.members[i]
		s := &c.v.segments[m.segment]
		p, _ := readPayload(s.at(&s.rows[m.row]))
		metadata = append(metadata, p.metadata)
		r.Sources = append(r.Sources, m.sources...)
		if m.text != "" && !seen[m.text] {
			seen[m.text] = true
			texts = append(texts, m.text)
		}
		r.Session, r.Speaker = p.session, p.speaker
		r.Position, r.HasPosition = p.at()
		r.Time, r.Created, r.Place = m.Time, m.Created, m.Place
	}
	r.Text = strings.Clone(strings.Join(texts, "\n")) // of one text Join makes no copy
	r.Session, r.Speaker, r.Sources = strings.Clone(r.Session), strings.Clone(r.Speaker), cloneSources(r.Sources)
	slices.SortStableFunc(r.Sources, func(a, b Source) int { return cmp.Compare(a.Time, b.Time) })
	var err error
	if r.Metadata, err = filter.SharedMetadata(metadata); err != nil {
		return nil, err
	}
	for i := range g.members { // what is kept of them outlives the view
		m := &g.members[i]
		m.id, m.key, m.value, m.text, m.sources = strings.Clone(m.id), nil, nil, "", nil
	}
	set := c.v.settings.Value()
	check := checker{limits: c.limits}
	check.record(0, &r, MaskAll, &set, false)
	if len(check.found) > 0 || !(r.Spread <= math.Pi) {
		return nil, nil
	}
	x := &cluster{members: g.members, merged: r}
	if a := set.lexical; a != lexical.None {
		x.analysed = analysed{a.Append(nil, r.Text), a}
	}
	return x, nil
}

// A mean is one of vectors by weights, in float64, which has the products exactly: whether the
// compiler fuses an addition to them makes no difference.
type mean struct {
	sum    []float64
	weight float64
}

func newMean(n int) mean { return mean{sum: make([]float64, n)} }

func (m *mean) add(v []float32, weight float32) {
	for i, x := range v {
		m.sum[i] += float64(weight) * float64(x)
	}
	m.weight += float64(weight)
}

// with gives the mean, rounded, with one more key.
func (m *mean) with(dst []float32, x *member) []float32 {
	dst = slices.Grow(dst[:0], len(m.sum))[:len(m.sum)]
	w, all := float64(x.importance), m.weight+float64(x.importance)
	for i, k := range x.key {
		dst[i] = float32((m.sum[i] + w*float64(k)) / all)
	}
	return dst
}

// rounded gives the mean.
func (m *mean) rounded(dst []float32) []float32 {
	for _, x := range m.sum {
		dst = append(dst, float32(x/m.weight))
	}
	return dst
}

func dot64(a, b []float32) (sum float64) {
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

func cosine64(a, b *member) float64 { return dot64(a.key, b.key) / math.Sqrt(a.norm*b.norm) }

// angle is that of a cosine, which rounding may have moved beyond 1.
func angle(cosine float64) float64 { return math.Acos(max(-1, min(1, cosine))) }
