package memory

import (
	"fmt"
	"math"
	"time"
)

// A Retention says how fast a namespace's records fade, and what keeps them. The retention
// of a record is
//
//	R = 2^(−Δt / h)
//
// where Δt is the time since its last rehearsal, being stored (its create time) the first,
// and never since its own Time; and h its half-life: HalfLife, times Growth for each time
// that it grew, at most MaxHalfLife. It grows at a rehearsal at least MinInterval after it
// grew last, or after the record was stored: repetition strengthens where it is spaced
// (Cepeda et al., Psychological Bulletin 2006), so nothing stays for being asked for over
// and over within an hour. That memories fade by time since the last use, quickly at first,
// is Ebbinghaus (Über das Gedächtnis, 1885); Wixted & Ebbesen (Psychological Science 1991)
// fit such curves by a power of time, which is what half-lives that grow with use come to
// over many records. See docs/memory.md.
//
// The zero Retention stands for RetentionOf(DefaultHalfLife).
type Retention struct {
	HalfLife    time.Duration
	Growth      float64
	MinInterval time.Duration
	MaxHalfLife time.Duration
}

// DefaultHalfLife is a week. Files leave the retention of it out: it can't change.
const DefaultHalfLife = 7 * 24 * time.Hour

// Bounds of a retention.
const (
	minHalfLife = time.Second
	maxHalfLife = 100 * 365 * 24 * time.Hour
	maxGrowth   = 100
)

// RetentionOf is what a namespace has that says a half-life alone: it doubles at rehearsals
// a seventh of it apart, up to 52 times as long. So the default, a week, grows by the day
// and up to a year.
func RetentionOf(halfLife time.Duration) Retention {
	longest := maxHalfLife
	if halfLife <= longest/52 {
		longest = 52 * halfLife
	}
	return Retention{halfLife, 2, halfLife / 7, longest}
}

// OrDefault is r, or what the zero one stands for.
func (r Retention) OrDefault() Retention {
	if r == (Retention{}) {
		return RetentionOf(DefaultHalfLife)
	}
	return r
}

// IsDefault is true of what a namespace has that says nothing.
func (r Retention) IsDefault() bool { return r.OrDefault() == RetentionOf(DefaultHalfLife) }

// Check names a field that is wrong and says what is, or gives "".
func (r Retention) Check() (field, reason string) {
	switch {
	case r.HalfLife < minHalfLife || r.HalfLife > maxHalfLife:
		return "half_life", fmt.Sprintf("is %v; give %v to %v", r.HalfLife, minHalfLife, maxHalfLife)
	case !(r.Growth >= 1 && r.Growth <= maxGrowth):
		return "growth", fmt.Sprintf("is %v; give 1, for half-lives that never grow, to %d", r.Growth, maxGrowth)
	case r.MinInterval < 0 || r.MinInterval > maxHalfLife:
		return "min_interval", fmt.Sprintf("is %v; give 0 to %v", r.MinInterval, maxHalfLife)
	case r.MaxHalfLife < r.HalfLife || r.MaxHalfLife > maxHalfLife:
		return "max_half_life", fmt.Sprintf("is %v; give half_life, %v, to %v", r.MaxHalfLife, r.HalfLife, maxHalfLife)
	}
	return "", ""
}

// Rehearsed is what is kept of a record's rehearsals; zero of one that never was.
type Rehearsed struct {
	Last    int64  // the time of the last, Unix nanoseconds
	Grown   int64  // when the half-life grew last; 0: never
	Count   uint32 // rehearsals; no more are counted than it can hold
	Growths uint16 // times that the half-life grew, likewise
}

// check says what is wrong with it, or gives "".
func (s Rehearsed) check() string {
	switch {
	case s.Count == 0 && s != (Rehearsed{}):
		return "were none, and left something"
	case uint32(s.Growths) > s.Count:
		return fmt.Sprintf("were %d, and made the half-life grow %d times", s.Count, s.Growths)
	case s.Growths == 0 && s.Grown != 0:
		return "made the half-life grow at a time, and never"
	}
	return ""
}

// Of is the retention, from 0 to 1, of a record at a time; times are in Unix nanoseconds.
func (r *Retention) Of(createTime int64, s Rehearsed, now int64) float64 {
	return math.Exp2(r.log2(createTime, s, now))
}

// log2 is the logarithm of Of, which is finite: −Δt/h. At a time before the last rehearsal it
// is 0, as at that of it.
func (r *Retention) log2(createTime int64, s Rehearsed, now int64) float64 {
	since := createTime
	if s.Count > 0 {
		since = s.Last
	}
	return -float64(elapsed(since, now)) / r.halfLife(s.Growths)
}

// halfLife is in nanoseconds.
func (r *Retention) halfLife(growths uint16) float64 {
	h := float64(r.HalfLife)
	if growths > 0 {
		h = min(h*math.Pow(r.Growth, float64(growths)), float64(r.MaxHalfLife))
	}
	return h
}

// elapsed is how long it is from a time to another, at least 0.
func elapsed(from, to int64) int64 {
	if to <= from {
		return 0
	}
	if d := to - from; d >= 0 {
		return d
	}
	return math.MaxInt64
}

// rehearse gives what is kept after rehearsals, the last of them at a time. However many
// they are, the half-life grows once at most.
func (r *Retention) rehearse(createTime int64, s Rehearsed, at int64, count uint32) Rehearsed {
	grown := createTime
	if s.Growths > 0 {
		grown = s.Grown
	}
	if at >= grown && elapsed(grown, at) >= int64(r.MinInterval) && s.Growths < math.MaxUint16 {
		s.Growths++
		s.Grown = at
	}
	if s.Count == 0 || at > s.Last {
		s.Last = at
	}
	s.Count += min(count, math.MaxUint32-s.Count)
	return s
}
