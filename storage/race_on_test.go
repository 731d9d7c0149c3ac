//go:build race

package storage

// raced is true where the race detector makes everything slow: it is for what
// goroutines do, and a sample of the faults shows that.
const raced = true
