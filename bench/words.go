package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"engram/embed"
	"engram/index"
	"engram/internal/slab"
	"engram/memory"
	"engram/memory/lexical"
)

// wordsDim is the dimension of the vectors beside the words.
const wordsDim = 384

// words measures lexical search over turns of dialogue: against Bleve, what it adds to a
// Store, and what both searches take together.
func words(b *bench) error {
	n := 100_000
	if b.short {
		n = 20_000
	}
	said, asked, err := turns(b.ctx, n)
	if err != nil {
		return err
	}
	t, err := talkOf(b.ctx, lexical.English, said)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.embed(b.ctx, asked); err != nil {
		return err
	}
	what := fmt.Sprintf("the median question by BM25, top %d, of %d turns", topK, n)
	contenders := []contender{t.asking(engram, memory.Ranking{Lexical: 1})}
	peer := b.peer("Bleve", func(ctx context.Context) (*peer, error) { return b.peers.golang(ctx, "bleve", "bleve") })
	defer peer.stop()
	if peer != nil {
		c, err := besideBleve(b, peer, said, asked)
		if err != nil {
			return err
		}
		contenders = append(contenders, c)
	}
	times, err := race(b.ctx, b.rounds, contenders)
	if err != nil {
		return err
	}
	if peer != nil {
		b.report.compare(what, times, "Bleve", "Bleve", 5)
	}
	if err := b.together(t, n); err != nil {
		return err
	}
	return b.storingWords(said)
}

// together holds a question by both against the slower of the two alone.
func (b *bench) together(t *talked, n int) error {
	const similarity, lexical = "similarity alone", "words alone"
	both := memory.Ranking{Similarity: 1, Lexical: 1}
	all := memory.Ranking{Similarity: 0.2, Lexical: 1, Association: 1, Mention: 2, Kin: 0.6}
	const everything = "all parts"
	times, err := race(b.ctx, b.rounds, []contender{
		t.asking(engram, both), t.asking(similarity, memory.Ranking{}), t.asking(lexical, memory.Ranking{Lexical: 1}), t.asking(everything, all),
	})
	if err != nil {
		return err
	}
	slower := similarity
	if spreadOf(times[lexical]).median > spreadOf(times[similarity]).median {
		slower = lexical
	}
	for _, c := range []struct {
		name, what string
		goal       float64
	}{{engram, "similarity and words", 1.5}, {everything, "all parts of a ranking", 0}} {
		b.report.lines = append(b.report.lines, line{
			what:    fmt.Sprintf("the median question by %s, of %d turns, %d dimensions", c.what, n, wordsDim),
			engram:  seconds(spreadOf(times[c.name])),
			against: slower, theirs: seconds(spreadOf(times[slower])),
			ratio: times.faster(slower, c.name), goal: c.goal, atMost: true,
		})
	}
	return nil
}

// storingWords holds a Store with lexical search against one without.
func (b *bench) storingWords(said []string) error {
	said = said[:min(len(said), 20_000)]
	store := func(name string, a lexical.Analysis) contender {
		return contender{name, func() (time.Duration, error) {
			t, err := talkOf(b.ctx, a, nil)
			if err != nil {
				return 0, err
			}
			defer t.close()
			start := time.Now()
			err = t.store(b.ctx, said)
			return time.Since(start), err
		}}
	}
	const without = "without"
	times, err := race(b.ctx, b.rounds, []contender{store(engram, lexical.English), store(without, lexical.None)})
	if err != nil {
		return err
	}
	b.report.lines = append(b.report.lines, line{
		what:    fmt.Sprintf("storing %d turns with lexical search, 500 a Store, %d dimensions, in memory", len(said), wordsDim),
		engram:  seconds(spreadOf(times[engram])),
		against: "without it", theirs: seconds(spreadOf(times[without])),
		ratio: times.faster(without, engram), goal: 1.4, atMost: true,
	})
	return nil
}

// turns gives n of them: the utterances of the transcript, over and over; and questions,
// made of the first eight words of some.
func turns(ctx context.Context, n int) (said, asked []string, err error) {
	all, err := transcript(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i, text := range all {
		if w := strings.Fields(text); i%40 == 0 && len(w) >= 8 && len(asked) < 100 {
			asked = append(asked, strings.Join(w[:8], " "))
		}
	}
	for i := range n {
		said = append(said, all[i%len(all)])
	}
	return said, asked, nil
}

// besideBleve has Bleve index the turns.
func besideBleve(b *bench, p *peer, said, asked []string) (contender, error) {
	write := func(name string, texts []string) (string, error) {
		path := filepath.Join(b.peers.dir, name)
		f, err := os.Create(path)
		if err != nil {
			return "", err
		}
		e := json.NewEncoder(f)
		for _, s := range texts {
			err = errors.Join(err, e.Encode(s))
		}
		return path, errors.Join(err, f.Close())
	}
	texts, err := write("turns.jsonl", said)
	if err != nil {
		return contender{}, err
	}
	questions, err := write("questions.jsonl", asked)
	if err != nil {
		return contender{}, err
	}
	if _, err := p.ask(question{Op: "load", Keys: texts, Asked: questions}); err != nil {
		return contender{}, err
	}
	if _, err := p.ask(question{Op: "build"}); err != nil {
		return contender{}, err
	}
	return contender{"Bleve", func() (time.Duration, error) {
		a, err := p.ask(question{Op: "run", TopCount: topK})
		return time.Duration(a.Seconds * 1e9), err
	}}, nil
}

// A talked is a memory of turns in this process, with questions.
type talked struct {
	db        *memory.DB
	lexical   *embed.Lexical
	questions []memory.Query
}

func talkOf(ctx context.Context, a lexical.Analysis, said []string) (*talked, error) {
	e, err := embed.NewLexical(wordsDim)
	if err != nil {
		return nil, err
	}
	t := &talked{db: memory.New(memory.Options{Pool: slab.NewPool(math.MaxInt64)}), lexical: e}
	config := memory.Config{Name: "talk", Metric: index.Cosine, Dimension: wordsDim, ValueDimension: wordsDim, Lexical: a}
	if _, err := t.db.CreateNamespace(ctx, &memory.CreateNamespace{Config: config}); err != nil {
		return nil, err
	}
	if err := t.store(ctx, said); err != nil {
		return nil, err
	}
	time.Sleep(time.Second) // what writes left to the background
	return t, nil
}

// store stores turns, in batches of 500, with vectors that cost nothing to make.
func (t *talked) store(ctx context.Context, said []string) error {
	key := make([]float32, wordsDim)
	for at := 0; at < len(said); at += 500 {
		puts := make([]memory.Put, min(500, len(said)-at))
		for i := range puts {
			k := at + i
			key[k%wordsDim] = float32(k%17) + 1
			puts[i].Record = memory.Record{
				ID: fmt.Sprint(k), Text: said[k], Session: fmt.Sprint(k / 25), Speaker: []string{"CDR", "CMP", "LMP"}[k%3], Key: slices.Clone(key),
			}
		}
		if _, err := t.db.Store(ctx, &memory.Store{Namespace: "talk", Records: puts}); err != nil {
			return err
		}
	}
	return nil
}

func (t *talked) embed(ctx context.Context, asked []string) error {
	vectors, err := t.lexical.Embed(ctx, asked, true)
	for i, v := range vectors {
		t.questions = append(t.questions, memory.Query{Vector: v, Text: asked[i]})
	}
	return err
}

// asking is a contender whose time is the median of the questions.
func (t *talked) asking(name string, r memory.Ranking) contender {
	return contender{name, func() (time.Duration, error) {
		view, err := t.db.View("talk")
		if err != nil {
			return 0, err
		}
		defer view.Release()
		opt := memory.RetrieveOptions{K: topK, MinScore: float32(math.Inf(-1)), Ranking: r}
		took := make([]time.Duration, len(t.questions))
		for i := range t.questions {
			start := time.Now()
			hits, _, err := t.db.Retrieve(context.Background(), []*memory.View{view}, t.questions[i:i+1], opt)
			took[i] = time.Since(start)
			if err != nil {
				return 0, err
			}
			if len(hits[0]) == 0 {
				return 0, fmt.Errorf("nothing is found for %q", t.questions[i].Text)
			}
		}
		slices.Sort(took)
		return took[len(took)/2], nil
	}}
}

func (t *talked) close() { _ = t.db.Close() }
