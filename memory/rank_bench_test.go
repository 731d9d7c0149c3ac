package memory

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"engram/index"
	"engram/internal/slab"
	"engram/memory/lexical"
)

// Turns are made of Zipf's words: so many, of a vocabulary of so many.
const (
	benchTurns      = 100_000
	benchVocabulary = 50_000
	benchDimension  = 384
)

// turns makes texts of 5 to 35 words, and questions of 8, whose words follow Zipf's law.
func turns(n int) (texts, questions []string) {
	r := rand.New(rand.NewPCG(1, 2))
	z := rand.NewZipf(r, 1.07, 8, benchVocabulary-1)
	words := func(n int) string {
		var b strings.Builder
		var beginning []byte
		for i := range n {
			if i > 0 {
				b.WriteByte(' ')
			}
			n := z.Uint64() // five words begin alike
			for d := n / 5; len(beginning) < 4; d /= 26 {
				beginning = append(beginning, byte('a'+d%26))
			}
			b.Write(append(beginning, "aeiou"[n%5]))
			beginning = beginning[:0]
		}
		return b.String()
	}
	for range n {
		texts = append(texts, words(5+r.IntN(31)))
	}
	for range 256 {
		questions = append(questions, words(8))
	}
	return texts, questions
}

// talkDB is a DB with turns in namespace "n", with vectors that mean nothing.
func talkDB(b *testing.B, a lexical.Analysis, texts []string) *DB {
	b.Helper()
	db := New(Options{Pool: slab.NewPool(4 << 30)})
	b.Cleanup(func() { _ = db.Close() })
	cfg := Config{Name: "n", Metric: index.Cosine, Dimension: benchDimension, ValueDimension: benchDimension, Lexical: a}
	if _, err := db.CreateNamespace(context.Background(), &CreateNamespace{cfg}); err != nil {
		b.Fatal(err)
	}
	storeTurns(b, db, texts, 0)
	settle(b, db)
	return db
}

func storeTurns(b *testing.B, db *DB, texts []string, from int) {
	const batch = 500
	key := make([]float32, benchDimension)
	for at := 0; at < len(texts); at += batch {
		puts := make([]Put, min(batch, len(texts)-at))
		for i := range puts {
			k := from + at + i
			key[k%benchDimension] = float32(k%17) + 1
			puts[i].Record = Record{ID: fmt.Sprint(k), Text: texts[at+i], Session: fmt.Sprint(k / 25), Speaker: []string{"Ann", "Bob"}[k%2], Key: append([]float32(nil), key...)}
		}
		if _, err := db.Store(context.Background(), &Store{Namespace: "n", Records: puts}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRanked measures one Retrieve of the ten best of 100,000 turns by each part and
// by all of them.
func BenchmarkRanked(b *testing.B) {
	texts, questions := turns(benchTurns)
	db := talkDB(b, lexical.Words, texts)
	v := view(b, db, "n")
	b.Cleanup(v.Release)
	vector := make([]float32, benchDimension)
	for i := range vector {
		vector[i] = float32(i % 7)
	}
	for _, c := range []struct {
		name string
		Ranking
	}{
		{"similarity", Ranking{}},
		{"lexical", Ranking{Lexical: 1}},
		{"lexical+kin", Ranking{Lexical: 1, Kin: 1}},
		{"similarity+lexical", Ranking{Similarity: 1, Lexical: 1}},
		{"lexical+association", Ranking{Lexical: 1, Association: 1}},
		{"similarity+lexical+kin", Ranking{Similarity: 1, Lexical: 1, Kin: 1}},
		{"all", Ranking{Similarity: 0.2, Lexical: 1, Association: 1, Mention: 2, Kin: 0.6}},
	} {
		b.Run(c.name, func(b *testing.B) {
			opt := RetrieveOptions{K: 10, MinScore: float32(math.Inf(-1)), Ranking: c.Ranking}
			for i := range b.N {
				q := Query{Text: questions[i%len(questions)], Vector: vector}
				if _, _, err := db.Retrieve(b.Context(), []*View{v}, []Query{q}, opt); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStoreTurns stores turns with and without lexical search.
func BenchmarkStoreTurns(b *testing.B) {
	texts, _ := turns(20_000)
	for _, a := range []lexical.Analysis{lexical.None, lexical.English} {
		b.Run(fmt.Sprint("lexical=", a != lexical.None), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				db := talkDB(b, a, nil)
				b.StartTimer()
				storeTurns(b, db, texts, 0)
			}
			b.ReportMetric(float64(b.N*len(texts))/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkAnalysis takes texts apart, as a start does for every text.
func BenchmarkAnalysis(b *testing.B) {
	texts, _ := turns(10_000)
	var dst []byte
	for i := range b.N {
		dst = lexical.English.Append(dst[:0], texts[i%len(texts)])
	}
}

// BenchmarkRestoreTurns restores turns with and without lexical search, from one goroutine:
// the difference is what taking texts apart at a start costs.
func BenchmarkRestoreTurns(b *testing.B) {
	texts, _ := turns(20_000)
	for _, a := range []lexical.Analysis{lexical.None, lexical.English} {
		b.Run(fmt.Sprint("lexical=", a != lexical.None), func(b *testing.B) {
			from := view(b, talkDB(b, a, texts), "n")
			defer from.Release()
			bytes := 0
			for i := range from.segments {
				s := &from.segments[i]
				for r := range s.n {
					terms, _, _ := s.Words(r)
					bytes += len(terms)
				}
			}
			b.ReportMetric(float64(bytes)/float64(len(texts)), "terms-bytes/record")
			b.ReportMetric(float64(from.Stats().LexicalBytes)/float64(len(texts)), "index-bytes/record")
			for range b.N {
				b.StopTimer()
				to := New(Options{Pool: slab.NewPool(4 << 30)})
				b.StartTimer()
				restorer := to.Restore()
				n, err := restorer.Namespace(from.Config(), from.LSN(), nil)
				if err != nil {
					b.Fatal(err)
				}
				from.Records(func(r *Record) bool {
					err = n.Add(r)
					return err == nil
				})
				if err := cmp.Or(err, n.Done(), restorer.Done(from.LSN())); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				_ = to.Close()
				b.StartTimer()
			}
		})
	}
}
