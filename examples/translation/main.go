// Translation is a translation memory: it recalls how sentences like a new one were translated,
// and how the terms in it are, so that names stay what they were.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"engram/client"
)

type program struct {
	Load  loadCmd  `cmd:"" help:"Store pairs from a file."`
	Add   addCmd   `cmd:"" help:"Store one pair."`
	Match matchCmd `cmd:"" help:"Recall what helps to translate a sentence."`

	Addr string `help:"The Engram server." env:"ENGRAM_ADDR" default:"127.0.0.1:7440"`
}

func main() {
	var p program
	k := kong.Parse(&p, kong.Description("A translation memory."))
	memory, err := client.Dial(p.Addr)
	k.FatalIfErrorf(err)
	defer func() { _ = memory.Close() }()
	k.BindTo(context.Background(), (*context.Context)(nil))
	k.BindTo(os.Stdout, (*io.Writer)(nil))
	k.FatalIfErrorf(k.Run(memory))
}

// The kinds of pairs.
const sentence, term = "sentence", "term"

// pair is a record of a text and its translation. Its id is the text, so that a new
// translation of the same replaces the old one.
func pair(kind, source, target string) client.Record {
	return client.Record{ID: kind + " " + source, Text: source, Metadata: map[string]any{"kind": kind, "target": target}}
}

type loadCmd struct {
	Namespace string `arg:"" help:"The memory."`
	File      string `arg:"" type:"existingfile" help:"A pair a line: the kind (sentence or term), the text and its translation, with tabs between them."`
}

func (c *loadCmd) Run(ctx context.Context, memory *client.Client, out io.Writer) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	n, err := memory.Load(ctx, c.Namespace, pairs(f), nil)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d pairs\n", n)
	return err
}

func pairs(in io.Reader) func(func(client.Record, error) bool) {
	return func(yield func(client.Record, error) bool) {
		number := 0
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			number++
			f := strings.Split(lines.Text(), "\t")
			var err error
			if len(f) != 3 || f[0] != sentence && f[0] != term || f[1] == "" || f[2] == "" {
				err = fmt.Errorf("line %d: want a kind, a text and its translation, with tabs between them, not %q", number, lines.Text())
				f = make([]string, 3)
			}
			if !yield(pair(f[0], f[1], f[2]), err) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(client.Record{}, err)
		}
	}
}

type addCmd struct {
	Namespace string `arg:"" help:"The memory."`
	Source    string `arg:"" help:"The text."`
	Target    string `arg:"" help:"Its translation."`
	Term      bool   `help:"It is a term, no sentence."`
}

func (c *addCmd) Run(ctx context.Context, memory *client.Client, out io.Writer) error {
	kind := sentence
	if c.Term {
		kind = term
	}
	results, err := memory.Store(ctx, c.Namespace, pair(kind, c.Source, c.Target))
	if err != nil {
		return err
	}
	what := "replaced"
	if results[0].Created {
		what = "added"
	}
	_, err = fmt.Fprintln(out, what)
	return err
}

type matchCmd struct {
	Namespace string  `arg:"" help:"The memory."`
	Sentence  string  `arg:"" help:"What is to be translated."`
	Matches   int     `short:"k" default:"3" help:"How many sentences to recall at most."`
	AtLeast   float32 `default:"0.3" help:"The least similarity of a sentence, a cosine."`
}

// Run prints what a translator, or a model's prompt, is given.
func (c *matchCmd) Run(ctx context.Context, memory *client.Client, out io.Writer) error {
	kind := client.Metadata("kind")
	similar, err := memory.Retrieve(ctx, c.Namespace, client.Text(c.Sentence), client.TopK(c.Matches),
		client.Where(kind.Equals(sentence)), client.MinScore(c.AtLeast), client.RankBy(client.Ranking{Similarity: 1}))
	if err != nil {
		return err
	}
	// Words find the terms that may be in it; whether one is, its own words say.
	likely, err := memory.Retrieve(ctx, c.Namespace, client.Text(c.Sentence), client.TopK(100),
		client.Where(kind.Equals(term)), client.RankBy(client.Ranking{Lexical: 1}))
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Translate: %s\n", c.Sentence)
	for _, h := range likely {
		if has(strings.ToLower(c.Sentence), strings.ToLower(h.Record.Text)) {
			fmt.Fprintf(&b, "Term: %s = %s\n", h.Record.Text, h.Record.Metadata["target"])
		}
	}
	for _, h := range similar {
		fmt.Fprintf(&b, "Like it (%.2f): %s = %s\n", h.Similarity, h.Record.Text, h.Record.Metadata["target"])
	}
	_, err = io.WriteString(out, b.String())
	return err
}

// has says whether a sentence has a term as whole words.
func has(sentence, term string) bool {
	letter := func(r rune, n int) bool { return n > 0 && (unicode.IsLetter(r) || unicode.IsDigit(r)) }
	for from := 0; ; from++ {
		at := strings.Index(sentence[from:], term)
		if at < 0 {
			return false
		}
		from += at
		if !letter(utf8.DecodeLastRuneInString(sentence[:from])) && !letter(utf8.DecodeRuneInString(sentence[from+len(term):])) {
			return true
		}
	}
}
