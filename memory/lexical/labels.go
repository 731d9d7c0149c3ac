package lexical

// Sessions numbers the sessions of the scored rows of parts, from 0: of row r of part p in
// dst[base[p]+r], which for a row of no session is the number of sessions, n. Parts of
// another group have sessions of their own.
func Sessions(dst []uint32, parts []Part, base []int, group []int) (n int) {
	type name struct {
		group int
		hash  uint64
	}
	several := 0
	for i := range parts {
		if x := parts[i].Index; x != nil {
			several += len(x.sessions)
		}
	}
	numbers := make(map[name]uint32, several)
	number := func(group int, hash uint64) uint32 {
		if hash == 0 {
			return ^uint32(0)
		}
		i, ok := numbers[name{group, hash}]
		if !ok {
			i = uint32(len(numbers))
			numbers[name{group, hash}] = i
		}
		return i
	}
	for i := range parts {
		p := &parts[i]
		in := dst[base[i] : base[i]+p.Rows]
		indexed := p.indexed()
		if indexed > 0 {
			of := make([]uint32, len(p.Index.sessions))
			for k, h := range p.Index.sessions {
				of[k] = number(group[i], h)
			}
			for r, k := range p.Index.session[:indexed] {
				in[r] = of[k]
			}
		}
		last, known := "", ^uint32(0)
		for r := indexed; r < p.Rows; r++ {
			if _, session, _ := p.Words(uint32(r)); session != last {
				last, known = session, number(group[i], SessionHash(session))
			}
			in[r] = known
		}
	}
	n = len(numbers)
	for i := range parts {
		in := dst[base[i] : base[i]+parts[i].Rows]
		for r := range in {
			in[r] = min(in[r], uint32(n))
		}
	}
	return n
}

// Speakers numbers the speakers of rows likewise, and gives their names; those of rows
// without one are "".
func Speakers(dst []uint32, parts []Part, base []int) (names []string) {
	numbers := make(map[string]uint32)
	number := func(speaker string) uint32 {
		i, ok := numbers[speaker]
		if !ok {
			i = uint32(len(names))
			numbers[speaker] = i
			names = append(names, speaker)
		}
		return i
	}
	for i := range parts {
		p := &parts[i]
		by := dst[base[i] : base[i]+p.Rows]
		indexed := p.indexed()
		if indexed > 0 {
			of := make([]uint32, len(p.Index.speakers))
			for k, r := range p.Index.speakers {
				if int(r) >= p.Rows { // the view doesn't show where the name is
					continue
				}
				_, _, speaker := p.Words(uint32(r))
				of[k] = number(speaker)
			}
			for r, k := range p.Index.speaker[:indexed] {
				by[r] = of[k]
			}
		}
		last, known := "", number("")
		for r := indexed; r < p.Rows; r++ {
			if _, _, speaker := p.Words(uint32(r)); speaker != last {
				last, known = speaker, number(speaker)
			}
			by[r] = known
		}
	}
	return names
}

// MarkAsking changes the sign of the values of rows whose text ends with a question mark.
// values has one for each row; those of 0 may stay as they are.
func (p *Part) MarkAsking(values []float32) {
	indexed := p.indexed()
	if indexed > 0 {
		for r, h := range p.Index.header[:indexed] {
			if h > maxLen {
				values[r] = -values[r]
			}
		}
	}
	for r := indexed; r < p.Rows; r++ {
		if values[r] == 0 {
			continue
		}
		if t, _, _ := p.Words(uint32(r)); t.Asks() {
			values[r] = -values[r]
		}
	}
}
