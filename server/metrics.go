package server

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc/codes"
)

// metrics are what /metrics shows. Those of calls have the names that gRPC's middleware
// gives them, so that dashboards made for it fit; they are kept here because every
// counter of a method is found once, at start, instead of by its labels in every call.
type metrics struct {
	registry *prometheus.Registry
	started  *prometheus.CounterVec
	handled  *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	received *prometheus.CounterVec
	sent     *prometheus.CounterVec

	panics        prometheus.Counter
	rows          *prometheus.CounterVec
	embedded      prometheus.Counter
	rowsRetrieved prometheus.Counter
	rowsAttended  prometheus.Counter
}

// method is one method of a service and its counters.
type method struct {
	name           string // as in a call's path
	public         bool   // needs no credentials
	always         bool   // served before the memory is restored
	started        prometheus.Counter
	handled        [17]prometheus.Counter // by code
	seconds        prometheus.Observer
	received, sent prometheus.Counter
}

func newMetrics() *metrics {
	call := []string{"grpc_type", "grpc_service", "grpc_method"}
	counter := func(name, help string, labels []string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		started:  counter("grpc_server_started_total", "Calls started.", call),
		handled:  counter("grpc_server_handled_total", "Calls ended, by status code.", append(call[:3:3], "grpc_code")),
		received: counter("grpc_server_msg_received_total", "Messages received.", call),
		sent:     counter("grpc_server_msg_sent_total", "Messages sent.", call),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "grpc_server_handling_seconds",
			Help:    "Time from the start of a call to its end.",
			Buckets: prometheus.ExponentialBucketsRange(50e-6, 30, 20),
		}, call),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "engram_panics_total", Help: "Handlers that panicked."}),
		rows:   counter("engram_rows_scanned_total", "Rows of vectors scored, by kind of read.", []string{"read"}),
		embedded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "engram_texts_embedded_total", Help: "Texts turned into vectors.",
		}),
	}
	m.rowsRetrieved, m.rowsAttended = m.rows.WithLabelValues("retrieve"), m.rows.WithLabelValues("attend")
	m.registry.MustRegister(m.started, m.handled, m.received, m.sent, m.seconds, m.panics, m.rows, m.embedded,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// gauge adds a figure that is read when it is scraped.
func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// counter adds a figure that only rises, and is read when it is scraped.
func (m *metrics) counter(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
}

// method finds the counters of a method.
func (m *metrics) method(service, name, kind string) *method {
	labels := []string{kind, service, name}
	out := &method{
		name:     "/" + service + "/" + name,
		public:   strings.HasPrefix(service, "grpc.health."),
		always:   !strings.HasPrefix(service, "engram."),
		started:  m.started.WithLabelValues(labels...),
		seconds:  m.seconds.WithLabelValues(labels...),
		received: m.received.WithLabelValues(labels...),
		sent:     m.sent.WithLabelValues(labels...),
	}
	for code := range out.handled {
		out.handled[code] = m.handled.WithLabelValues(append(labels[:3:3], codes.Code(code).String())...)
	}
	return out
}
