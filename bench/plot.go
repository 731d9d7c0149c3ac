package main

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// A panel is one picture of a plot: recall along, queries a second up in logarithms.
type panel struct {
	title  string
	curves []drawn
}

// A drawn is a curve as it is drawn.
type drawn struct {
	name string
	ours bool
	at   []rated
}

// The plot's measures, in pixels, and its scale of recall: the logarithm of what is
// missed, so that 0.9, 0.99 and 0.999 are as far from each other.
const (
	plotWidth, plotHeight   = 860, 420
	plotLeft, plotTop       = 64, 36
	plotInner, plotInnerTop = 500, 330
	leastMissed, mostMissed = 0.0008, 0.4
)

// The peers' colours, told apart by those who see fewer too, and their dashes.
var (
	colours = []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d31", "#7f7f7f", "#6a51a3"}
	dashes  = []string{"", "6 3", "2 3", "9 3 2 3"}
)

const ourColour = "#d0021b"

// writePlot draws the panels, one below the other.
func writePlot(w io.Writer, panels []panel) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", plotWidth, plotHeight*len(panels))
	fmt.Fprintf(&b, "<title>Recall against queries a second</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n")
	for i, p := range panels {
		fmt.Fprintf(&b, "<g transform=\"translate(0 %d)\">\n", i*plotHeight)
		p.draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (p panel) draw(b *strings.Builder) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, c := range p.curves {
		for _, m := range c.at {
			low, high = min(low, math.Log10(m.rate)), max(high, math.Log10(m.rate))
		}
	}
	if low > high {
		return
	}
	low, high = math.Floor(low*2)/2, math.Ceil(high*2)/2
	x := func(recall float64) float64 {
		missed := math.Log(max(1-recall, leastMissed))
		return plotLeft + plotInner*(math.Log(mostMissed)-missed)/(math.Log(mostMissed)-math.Log(leastMissed))
	}
	y := func(rate float64) float64 {
		return plotTop + plotInnerTop*(high-math.Log10(rate))/max(high-low, 0.5)
	}
	fmt.Fprintf(b, "<text x=\"%d\" y=\"20\" font-size=\"14\" font-weight=\"bold\">%s</text>\n", plotLeft, html.EscapeString(p.title))
	grid := func(x1, y1, x2, y2 float64) {
		fmt.Fprintf(b, "<path d=\"M%.1f %.1fL%.1f %.1f\" stroke=\"#ddd\"/>\n", x1, y1, x2, y2)
	}
	for _, r := range []float64{0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1} {
		grid(x(r), plotTop, x(r), plotTop+plotInnerTop)
		if r != 1 { // which stands by 0.999
			fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%v</text>\n", x(r), plotTop+plotInnerTop+16, r)
		}
	}
	for e := math.Ceil(low); e <= high; e++ {
		grid(plotLeft, y(math.Pow(10, e)), plotLeft+plotInner, y(math.Pow(10, e)))
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", plotLeft-6, y(math.Pow(10, e))+4, thousands(math.Pow(10, e)))
	}
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">recall@%d</text>\n", plotLeft+plotInner/2, plotTop+plotInnerTop+34, topK)
	fmt.Fprintf(b, "<text transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">queries a second</text>\n", plotTop+plotInnerTop/2)
	peers := 0
	for i, c := range p.curves {
		colour, dash, width := ourColour, dashes[0], 3.0
		if !c.ours {
			colour, dash, width = colours[peers%len(colours)], dashes[peers/len(colours)%len(dashes)], 1.5
			peers++
		}
		style := fmt.Sprintf("fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\" stroke-dasharray=\"%s\"", colour, width, dash)
		var path strings.Builder
		for j, m := range c.at {
			fmt.Fprintf(&path, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[j == 0], x(m.recall), y(m.rate))
			fmt.Fprintf(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\"/>\n", x(m.recall), y(m.rate), width, colour)
		}
		fmt.Fprintf(b, "<path d=\"%s\" %s/>\n", path.String(), style)
		row := plotTop + 6 + 17*i
		fmt.Fprintf(b, "<path d=\"M%d %dh26\" %s/>\n<text x=\"%d\" y=\"%d\">%s</text>\n", plotLeft+plotInner+18, row, style, plotLeft+plotInner+50, row+4, html.EscapeString(c.name))
	}
}

func thousands(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%gM", n/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%gk", n/1e3)
	}
	return fmt.Sprintf("%g", n)
}
