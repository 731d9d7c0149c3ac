package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rivo/uniseg"
	"golang.org/x/term"
)

// A terminal is where a command reads and writes: tables and colour for people,
// JSON for programs.
type terminal struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	json   bool
	color  bool
	person bool // out is a terminal
	width  int
}

func newTerminal(in io.Reader, out, errOut io.Writer, color string, asJSON bool) *terminal {
	t := &terminal{in: in, out: out, err: errOut, json: asJSON, width: 100}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		t.person = true
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w >= 40 {
			t.width = w
		}
	}
	t.color = color == "always" || color == "auto" && t.person && os.Getenv("NO_COLOR") == ""
	return t
}

func (t *terminal) printf(format string, args ...any) { _, _ = fmt.Fprintf(t.out, format, args...) }

// note tells a person something that is not the result.
func (t *terminal) note(format string, args ...any) { _, _ = fmt.Fprintf(t.err, format, args...) }

// object prints v as one line of JSON.
func (t *terminal) object(v any) error {
	e := json.NewEncoder(t.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// The colours in use, as SGR parameters.
const (
	bold   = "1"
	dim    = "2"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (t *terminal) paint(sgr, s string) string {
	if !t.color || s == "" || sgr == "" {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

// A column of a table.
type column struct {
	title string
	right bool   // aligned to the right
	sgr   string // its cells' colour
	wide  bool   // takes what width is left, and is cut to it
}

// table prints rows under titles.
func (t *terminal) table(columns []column, rows [][]string) {
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = uniseg.StringWidth(c.title)
		for _, r := range rows {
			r[i] = oneLine(r[i])
			widths[i] = max(widths[i], uniseg.StringWidth(r[i]))
		}
	}
	used := 2 * (len(columns) - 1)
	for i, c := range columns {
		if !c.wide {
			used += widths[i]
		}
	}
	for i, c := range columns {
		if c.wide && (t.person || t.width != 100) {
			widths[i] = min(widths[i], max(20, t.width-used))
		}
	}
	line := func(cells []string, sgr func(i int) string) {
		var b strings.Builder
		for i, c := range columns {
			cell := cut(cells[i], widths[i])
			pad := strings.Repeat(" ", max(0, widths[i]-uniseg.StringWidth(cell)))
			if i > 0 {
				b.WriteString("  ")
			}
			switch {
			case c.right:
				b.WriteString(pad + t.paint(sgr(i), cell))
			case i == len(columns)-1:
				b.WriteString(t.paint(sgr(i), cell))
			default:
				b.WriteString(t.paint(sgr(i), cell) + pad)
			}
		}
		t.printf("%s\n", b.String())
	}
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	line(titles, func(int) string { return dim })
	for _, r := range rows {
		line(r, func(i int) string { return columns[i].sgr })
	}
}

// oneLine makes control characters, line ends among them, harmless to a terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// cut shortens s to a width in terminal cells, by whole characters.
func cut(s string, width int) string {
	if uniseg.StringWidth(s) <= width {
		return s
	}
	var b strings.Builder
	used := 0
	g := uniseg.NewGraphemes(s)
	for g.Next() {
		if used+g.Width() > width-1 {
			break
		}
		used += g.Width()
		b.WriteString(g.Str())
	}
	return b.String() + "…"
}

// bytesText gives a number of bytes as people read it.
func bytesText(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/1024, 0
	for v >= 1024 {
		v, u = v/1024, u+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[u])
}

// countText gives a number with its thousands apart.
func countText[N int | uint64](n N) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
