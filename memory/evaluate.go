package memory

import (
	"context"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"engram/index"
	"engram/memory/filter"
	"engram/memory/lexical"
)

// The functions of this file decide, in the committer's goroutine and against the
// pending state, what a write does, make room for it, and commit it. Until they
// commit they change nothing that can be told.

// Store writes records: see Store the type.
func (db *DB) Store(ctx context.Context, s *Store) (*StoreResult, error) {
	if found := db.CheckStore(s); len(found) > 0 {
		return nil, &Invalid{found}
	}
	db.analyse(s.Namespace, s.Records, MaskAll, s.Embedder != nil)
	prior, err := db.searchPrior(ctx, s)
	if err != nil {
		return nil, err
	}
	defer prior.release()
	var out *StoreResult
	err = db.commit(ctx, func(c *committer) (err error) {
		out, err = c.store(s, &prior)
		return err
	})
	return out, err
}

func (c *committer) store(s *Store, prior *priorSearch) (*StoreResult, error) {
	m := c.begin(s.Namespace)
	d, err := c.fresh(m)
	if err != nil {
		return nil, err
	}
	if d == nil {
		now := newSettings(s.Records, s.Embedder)
		m.Create = &Config{
			Name: s.Namespace, Metric: now.metric, Dimension: now.dim, ValueDimension: now.valueDim,
			Embedder: now.embedder, Durability: c.db.durability, CreateTime: m.Time, Created: m.LSN,
		}
		m.Create.Lexical, m.Create.Ranking = DefaultsFor(now.embedder)
		d = c.db.newDraft(m.Create)
	}
	out, err := c.storeIn(d, m, s, prior)
	if err != nil && m.Create != nil {
		d.discard()
	}
	return out, err
}

func (c *committer) storeIn(d *draft, m *Mutation, s *Store, prior *priorSearch) (*StoreResult, error) {
	if r, err := d.requests.recall(s.RequestID, s.Digest, m.Time, &c.db.limits); r != nil || err != nil {
		if err != nil {
			return nil, err
		}
		return r.answer(s.Records), nil
	}
	if err := d.accepts(s.Records, MaskAll, s.Embedder); err != nil {
		return nil, err
	}
	out := &StoreResult{LSN: m.LSN, Results: make([]RecordResult, len(s.Records))}
	m.Changes = make([]Change, 0, len(s.Records))
	var repeats []repeat
	if d.settings.Value().repeats > 0 {
		var err error
		if repeats, err = c.repeats(d, s, prior); err != nil {
			return nil, err
		}
	}
	var generated, rehearsed []string
	created := 0
	for i := range s.Records {
		p := &s.Records[i]
		id := p.ID
		if repeats != nil {
			known := repeats[i].id
			if of := repeats[i].of; of >= 0 {
				known = out.Results[of].ID
			}
			if known != "" {
				out.Results[i] = RecordResult{ID: known, Repeated: true}
				generated, rehearsed = append(generated, known), append(rehearsed, known)
				continue
			}
		}
		if id == "" {
			id = c.db.newID()
			generated = append(generated, id)
		}
		old, exists := d.Find(id)
		if err := d.holds(p, id, old, exists); err != nil {
			return nil, err
		}
		if exists && s.Mode == Insert {
			return nil, &Exists{kindRecord, s.Namespace, id}
		}
		if !exists && s.Mode == ModeUpdate {
			return nil, &NotFound{kindRecord, s.Namespace, id}
		}
		change := d.change(p, id, MaskAll, m, uint32(i), old, exists)
		change.KeyFromText = p.KeyFromText && s.Embedder != nil
		m.Changes = append(m.Changes, change)
		out.Results[i] = RecordResult{ID: id, Version: m.LSN, Created: !exists}
		if !exists {
			created++
		}
	}
	m.Rehearsals = rehearsalsOf(rehearsed, m.Time)
	if err := c.admit(m, d, created); err != nil {
		return nil, err
	}
	m.Request = remember(s.RequestID, s.Digest, m, out.Results, generated)
	if err := c.commit(m, d); err != nil {
		return nil, err
	}
	d.db.gone(d.ns, evictedAt, len(m.Deletes))
	return out, nil
}

// admit adds to a mutation that creates so many records the deletion of those that are to go
// for it, and sees that there is room for it on the disk and in memory. All that it writes is
// in it by then, but what is remembered of a request.
func (c *committer) admit(m *Mutation, d *draft, created int) error {
	if err := d.makeRecords(m, created); err != nil {
		return err
	}
	if err := d.makeBytes(m); err != nil {
		return err
	}
	return c.room(m)
}

// analyse makes the terms of texts in the caller's goroutine, for the committer is one for
// all; it makes them again where the namespace turns out to have another analysis.
func (db *DB) analyse(namespace string, puts []Put, mask Mask, embeds bool) {
	if mask&MaskText == 0 {
		return
	}
	a := lexical.None
	if ns := db.lookup(namespace); ns != nil {
		a = ns.view.Load().settings.Value().lexical
	} else if embeds {
		a, _ = DefaultsFor(EmbedderID{Name: "any"})
	}
	if a == lexical.None {
		return
	}
	share := max(analyseAtOnce, (len(puts)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for part := range slices.Chunk(puts, share) {
		work := func() {
			terms := make(lexical.Terms, 0, 64*len(part)) // in one piece, which costs less than one for each
			for i := range part {
				from := len(terms)
				terms = a.Append(terms, part[i].Text)
				part[i].analysed = analysed{terms[from:len(terms):len(terms)], a}
			}
		}
		if len(part) < len(puts) {
			all.Go(work)
		} else {
			work()
		}
	}
	all.Wait()
}

// analyseAtOnce is how many texts are worth a goroutine.
const analyseAtOnce = 64

// accepts checks what can only be told here: that the namespace is of the shape
// that the request was checked against, and of its embedder.
func (d *draft) accepts(puts []Put, mask Mask, by *EmbedderID) error {
	s := d.settings.Value()
	if by != nil && *by != s.embedder {
		if s.embedder == (EmbedderID{}) {
			return precondition("namespace %q has no embedder: give each record a key", d.ns.name)
		}
		return precondition("namespace %q uses embedder %q version %q, and the keys are made of text by %q version %q",
			d.ns.name, s.embedder.Name, s.embedder.Version, by.Name, by.Version)
	}
	again := s.narrow() // its encoding may be another since
	for i := range puts {
		p := &puts[i]
		if mask&MaskKey != 0 && len(p.Key) != s.dim ||
			mask&MaskValue != 0 && (p.Value != nil && len(p.Value) != s.valueDim || p.Value == nil && s.valueDim != s.dim) ||
			p.TextKey != nil && len(p.TextKey) != s.dim {
			// Another request made the namespace since, or this is a text without a key.
			again = true
			break
		}
	}
	if again {
		c := checker{limits: &d.db.limits}
		c.puts(puts, mask, s, false, false)
		return c.err()
	}
	return nil
}

// holds checks a record's condition.
func (d *draft) holds(p *Put, id string, old Ref, exists bool) error {
	if p.IfVersion == nil {
		return nil
	}
	version := LSN(0)
	if exists {
		version = LSN(d.segments[old.segment].rows[old.row].version)
	}
	if version != *p.IfVersion {
		return &Conflict{ID: id, IfVersion: *p.IfVersion, Version: version}
	}
	return nil
}

// change decides what a put does.
func (d *draft) change(p *Put, id string, mask Mask, m *Mutation, place uint32, old Ref, exists bool) Change {
	ch := Change{Record: p.Record, Mask: mask, analysed: p.analysed}
	ch.ID, ch.Version, ch.UpdateTime = id, m.LSN, m.Time
	ch.Created, ch.CreateTime, ch.Place = m.LSN, m.Time, place
	ch.Sources, ch.Spread = nil, 0
	if exists {
		w := &d.segments[old.segment].rows[old.row]
		ch.Created, ch.CreateTime, ch.Place = LSN(w.created), w.createTime, w.place
	}
	if !p.HasTime {
		ch.Time = ch.CreateTime
	}
	if !p.HasImportance {
		ch.Importance = defaultImportance
	}
	if p.TTL != 0 {
		ch.Expire = m.Time + int64(min(p.TTL, math.MaxInt64-time.Duration(max(0, m.Time))))
	}
	return ch
}

// remember makes the result of a request; nil if it has no id.
func remember(id string, digest [32]byte, m *Mutation, results []RecordResult, generated []string) *RequestResult {
	if id == "" {
		return nil
	}
	r := &RequestResult{ID: id, Digest: digest, Time: m.Time, LSN: m.LSN, Generated: generated, Deleted: uint64(len(m.Deletes))}
	for i := range results {
		if results[i].Created {
			if r.Created == nil {
				r.Created = make([]byte, (len(results)+7)/8)
			}
			r.Created[i/8] |= 1 << (i % 8)
		}
	}
	return r
}

// Update changes records: see Update the type.
func (db *DB) Update(ctx context.Context, u *Update) (*StoreResult, error) {
	if found := db.CheckUpdate(u); len(found) > 0 {
		return nil, &Invalid{found}
	}
	db.analyse(u.Namespace, u.Records, u.Mask, false)
	var out *StoreResult
	err := db.commit(ctx, func(c *committer) (err error) {
		out, err = c.update(u)
		return err
	})
	return out, err
}

func (c *committer) update(u *Update) (*StoreResult, error) {
	m := c.begin(u.Namespace)
	d, err := c.fresh(m)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, noNamespace(u.Namespace)
	}
	if r, err := d.requests.recall(u.RequestID, u.Digest, m.Time, &c.db.limits); r != nil || err != nil {
		if err != nil {
			return nil, err
		}
		return r.answer(u.Records), nil
	}
	if err := d.accepts(u.Records, u.Mask, u.Embedder); err != nil {
		return nil, err
	}
	out := &StoreResult{LSN: m.LSN, Results: make([]RecordResult, len(u.Records))}
	m.Changes = make([]Change, len(u.Records))
	for i := range u.Records {
		p := &u.Records[i]
		old, exists := d.Find(p.ID)
		if err := d.holds(p, p.ID, old, exists); err != nil {
			return nil, err
		}
		if !exists {
			return nil, &NotFound{kindRecord, u.Namespace, p.ID}
		}
		mask := u.Mask
		if u.Mask&MaskText != 0 && u.Mask&MaskKey == 0 && d.segments[old.segment].rows[old.row].has(flagKeyText) {
			if p.TextKey == nil {
				return nil, precondition("record %q has a key made of its text: its new text needs an embedding, or a key", p.ID)
			}
			mask |= MaskKey
		}
		ch := d.change(p, p.ID, mask, m, uint32(i), old, true)
		if mask != u.Mask {
			ch.Key, ch.KeyFromText = p.TextKey, true
		}
		m.Changes[i] = ch
		out.Results[i] = RecordResult{ID: p.ID, Version: m.LSN}
	}
	if err := c.admit(m, d, 0); err != nil {
		return nil, err
	}
	m.Request = remember(u.RequestID, u.Digest, m, out.Results, nil)
	if err := c.commit(m, d); err != nil {
		return nil, err
	}
	d.db.gone(d.ns, evictedAt, len(m.Deletes))
	return out, nil
}

// Delete deletes records: see Delete the type.
func (db *DB) Delete(ctx context.Context, del *Delete) (*DeleteResult, error) {
	c := checker{limits: &db.limits}
	c.name(of("namespace"), del.Namespace)
	c.requestID(del.RequestID)
	if (len(del.IDs) == 0) == (del.Filter == nil) {
		c.add(of("ids"), "are beside a filter, or missing as well: give one of them")
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	var out *DeleteResult
	err := db.commit(ctx, func(c *committer) (err error) {
		out, err = c.delete(del)
		return err
	})
	return out, err
}

func (c *committer) delete(del *Delete) (*DeleteResult, error) {
	m := c.begin(del.Namespace)
	d, err := c.fresh(m)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, noNamespace(del.Namespace)
	}
	if r, err := d.requests.recall(del.RequestID, del.Digest, m.Time, &c.db.limits); r != nil || err != nil {
		if err != nil {
			return nil, err
		}
		return &DeleteResult{Deleted: int(r.Deleted), LSN: r.LSN}, nil
	}
	if del.Filter != nil {
		m.Deletes = d.idsWhere(del.Filter)
	} else {
		m.Deletes = d.present(del.IDs)
	}
	if len(m.Deletes) == 0 && del.RequestID == "" {
		return &DeleteResult{LSN: d.lsn}, nil
	}
	m.Request = remember(del.RequestID, del.Digest, m, nil, nil)
	if err := c.commit(m, d); err != nil {
		return nil, err
	}
	return &DeleteResult{Deleted: len(m.Deletes), LSN: m.LSN}, nil
}

// present gives those ids that exist, each once.
func (d *draft) present(ids []string) []string {
	var out []string
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if _, ok := d.Find(id); ok && !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

// idsWhere gives the ids of the records that match.
func (d *draft) idsWhere(f *filter.Filter) []string {
	m := takeMasks()
	defer m.put()
	var out []string
	for i := range d.segments {
		s := &d.segments[i]
		mask := m.of(s, f)
		out = slices.Grow(out, popcount(mask, int(s.n)))
		each(mask, int(s.n), func(r uint32) {
			out = append(out, string([]byte(readID(s.at(&s.rows[r])))))
		})
	}
	return out
}

// CreateNamespace makes a namespace, or says *Exists.
func (db *DB) CreateNamespace(ctx context.Context, req *CreateNamespace) (Config, error) {
	cfg := req.Config
	if err := db.checkConfig(&cfg); err != nil {
		return Config{}, err
	}
	err := db.commit(ctx, func(c *committer) error {
		m := c.begin(cfg.Name)
		if c.draft(cfg.Name) != nil {
			return &Exists{kindNamespace, cfg.Name, cfg.Name}
		}
		cfg.CreateTime, cfg.Created = m.Time, m.LSN
		m.Create = &cfg
		if err := c.room(m); err != nil {
			return err
		}
		return c.commit(m, db.newDraft(&cfg))
	})
	return cfg, err
}

// UpdateNamespace changes a namespace's bound, its durability, the encodings of its keys and
// values, its recall, its ranking, its retention, what repeats a record, how many
// there may be, which of them make room, from which retention on they are removed, or which
// are merged.
// A bound below what the namespace takes refuses writes that need more memory until enough
// is deleted.
func (db *DB) UpdateNamespace(ctx context.Context, u *UpdateNamespace) error {
	if u.MaxBytes != nil && *u.MaxBytes < 0 {
		return invalid("namespace.max_bytes", "is %d; it can't be negative", *u.MaxBytes)
	}
	if u.Recall != nil {
		if reason := CheckRecall(*u.Recall); reason != "" {
			return invalid("namespace.recall", "%s", reason)
		}
	}
	if u.Ranking != nil {
		if reason := u.Ranking.Check(); reason != "" {
			return invalid("namespace.ranking", "%s", reason)
		}
	}
	if u.Retention != nil {
		if field, reason := u.Retention.OrDefault().Check(); field != "" {
			return invalid("namespace.retention."+field, "%s", reason)
		}
	}
	if u.Repeats != nil {
		if reason := CheckRepeats(*u.Repeats); reason != "" {
			return invalid("namespace.repeat_similarity", "%s", reason)
		}
	}
	if u.MaxRecords != nil {
		if reason := CheckMaxRecords(*u.MaxRecords); reason != "" {
			return invalid("namespace.max_records", "%s", reason)
		}
	}
	if u.Eviction != nil && !u.Eviction.Valid() {
		return invalid("namespace.eviction", "is %d, which is none", *u.Eviction)
	}
	if u.Forget != nil {
		if reason := CheckForget(*u.Forget); reason != "" {
			return invalid("namespace.forget", "%s", reason)
		}
	}
	if u.Consolidation != nil {
		if field, reason := u.Consolidation.Check(); field != "" {
			return invalid("namespace.consolidation."+field, "%s", reason)
		}
	}
	if u.KeyEncoding != nil && *u.KeyEncoding > index.BF16 {
		return invalid("namespace.key_encoding", "is %d, which is no encoding", *u.KeyEncoding)
	}
	if u.ValueEncoding != nil {
		if reason := checkValueEncoding(*u.ValueEncoding); reason != "" {
			return invalid("namespace.value_encoding", "%s", reason)
		}
	}
	return db.commit(ctx, func(c *committer) error {
		m := c.begin(u.Name)
		d := c.draft(u.Name)
		if d == nil {
			return noNamespace(u.Name)
		}
		if err := d.canBecome(u); err != nil {
			return err
		}
		if u.Ranking != nil && d.settings.Value().lexical == lexical.None {
			if part, _ := u.Ranking.indexed(); part != "" {
				return precondition("namespace %q has no lexical search, which a ranking with a weight of %s needs", u.Name, part)
			}
		}
		if u.Repeats != nil && *u.Repeats > 0 && d.settings.Value().metric != index.Cosine {
			return precondition("namespace %q is not of metric COSINE; a repeat_similarity is a cosine", u.Name)
		}
		if u.Consolidation != nil && *u.Consolidation != (Consolidation{}) && d.settings.Value().metric != index.Cosine {
			return precondition("namespace %q is not of metric COSINE; the similarity of a consolidation is a cosine", u.Name)
		}
		m.MaxBytes, m.Durability, m.Recall, m.Repeats = u.MaxBytes, u.Durability, u.Recall, u.Repeats
		m.MaxRecords, m.Eviction, m.Forget, m.Consolidation = u.MaxRecords, u.Eviction, u.Forget, u.Consolidation
		m.KeyEncoding, m.ValueEncoding, m.Ranking, m.Retention = u.KeyEncoding, u.ValueEncoding, u.Ranking, u.Retention
		if m.Retention != nil {
			keep := m.Retention.OrDefault()
			m.Retention = &keep
		}
		if m.MaxBytes == nil && m.Durability == nil && m.KeyEncoding == nil && m.ValueEncoding == nil && m.Recall == nil && m.Ranking == nil && m.Retention == nil && m.Repeats == nil && m.MaxRecords == nil && m.Eviction == nil && m.Forget == nil && m.Consolidation == nil {
			return nil
		}
		return c.commit(m, d)
	})
}

// DeleteNamespace deletes a namespace and says how many records went with it.
func (db *DB) DeleteNamespace(ctx context.Context, del *DeleteNamespace) (*DeleteResult, error) {
	var out *DeleteResult
	err := db.commit(ctx, func(c *committer) error {
		m := c.begin(del.Name)
		d, err := c.fresh(m)
		if err != nil {
			return err
		}
		if d == nil {
			return noNamespace(del.Name)
		}
		m.Drop = true
		out = &DeleteResult{Deleted: d.count, LSN: m.LSN}
		return c.commit(m, d)
	})
	return out, err
}
