package lexical

import "math/bits"

// Sessions gives the BM25 of whole sessions, each taken as one text made of its rows that
// are scored, and their kin, nil where that isn't asked for. session numbers the session of
// each row below n, n standing for none; what comes back has n scores. N, df and the average
// length are of these sessions. The words of a family that aren't the query's count there as
// one word, and df of a family is in how many sessions there is any word of it.
func (s *Scorer) Sessions(session []uint32, n int) (scores, kin []float64) {
	scores = make([]float64, n)
	if s.kin {
		kin = make([]float64, n)
	}
	if s.Weight == 0 && s.KinWeight == 0 || n == 0 {
		return scores, kin
	}
	c := sessionCounts{session: session, norms: make([]float64, n+1), tf: make([]float64, n+1), family: make([]uint32, n+1)}
	s.lengths(c.norms, session)
	c.norm()
	for i := range s.families {
		f := &s.families[i]
		c.families, c.members = uint32(i+1), 0
		for term := f.first; term < f.end; term++ {
			if s.df[term] == 0 {
				continue
			}
			for j := range s.parts {
				p := &s.parts[j]
				rows, tfs := p.postings(s.query.hashes[term])
				c.count(p, s.base[j], rows, tfs)
			}
			c.add(scores, s.found.of(term), false)
		}
		if !s.kin || f.df == 0 {
			continue
		}
		for j := range s.parts {
			p := &s.parts[j]
			s.eachKin(p, f, func(rows []uint16, tfs []tfLen) { c.count(p, s.base[j], rows, tfs) })
		}
		c.add(kin, s.akin.of(i), true)
	}
	return scores, kin
}

// sessionCounts are of one term or family at a time.
type sessionCounts struct {
	session []uint32  // by row
	norms   []float64 // by session, none last: K1·(1 − B + B·len/avg)
	texts   int       // sessions that have words

	tf       []float64 // by session
	touched  []uint32  // sessions whose tf isn't 0
	family   []uint32  // by session: the last family, from 1, of which it has a word
	families uint32    // the family at hand
	members  int       // how many sessions have a word of it
}

// norm makes norms of lengths.
func (c *sessionCounts) norm() {
	words := 0.0
	lengths := c.norms[:len(c.norms)-1]
	for _, l := range lengths {
		words += l
		if l > 0 {
			c.texts++
		}
	}
	for i, l := range lengths {
		lengths[i] = K1 * (1 - B + B*l*float64(c.texts)/words)
	}
}

// count counts postings of a part's rows.
func (c *sessionCounts) count(p *Part, base int, rows []uint16, tfs []tfLen) {
	for k, r := range rows {
		if has(p.Live, uint32(r)) && has(p.Mask, uint32(r)) {
			c.one(uint32(base)+uint32(r), tfs[k].tf)
		}
	}
}

// one counts what a row has that is scored.
func (c *sessionCounts) one(row uint32, tf uint8) {
	in := c.session[row]
	if int(in) == len(c.norms)-1 {
		return
	}
	if c.tf[in] == 0 {
		c.touched = append(c.touched, in)
	}
	c.tf[in] += float64(tf)
	if c.family[in] != c.families {
		c.family[in] = c.families
		c.members++
	}
}

// add adds what was counted, with that found, to scores, and forgets it.
func (c *sessionCounts) add(scores []float64, found []found, kin bool) {
	for _, f := range found {
		c.one(f.row, f.tf)
	}
	df := len(c.touched)
	if kin {
		df = c.members
	}
	idf := IDF(c.texts, df)
	for _, in := range c.touched {
		f := c.tf[in]
		scores[in] += float64(idf*f*(K1+1)) / (f + c.norms[in])
		c.tf[in] = 0
	}
	c.touched = c.touched[:0]
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
