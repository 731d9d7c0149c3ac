package memory

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"engram/index"
	"engram/memory/lexical"
)

// Bounds on the norm of a vector: beyond them scores in float32 overflow, or under
// COSINE lose their meaning.
const (
	maxNorm       = 1e18
	minCosineNorm = 1e-18
)

// MaxPosition bounds a record's position, so that float64 has it.
const MaxPosition = 1 << 53

// CheckRecall says what is wrong with a namespace's recall, or gives "". 0 stands for
// exact answers.
func CheckRecall(r float64) string {
	if r >= 0 && r < 1 {
		return ""
	}
	return fmt.Sprintf("is %v; give a number above 0 and below 1, or 0 for exact answers", r)
}

// checkValueEncoding says why values can't have an encoding, or gives "".
func checkValueEncoding(e index.Encoding) string {
	switch e {
	case index.F32, index.F16, index.BF16:
		return ""
	}
	return fmt.Sprintf("is %d, which is no encoding of values", e)
}

// CheckVector says what is wrong with a key or a query of a namespace, or gives
// "". The reason reads on from the field's name.
//
// Under COSINE each of the heads, of which there is at least one, needs a norm.
func CheckVector(v []float32, m index.Metric, dimension, heads int) string {
	if len(v) != dimension {
		return fmt.Sprintf("has %d components; the dimension is %d", len(v), dimension)
	}
	return checkComponents(v, normed(m, heads), 1)
}

// normed is how many heads of a key need a norm that is not too small.
func normed(m index.Metric, heads int) int {
	if m == index.Cosine {
		return heads
	}
	return 0
}

// roundedNorm is how far rounding may have moved the norm of a vector as it is stored.
const roundedNorm = 1 + 1.0/64

// checkComponents is CheckVector but for the length, with norms by a factor beyond the
// bounds.
func checkComponents(v []float32, normed int, factor float64) string {
	norm := index.Norm(v)
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return badComponents(v)
	}
	switch {
	case norm > maxNorm*factor:
		return fmt.Sprintf("has a norm of %.3g; at most %g is allowed", norm, float64(maxNorm))
	case normed > 0 && norm < minCosineNorm/factor:
		return fmt.Sprintf("has a norm of %.3g; under COSINE it must be at least %g", norm, minCosineNorm)
	}
	if normed > 1 {
		d := len(v) / normed
		for h := range normed {
			if norm := index.Norm(v[h*d : (h+1)*d]); norm < minCosineNorm {
				return fmt.Sprintf("has a norm of %.3g in head %d; under COSINE it must be at least %g in each", norm, h, minCosineNorm)
			}
		}
	}
	return ""
}

func badComponents(v []float32) string {
	first, count := -1, 0
	for i, x := range v {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			if first < 0 {
				first = i
			}
			count++
		}
	}
	reason := fmt.Sprintf("has component %d = %v; components must be finite", first, v[first])
	if count > 1 {
		reason += fmt.Sprintf(" (and %d more are not)", count-1)
	}
	return reason
}

// A checker gathers what is wrong with a request.
type checker struct {
	limits *Limits
	stored bool // vectors are as a namespace stored them, maybe rounded since they were checked
	found  []Violation
}

func (c *checker) add(f field, format string, args ...any) {
	c.found = append(c.found, Violation{f.String(), fmt.Sprintf(format, args...)})
}

// A field is a field of the request, or of its record of a number from 0. Its name
// is put together only where it is wrong.
type field struct {
	record int // −1: the request's own
	name   string
}

func of(name string) field { return field{-1, name} }

func (f field) String() string {
	if f.record < 0 {
		return f.name
	}
	return fmt.Sprintf("records[%d].%s", f.record, f.name)
}

func (c *checker) err() error {
	if len(c.found) == 0 {
		return nil
	}
	return &Invalid{c.found}
}

// text checks a string of at most limit bytes.
func (c *checker) text(f field, s string, limit int) {
	switch {
	case len(s) > limit:
		c.add(f, "is %d bytes; at most %d are allowed", len(s), limit)
	case !utf8.ValidString(s):
		c.add(f, "is not valid UTF-8")
	}
}

func (c *checker) name(f field, name string) {
	if name == "" {
		c.add(f, "is empty")
		return
	}
	c.text(f, name, c.limits.NameBytes)
}

func (c *checker) requestID(id string) {
	c.text(of("request_id"), id, c.limits.RequestIDBytes)
}

// record checks the fields in mask of a record for a namespace of the given
// settings, of which dim is 0 where it is to be made.
func (c *checker) record(i int, r *Record, mask Mask, s *settings, keyLater bool) {
	if mask&MaskText != 0 {
		c.text(field{i, "text"}, r.Text, c.limits.TextBytes)
	}
	if mask&MaskSession != 0 {
		c.text(field{i, "session"}, r.Session, c.limits.NameBytes)
	}
	if mask&MaskSpeaker != 0 {
		c.text(field{i, "speaker"}, r.Speaker, c.limits.NameBytes)
	}
	if n := len(r.Metadata); mask&MaskMetadata != 0 && n > c.limits.MetadataBytes {
		c.add(field{i, "metadata"}, "is %d bytes; at most %d are allowed", n, c.limits.MetadataBytes)
	}
	if mask&MaskKey != 0 {
		switch {
		case len(r.Key) == 0 && keyLater:
		case len(r.Key) == 0:
			c.add(field{i, "key"}, "is unset; give a key, or text for an embedder to make it of")
		default:
			c.key(field{i, "key"}, r.Key, s)
		}
	}
	if mask&MaskPosition != 0 && r.HasPosition && (r.Position < -MaxPosition || r.Position > MaxPosition) {
		c.add(field{i, "position"}, "is %d; positions are from −2⁵³ to 2⁵³", r.Position)
	}
	if mask&MaskValue != 0 {
		switch {
		case r.Value != nil:
			if f := (field{i, "value"}); c.vector(f, r.Value, s.valueDim, 0) {
				c.fits(f, r.Value, false, s.values)
			}
		case s.valueDim != s.dim:
			c.add(field{i, "value"}, "is unset; where value_dimension (%d) differs from dimension (%d) every record needs a value", s.valueDim, s.dim)
		}
	}
}

// key checks a key, which may stand for a value.
func (c *checker) key(f field, v []float32, s *settings) {
	heads := s.heads
	if c.stored { // rounding may have left a head zero
		heads = 1
	}
	if c.vector(f, v, s.dim, normed(s.metric, heads)) {
		c.fitsKey(f, v, s)
	}
}

func (c *checker) fitsKey(f field, v []float32, s *settings) {
	if c.fits(f, v, s.metric == index.Cosine, s.encoding) && s.dim == s.valueDim {
		c.fits(f, v, false, s.values)
	}
}

// fits checks that an encoding can keep a vector. What is stored is not refused for what
// rounding by another encoding did to it.
func (c *checker) fits(f field, v []float32, cosine bool, e index.Encoding) bool {
	reason := e.Unfit(v, cosine)
	if reason == "" || c.stored {
		return true
	}
	c.add(f, "%s", reason)
	return false
}

func (c *checker) vector(f field, v []float32, dim, normed int) bool {
	reason := ""
	factor := 1.0
	if c.stored {
		factor = roundedNorm
	}
	switch {
	case dim == 0 && len(v) > c.limits.Dimension:
		reason = fmt.Sprintf("has %d components; at most %d are allowed", len(v), c.limits.Dimension)
	case dim != 0 && len(v) != dim:
		reason = fmt.Sprintf("has %d components; the dimension is %d", len(v), dim)
	default:
		reason = checkComponents(v, normed, factor)
	}
	if reason != "" {
		c.add(f, "%s", reason)
	}
	return reason == ""
}

// puts checks the records of a write. Where keysLater is set, texts may still lack
// the key that is to be made of them.
func (c *checker) puts(puts []Put, mask Mask, s settings, needID, keysLater bool) {
	if n := len(puts); n == 0 || n > c.limits.BatchRecords {
		c.add(of("records"), "has %d records; give 1 to %d", n, c.limits.BatchRecords)
		return
	}
	seen := make(map[string]int, len(puts))
	for i := range puts {
		p := &puts[i]
		if p.ID != "" || needID {
			if j, dup := seen[p.ID]; dup && p.ID != "" {
				c.add(field{i, "id"}, "is %.64q, which records[%d] has; give each id once", p.ID, j)
			} else {
				c.name(field{i, "id"}, p.ID)
			}
			seen[p.ID] = i
		}
		if mask&MaskImportance != 0 && p.HasImportance && !(p.Importance > 0 && p.Importance <= 1) {
			c.add(field{i, "importance"}, "is %v; it must be above 0 and at most 1", p.Importance)
		}
		if mask&MaskExpire != 0 {
			switch {
			case p.TTL != 0 && p.Expire != 0:
				c.add(field{i, "ttl"}, "is set beside expire_time; set one of them")
			case p.TTL < 0 || p.TTL > MaxTTL:
				c.add(field{i, "ttl"}, "is %v; give up to %v, and more than 0", p.TTL, MaxTTL)
			case p.Expire < 0:
				c.add(field{i, "expire_time"}, "is before 1970")
			}
		}
		c.record(i, &p.Record, mask, &s, keysLater && p.KeyFromText && p.Text != "")
		if p.TextKey != nil {
			c.key(field{i, "text"}, p.TextKey, &s)
		}
	}
}

// newSettings are those of a namespace that a batch of records makes.
func newSettings(puts []Put, by *EmbedderID) settings {
	s := settings{metric: index.Cosine, heads: 1}
	if by != nil {
		s.embedder, s.dim = *by, by.Dimension
	}
	for i := range puts {
		if s.dim == 0 {
			s.dim = len(puts[i].Key)
		}
		if s.valueDim == 0 {
			s.valueDim = len(puts[i].Value)
		}
	}
	if s.valueDim == 0 {
		s.valueDim = s.dim
	}
	return s
}

// settingsNow are a namespace's as it is, or what a batch would make it.
func (db *DB) settingsNow(name string, puts []Put, by *EmbedderID) settings {
	if ns := db.lookup(name); ns != nil {
		return ns.view.Load().settings.Value()
	}
	return newSettings(puts, by)
}

// CheckStore names every field of a Store that is wrong, as far as can be told
// before it is committed. A record whose KeyFromText is set may still lack its
// key.
func (db *DB) CheckStore(s *Store) []Violation {
	c := checker{limits: &db.limits}
	c.name(of("namespace"), s.Namespace)
	c.requestID(s.RequestID)
	if s.Mode > ModeUpdate {
		c.add(of("mode"), "is %d, which is no mode", s.Mode)
	}
	c.puts(s.Records, MaskAll, db.settingsNow(s.Namespace, s.Records, s.Embedder), s.Mode == ModeUpdate, true)
	return c.found
}

// CheckUpdate does the same for an Update.
func (db *DB) CheckUpdate(u *Update) []Violation {
	c := checker{limits: &db.limits}
	c.name(of("namespace"), u.Namespace)
	c.requestID(u.RequestID)
	if u.Mask == 0 || u.Mask&^MaskAll != 0 {
		c.add(of("update_mask"), "names no field, or one that can't be changed")
	}
	c.puts(u.Records, u.Mask, db.settingsNow(u.Namespace, nil, nil), true, true)
	return c.found
}

// checkConfig checks a namespace to make.
func (db *DB) checkConfig(cfg *Config) error {
	c := checker{limits: &db.limits}
	c.name(of("namespace.name"), cfg.Name)
	if !slices.Contains([]index.Metric{index.Dot, index.Cosine, index.L2}, cfg.Metric) {
		c.add(of("namespace.metric"), "is %d, which is no metric", cfg.Metric)
	}
	for _, d := range []struct {
		field string
		n     int
	}{{"namespace.dimension", cfg.Dimension}, {"namespace.value_dimension", cfg.ValueDimension}} {
		if d.n < 1 || d.n > c.limits.Dimension {
			c.add(of(d.field), "is %d; give 1 to %d", d.n, c.limits.Dimension)
		}
	}
	for _, d := range []int{cfg.Dimension, cfg.ValueDimension} {
		if cfg.KVHeads < 0 || cfg.KVHeads > 1 && d%cfg.KVHeads != 0 {
			c.add(of("namespace.kv_heads"), "is %d, which doesn't divide %d components", cfg.KVHeads, d)
			break
		}
	}
	if e := cfg.Embedder; e != (EmbedderID{}) && e.Dimension != cfg.Dimension {
		c.add(of("namespace.dimension"), "is %d; embedder %q makes vectors of %d components", cfg.Dimension, e.Name, e.Dimension)
	}
	if cfg.MaxBytes < 0 {
		c.add(of("namespace.max_bytes"), "is %d; it can't be negative", cfg.MaxBytes)
	}
	if cfg.KeyEncoding > index.BF16 {
		c.add(of("namespace.key_encoding"), "is %d, which is no encoding", cfg.KeyEncoding)
	}
	if reason := checkValueEncoding(cfg.ValueEncoding); reason != "" {
		c.add(of("namespace.value_encoding"), "%s", reason)
	}
	if reason := CheckRecall(cfg.Recall); reason != "" {
		c.add(of("namespace.recall"), "%s", reason)
	}
	if !cfg.Lexical.Valid() {
		c.add(of("namespace.lexical"), "is %d, which is no analysis", cfg.Lexical)
	}
	if reason := cfg.Ranking.Check(); reason != "" {
		c.add(of("namespace.ranking"), "%s", reason)
	}
	if reason := CheckForget(cfg.Forget); reason != "" {
		c.add(of("namespace.forget"), "%s", reason)
	}
	if field, reason := cfg.Retention.OrDefault().Check(); field != "" {
		c.add(of("namespace.retention."+field), "%s", reason)
	}
	if reason := CheckMaxRecords(cfg.MaxRecords); reason != "" {
		c.add(of("namespace.max_records"), "%s", reason)
	}
	if !cfg.Eviction.Valid() {
		c.add(of("namespace.eviction"), "is %d, which is none", cfg.Eviction)
	}
	if reason := CheckRepeats(cfg.Repeats); reason != "" {
		c.add(of("namespace.repeat_similarity"), "%s", reason)
	} else if cfg.Repeats > 0 && cfg.Metric != index.Cosine {
		c.add(of("namespace.repeat_similarity"), "is %v, a cosine, for another metric", cfg.Repeats)
	}
	if field, reason := cfg.Consolidation.Check(); field != "" {
		c.add(of("namespace.consolidation."+field), "%s", reason)
	} else if cfg.Consolidation != (Consolidation{}) && cfg.Metric != index.Cosine {
		c.add(of("namespace.consolidation.similarity"), "is %v, a cosine, for another metric", cfg.Consolidation.Similarity)
	}
	if part, weight := cfg.Ranking.indexed(); part != "" && cfg.Lexical == lexical.None {
		c.add(of("namespace.ranking."+part), "is %v, in a namespace without lexical search", weight)
	}
	return c.err()
}
