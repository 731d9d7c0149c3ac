// Command demosvg draws docs/demo.svg: it runs `engram demo` and turns its
// greeting, one of its questions and the colours of both into a picture.
//
//	go run ./docs/demosvg
package main

import (
	"bytes"
	"flag"
	"fmt"
	"html"
	"log"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/rivo/uniseg"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("demosvg: ")
	question := flag.Int("question", 2, "which question to show")
	width := flag.Int("width", 112, "columns")
	out := flag.String("o", "docs/demo.svg", "the file to write")
	flag.Parse()

	command := []string{"run", "./cmd/engram", "demo", "--color=always", fmt.Sprintf("--width=%d", *width)}
	demo := exec.Command("go", command...)
	demo.Stderr = os.Stderr
	text, err := demo.Output()
	if err != nil {
		log.Fatalf("go %s: %v", strings.Join(command, " "), err)
	}
	lines, err := excerpt(string(text), *question)
	if err != nil {
		log.Fatal(err)
	}
	lines = append([][]run{{{text: "$ go run ./cmd/engram demo"}}}, lines...)
	if err := renameio.WriteFile(*out, draw(lines, *width), 0o644); err != nil {
		log.Fatal(err)
	}
}

// A run is text in one style.
type run struct {
	text       string
	bold, dim  bool
	fill, back string // "" for the default
}

// excerpt gives the lines before the first question and those of one question.
func excerpt(text string, number int) ([][]run, error) {
	var lines [][]run
	shown, found := true, false
	for line := range strings.Lines(text) {
		runs := parse(strings.TrimRight(line, "\n"))
		if m := numbered.FindStringSubmatch(plain(runs)); m != nil {
			shown = m[1] == strconv.Itoa(number)
			found = found || shown
		}
		if shown && !strings.HasPrefix(plain(runs), "All of it took") {
			lines = append(lines, runs)
		} else if found {
			break
		}
	}
	if !found {
		return nil, fmt.Errorf("the demo has no question %d", number)
	}
	for len(plain(lines[len(lines)-1])) == 0 {
		lines = lines[:len(lines)-1]
	}
	return lines, nil
}

var numbered = regexp.MustCompile(`^(\d+)\. `)

func plain(runs []run) string {
	var b strings.Builder
	for _, r := range runs {
		b.WriteString(r.text)
	}
	return b.String()
}

var sgr = regexp.MustCompile("\x1b\\[([0-9;]*)m")

// parse splits a line where its style changes.
func parse(line string) []run {
	var runs []run
	var style run
	at := 0
	add := func(s string) {
		if s != "" {
			r := style
			r.text = s
			runs = append(runs, r)
		}
	}
	for _, m := range sgr.FindAllStringSubmatchIndex(line, -1) {
		add(line[at:m[0]])
		style = style.with(strings.Split(line[m[2]:m[3]], ";"))
		at = m[1]
	}
	add(line[at:])
	return runs
}

// palette is for the colours 30 to 37.
var palette = []string{"#484f58", "#ff7b72", "#7ee787", "#e3b341", "#79c0ff", "#d2a8ff", "#76e3ea", "#b1bac4"}

// with is the style after SGR parameters: bold, dim, the eight colours, and 256
// colours for text and background.
func (r run) with(parameters []string) run {
	for i := 0; i < len(parameters); i++ {
		n, _ := strconv.Atoi(parameters[i]) // an empty one is 0
		switch {
		case n == 0:
			r = run{}
		case n == 1:
			r.bold = true
		case n == 2:
			r.dim = true
		case n >= 30 && n <= 37:
			r.fill = palette[n-30]
		case (n == 38 || n == 48) && i+2 < len(parameters) && parameters[i+1] == "5":
			code, _ := strconv.Atoi(parameters[i+2])
			if i += 2; n == 38 {
				r.fill = color256(code)
			} else {
				r.back = color256(code)
			}
		}
	}
	return r
}

// color256 is xterm's palette: 16 colours, a cube of 6×6×6, and 24 greys.
func color256(code int) string {
	switch {
	case code < 16:
		return palette[code%8]
	case code < 232:
		level := func(i int) int {
			if i == 0 {
				return 0
			}
			return 55 + 40*i
		}
		code -= 16
		return fmt.Sprintf("#%02x%02x%02x", level(code/36), level(code/6%6), level(code%6))
	}
	grey := 8 + 10*(code-232)
	return fmt.Sprintf("#%02x%02x%02x", grey, grey, grey)
}

// The picture's measures, in its own units: a cell, and the frame around them.
const (
	cellWidth  = 8.4
	cellHeight = 19.0
	margin     = 18.0
	bar        = 34.0
)

func draw(lines [][]run, columns int) []byte {
	width, height := float64(columns)*cellWidth+2*margin, float64(len(lines))*cellHeight+bar+2*margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="The output of engram demo">
<!-- Made by: go run ./docs/demosvg -->
<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#e6edf3;white-space:pre}.b{font-weight:700}.d{opacity:.6}</style>
<rect width="100%%" height="100%%" rx="10" fill="#0d1117"/>
<circle cx="22" cy="18" r="6" fill="#ff5f57"/><circle cx="42" cy="18" r="6" fill="#febc2e"/><circle cx="62" cy="18" r="6" fill="#28c840"/>
`, width, height, width, height)
	for i, runs := range lines {
		x, y := margin, bar+margin+float64(i)*cellHeight
		for _, r := range runs {
			w := float64(uniseg.StringWidth(r.text)) * cellWidth
			if r.back != "" {
				fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`, x, y-14, w-1, cellHeight-1, r.back)
			}
			if s := strings.TrimLeft(r.text, " "); strings.TrimSpace(s) != "" {
				indent := float64(len(r.text)-len(s)) * cellWidth
				s = strings.TrimRight(s, " ")
				fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" textLength="%.1f"%s>%s</text>`, x+indent, y, float64(uniseg.StringWidth(s))*cellWidth, r.attributes(), html.EscapeString(s))
			}
			x += w
		}
		b.WriteByte('\n')
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (r run) attributes() string {
	var class []string
	if r.bold {
		class = append(class, "b")
	}
	if r.dim {
		class = append(class, "d")
	}
	var b strings.Builder
	if class != nil {
		fmt.Fprintf(&b, ` class="%s"`, strings.Join(class, " "))
	}
	if r.fill != "" {
		fmt.Fprintf(&b, ` style="fill:%s"`, r.fill)
	}
	return b.String()
}
