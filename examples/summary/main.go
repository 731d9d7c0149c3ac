// Summary picks the sentences of a text that the whole of it attends to most.
package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/google/uuid"

	"engram/client"
)

type options struct {
	File      string  `arg:"" type:"existingfile" help:"The text."`
	Sentences int     `short:"n" default:"3" help:"How many sentences to pick."`
	Diversity float64 `default:"0.5" help:"What likeness to a sentence that is picked takes away, from 0 to 1."`
	Addr      string  `help:"The Engram server." env:"ENGRAM_ADDR" default:"127.0.0.1:7440"`
}

func main() {
	var o options
	k := kong.Parse(&o, kong.Description("Summarises a text by its own sentences."))
	f, err := os.Open(o.File)
	k.FatalIfErrorf(err)
	defer func() { _ = f.Close() }()
	memory, err := client.Dial(o.Addr)
	k.FatalIfErrorf(err)
	defer func() { _ = memory.Close() }()
	picked, err := summarise(context.Background(), memory, f, o.Sentences, o.Diversity)
	k.FatalIfErrorf(err)
	for _, s := range picked {
		fmt.Println(s)
	}
}

// heaviest is how many weights of each sentence's attention are summed: as many as a server
// names by default.
const heaviest = 1000

// summarise gives n sentences of a text, in its order. It stores all in a namespace of its
// own, which is deleted again.
func summarise(ctx context.Context, memory *client.Client, text io.Reader, n int, diversity float64) ([]string, error) {
	all, err := sentences(text)
	if err != nil {
		return nil, err
	}
	if n < 1 || diversity < 0 || diversity > 1 {
		return nil, fmt.Errorf("%d sentences, diversity %v: want 1 or more, and 0 to 1", n, diversity)
	}
	name := "summary-" + uuid.NewString()
	records := make([]client.Record, len(all))
	for i, s := range all {
		records[i] = client.Record{ID: fmt.Sprint(i), Text: s}
	}
	_, err = memory.Load(ctx, name, func(yield func(client.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _, _ = memory.DeleteNamespace(context.WithoutCancel(ctx), name) }()

	keys := make(map[string][]float32)
	for r, err := range memory.List(ctx, name, client.WithVectors(), client.WithoutContent()) {
		if err != nil {
			return nil, err
		}
		keys[r.ID] = r.Key
	}
	mass := make(map[string]float64) // of the attention of all sentences, by id
	for _, r := range records {
		// Each attends to all but itself.
		a, err := memory.Attend(ctx, name, client.Like(name, r.ID), client.TopWeights(heaviest), client.WithoutContent())
		if err != nil {
			return nil, err
		}
		for _, w := range a.TopWeights {
			mass[w.Record.ID] += w.Weight
		}
	}
	picked := pick(records, mass, keys, n, diversity)
	slices.Sort(picked)
	out := make([]string, len(picked))
	for i, at := range picked {
		out[i] = all[at]
	}
	return out, nil
}

// pick gives the numbers of n records by maximal marginal relevance (Carbonell & Goldstein,
// SIGIR 1998): mass, less likeness to what is picked.
func pick(records []client.Record, mass map[string]float64, keys map[string][]float32, n int, diversity float64) (picked []int) {
	most := 0.0
	for _, m := range mass {
		most = max(most, m)
	}
	like := make([]float64, len(records)) // the nearest that is picked
	left := make([]int, len(records))
	for i := range left {
		left[i] = i
	}
	for len(picked) < n && len(left) > 0 {
		worth := func(i int) float64 { return (1-diversity)*mass[records[i].ID]/most - diversity*like[i] }
		best := slices.MaxFunc(left, func(a, b int) int { return cmp.Or(cmp.Compare(worth(a), worth(b)), b-a) })
		picked = append(picked, best)
		left = slices.DeleteFunc(left, func(i int) bool { return i == best })
		for _, i := range left {
			like[i] = max(like[i], cosine(keys[records[i].ID], keys[records[best].ID]))
		}
	}
	return picked
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range min(len(a), len(b)) {
		ab, aa, bb = ab+float64(a[i])*float64(b[i]), aa+float64(a[i])*float64(a[i]), bb+float64(b[i])*float64(b[i])
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// end is where a sentence ends: behind a full stop, a question or an exclamation mark, and
// quotes and brackets that close there.
var end = regexp.MustCompile(`[.!?]["')\]”’]*\s+`)

// sentences takes a text apart. An empty line ends a sentence, too.
func sentences(in io.Reader) (out []string, err error) {
	lines := bufio.NewScanner(in)
	var paragraph []string
	flush := func() {
		text := strings.Join(paragraph, " ")
		paragraph = nil
		for text != "" {
			at := len(text)
			if m := end.FindStringIndex(text); m != nil {
				at = m[1]
			}
			out = append(out, strings.TrimSpace(text[:at]))
			text = text[at:]
		}
	}
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" {
			paragraph = append(paragraph, line)
			continue
		}
		flush()
	}
	flush()
	if len(out) == 0 && lines.Err() == nil {
		return nil, fmt.Errorf("there is no sentence in it")
	}
	return out, lines.Err()
}
