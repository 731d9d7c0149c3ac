package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"engram/client"
)

// mapCells is how many spans of time a heat map of `engram attend` has.
const mapCells = 48

// A heatMap is the share of the attention that each span of time gets, of equal spans from
// the earliest record to the latest: a row for each head of each query.
type heatMap struct {
	from, to time.Time
	labels   []string
	shares   [][]float64
}

// heatMapOf asks for the attention to each span by itself: its share is exp of the log-sum-exp
// over its records less that over all, exactly. options leave out what filters; nothing was
// attended to where it is nil.
func heatMapOf(ctx context.Context, e *client.Client, namespace string, queries []client.Query, labels []string, where []client.Filter, options []client.ReadOption) (*heatMap, error) {
	filtered := func(more ...client.Filter) []client.ReadOption {
		out := append(append([]client.ReadOption{}, options...), client.WithoutContent())
		if all := append(append([]client.Filter{}, where...), more...); len(all) > 0 {
			out = append(out, client.Where(client.All(all...)))
		}
		return out
	}
	m := new(heatMap)
	for order, at := range map[client.Order]*time.Time{client.ByTime: &m.from, client.ByTimeDesc: &m.to} {
		for r, err := range e.List(ctx, namespace, append(filtered(), client.In(order))...) {
			if err != nil {
				return nil, err
			}
			*at = r.Time
			break
		}
	}
	if m.from.IsZero() {
		return nil, nil
	}
	whole, err := e.AttendAll(ctx, []string{namespace}, queries, filtered()...)
	if err != nil {
		return nil, err
	}
	for q := range whole {
		for h := range whole[q].Heads {
			label := labels[q]
			if len(whole[q].Heads) > 1 {
				label = strings.TrimSpace(fmt.Sprint(label, " head ", h))
			}
			m.labels, m.shares = append(m.labels, label), append(m.shares, make([]float64, mapCells))
		}
	}
	for cell := range mapCells {
		span, err := e.AttendAll(ctx, []string{namespace}, queries, filtered(client.Time.AtLeast(m.time(cell)), client.Time.Below(m.time(cell+1)))...)
		if err != nil {
			return nil, err
		}
		row := 0
		for q := range span {
			for h, head := range span[q].Heads {
				if head.Attended > 0 {
					m.shares[row][cell] = math.Exp(head.LogSumExp - whole[q].Heads[h].LogSumExp)
				}
				row++
			}
		}
	}
	return m, nil
}

// time is where a cell begins; the last ends just behind the latest record.
func (m *heatMap) time(cell int) time.Time {
	if cell == mapCells {
		return m.to.Add(1)
	}
	return m.from.Add(time.Duration(float64(m.to.Sub(m.from)) * float64(cell) / mapCells))
}

// most is the greatest share.
func (m *heatMap) most() (most float64) {
	for _, row := range m.shares {
		for _, x := range row {
			most = max(most, x)
		}
	}
	return most
}

// print draws the map on a terminal, darker to brighter on a scale of square roots.
func (m *heatMap) print(t *terminal) {
	most := m.most()
	t.printf("%s\n", t.paint(dim, fmt.Sprintf("attention by time, %s to %s", m.from.Local().Format(time.DateTime), m.to.Local().Format(time.DateTime))))
	for i, row := range m.shares {
		t.printf("%s %s\n", t.heatRow(row, most), t.paint(dim, m.labels[i]))
	}
	t.printf("\n")
}

// heatRow draws shares, of which one is at most most, in two columns each.
func (t *terminal) heatRow(row []float64, most float64) string {
	var b strings.Builder
	for _, x := range row {
		level := 0.0
		if most > 0 {
			level = min(1, math.Sqrt(x/most))
		}
		if t.color {
			fmt.Fprintf(&b, "\x1b[48;5;%dm  \x1b[0m", heat[int(math.Round(level*float64(len(heat)-1)))])
			continue
		}
		runes := []rune(shades)
		s := string(runes[int(math.Ceil(level*float64(len(runes)-1)-1e-9))])
		b.WriteString(s + s)
	}
	return b.String()
}

// The sides of a cell of the picture, and the room for a row's label, in pixels.
const (
	cellSide  = 14
	labelSide = 320
)

// write writes the map as a picture: queries from top to bottom, time from left to right.
func (m *heatMap) write(file string) error {
	var b strings.Builder
	width, height := labelSide+mapCells*cellSide, (len(m.shares)+2)*cellSide+8
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#1c1c1c"/>`+"\n", width, height)
	text := func(x, y int, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="%s" fill="#dddddd">`, x, y, anchor)
		_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes all
		b.WriteString("</text>\n")
	}
	most := m.most()
	for i, row := range m.shares {
		y := (i + 1) * cellSide
		label := []rune(m.labels[i])
		if len(label) > 50 {
			label = append(label[:49:49], '…')
		}
		text(labelSide-6, y+11, "end", string(label))
		for j, x := range row {
			level := 0.0
			if most > 0 {
				level = min(1, math.Sqrt(x/most))
			}
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="rgb(%d,%d,%d)"><title>%.2f%% from %s</title></rect>`+"\n",
				labelSide+j*cellSide, y, cellSide, cellSide, 48+int(207*level), 48+int(160*level*level), 48+int(40*(1-level)),
				100*x, m.time(j).UTC().Format(time.RFC3339))
		}
	}
	y := (len(m.shares)+1)*cellSide + 12
	text(labelSide, y, "start", m.from.UTC().Format(time.DateTime))
	text(width-4, y, "end", m.to.UTC().Format(time.DateTime))
	b.WriteString("</svg>\n")
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
