package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"engram/client"
)

type importCmd struct {
	File      string `arg:"" help:"The file; - reads JSONL from standard input."`
	Namespace string `arg:"" optional:"" help:"The namespace; made if it isn't there. Not for an export, which names its own."`
	Format    string `enum:"auto,jsonl,npy,fvecs,engram" default:"auto" help:"jsonl, npy (2-D float32 or float64), fvecs, or engram (an export); auto goes by the file's beginning and name."`
	SkipBad   bool   `help:"Pass over bad lines and count them; default: stop at the first."`
	fields    `group:"JSONL fields"`
}

func (*importCmd) Help() string {
	return `JSONL is one JSON object a line. Its fields are those of a record, under the names
given by flags; what they don't name goes into the metadata. Vectors are arrays of
numbers, times RFC 3339 strings or seconds since 1970. Rows of .npy and .fvecs get
their row number as id.

Examples:
  engram import chat.jsonl chat
  engram import posts.jsonl posts --text-field body --speaker-field author --skip-bad
  engram import base.fvecs sift
  engram import all.engram

What was acknowledged before an error stays; an export's namespace appears whole or
not at all.`
}

func (c *importCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	file, size := t.in, int64(0)
	var f *os.File
	if c.File != "-" {
		var err error
		if f, err = os.Open(c.File); err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		file, size = f, st.Size()
	}
	counted := &counter{r: file}
	in := bufio.NewReaderSize(counted, 1<<20)
	format := c.format(in)
	if format == "engram" {
		if f == nil || c.Namespace != "" {
			return usagef("an export is imported from a file, and names its own namespaces")
		}
		if _, err := in.Discard(len(exportMagic)); err != nil {
			return err
		}
		return importExport(ctx, cli, t, f, in, counted.n.Load)
	}
	if c.Namespace == "" {
		return usagef("name the namespace to import into: engram import %s NAMESPACE", c.File)
	}
	var source iter.Seq2[numbered, error]
	switch format {
	case "npy":
		source = npyRecords(in)
	case "fvecs":
		source = fvecsRecords(in)
	default:
		source = c.jsonlRecords(in)
	}
	e, err := cli.dial()
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }()
	p := t.progress("bytes", max(size, 1))
	l := &loader{client: e, namespace: c.Namespace, file: c.File, skipBad: c.SkipBad, note: t.note, advance: func() { p.set(counted.n.Load()) }}
	err = l.load(ctx, source)
	p.end()
	if err != nil {
		return fmt.Errorf("%w\n  %s stored before", err, plural(l.stored, "record"))
	}
	if t.json {
		return t.object(map[string]any{"namespace": c.Namespace, "records": l.stored, "skipped": l.skipped})
	}
	t.printf("stored %s in %s", plural(l.stored, "record"), c.Namespace)
	if l.skipped > 0 {
		t.printf(", skipped %s", plural(l.skipped, "bad line"))
	}
	t.printf("\n")
	return nil
}

func (c *importCmd) format(in *bufio.Reader) string {
	if c.Format != "auto" {
		return c.Format
	}
	switch head, _ := in.Peek(len(exportMagic)); { // what is shorter is something else
	case string(head) == exportMagic:
		return "engram"
	case strings.HasPrefix(string(head), npyMagic):
		return "npy"
	case filepath.Ext(c.File) == ".fvecs":
		return "fvecs"
	}
	return "jsonl"
}

// A counter counts the bytes read through it.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// A numbered record is one and the line, or row, that it came from.
type numbered struct {
	line int
	client.Record
}

// A badLine is a line that no record can be made of; others may follow it.
type badLine struct {
	line int
	err  error
}

func (b *badLine) Error() string { return fmt.Sprintf("line %d: %v", b.line, b.err) }

// A loader loads records and knows which line each came from: a record that the
// server refuses is named by it, or skipped and the rest sent again.
type loader struct {
	client    *client.Client
	namespace string
	file      string
	skipBad   bool
	note      func(format string, args ...any)
	advance   func()

	stored, skipped int

	mu   sync.Mutex
	sent []numbered // not yet acknowledged
}

func (l *loader) load(ctx context.Context, source iter.Seq2[numbered, error]) error {
	next, stop := iter.Pull2(source)
	defer stop()
	for {
		before := l.stored
		again := l.sent
		_, err := l.client.Load(ctx, l.namespace, func(yield func(client.Record, error) bool) {
			for _, r := range again {
				if !yield(r.Record, nil) {
					return
				}
			}
			l.read(next, yield)
		}, func(n int) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.sent = l.sent[before+n-l.stored:]
			l.stored = before + n
			l.advance()
		})
		if err == nil {
			return nil
		}
		var bad *badLine
		if errors.As(err, &bad) {
			return fmt.Errorf("%s: %w", l.file, bad)
		}
		refused := l.refused(err)
		if len(refused) == 0 {
			return err
		}
		if !l.skipBad {
			return fmt.Errorf("%s, line %d: %s", l.file, l.sent[refused[0].index].line, refused[0].reason)
		}
		kept := l.sent[:0:0]
		for i, r := range l.sent {
			if j := find(refused, i); j >= 0 {
				l.skip(r.line, refused[j].reason)
				continue
			}
			kept = append(kept, r)
		}
		l.sent = kept
	}
}

// read reads the source and remembers what is sent.
func (l *loader) read(next func() (numbered, error, bool), yield func(client.Record, error) bool) {
	for {
		r, err, ok := next()
		if !ok {
			return
		}
		var bad *badLine
		if errors.As(err, &bad) && l.skipBad {
			l.skip(bad.line, bad.err.Error())
			continue
		}
		if err != nil {
			yield(client.Record{}, err)
			return
		}
		l.mu.Lock()
		l.sent = append(l.sent, r)
		l.mu.Unlock()
		if !yield(r.Record, nil) {
			return
		}
	}
}

func (l *loader) skip(line int, reason string) {
	if l.skipped++; l.skipped <= 5 {
		l.note("%s, line %d skipped: %s\n", l.file, line, reason)
	} else if l.skipped == 6 {
		l.note("further bad lines are skipped without a word\n")
	}
}

// A refusal is the server's no to a record of the first batch not acknowledged.
type refusal struct {
	index  int
	reason string
}

var recordField = regexp.MustCompile(`^records\[(\d+)\]\.?(.*)$`)

func (l *loader) refused(err error) []refusal {
	var out []refusal
	s, _ := status.FromError(err)
	for _, d := range s.Details() {
		bad, _ := d.(*errdetails.BadRequest)
		for _, v := range bad.GetFieldViolations() {
			m := recordField.FindStringSubmatch(v.GetField())
			if m == nil {
				continue
			}
			if i, err := strconv.Atoi(m[1]); err == nil && i < len(l.sent) && find(out, i) < 0 {
				out = append(out, refusal{i, m[2] + ": " + v.GetDescription()})
			}
		}
	}
	return out
}

func find(list []refusal, index int) int {
	for j, r := range list {
		if r.index == index {
			return j
		}
	}
	return -1
}
