package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/cpuid/v2"

	"engram/kernel"
	"engram/kernel/roofline"
)

// readAll reads runs of memory once with every core, as fast as they can.
func readAll(runs [][]byte) {
	const chunk = 1 << 20
	var chunks [][]byte
	for _, r := range runs {
		for from := 0; from < len(r); from += chunk {
			chunks = append(chunks, r[from:min(from+chunk, len(r))])
		}
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(chunks); i = int(next.Add(1)) - 1 {
				roofline.Read(chunks[i])
			}
		})
	}
	wg.Wait()
}

// bandwidth is the contender that reads the bytes a scan must read, and does nothing
// with them.
func bandwidth(d *data) contender {
	runs := d.memory()
	return timed(readBandwidth, func() error {
		readAll(runs)
		return nil
	})
}

// multiplyAdds is the contender that does n multiply-adds with every core, as fast as
// they can: a part of them, and its time in proportion.
func multiplyAdds(n float64) contender {
	return contender{multiplyAddPeak, func() (time.Duration, error) {
		cores := runtime.GOMAXPROCS(0)
		turns := int(n / 4 / float64(cores*roofline.MultiplyAdd(1)))
		var done atomic.Int64
		var wg sync.WaitGroup
		start := time.Now()
		for range cores {
			wg.Go(func() { done.Add(int64(roofline.MultiplyAdd(turns))) })
		}
		wg.Wait()
		took := time.Since(start)
		return time.Duration(float64(took) * n / float64(done.Load())), nil
	}}
}

// The limits' names.
const (
	readBandwidth   = "read bandwidth"
	multiplyAddPeak = "multiply-add peak"
)

// machine describes this one in a few words.
func machine() []string {
	c := cpuid.CPU
	return []string{
		fmt.Sprintf("processor: %s, family %d model %d; %d cores", c.BrandName, c.Family, c.Model, runtime.NumCPU()),
		fmt.Sprintf("memory: %s; last-level cache %d MiB", totalMemory(), c.Cache.L3>>20),
		"others' load when the run began: " + load(),
		fmt.Sprintf("Engram: instruction set %s, %s, GOMAXPROCS %d, %s/%s", kernel.Set(), runtime.Version(), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH),
	}
}

func totalMemory() string {
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		var kib int
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kib); err == nil {
			return fmt.Sprintf("%.1f GiB", float64(kib)/(1<<20))
		}
	}
	return "unknown"
}

// load is the average number of threads that wanted a core in the last minute: above
// nothing, the figures are to be taken with care.
func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); len(f) > 0 {
		return f[0] + " threads wanted a core"
	}
	return "unknown"
}

// residentBytes is the memory that another process holds, files that it maps aside.
func residentBytes(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}
