//go:build race

package index

// raced is true where the race detector makes everything slow: it is for what
// goroutines do, and a sample of the cases shows that.
const raced = true
