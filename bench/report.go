package main

import (
	"fmt"
	"io"
	"log"
	"os/exec"
	"path/filepath"
	"strings"
)

// A line is one ratio of the report.
type line struct {
	what    string  // with its shape
	engram  string  // its figure
	against string  // whom or what
	theirs  string  // their figure
	ratio   spread  // Engram's figure over theirs, the way in which more is better unless atMost
	goal    float64 // 0: none
	atMost  bool    // the goal is an upper one
	unit    string  // of the ratio, if it is a difference or a share
}

func (l line) met() string {
	switch {
	case l.goal == 0:
		return ""
	case l.atMost && l.ratio.median <= l.goal, !l.atMost && l.ratio.median >= l.goal:
		return "yes"
	}
	return "**no**"
}

func (l line) goalText() string {
	switch {
	case l.goal == 0:
		return ""
	case l.atMost:
		return fmt.Sprintf("≤ %.4g", l.goal)
	}
	return fmt.Sprintf("≥ %.4g", l.goal)
}

// A report is what a run found.
type report struct {
	command string
	machine []string
	lines   []line
	notes   []string // facts beside the ratios
	missing []string // peers that weren't there, and why

	sections []string // of the data sets, in Markdown
	panels   []panel  // of the plot
	plot     string   // its file, beside the report; "": none is drawn

	sharpened []sharpened // of Attend within an error
	sharpness string      // the file of their plot, likewise
}

// miss adds what isn't measured, and why.
func (r *report) miss(what string, why error) {
	text := fmt.Sprintf("%s isn't here: %s", what, strings.ReplaceAll(strings.TrimSpace(why.Error()), "\n", "; "))
	r.missing = append(r.missing, text)
	log.Print(text)
}

// note adds a fact once.
func (r *report) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	for _, have := range r.notes {
		if have == n {
			return
		}
	}
	r.notes = append(r.notes, n)
}

// seconds writes a time in three digits.
func seconds(s spread) string {
	switch {
	case s.median >= 1:
		return fmt.Sprintf("%.3g s", s.median)
	case s.median >= 1e-3:
		return fmt.Sprintf("%.3g ms", 1e3*s.median)
	}
	return fmt.Sprintf("%.3g µs", 1e6*s.median)
}

// compare adds the line of a race in which Engram's contender ran against another.
func (r *report) compare(what string, t times, against, told string, goal float64) {
	r.lines = append(r.lines, line{
		what:    what,
		engram:  seconds(spreadOf(t[engram])),
		against: told,
		theirs:  seconds(spreadOf(t[against])),
		ratio:   t.faster(engram, against),
		goal:    goal,
	})
}

const preface = `# Benchmarks

Every figure is a ratio, measured side by side in one run: the contenders take turns,
round after round, and each round gives a ratio, of which the table has the median and
the quartiles. Noise that outlasts a round falls on all of them alike. A ratio says
how many times as fast Engram was: 1 is as fast, 0.9 of a limit is nine tenths of what
the machine allows. Where a goal has ≤ the ratio is of times, and less is better.

The limits are measured in the same rounds: *read bandwidth* by a loop of wide loads
over the very bytes that the scan reads, on every core; *multiply-add peak* by a loop of
independent fused multiply-adds on every core (package kernel/roofline). Selection of
the best rows and their canonical scores are part of Engram's times. Peers run in
processes of their own at the number of threads at which they are fastest here, on the
same vectors, and must give the same answers.

This file is written by the command below.
`

const curvesPreface = `
## Recall against speed

Each index is built by all cores and then asked for the nearest 10 of queries that are
no rows, in one call of many queries, at each of its settings; recall is counted against
one exact search, a row as near as the tenth counting as found. Settings that others of
the same index beat aside, all points of all indexes take turns, round after round, on
one core, and those around the recalls below on all. A figure at a recall is drawn
between the two points around it, in the logarithm of the rate. Memory is what the
process holds more after building; for a refined index, and for lists that share
centroids with the one before it, that is what comes on top, and so is the time.
`

// write writes the report in Markdown.
func (r *report) write(w io.Writer) error {
	var b strings.Builder
	b.WriteString(preface)
	fmt.Fprintf(&b, "\n```sh\n%s\n```\n\n## The machine\n\n", r.command)
	for _, m := range r.machine {
		fmt.Fprintf(&b, "- %s\n", m)
	}
	b.WriteString("\n## The ratios\n\n| what | Engram | against | theirs | ratio (quartiles) | goal | met |\n|---|---|---|---|---|---|---|\n")
	for _, l := range r.lines {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.2f%s (%.2f–%.2f) | %s | %s |\n",
			l.what, l.engram, l.against, l.theirs, l.ratio.median, l.unit, l.ratio.low, l.ratio.high, l.goalText(), l.met())
	}
	if len(r.sections) > 0 {
		b.WriteString(curvesPreface)
		if r.plot != "" {
			fmt.Fprintf(&b, "\n![Recall against queries a second](%s)\n", filepath.Base(r.plot))
		}
		for _, s := range r.sections {
			b.WriteString(s)
		}
	}
	if r.sharpness != "" {
		fmt.Fprintf(&b, "\n## Attention within an error\n\n![Speed-up against the effective number of records](%s)\n", filepath.Base(r.sharpness))
	}
	if len(r.notes) > 0 {
		b.WriteString("\n## Beside them\n\n")
		for _, n := range r.notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	if len(r.missing) > 0 {
		b.WriteString("\n## Not measured\n\n")
		for _, m := range r.missing {
			fmt.Fprintf(&b, "- %s\n", m)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// revision is the commit that is measured.
func revision() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
