package lexical

import (
	"math"
	"math/bits"
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

// A found is a term of the query in a row that no index covers.
type found struct {
	row    uint32 // of all parts, one after the other
	term   uint32
	length uint16
	tf     uint8
}

// A Scorer scores the rows of a read. It is kept from read to read for its scratch, and
// is used by one goroutine at a time.
type Scorer struct {
	parts   []Part
	base    []int // where a part's rows begin among all
	query   Query
	counts  Counts
	df      []int
	found   []found // by term, then by row
	sorted  []found
	norms   [256]float32 // K1·(1 − B + B·len/avg), by length
	gains   [512]float32 // of a frequent term, by tf−1 and length: a division each else
	tabled  int          // the highest tf there
	average float64

	// Weight is what a text would have at most that has every term of the query which
	// any text has: Σ idf·(K1+1). 0: none of them occurs.
	Weight float64
}

// Begin looks the query up in the parts, of which base says where the rows of each begin
// in a slice of all.
func (s *Scorer) Begin(q Query, parts []Part, base []int, counts Counts) {
	s.query, s.parts, s.base, s.counts = q, parts, base, counts
	s.df = append(s.df[:0], make([]int, len(q.hashes))...)
	s.found, s.Weight = s.found[:0], 0
	if len(q.hashes) == 0 || counts.Texts == 0 {
		return
	}
	for i := range parts {
		s.look(i)
	}
	s.sortFound()
	for i, h := range q.hashes {
		for j := range parts {
			p := &parts[j]
			if p.Index == nil {
				continue
			}
			rows, _ := p.Index.postings(h)
			rows = rows[:len(rows)-beyond(rows, p.Rows)]
			if p.Live == nil {
				s.df[i] += len(rows)
				continue
			}
			for _, r := range rows {
				s.df[i] += int(p.Live[r/64] >> (r % 64) & 1)
			}
		}
		if s.df[i] > 0 {
			s.Weight += IDF(counts.Texts, s.df[i]) * (K1 + 1)
		}
	}
	s.average = float64(counts.Words) / float64(counts.Texts)
	for n := range s.norms {
		s.norms[n] = s.normOf(n)
	}
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
		tops |= 1 << (h >> 26)
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
		t.each(func(hash uint32, tf uint8) {
			if tops>>(hash>>26)&1 == 0 {
				return
			}
			for at < len(hashes) && hashes[at] < hash {
				at++
			}
			if at == len(hashes) || hashes[at] != hash {
				return
			}
			s.df[at]++
			if scored {
				s.found = append(s.found, found{uint32(s.base[part]) + row, uint32(at), t.header() & maxLen, tf})
			}
		})
	}
}

// sortFound puts what was found in the order of terms, of one term by row.
func (s *Scorer) sortFound() {
	ends := make([]int, len(s.query.hashes)+1)
	for i := range s.found {
		ends[s.found[i].term+1]++
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	s.sorted = slices.Grow(s.sorted[:0], len(s.found))[:len(s.found)]
	for _, f := range s.found {
		s.sorted[ends[f.term]] = f
		ends[f.term]++
	}
}

// eachTerm calls f with the terms that occur.
func (s *Scorer) eachTerm(f func(term int, sorted []found)) {
	rest := s.sorted
	if s.Weight == 0 {
		return
	}
	for i := range s.query.hashes {
		n := 0
		for n < len(rest) && int(rest[n].term) == i {
			n++
		}
		if s.df[i] > 0 {
			f(i, rest[:n])
		}
		rest = rest[n:]
	}
}

// Rows adds to scores, which has an element for each row of each part, the BM25 of the
// rows that are scored, divided by unit. The same bits come of any segmentation: what a term adds to a row
// depends on the counts alone, and terms are added in the order of their hashes.
func (s *Scorer) Rows(scores []float32, unit float64) {
	s.eachTerm(func(i int, sorted []found) {
		weight := float32(IDF(s.counts.Texts, s.df[i]) * (K1 + 1) / unit)
		s.tabled = 0
		if s.df[i] >= 4*len(s.gains) {
			s.tabled = len(s.gains) / 256
			for k := range s.gains {
				s.gains[k] = s.gain(weight, uint8(k/256+1), uint16(k%256))
			}
		}
		for j := range s.parts {
			p := &s.parts[j]
			if p.Index == nil {
				continue
			}
			rows, tfs := p.Index.postings(s.query.hashes[i])
			s.add(scores[s.base[j]:s.base[j]+p.Rows], p, rows, tfs, weight)
		}
		for _, f := range sorted {
			scores[f.row] += s.gain(weight, f.tf, f.length)
		}
	})
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
	rows = rows[:len(rows)-beyond(rows, p.Rows)]
	tfs = tfs[:len(rows)]
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

// Sessions gives the BM25 of whole sessions, each taken as one text made of its rows that
// are scored. session numbers the session of each row below n, n standing for none; what
// comes back has n scores. N, df and the average length are of these sessions.
func (s *Scorer) Sessions(session []uint32, n int) []float64 {
	scores := make([]float64, n)
	if s.Weight == 0 || n == 0 {
		return scores
	}
	lengths, words := make([]float64, n+1), 0.0
	s.lengths(lengths, session)
	texts := 0
	for _, l := range lengths[:n] {
		words += l
		if l > 0 {
			texts++
		}
	}
	tf, touched := make([]float64, n+1), []uint32{}
	s.eachTerm(func(i int, sorted []found) {
		touch := func(row uint32, count uint8) { // of a row that is scored
			in := session[row]
			if int(in) == n {
				return
			}
			if tf[in] == 0 {
				touched = append(touched, in)
			}
			tf[in] += float64(count)
		}
		for j := range s.parts {
			p := &s.parts[j]
			if p.Index == nil {
				continue
			}
			rows, tfs := p.Index.postings(s.query.hashes[i])
			rows = rows[:len(rows)-beyond(rows, p.Rows)]
			for k, r := range rows {
				if has(p.Live, uint32(r)) && has(p.Mask, uint32(r)) {
					touch(uint32(s.base[j])+uint32(r), tfs[k].tf)
				}
			}
		}
		for _, f := range sorted {
			touch(f.row, f.tf)
		}
		idf := IDF(texts, len(touched))
		for _, in := range touched {
			f := tf[in]
			norm := K1 * (1 - B + B*lengths[in]*float64(texts)/words)
			scores[in] += float64(idf*f*(K1+1)) / (f + norm)
			tf[in] = 0
		}
		touched = touched[:0]
	})
	return scores
}

// lengths adds up the words of the rows that are scored, by session.
func (s *Scorer) lengths(sum []float64, session []uint32) {
	for j := range s.parts {
		p := &s.parts[j]
		in := session[s.base[j] : s.base[j]+p.Rows]
		mask := p.Mask
		if mask == nil {
			mask = p.Live
		}
		if mask == nil {
			for r, n := range in[:p.indexed()] {
				sum[n] += float64(p.Index.header[r] & maxLen)
			}
			for r := p.indexed(); r < p.Rows; r++ {
				t, _, _ := p.Words(uint32(r))
				sum[in[r]] += float64(t.Len())
			}
			continue
		}
		eachRow(mask, p.Rows, func(r int) {
			sum[in[r]] += float64(p.length(r))
		})
	}
}

// length is a row's number of words.
func (p *Part) length(row int) int {
	if row < p.indexed() {
		return int(p.Index.header[row] & maxLen)
	}
	t, _, _ := p.Words(uint32(row))
	return t.Len()
}

// eachRow yields the rows of a mask, nil standing for all n.
func eachRow(mask []uint64, n int, yield func(row int)) {
	if mask == nil {
		for r := range n {
			yield(r)
		}
		return
	}
	for i, w := range mask {
		for ; w != 0; w &= w - 1 {
			yield(i*64 + bits.TrailingZeros64(w))
		}
	}
}
