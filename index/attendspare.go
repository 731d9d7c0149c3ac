package index

import (
	"math"

	"engram/kernel"
)

// What MaxError lets Attend spare, besides whole lists (attendLists), in a block of rows that
// one query walks by itself. Of the sum S of a softmax's exponentials so far, which only grows
// but for a common factor, each of n rows may have a share:
//
//   - a row whose exponential is below S·values/n is scored, but its value isn't read. What
//     the context loses is at most its weight times its norm, so all such rows together move
//     it by at most values·max‖v‖.
//   - a row whose exponential is certainly below S·rows/n, by the bound that the codes of its
//     key give (see codeQuery), isn't read at all. If so rows of the sum R ≤ rows·S are left
//     out, the context c′ of the others differs from the whole c by
//     R/(S+R)·‖c_rest − c′‖ ≤ 2R/(S+R)·max‖v‖, for both are means of values.
//
// docs/attention.md has it in full.
type sparing struct {
	n            float64 // eligible rows
	values, rows float64
	codes        []codeQuery // of each query; nil: codes don't serve
}

const (
	// valueShare is the part of MaxError that values alone may use up.
	valueShare = 1.0 / 8
	// roundings is what the sums of exponentials and bounds may be off by, relatively:
	// kernel.PanelExp's 12·2⁻²⁴ and what float64 loses.
	roundings = 1e-6
	// lightShare is the share of a block, as a divisor, that is read by rows at most; else it is
	// read whole, and the next ones aren't judged: leastBlind times as many rows, and twice as
	// many each time up to mostBlind.
	lightShare            = 4
	leastBlind, mostBlind = 8, 128
)

// shares are a sparing's of a MaxError: 2·rows/(1+rows) + values is that, a little less.
func shares(maxError float64) (values, rows float64) {
	e := maxError * (1 - 8*roundings)
	whole := e * (1 - valueShare)
	return e * valueShare, whole / (2 - whole)
}

func (a *attend) spare() {
	s := new(sparing)
	s.values, s.rows = shares(a.opt.MaxError)
	coded := false
	for i := range a.parts {
		p := &a.parts[i]
		s.n += float64(p.eligible(0, p.Rows))
		coded = coded || p.Segment.codes != nil
	}
	a.sparing = s
	if !coded || a.shape.heads() > 1 || len(a.queries) >= attendPanelQueries || a.opt.Scale == 0 ||
		a.opt.Bias != nil && !a.opt.Bias.Lowers {
		return
	}
	s.codes = make([]codeQuery, len(a.queries))
	for i, q := range a.queries {
		s.codes[i] = newCodeQuery(a.shape, q, Norm(q), a.inverse[i])
	}
}

// A spared is what a worker's pass left unread, of each lane.
type spared struct {
	left     []float64 // at least Σ exp(logit − max) of rows that were left out
	skipped  []float64 // Σ exp(logit − max) of rows whose values were
	rows     []uint64  // left out
	rescored int64     // rows read after their codes, of all lanes

	byValues, byCodes []blind
	sums              []int32

	chosen  int      // rows of lists of which codes were read
	judged  int64    // those of them left out
	light   int64    // single rows whose values weren't read
	kept    []uint32 // the rest of a chunk
	lookups []uint16
}

// A blind is for how many rows a lane isn't judged, and for how many times as many as
// were judged in vain it was the last time.
type blind struct{ rows, times int }

func (s *spared) reset(lanes int) {
	s.left, s.skipped, s.rows = sized(s.left, lanes), sized(s.skipped, lanes), sized(s.rows, lanes)
	s.byValues, s.byCodes = sized(s.byValues, lanes), sized(s.byCodes, lanes)
	clear(s.left)
	clear(s.skipped)
	clear(s.rows)
	clear(s.byValues)
	clear(s.byCodes)
	s.rescored, s.chosen, s.judged, s.light = 0, 0, 0, 0
}

// sees says whether n rows are to be judged.
func (b *blind) sees(n int) bool {
	if b.rows > 0 {
		b.rows -= n
		return false
	}
	return true
}

// judged notes that n rows were, and in vain or not.
func (b *blind) judged(n int, vain bool) {
	b.rows = 0
	if !vain {
		b.times = 0
		return
	}
	b.times = min(mostBlind, max(leastBlind, 2*b.times))
	b.rows = b.times * n
}

// heavy sets p.hits to the places of the exponentials in p.scores that are worth reading a row's
// value for, and gives the sum of the others.
func (a *attend) heavy(p *pass, lane int) (lost float64) {
	light := float32(0)
	if a.sparing != nil {
		light = float32(p.sum[lane] * a.sparing.values / a.sparing.n)
	}
	p.hits = p.hits[:0]
	for i, w := range p.scores {
		if w < light {
			lost += float64(w)
		} else {
			p.hits = append(p.hits, uint32(i))
		}
	}
	return lost
}

// sumHeavy adds a head of a block's values by the exponentials in p.scores, but for light
// ones. It is false, with nothing done, where the whole block had better be read.
func (a *attend) sumHeavy(p *pass, lane int, b block, head int) bool {
	n := len(p.scores)
	if !a.parts[b.part].Segment.HasValues() || !p.byValues[lane].sees(n) {
		return false
	}
	lost := a.heavy(p, lane)
	vain := len(p.hits) > n/lightShare
	p.byValues[lane].judged(n, vain)
	if vain {
		return false
	}
	p.skipped[lane] += lost
	for i, row := range p.hits {
		p.scores[i] = p.scores[row]
	}
	a.sumRows(p, lane, b, head)
	return true
}

// nominate sets p.at to the rows of a block, of which n are eligible, that codes say may count
// for a lane, and leaves out the others. It is false, with nothing done, where the whole block
// had better be read.
func (a *attend) nominate(p *pass, lane int, b block, n int) bool {
	s, part, rows := a.sparing, &a.parts[b.part], b.to-b.from
	codes := part.Segment.codes
	if s.codes == nil || codes == nil || rows > codeRows || p.sum[lane] == 0 || !p.byCodes[lane].sees(rows) {
		return false
	}
	limit := down((p.max[lane] + math.Log(p.sum[lane]*s.rows/s.n)) / a.opt.Scale)
	if math.IsInf(float64(limit), 0) {
		return false
	}
	stride := codeStride(a.shape.Dim)
	query := &s.codes[lane]
	p.sums, p.hits = sized(p.sums, rows), sized(p.hits, rows)
	kernel.CodeDot(p.sums, query.codes, codes.rows[b.from*stride:b.to*stride], stride)
	columns := codes.columns(a.shape, b)
	bound := query.at(a.shape, limit)
	p.at = p.at[:0]
	for _, i := range p.hits[:kernel.CodeSelect(p.hits, p.sums, columns.scale, columns.err, columns.level, &bound)] {
		if part.has(b.from + int(i)) {
			p.at = append(p.at, i)
		}
	}
	vain := len(p.at) > rows/lightShare
	p.byCodes[lane].judged(rows, vain)
	if vain {
		return false
	}
	out := n - len(p.at)
	p.left[lane] += float64(out) * math.Exp(a.opt.Scale*float64(limit)-p.max[lane])
	p.spared.rows[lane] += uint64(out)
	p.rescored += int64(len(p.at))
	return true
}

// bound sets what an answer says of what was left unread; the passes' lanes are merged into
// the first.
func (a *attend) bound(lane int, r *Attention) {
	p := a.passes[0]
	for _, q := range a.passes {
		r.Attended -= q.spared.rows[lane]
	}
	left, sum := p.left[lane], p.sum[lane]
	r.ErrorBound = (2*left/(sum+left) + p.skipped[lane]/sum) * (1 + 4*roundings)
}
