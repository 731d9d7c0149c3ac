// Command bench measures Engram against what the machine allows and against its
// peers, side by side in one run, and writes the ratios to docs/benchmarks.md.
//
//	go run ./bench                 everything, in some minutes; needs Python and package registries
//	go run ./bench -short          smaller, in seconds, to standard output; peers that are installed
//	go run ./bench -only batch     one of single, batch, attend, loopback, gc
//
// A full run installs the newest Faiss and PyTorch in a virtual environment of the
// user's cache folder. A short one uses those of the system's Python, and says so
// where there are none.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// engram is the name of our own contender.
const engram = "Engram"

// A bench is one run.
type bench struct {
	ctx    context.Context
	short  bool
	rounds int
	peers  peers
	report report
}

// rows are the things measured, in the report's order.
var rows = []struct {
	name string
	run  func(*bench) error
}{
	{"single", single},
	{"batch", batch},
	{"attend", attend},
	{"loopback", loopback},
	{"gc", gc},
}

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("bench: ", err)
	}
}

func run() error {
	short := flag.Bool("short", false, "smaller sizes, seconds rather than minutes")
	only := flag.String("only", "", "run this `name` alone (a comma between several)")
	require := flag.Bool("require-peers", false, "fail if a peer is missing")
	rounds := flag.Int("rounds", 0, "rounds of each race (default 21, short 5)")
	out := flag.String("out", "", "the `file` to write (default docs/benchmarks.md for a whole run, else standard output)")
	cache := flag.String("cache", "", "the `folder` for what peers need (default engram-bench in the user's cache)")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q: no arguments are taken, only flags", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	b := &bench{ctx: ctx, short: *short, rounds: *rounds}
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

	names := strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	ran := 0
	for _, row := range rows {
		if len(names) > 0 && !slices.Contains(names, row.name) {
			continue
		}
		ran++
		if err := row.run(b); err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
	}
	if ran == 0 || ran < len(names) {
		return fmt.Errorf("-only %s: there are single, batch, attend, loopback and gc", *only)
	}
	if err := b.write(*out, ran == len(rows)); err != nil {
		return err
	}
	if *require && len(b.report.missing) > 0 {
		return errors.New("not every peer was there: " + strings.Join(b.report.missing, "; "))
	}
	return nil
}

func (b *bench) write(out string, whole bool) error {
	if out == "" && whole && !b.short {
		out = filepath.Join("docs", "benchmarks.md")
	}
	if out == "" {
		return b.report.write(os.Stdout)
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	return errors.Join(b.report.write(f), f.Close())
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
		b.report.missing = append(b.report.missing, fmt.Sprintf("%s isn't here: %s", name, strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")))
		log.Printf("%s isn't here: %v", name, err)
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
