package memory

import "time"

// A Clock tells the time. It is the only source of it in the program, so that
// tests and replays can give their own.
type Clock interface{ Now() time.Time }

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

// SystemClock is the machine's clock.
func SystemClock() Clock { return systemClock{} }
