package main

import (
	"errors"
	"fmt"
	"log"
	"runtime"
	"runtime/metrics"
	"time"

	engramv1 "engram/proto/engram/v1"
)

// gc measures what stored records cost the garbage collector: how much longer a
// collection takes with them than with none, and its share of the processors under
// a steady load of Retrieve, server and client in this process.
func gc(b *bench) (err error) {
	const dim = 128
	records := 8_000_000
	if b.short {
		records = 200_000
	}
	s, err := serve()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.store("beside", 1000, 384); err != nil {
		return err
	}
	none := collections(b.rounds)
	log.Printf("storing %d records …", records)
	if err := s.store("full", records, dim); err != nil {
		return err
	}
	time.Sleep(time.Second) // what writes left to the background
	full := collections(b.rounds)
	longer := make([]float64, b.rounds)
	for i := range longer {
		longer[i] = 1e3 * (full[i] - none[i])
	}
	b.report.lines = append(b.report.lines, line{
		what:    fmt.Sprintf("a garbage collection with %v stored, ids and texts too", size{records, dim}),
		engram:  seconds(spreadOf(full)),
		against: "with nothing stored",
		theirs:  seconds(spreadOf(none)),
		ratio:   spreadOf(longer),
		unit:    " ms longer",
		goal:    2,
		atMost:  true,
	})

	client := engramv1.NewMemoryServiceClient(s.conn)
	in := request("beside", 384)
	var shares, rates []float64
	for range 5 {
		n := 0
		runtime.GC() // the metrics are as of a collection
		collector, total := processor()
		began := time.Now()
		for time.Since(began) < 2*time.Second {
			if _, err := client.Retrieve(b.ctx, in); err != nil {
				return err
			}
			n++
		}
		rates = append(rates, float64(n)/time.Since(began).Seconds())
		runtime.GC()
		collectorNow, totalNow := processor()
		shares = append(shares, 100*(collectorNow-collector)/(totalNow-total))
	}
	b.report.lines = append(b.report.lines, line{
		what:    fmt.Sprintf("the collector under a steady Retrieve of 1000×384, %v stored beside", size{records, dim}),
		engram:  fmt.Sprintf("%.0f Retrieve/s", spreadOf(rates).median),
		against: "the processors' time",
		ratio:   spreadOf(shares),
		unit:    " %",
		goal:    1,
		atMost:  true,
	})
	return nil
}

// collections are the seconds that collections take, one after the other.
func collections(n int) (took []float64) {
	runtime.GC()
	for range n {
		time.Sleep(settle)
		began := time.Now()
		runtime.GC()
		took = append(took, time.Since(began).Seconds())
	}
	return took
}

// processor is the processors' seconds so far: the collector's, and all that there were,
// idle ones too.
func processor() (collector, total float64) {
	s := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64(), s[1].Value.Float64()
}
