package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A contender does one piece of work and says how long it took.
type contender struct {
	name string
	run  func() (time.Duration, error)
}

// timed makes a contender of work that is timed from here.
func timed(name string, work func() error) contender {
	return contender{name, func() (time.Duration, error) {
		start := time.Now()
		err := work()
		return time.Since(start), err
	}}
}

// settle is the pause before each run, in which threads that another contender
// left spinning go to sleep.
const settle = 30 * time.Millisecond

// race runs every contender once a round, each round beginning with another one,
// after a round that isn't counted. What disturbs the machine for a while disturbs
// all of a round, so that ratios within rounds stand where times don't.
func race(ctx context.Context, rounds int, contenders []contender) (times, error) {
	t := times{}
	for round := -1; round < rounds; round++ {
		for i := range contenders {
			c := contenders[(i+max(round, 0))%len(contenders)]
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			time.Sleep(settle)
			d, err := c.run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			if round >= 0 {
				t[c.name] = append(t[c.name], d.Seconds())
			}
		}
	}
	return t, nil
}

// times are each contender's seconds, by round.
type times map[string][]float64

// A spread is a median with the quartiles around it.
type spread struct{ low, median, high float64 }

func spreadOf(v []float64) spread {
	v = slices.Sorted(slices.Values(v))
	at := func(share float64) float64 {
		x := share * float64(len(v)-1)
		i := int(x)
		if i+1 >= len(v) {
			return v[i]
		}
		return v[i] + (x-float64(i))*(v[i+1]-v[i])
	}
	return spread{at(0.25), at(0.5), at(0.75)}
}

// faster is how many times as fast as another a contender was, round by round.
func (t times) faster(name, than string) spread {
	ratios := make([]float64, len(t[name]))
	for i, s := range t[name] {
		ratios[i] = t[than][i] / s
	}
	return spreadOf(ratios)
}

// best is the contender of least median time.
func (t times) best(names []string) string {
	return slices.MinFunc(names, func(a, b string) int {
		if spreadOf(t[a]).median < spreadOf(t[b]).median {
			return -1
		}
		return 1
	})
}
