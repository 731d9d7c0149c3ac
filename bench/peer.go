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
	path     string   // of the files that it works with, if we do as well

	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// A question is one line to a peer. Op is "about", "load", "build", "set",
// "run" or "answer".
type question struct {
	Op       string `json:"op"`
	Keys     string `json:"keys,omitempty"`
	Values   string `json:"values,omitempty"`
	Asked    string `json:"asked,omitempty"` // the file of queries
	Rows     int    `json:"rows,omitempty"`
	Dim      int    `json:"dim,omitempty"`
	Heads    int    `json:"heads,omitempty"`   // of keys, values and queries
	Queries  int    `json:"queries,omitempty"` // the first of them
	Threads  int    `json:"threads,omitempty"`
	Variant  string `json:"variant,omitempty"`
	Setting  []int  `json:"setting,omitempty"`
	TopCount int    `json:"top,omitempty"`
	Texts    string `json:"texts,omitempty"` // a file of a list
}

// An answer is a peer's line.
type answer struct {
	Error    string      `json:"error"`
	About    string      `json:"about"`
	Variants []string    `json:"variants"`
	Seconds  float64     `json:"seconds"`
	Bytes    int64       `json:"bytes"`
	Series   [][][]int   `json:"series"`
	IDs      [][]int     `json:"ids"`
	Address  string      `json:"address"`
	Path     string      `json:"path"`
	PID      int         `json:"pid"`
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
	p.about, p.variants, p.path = a.About, a.Variants, a.Path
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
	_, err := p.ask(question{Op: "load", Keys: d.keysFile, Values: d.valuesFile, Asked: d.queriesFile, Rows: d.rows, Dim: d.dim, Heads: d.shape.Heads})
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
	path, err := ps.script(script)
	if err != nil {
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

// script writes one of bench/peers to a file, beside what it imports.
func (ps *peers) script(name string) (string, error) {
	for _, file := range []string{name, "protocol.py", "curve.py"} {
		text, err := scripts.ReadFile("peers/" + file)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(ps.dir, file), text, 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(ps.dir, name), nil
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

// vek starts the loop over viterin/vek's Dot.
func (ps *peers) vek(ctx context.Context) (*peer, error) { return ps.golang(ctx, "vek", "vek") }

// golang builds and starts a program of bench that is a module of its own.
func (ps *peers) golang(ctx context.Context, name, folder string) (*peer, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, err
	}
	program := filepath.Join(ps.dir, folder)
	build := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(root, "bench", folder), "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build bench/%s: %w\n%s", folder, err, out)
	}
	return start(name, exec.CommandContext(ctx, program))
}

func moduleRoot(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "engram").Output()
	if err != nil {
		return "", fmt.Errorf("find the module's folder (run from within it): %w", err)
	}
	return strings.TrimSpace(string(root)), nil
}
