package memory

import (
	"math"
	"testing"
	"time"

	"engram/memory/filter"
	"engram/memory/lexical"
)

// BenchmarkChoice measures what a choice adds to a Retrieve of the ten best of 100,000 turns
// in sessions of 25: each is asked for in turn with the plain one, and the ratio is of
// their times. Groups of a speaker, of whom there are two, need all turns looked at.
func BenchmarkChoice(b *testing.B) {
	texts, questions := turns(benchTurns)
	db := talkDB(b, lexical.Words, texts)
	v := view(b, db, "n")
	b.Cleanup(v.Release)
	vector := make([]float32, benchDimension)
	for i := range vector {
		vector[i] = float32(i % 7)
	}
	by := func(f filter.Field) *Grouping { return &Grouping{filter.Operand{Field: f}, 1} }
	for _, ranking := range []struct {
		name string
		Ranking
	}{{"similarity", Ranking{}}, {"all", Ranking{Similarity: 0.2, Lexical: 1, Association: 1, Mention: 1}}} {
		for _, c := range []struct {
			name string
			opt  RetrieveOptions
		}{
			{"plain", RetrieveOptions{}},
			{"diversity of 100", RetrieveOptions{Diversity: &Diversity{0.5, 100}}},
			{"neighbours 2+2", RetrieveOptions{Before: 2, After: 2}},
			{"both", RetrieveOptions{Diversity: &Diversity{0.5, 100}, Before: 2, After: 2}},
			{"session groups", RetrieveOptions{Group: by(filter.FieldSession)}},
			{"speaker groups", RetrieveOptions{Group: by(filter.FieldSpeaker)}},
		} {
			b.Run(ranking.name+"/100k×384/"+c.name, func(b *testing.B) {
				plain := RetrieveOptions{K: 10, MinScore: float32(math.Inf(-1)), Ranking: ranking.Ranking}
				c.opt.K, c.opt.MinScore, c.opt.Ranking = plain.K, plain.MinScore, plain.Ranking
				var took [2]time.Duration
				for i := range b.N {
					q := []Query{{Text: questions[i%len(questions)], Vector: vector}}
					for which, opt := range []RetrieveOptions{plain, c.opt} {
						begun := time.Now()
						if _, _, err := db.Retrieve(b.Context(), []*View{v}, q, opt); err != nil {
							b.Fatal(err)
						}
						took[which] += time.Since(begun)
					}
				}
				b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "ratio")
				b.ReportMetric(float64(took[1].Microseconds())/float64(b.N), "µs/choice")
			})
		}
	}
}

// BenchmarkNeighbours finds two neighbours on each side of ten records, in sessions that lie
// together, and in sessions that are mixed so that walks don't reach.
func BenchmarkNeighbours(b *testing.B) {
	for _, c := range []struct {
		name     string
		sessions int
	}{{"together", 0}, {"mixed", 100}} {
		b.Run("100k/"+c.name, func(b *testing.B) {
			db := talkDB(b, lexical.None, nil)
			puts := make([]Put, 1000)
			for from := 0; from < benchTurns; from += len(puts) {
				for i := range puts {
					session := (from + i) / 25
					if c.sessions > 0 {
						session = (from + i) % c.sessions
					}
					puts[i] = Put{Record: Record{Key: make([]float32, benchDimension), Session: "s" + string(rune('0'+session))}}
					puts[i].Key[0] = 1
				}
				if _, err := db.Store(b.Context(), &Store{Namespace: "n", Records: puts}); err != nil {
					b.Fatal(err)
				}
			}
			settle(b, db)
			v := view(b, db, "n")
			defer v.Release()
			var refs []Ref
			for i := range 10 {
				s := i % len(v.segments)
				refs = append(refs, Ref{uint32(s), uint32(i*997) % v.segments[s].n})
			}
			for b.Loop() {
				v.Neighbours(refs, 2, 2, nil)
			}
		})
	}
}
