package memory

import (
	"strings"
	"time"
	"unicode"

	"engram/memory/lexical"
)

// mentions fills in mention: for each word of the query that is of a speaker's name, the
// inverse document frequency of records by speakers of such a name; and for a year, a month
// and a day that it names, that of records of such a time, by UTC. All is in units of the
// lexical score. The frequencies are among the eligible records.
func (k *ranker) mentions(words lexical.Query, text string) {
	var when dates
	if k.analysis == lexical.English {
		when = datesIn(text)
	}
	named := false
	common := make([][]int, len(k.speakers))
	for i, name := range k.speakers {
		common[i] = words.Common(nil, name)
		named = named || len(common[i]) > 0
	}
	if !named && !when.any() {
		return
	}
	total := 0
	for p := range k.parts {
		total += popcount(k.parts[p].Mask, k.parts[p].Rows)
	}
	sum := 0.0
	df := make([]int, words.Terms())
	if named {
		said := make([]int, len(k.speakers))
		for p := range k.parts {
			base := k.base[p]
			each(k.parts[p].Mask, k.parts[p].Rows, func(row uint32) { said[k.speaker[base+int(row)]]++ })
		}
		for i := range common {
			for _, w := range common[i] {
				df[w] += said[i]
			}
		}
	}
	by := make([]float64, len(k.speakers))
	for i := range by {
		for _, w := range common[i] {
			by[i] += lexical.IDF(total, df[w]) * (lexical.K1 + 1)
		}
	}
	for _, n := range df {
		if n > 0 {
			sum += lexical.IDF(total, n) * (lexical.K1 + 1)
		}
	}
	var matching [3]int
	if when.any() {
		k.eachTime(func(_ int, t time.Time) {
			for i, is := range when.match(t) {
				if is {
					matching[i]++
				}
			}
		})
	}
	var gain [3]float64
	for i, n := range matching {
		if n > 0 {
			gain[i] = lexical.IDF(total, n) * (lexical.K1 + 1)
			sum += gain[i]
		}
	}
	if sum == 0 {
		return
	}
	unit := k.scorer.Weight
	if unit == 0 {
		unit = sum
	}
	if named {
		for p := range k.parts {
			base := k.base[p]
			each(k.parts[p].Mask, k.parts[p].Rows, func(row uint32) {
				at := base + int(row)
				k.mention[at] = float32(by[k.speaker[at]] / unit)
			})
		}
	}
	if gain != [3]float64{} {
		k.eachTime(func(at int, t time.Time) {
			for i, is := range when.match(t) {
				if is {
					k.mention[at] += float32(gain[i] / unit)
				}
			}
		})
	}
}

// Unnamed is what is left of a text that is looked for when words of the names of those who
// speak in the views are left out; where nothing is left, all of it. An embedder is given
// that where mention counts: what somebody said seldom has their own name in it, and vectors
// of questions that have it lie near those of texts about that person (docs/evaluation.md).
func Unnamed(views []*View, text string) string {
	a := views[0].settings.Value().lexical
	if a == lexical.None {
		return text
	}
	var parts []lexical.Part
	for _, v := range views {
		for i := range v.segments {
			parts = append(parts, v.segments[i].words(nil))
		}
	}
	return a.Unnamed(text, parts)
}

func (k *ranker) eachTime(yield func(at int, t time.Time)) {
	for p := range k.parts {
		rows, base := k.r.at[p].segment.rows, k.base[p]
		each(k.parts[p].Mask, k.parts[p].Rows, func(row uint32) {
			yield(base+int(row), time.Unix(0, rows[row].time).UTC())
		})
	}
}

// dates are the years, months and days that a text names.
type dates struct {
	years  []int
	months [13]bool
	days   [32]bool
	month  bool
	day    bool
}

func (d *dates) any() bool { return len(d.years) > 0 || d.month || d.day }

// match says whether a time is of one of the years, months and days.
func (d *dates) match(t time.Time) [3]bool {
	year, month, day := t.Date()
	var out [3]bool
	for _, y := range d.years {
		out[0] = out[0] || y == year
	}
	out[1], out[2] = d.months[month], d.days[day]
	return out
}

var monthNames = func() map[string]time.Month {
	m := make(map[string]time.Month, 24)
	for i := time.January; i <= time.December; i++ {
		name := strings.ToLower(i.String())
		m[name], m[name[:3]] = i, i
	}
	m["sept"] = time.September
	delete(m, "mar") // words and names more often than months
	delete(m, "jan")
	return m
}()

// datesIn finds dates as English writes them: "2023", "May", "7 May", "May 7th, 2023". A
// number is a day beside a month alone. "may" and "march" are months where they are
// written with a capital.
func datesIn(text string) (d dates) {
	words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for i, w := range words {
		if y, ok := number(w, 1000, 2999); ok && len(w) == 4 {
			d.years = append(d.years, y)
		}
		m := monthNames[strings.ToLower(w)]
		if m == 0 || (m == time.May || m == time.March) && !unicode.IsUpper(rune(w[0])) {
			continue
		}
		d.months[m], d.month = true, true
		for _, j := range []int{i - 1, i + 1} {
			if j < 0 || j >= len(words) {
				continue
			}
			s := strings.ToLower(words[j])
			for _, ending := range []string{"st", "nd", "rd", "th"} {
				s = strings.TrimSuffix(s, ending)
			}
			if n, ok := number(s, 1, 31); ok {
				d.days[n], d.day = true, true
			}
		}
	}
	return d
}

// number reads a decimal number within bounds.
func number(s string, least, most int) (n int, ok bool) {
	for _, r := range s {
		if r < '0' || r > '9' || n > most {
			return 0, false
		}
		n = 10*n + int(r-'0')
	}
	return n, s != "" && n >= least && n <= most
}
