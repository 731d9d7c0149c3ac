// Command bench measures Engram against what the machine allows and against its
// peers, side by side in one run, and writes the ratios to docs/benchmarks.md.
//
//	go run ./bench                 everything, in some hours; needs Python and package registries
//	go run ./bench -short          smaller, in a minute, to standard output; peers that are installed
//	go run ./bench -only batch     a part alone: -help names them
//	go run ./bench -only peers     recall against speed, on every data set, beside every peer
//	go run ./bench -only sphere -rows 100000
//
// A full run installs the newest of its peers in a virtual environment of the user's
// cache folder, and keeps the embeddings that it makes there. A short one uses those of
// the system's Python, and says so where there are none.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"engram/internal/gcpace"
)

// engram is the name of our own contender.
const engram = "Engram"

// A bench is one run.
type bench struct {
	ctx    context.Context
	short  bool
	rounds int
	rows   int // of the curves' data sets, at most; 0: all
	peers  peers
	report report
}

// rows are the things measured, in the report's order.
var rows = append([]part{
	{"single", single},
	{"batch", batch},
	{"codes", codes},
	{"attend", attend},
	{"maxerror", maxError},
	{"heads", heads},
	{"attenders", attenders},
	{"attendstream", attendStream},
	{"embed", embedTexts},
	{"loopback", loopback},
	{"shared", sharing},
	{"words", words},
	{"gc", gc},
	{"durable", storing},
	{"restart", restart},
}, curveRows()...)

// A part of a run, as the flag -only has it.
type part struct {
	name string
	run  func(*bench) error
}

// groups are names for several parts.
var groups = map[string][]string{"peers": names(curveRows())}

func curveRows() (all []part) {
	for _, s := range datasets {
		all = append(all, part{s.name, func(b *bench) error { return b.curves(s) }})
	}
	return append(all, part{"servers", serving})
}

func names(parts []part) (all []string) {
	for _, p := range parts {
		all = append(all, p.name)
	}
	return all
}

// asked are the parts of a list of names, in the report's order; all for none.
func asked(list string) ([]part, error) {
	var wanted []string
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		if group, ok := groups[name]; ok {
			wanted = append(wanted, group...)
			continue
		}
		if !slices.Contains(names(rows), name) {
			return nil, fmt.Errorf("-only %s: there are %s and peers", name, strings.Join(names(rows), ", "))
		}
		wanted = append(wanted, name)
	}
	if len(wanted) == 0 {
		return rows, nil
	}
	return slices.DeleteFunc(slices.Clone(rows), func(p part) bool { return !slices.Contains(wanted, p.name) }), nil
}

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("bench: ", err)
	}
}

func run() error {
	short := flag.Bool("short", false, "smaller sizes, seconds rather than minutes")
	only := flag.String("only", "", "run this `part` alone (a comma between several): "+strings.Join(names(rows), ", ")+", or peers for all curves")
	require := flag.Bool("require-peers", false, "fail if a peer is missing")
	rounds := flag.Int("rounds", 0, "rounds of each race (default 21, short 5)")
	most := flag.Int("rows", 0, "at most so many rows in each of the curves' data sets")
	out := flag.String("out", "", "the `file` to write (default docs/benchmarks.md for a whole run, else standard output)")
	cache := flag.String("cache", "", "the `folder` for what peers need (default engram-bench in the user's cache)")
	serve := flag.String("serve", "", "only serve a data `folder`, as the durable rows have this program do")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q: no arguments are taken, only flags", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	if *serve != "" {
		return serveDurable(ctx, *serve)
	}
	gcpace.Set(0) // as engram serve does

	b := &bench{ctx: ctx, short: *short, rounds: *rounds, rows: *most}
	if b.rounds <= 0 {
		b.rounds = 21
		if b.short {
			b.rounds = 5
		}
	}
	dir, err := os.MkdirTemp("", "engram-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if *cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		*cache = filepath.Join(user, "engram-bench")
	}
	b.peers = peers{short: *short, cache: *cache, dir: dir}
	b.report.command = strings.Join(append([]string{"go run ./bench"}, os.Args[1:]...), " ")
	b.report.machine = append(machine(), "commit: "+revision())

	parts, err := asked(*only)
	if err != nil {
		return err
	}
	if *out == "" && len(parts) == len(rows) && !b.short {
		*out = filepath.Join("docs", "benchmarks.md")
	}
	for _, p := range parts {
		if err := p.run(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if *out != "" { // a long run that is ended keeps the parts it had measured
			if err := b.write(*out); err != nil {
				return err
			}
		}
	}
	if *out == "" {
		if err := b.report.write(os.Stdout); err != nil {
			return err
		}
	}
	if *require && len(b.report.missing) > 0 {
		return errors.New("not every peer was there: " + strings.Join(b.report.missing, "; "))
	}
	return nil
}

// write writes the report, and beside a file the plots.
func (b *bench) write(out string) error {
	if len(b.report.sharpened) > 0 {
		b.report.sharpness = strings.TrimSuffix(out, filepath.Ext(out)) + "-maxerror.svg"
		if err := create(b.report.sharpness, func(w io.Writer) error { return writeSharpness(w, b.report.sharpened) }); err != nil {
			return err
		}
	}
	if len(b.report.panels) > 0 {
		b.report.plot = strings.TrimSuffix(out, filepath.Ext(out)) + ".svg"
		if err := create(b.report.plot, func(w io.Writer) error { return writePlot(w, b.report.panels) }); err != nil {
			return err
		}
	}
	return create(out, b.report.write)
}

func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// sizes are those measured: out of any cache's reach.
func (b *bench) sizes() []size {
	if b.short {
		return []size{{150_000, 128}, {25_000, 768}}
	}
	return []size{{1_000_000, 128}, {200_000, 768}}
}

// peer starts one, or notes that it is missing and gives nil.
func (b *bench) peer(name string, start func(context.Context) (*peer, error)) *peer {
	p, err := start(b.ctx)
	if err != nil {
		b.report.miss(name, err)
		return nil
	}
	b.report.note("%s", p.about)
	return p
}

func (b *bench) python(name, script string, packages ...string) *peer {
	return b.peer(name, func(ctx context.Context) (*peer, error) { return b.peers.python(ctx, name, script, packages...) })
}

// A rival is a peer in a race.
type rival struct {
	peer    *peer // nil: missing
	variant string
	told    string // what it does, where that isn't plain
	goal    float64
	check   func(p *peer, queries int) error // of its answers, before the race
}

// race runs contenders and rivals on the first queries of d, and reports: done what is
// held against the limits, then each rival.
func (b *bench) race(what string, d *data, queries int, contenders []contender, rivals []rival, done func(times)) error {
	log.Printf("%s …", what)
	names, threads := make([]string, len(rivals)), make([]int, len(rivals))
	for i, r := range rivals {
		if r.peer == nil {
			continue
		}
		if r.check != nil {
			if err := r.peer.load(d); err != nil {
				return err
			}
			if err := r.check(r.peer, queries); err != nil {
				return err
			}
		}
		c, n, err := r.peer.contender(b.ctx, r.variant, queries)
		if err != nil {
			return err
		}
		c.name = strings.TrimSpace(c.name + " " + r.told)
		names[i], threads[i] = c.name, n
		contenders = append(contenders, c)
	}
	t, err := race(b.ctx, b.rounds, contenders)
	if err != nil {
		return err
	}
	done(t)
	for i, r := range rivals {
		if r.peer != nil {
			b.report.compare(what, t, names[i], fmt.Sprintf("%s, %d of %d cores", names[i], threads[i], runtime.NumCPU()), r.goal)
		}
	}
	for _, l := range b.report.lines[len(b.report.lines)-1-len(slices.DeleteFunc(names, func(n string) bool { return n == "" })):] {
		log.Printf("  %s against %s %s: %.2f (%.2f–%.2f) %s", l.engram, l.against, l.theirs, l.ratio.median, l.ratio.low, l.ratio.high, l.goalText())
	}
	return nil
}
