//go:build arm64 && !purego

package neon

// Built says whether the assembly is in this build.
const Built = true

// Width is how many queries a panel holds.
const Width = 16

// PanelDot is kernel.PanelDot.
func PanelDot(dst, panel, rows []float32, stride, n, d int) {
	panelDot(&dst[0], &panel[0], &rows[0], n, d, stride)
}

// PanelL2 is kernel.PanelL2.
func PanelL2(dst, panel, rows []float32, stride, n, d int) {
	panelL2(&dst[0], &panel[0], &rows[0], n, d, stride)
}

// PanelScale is kernel.PanelScale.
func PanelScale(scores, rowScale, laneScale []float32, n int) {
	panelScale(&scores[0], &rowScale[0], &laneScale[0], n)
}

// PanelSelect is kernel.PanelSelect.
func PanelSelect(hits []uint32, scores, threshold []float32, n int) int {
	return panelSelect(&hits[0], &scores[0], &threshold[0], n)
}

//go:noescape
func panelDot(dst, panel, rows *float32, n, d, stride int)

//go:noescape
func panelL2(dst, panel, rows *float32, n, d, stride int)

//go:noescape
func panelScale(scores, rowScale, laneScale *float32, n int)

//go:noescape
func panelSelect(hits *uint32, scores, threshold *float32, n int) int
