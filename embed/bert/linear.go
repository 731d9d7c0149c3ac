package bert

import "engram/kernel"

// rowUnit is what counts of rows are rounded up to where that reads and computes rows
// that nobody asks for: the kernels take four rows in less time than one and one and one.
const rowUnit = 4

// rowBlock is how many rows meet a panel at a time, so that they stay in the level 2
// cache: a multiple of every instruction set's tile.
const rowBlock = 48

// A linear is y = W·x + b, W kept in panels of kernel.PanelWidth outputs.
type linear struct {
	in, out int
	panels  []float32 // one after the other, in·width each
	bias    []float32 // filled up to whole panels
}

// newLinear packs the weights of some matrices with equal inputs, each with its outputs
// as rows, one below the other.
func newLinear(a *arena, in int, matrices, biases [][]float32) *linear {
	width := kernel.PanelWidth()
	l := &linear{in: in}
	var rows [][]float32
	for m, matrix := range matrices {
		l.bias = append(l.bias, biases[m]...)
		for i := 0; i < len(matrix); i += in {
			rows = append(rows, matrix[i:i+in])
		}
	}
	l.out = len(rows)
	number := (l.out + width - 1) / width
	l.panels = a.take(number * in * width)
	l.bias = append(l.bias, make([]float32, number*width-l.out)...)
	for p := range number {
		kernel.Pack(l.panel(p), rows[p*width:min(l.out, (p+1)*width)], in)
	}
	return l
}

func (l *linear) panel(p int) []float32 {
	size := l.in * kernel.PanelWidth()
	return l.panels[p*size : (p+1)*size]
}

func (l *linear) count() int { return len(l.bias) / kernel.PanelWidth() }

// A finish is kernel.PanelBias, PanelResidual or PanelGELU.
type finish func(y []float32, stride int, sums, bias []float32, n int)

// apply does panel p of n rows of x, a multiple of rowUnit, into its columns of y, whose
// rows have out components. tile has room for rowBlock+1 rows of a panel.
func (l *linear) apply(y, x, tile []float32, n, p int, finish finish) {
	width := kernel.PanelWidth()
	first := p * width
	columns := min(width, l.out-first)
	bias := l.bias[first : first+width]
	row := tile[rowBlock*width:][:width]
	for i := 0; i < n; i += rowBlock {
		rows := min(rowBlock, n-i)
		kernel.PanelDot(tile, l.panel(p), x[i*l.in:], l.in, rows, l.in)
		if columns == width {
			finish(y[i*l.out+first:], l.out, tile, bias, rows)
			continue
		}
		// The last panel's columns aren't all there: through a row that has them.
		for r := range rows {
			out := y[(i+r)*l.out+first:][:columns]
			copy(row, out)
			finish(row, width, tile[r*width:], bias, 1)
			copy(out, row)
		}
	}
}
