//go:build !linux

package bert

// adviseHuge does nothing: only Linux is asked.
func adviseHuge([]float32) {}
