//go:build !amd64 || purego

package roofline

// Read loads every byte of p once, but for those past the last whole 512.
func Read(p []byte) { readGo(p) }

// MultiplyAdd makes turns of independent multiply-adds as fast as the compiler
// lets it, and returns how many float32 multiply-adds that was.
func MultiplyAdd(turns int) int { return multiplyAddGo(turns) }
