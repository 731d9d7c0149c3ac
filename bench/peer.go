package main

import (
	"bufio"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

//go:embed peers/*.py
var scripts embed.FS

// A peer is another program that does the same work, in a process of its own. It is
// asked in lines of JSON and answers each with one.
type peer struct {
	name     string
	about    string   // versions, and of what arithmetic is done with
	variants []string // of the work, that this version has
	threads  []int    // worth trying

	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// A question is one line to a peer. Op is "about", "load", "run" or "answer".
type question struct {
	Op       string `json:"op"`
	Keys     string `json:"keys,omitempty"`
	Values   string `json:"values,omitempty"`
	Asked    string `json:"asked,omitempty"` // the file of queries
	Rows     int    `json:"rows,omitempty"`
	Dim      int    `json:"dim,omitempty"`
	Queries  int    `json:"queries,omitempty"` // the first of them
	Threads  int    `json:"threads,omitempty"`
	Variant  string `json:"variant,omitempty"`
	TopCount int    `json:"top,omitempty"`
}

// An answer is a peer's line.
type answer struct {
	Error    string      `json:"error"`
	About    string      `json:"about"`
	Variants []string    `json:"variants"`
	Seconds  float64     `json:"seconds"`
	IDs      [][]int     `json:"ids"`
	Context  [][]float64 `json:"context"`
}

func start(name string, cmd *exec.Cmd) (*peer, error) {
	p := &peer{name: name, cmd: cmd}
	for t := 1; t < runtime.NumCPU(); t *= 2 {
		p.threads = append(p.threads, t)
	}
	p.threads = append(p.threads, runtime.NumCPU())
	cmd.Stderr = os.Stderr
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, 64<<20)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	a, err := p.ask(question{Op: "about"})
	if err != nil {
		p.stop()
		return nil, err
	}
	p.about, p.variants = a.About, a.Variants
	return p, nil
}

func (p *peer) ask(q question) (answer, error) {
	line, err := json.Marshal(q)
	if err != nil {
		return answer{}, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return answer{}, fmt.Errorf("%s: %w", p.name, err)
	}
	if !p.out.Scan() {
		return answer{}, fmt.Errorf("%s ended before it answered: %w", p.name, errors.Join(p.out.Err(), p.cmd.Wait()))
	}
	var a answer
	if err := json.Unmarshal(p.out.Bytes(), &a); err != nil {
		return answer{}, fmt.Errorf("%s: %w", p.name, err)
	}
	if a.Error != "" {
		return answer{}, fmt.Errorf("%s: %s", p.name, a.Error)
	}
	return a, nil
}

func (p *peer) stop() {
	if p == nil {
		return
	}
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

func (p *peer) load(d *data) error {
	_, err := p.ask(question{Op: "load", Keys: d.keysFile, Values: d.valuesFile, Asked: d.queriesFile, Rows: d.rows, Dim: d.dim})
	return err
}

// contender runs a variant of the peer's work on the first queries at the number of
// threads at which it is fastest, which a race of its own finds.
func (p *peer) contender(ctx context.Context, variant string, queries int) (contender, int, error) {
	at := func(threads int) contender {
		return contender{fmt.Sprintf("%s@%d", p.name, threads), func() (time.Duration, error) {
			a, err := p.ask(question{Op: "run", Variant: variant, Queries: queries, Threads: threads, TopCount: topK})
			return time.Duration(a.Seconds * 1e9), err
		}}
	}
	var all []contender
	var names []string
	for _, t := range p.threads {
		all = append(all, at(t))
		names = append(names, all[len(all)-1].name)
	}
	t, err := race(ctx, 3, all)
	if err != nil {
		return contender{}, 0, err
	}
	best := t.best(names)
	for i, c := range all {
		if c.name == best {
			return contender{p.name, c.run}, p.threads[i], nil
		}
	}
	panic("unreachable")
}

// peers finds the other programs and starts them.
type peers struct {
	short bool
	cache string // where what they need is installed, in a full run
	dir   string // temporary
}

// python starts a script of bench/peers, with an interpreter that has what it needs.
func (ps *peers) python(ctx context.Context, name, script string, packages ...string) (*peer, error) {
	interpreters := []string{"/usr/bin/python3", "python3"}
	if _, err := os.Stat(ps.venvPython()); err == nil {
		interpreters = append(interpreters, ps.venvPython())
	}
	if !ps.short {
		python, err := ps.venv(ctx, packages)
		if err != nil {
			return nil, err
		}
		interpreters = []string{python}
	}
	text, err := scripts.ReadFile("peers/" + script)
	if err != nil {
		return nil, err
	}
	protocol, err := scripts.ReadFile("peers/protocol.py")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(ps.dir, script)
	if err := errors.Join(os.WriteFile(path, text, 0o600), os.WriteFile(filepath.Join(ps.dir, "protocol.py"), protocol, 0o600)); err != nil {
		return nil, err
	}
	missing := []error{errors.New("no Python here has it")}
	for _, python := range interpreters {
		p, err := start(name, exec.CommandContext(ctx, python, path))
		if err == nil {
			return p, nil
		}
		missing = append(missing, err)
	}
	return nil, errors.Join(missing...)
}

func (ps *peers) venvPython() string { return filepath.Join(ps.cache, "venv", "bin", "python") }

// venv has the newest of the packages, in a virtual environment of the cache.
func (ps *peers) venv(ctx context.Context, packages []string) (string, error) {
	python := ps.venvPython()
	run := func(name string, args ...string) error {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
		}
		return nil
	}
	if _, err := os.Stat(python); err != nil {
		if err := run("python3", "-m", "venv", filepath.Join(ps.cache, "venv")); err != nil {
			return "", err
		}
	}
	return python, run(python, append([]string{"-m", "pip", "install", "-q", "--upgrade"}, packages...)...)
}

// vek builds and starts the loop over viterin/vek's Dot, a module of its own.
func (ps *peers) vek(ctx context.Context) (*peer, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "engram").Output()
	if err != nil {
		return nil, fmt.Errorf("find the module's folder (run from within it): %w", err)
	}
	program := filepath.Join(ps.dir, "vek")
	build := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(strings.TrimSpace(string(root)), "bench", "vek"), "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build bench/vek: %w\n%s", err, out)
	}
	return start("vek", exec.CommandContext(ctx, program))
}
