package main

import (
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// A progress shows how far a long job is: a bar with its rate and the time left,
// on standard error, for a person alone.
type progress struct {
	all *mpb.Progress
	bar *mpb.Bar
}

// progress begins a bar of total things ("records", or "bytes").
func (t *terminal) progress(what string, total int64) *progress {
	if !t.person || t.json {
		return &progress{}
	}
	var count, speed decor.Decorator
	if what == "bytes" {
		count, speed = decor.CountersKibiByte("% .1f / % .1f"), decor.AverageSpeed(decor.SizeB1024(0), "% .1f")
	} else {
		count, speed = decor.CountersNoUnit("%d / %d "+what), decor.AverageSpeed(0, "%.0f "+what+"/s")
	}
	all := mpb.New(mpb.WithOutput(t.err), mpb.WithWidth(40), mpb.WithRefreshRate(80*time.Millisecond))
	bar := all.New(total,
		mpb.BarStyle().Lbound("").Filler("█").Tip("▌").Padding("░").Rbound(""),
		mpb.PrependDecorators(count, decor.Name("  ")),
		mpb.AppendDecorators(speed, decor.Name("  "), decor.OnComplete(decor.AverageETA(decor.ET_STYLE_GO), "done")),
	)
	return &progress{all, bar}
}

func (p *progress) set(n int64) {
	if p.bar != nil {
		p.bar.SetCurrent(n)
	}
}

// end draws the bar for the last time; it may be called twice.
func (p *progress) end() {
	if p.bar == nil {
		return
	}
	p.bar.SetTotal(-1, true)
	p.all.Wait()
	p.bar = nil
}
