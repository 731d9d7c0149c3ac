// Qa answers questions about a document by its passages, each with where it stands.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"

	"engram/client"
)

type program struct {
	Store storeCmd `cmd:"" help:"Store a text file, a record for each paragraph."`
	Ask   askCmd   `cmd:"" help:"Answer a question by the passages that say most about it."`
	Eval  evalCmd  `cmd:"" help:"Tell how often the passage that answers a question is found."`

	Addr string `help:"The Engram server." env:"ENGRAM_ADDR" default:"127.0.0.1:7440"`
}

func main() {
	var p program
	k := kong.Parse(&p, kong.Description("Answers questions about documents, with passages and their sources."))
	memory, err := client.Dial(p.Addr)
	k.FatalIfErrorf(err)
	defer func() { _ = memory.Close() }()
	k.BindTo(context.Background(), (*context.Context)(nil))
	k.BindTo(os.Stdout, (*io.Writer)(nil))
	k.FatalIfErrorf(k.Run(memory))
}

type storeCmd struct {
	Namespace string `arg:"" help:"The memory."`
	File      string `arg:"" type:"existingfile" help:"Text whose paragraphs have empty lines between them."`
}

func (c *storeCmd) Run(ctx context.Context, memory *client.Client, out io.Writer) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	n, err := memory.Load(ctx, c.Namespace, passages(f, filepath.Base(c.File)), nil)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d passages of %s\n", n, filepath.Base(c.File))
	return err
}

// passages gives the paragraphs of a text, in order. The id of each is its source: the
// document and the line at which it begins. So storing a document again replaces it.
func passages(in io.Reader, document string) func(func(client.Record, error) bool) {
	return func(yield func(client.Record, error) bool) {
		lines := bufio.NewScanner(in)
		var text []string
		number, first := 0, 0
		for more := true; more; {
			more = lines.Scan()
			number++
			if line := strings.TrimSpace(lines.Text()); more && line != "" {
				if text == nil {
					first = number
				}
				text = append(text, line)
				continue
			}
			if text != nil {
				r := client.Record{ID: fmt.Sprintf("%s:%d", document, first), Session: document, Text: strings.Join(text, " ")}
				if !yield(r, nil) {
					return
				}
				text = nil
			}
		}
		if err := lines.Err(); err != nil {
			yield(client.Record{}, err)
		}
	}
}

type askCmd struct {
	Namespace string   `arg:"" help:"The memory."`
	Question  []string `arg:"" help:"The question."`
	Passages  int      `short:"k" default:"2" help:"How many passages answer."`
}

func (c *askCmd) Run(ctx context.Context, memory *client.Client, out io.Writer) error {
	hits, err := memory.Retrieve(ctx, c.Namespace, client.Text(strings.Join(c.Question, " ")), client.TopK(c.Passages))
	if err != nil {
		return err
	}
	for _, h := range hits {
		if _, err := fmt.Fprintf(out, "%s (%s, %.2f)\n", h.Record.Text, h.Record.ID, h.Score); err != nil {
			return err
		}
	}
	return nil
}

type evalCmd struct {
	Namespace string `arg:"" help:"The memory."`
	File      string `arg:"" type:"existingfile" help:"A question a line, a tab, and the source of the passage that answers it."`
}

func (c *evalCmd) Run(ctx context.Context, memory *client.Client, out io.Writer) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	asked, first, five := 0, 0, 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		question, source, found := strings.Cut(lines.Text(), "\t")
		if !found {
			return fmt.Errorf("%s, line %d: %q has no tab", c.File, asked+1, lines.Text())
		}
		hits, err := memory.Retrieve(ctx, c.Namespace, client.Text(question), client.TopK(5), client.WithoutContent())
		if err != nil {
			return err
		}
		asked++
		for place, h := range hits {
			if h.Record.ID == source {
				five++
				if place == 0 {
					first++
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if asked == 0 {
		return fmt.Errorf("%s has no questions", c.File)
	}
	_, err = fmt.Fprintf(out, "%d questions: the passage was first %d times, among the first five %d times\n", asked, first, five)
	return err
}
