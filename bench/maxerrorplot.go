package main

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// A sharpness is how many times as fast as full Attend it was within an error, where it attended
// to so many rows in effect.
type sharpness struct{ rows, faster float64 }

// A sharpened is what was measured of one memory at several scales, as it is drawn.
type sharpened struct {
	name string
	at   []sharpness
}

// writeSharpness draws how much faster Attend within an error is against the effective number of
// rows, both in logarithms, and the goal.
func writeSharpness(w io.Writer, curves []sharpened) error {
	most, low, high := 10.0, -0.5, 1.5
	for _, c := range curves {
		for _, m := range c.at {
			most = max(most, m.rows)
			low, high = min(low, math.Log10(m.faster)), max(high, math.Log10(m.faster))
		}
	}
	x := func(rows float64) float64 { return plotLeft + plotInner*math.Log10(max(1, rows))/math.Log10(most) }
	y := func(faster float64) float64 {
		return plotTop + plotInnerTop*(high-math.Log10(faster))/(high-low)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", plotWidth, plotHeight)
	const title = "Attend within an error: speed-up against the effective number of records"
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", title)
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"20\" font-size=\"14\" font-weight=\"bold\">%s</text>\n", plotLeft, title)
	for rows := 1.0; rows <= most; rows *= 10 {
		fmt.Fprintf(&b, "<path d=\"M%.1f %dv%d\" stroke=\"#ddd\"/>\n<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
			x(rows), plotTop, plotInnerTop, x(rows), plotTop+plotInnerTop+16, thousands(rows))
	}
	for _, faster := range []float64{0.5, 1, 2, 5, 10, 20, 50, 100} {
		if l := math.Log10(faster); l < low || l > high {
			continue
		}
		colour := "#ddd"
		if faster == 10 {
			colour = "#888" // the goal
		}
		fmt.Fprintf(&b, "<path d=\"M%d %.1fh%d\" stroke=\"%s\"/>\n<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g×</text>\n",
			plotLeft, y(faster), plotInner, colour, plotLeft-6, y(faster)+4, faster)
	}
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">records in effect, exp(entropy)</text>\n", plotLeft+plotInner/2, plotTop+plotInnerTop+34)
	for i, c := range curves {
		colour := colours[i%len(colours)]
		for j, m := range c.at {
			fmt.Fprintf(&b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x(m.rows), y(m.faster), colour)
			if j > 0 {
				fmt.Fprintf(&b, "<path d=\"M%.1f %.1fL%.1f %.1f\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", x(c.at[j-1].rows), y(c.at[j-1].faster), x(m.rows), y(m.faster), colour)
			}
		}
		row := plotTop + 6 + 17*i
		fmt.Fprintf(&b, "<path d=\"M%d %dh26\" stroke=\"%s\" stroke-width=\"1.5\"/>\n<text x=\"%d\" y=\"%d\">%s</text>\n", plotLeft+plotInner+18, row, colour, plotLeft+plotInner+50, row+4, html.EscapeString(c.name))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
