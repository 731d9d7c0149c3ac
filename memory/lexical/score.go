package lexical

import (
	"math"
	"slices"
)

// A Part is what a read sees of one segment.
type Part struct {
	Source
	Index *Index // of its first rows; nil: of none
	Rows  int
	Live  []uint64 // bit r of word r/64: row r is alive, and counts for statistics; nil: all do
	Mask  []uint64 // of the live rows those that are scored; nil: all live ones
}

// indexed is how many rows the index answers for: an index may reach beyond the view.
func (p *Part) indexed() int {
	if p.Index == nil {
		return 0
	}
	return min(p.Index.rows, p.Rows)
}

func has(words []uint64, row uint32) bool { return words == nil || words[row/64]>>(row%64)&1 != 0 }

// Counts are of the live records of the views that are read together.
type Counts struct {
	Texts int   // that have words
	Words int64 // of all of them
}

// Add counts t, too.
func (c *Counts) Add(t Counts) {
	c.Texts += t.Texts
	c.Words += t.Words
}

// Of counts one record.
func (t Terms) Of() Counts {
	if len(t) == 0 {
		return Counts{}
	}
	return Counts{1, int64(t.Len())}
}

// Remove counts t no more.
func (c *Counts) Remove(t Counts) {
	c.Texts -= t.Texts
	c.Words -= t.Words
}

// IDF is the weight of what df of n have. It is above zero.
func IDF(n, df int) float64 {
	return math.Log1p((float64(n-df) + 0.5) / (float64(df) + 0.5))
}

// A found is a term in a row that no index covers.
type found struct {
	row    uint32 // of all parts, one after the other
	of     uint32 // the number of the query's term, or family
	length uint16
	tf     uint8
}

// finds are those of the query's terms, or families.
type finds struct {
	all, sorted []found
	ends        []int
}

// sort puts them in the order of n terms, of one term in the order in which they were found.
func (f *finds) sort(n int) {
	f.ends = zeroed(f.ends, n+1)
	for i := range f.all {
		f.ends[f.all[i].of+1]++
	}
	for i := 1; i <= n; i++ {
		f.ends[i] += f.ends[i-1]
	}
	f.sorted = slices.Grow(f.sorted[:0], len(f.all))[:len(f.all)]
	for _, x := range f.all {
		f.sorted[f.ends[x.of]] = x
		f.ends[x.of]++
	}
}

// of gives those of one term.
func (f *finds) of(i int) []found {
	if i == 0 {
		return f.sorted[:f.ends[0]]
	}
	return f.sorted[f.ends[i-1]:f.ends[i]]
}

// zeroed gives v with n elements, all zero.
func zeroed(v []int, n int) []int {
	v = slices.Grow(v[:0], n)[:n]
	clear(v)
	return v
}

// A Scorer scores the rows of a read. It is kept from read to read for its scratch, and
// is used by one goroutine at a time.
type Scorer struct {
	parts   []Part
	base    []int // where a part's rows begin among all
	query   Query
	counts  Counts
	df      []int
	found   finds
	norms   [256]float32 // K1·(1 − B + B·len/avg), by length
	gains   [512]float32 // of a frequent term, by tf−1 and length: a division each else
	tabled  int          // the highest tf there
	average float64

	kin      bool // is asked for
	families []family
	familyOf []uint32 // of each term of the query
	akin     finds    // kin, by family

	// Weight is what a text would have at most that has every term of the query which
	// any text has: Σ idf·(K1+1). 0: none of them occurs.
	Weight float64
	// KinWeight is the same of families. 0 where kin isn't asked for, too.
	KinWeight float64
}

// Begin looks the query up in the parts, of which base says where the rows of each begin
// in a slice of all. kin says that Kin will be asked for, too.
func (s *Scorer) Begin(q Query, parts []Part, base []int, counts Counts, kin bool) {
	s.query, s.parts, s.base, s.counts, s.kin = q, parts, base, counts, kin
	s.df = zeroed(s.df, len(q.hashes))
	s.found.all, s.akin.all = s.found.all[:0], s.akin.all[:0]
	s.Weight, s.KinWeight = 0, 0
	s.group()
	if counts.Texts > 0 {
		for i := range parts {
			s.look(i)
		}
	}
	s.found.sort(len(q.hashes))
	s.akin.sort(len(s.families))
	if len(q.hashes) == 0 || counts.Texts == 0 {
		return
	}
	for i, h := range q.hashes {
		for j := range parts {
			rows, _ := parts[j].postings(h)
			s.df[i] += parts[j].live(rows)
		}
		if s.df[i] > 0 {
			s.Weight += IDF(counts.Texts, s.df[i]) * (K1 + 1)
		}
	}
	s.average = float64(counts.Words) / float64(counts.Texts)
	for n := range s.norms {
		s.norms[n] = s.normOf(n)
	}
	if kin {
		s.countKin()
	}
}

// postings are those of a word by the part's index, if it has one, of the rows that the part
// shows.
func (p *Part) postings(hash uint64) (rows []uint16, tfs []tfLen) {
	if p.Index == nil {
		return nil, nil
	}
	return p.shown(p.Index.postings(hash))
}

// shown leaves of postings those of the rows that the part shows.
func (p *Part) shown(rows []uint16, tfs []tfLen) ([]uint16, []tfLen) {
	n := len(rows) - beyond(rows, p.Rows)
	return rows[:n], tfs[:n]
}

// live counts the live ones of rows.
func (p *Part) live(rows []uint16) (n int) {
	if p.Live == nil {
		return len(rows)
	}
	for _, r := range rows {
		n += int(p.Live[r/64] >> (r % 64) & 1)
	}
	return n
}

// End lets go of what Begin was given.
func (s *Scorer) End() { s.parts, s.base, s.query = nil, nil, Query{} }

// beyond counts the rows from n on at the end of postings.
func beyond(rows []uint16, n int) (count int) {
	for count < len(rows) && int(rows[len(rows)-1-count]) >= n {
		count++
	}
	return count
}

func (s *Scorer) normOf(length int) float32 {
	return float32(K1 * (1 - B + B*float64(length)/s.average))
}

// look notes the query's terms in rows that the index of a part doesn't cover, and counts
// the live ones.
func (s *Scorer) look(part int) {
	p, hashes := &s.parts[part], s.query.hashes
	var tops uint64 // a bit for the highest six of each hash: few terms share any
	for _, h := range hashes {
		tops |= 1 << (h >> 34)
	}
	for r := p.indexed(); r < p.Rows; r++ {
		row := uint32(r)
		if !has(p.Live, row) {
			continue
		}
		t, _, _ := p.Words(row)
		if len(t) == 0 {
			continue
		}
		scored := has(p.Mask, row)
		at := 0
		t.each(func(hash uint64, tf uint8) {
			if tops>>(hash>>34)&1 == 0 {
				return
			}
			for at < len(hashes) && hashes[at] < hash {
				at++
			}
			x := found{uint32(s.base[part]) + row, uint32(at), t.header() & maxLen, tf}
			if at < len(hashes) && hashes[at] == hash {
				s.df[at]++
				if scored {
					s.found.all = append(s.found.all, x)
				}
				return
			}
			if !s.kin {
				return
			}
			if f, ok := s.kinOf(hash, at); ok {
				s.families[f].df++
				if x.of = f; scored {
					s.akin.all = append(s.akin.all, x)
				}
			}
		})
	}
}

// Rows adds to scores, which has an element for each row of each part, the BM25 of the
// rows that are scored, divided by unit. The same bits come of any segmentation: what a term adds to a row
// depends on the counts alone, and terms are added in the order of their hashes.
func (s *Scorer) Rows(scores []float32, unit float64) {
	for i := range s.query.hashes {
		if s.df[i] == 0 {
			continue
		}
		weight := float32(IDF(s.counts.Texts, s.df[i]) * (K1 + 1) / unit)
		s.tabulate(weight, s.df[i])
		for j := range s.parts {
			p := &s.parts[j]
			rows, tfs := p.postings(s.query.hashes[i])
			s.add(scores[s.base[j]:s.base[j]+p.Rows], p, rows, tfs, weight)
		}
		for _, f := range s.found.of(i) {
			scores[f.row] += s.gain(weight, f.tf, f.length)
		}
	}
}

// tabulate fills in the gains of what so many texts have, if they are many.
func (s *Scorer) tabulate(weight float32, df int) {
	s.tabled = 0
	if df >= 4*len(s.gains) {
		s.tabled = len(s.gains) / 256
		for k := range s.gains {
			s.gains[k] = s.gain(weight, uint8(k/256+1), uint16(k%256))
		}
	}
}

func (s *Scorer) gain(weight float32, tf uint8, length uint16) float32 {
	norm := s.norms[uint8(length)]
	if length > 255 {
		norm = s.normOf(int(length))
	}
	f := float32(tf)
	return float32(float32(weight*f) / float32(f+norm))
}

func (s *Scorer) add(scores []float32, p *Part, rows []uint16, tfs []tfLen, weight float32) {
	mask := p.Mask
	if mask == nil {
		mask = p.Live
	}
	for k, r := range rows {
		if mask != nil && mask[r/64]>>(r%64)&1 == 0 {
			continue
		}
		x := tfs[k]
		switch {
		case x.length == 255:
			scores[r] += s.gain(weight, x.tf, p.Index.header[r]&maxLen)
		case int(x.tf) <= s.tabled:
			scores[r] += s.gains[int(x.tf-1)*256+int(x.length)]
		default:
			scores[r] += s.gain(weight, x.tf, uint16(x.length))
		}
	}
}
