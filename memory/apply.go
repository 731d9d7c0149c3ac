package memory

import "engram/memory/lexical"

// version is a record as a change leaves it, ready to be appended. Its payload
// and vectors may alias slabs, and are good until the draft changes.
type version struct {
	row
	payload
	key, value []float32
	lost       float32
	rehearsed  Rehearsed
	expire     int64
	old        Ref
	exists     bool
}

// merge gives the version that a change makes of the draft's record.
func (d *draft) merge(c *Change, lsn LSN, now int64) version {
	hash := hashID(c.ID)
	v := version{payload: payloadOf(&c.Record), key: c.Key, value: c.Value}
	v.terms = d.termsOf(c)
	v.row = row{
		created: uint64(c.Created), version: uint64(lsn), createTime: c.CreateTime, updateTime: now,
		time: c.Time, hash: hash, place: c.Place, importance: c.Importance,
	}
	fromText, pinned := c.KeyFromText, c.Pinned
	v.expire = c.Expire
	if c.Created != lsn { // else this mutation creates it
		if v.old, v.exists = d.find(hash, c.ID); v.exists {
			v.rehearsed = d.segments[v.old.segment].rehearsals(v.old.row)
		}
	}
	if len(c.Sources) > 0 { // only consolidation has them, and what it makes is new
		v.rehearsed = c.Rehearsed
	}
	if v.exists && c.Mask != MaskAll {
		s := &d.segments[v.old.segment]
		w := &s.rows[v.old.row]
		p, _ := readPayload(s.at(w))
		v.sources = p.sources
		if c.Mask&MaskKey == 0 {
			v.key, fromText = s.key(v.old.row), w.has(flagKeyText)
			v.lost = s.vectors.Lost(int(v.old.row))
		}
		if c.Mask&MaskValue == 0 {
			v.value = s.value(v.old.row)
		}
		if c.Mask&MaskText == 0 {
			v.text, v.terms = p.text, p.terms
		}
		if c.Mask&MaskMetadata == 0 {
			v.metadata = p.metadata
		}
		if c.Mask&MaskSession == 0 {
			v.session = p.session
		}
		if c.Mask&MaskSpeaker == 0 {
			v.speaker = p.speaker
		}
		if c.Mask&MaskPosition == 0 {
			v.positionBytes = p.positionBytes
		}
		if c.Mask&MaskTime == 0 {
			v.row.time = w.time
		}
		if c.Mask&MaskImportance == 0 {
			v.importance = w.importance
		}
		if c.Mask&MaskExpire == 0 {
			v.expire = s.expires(v.old.row)
		}
		if c.Mask&MaskPinned == 0 {
			pinned = w.has(flagPinned)
		}
	}
	if v.value != nil {
		v.row.payload |= flagValue
	}
	if fromText {
		v.row.payload |= flagKeyText
	}
	if pinned {
		v.row.payload |= flagPinned
	}
	return v
}

// termsOf gives the terms of a change's text, which are made once.
func (d *draft) termsOf(c *Change) lexical.Terms {
	if a := d.settings.Value().lexical; c.analysis != a {
		c.terms, c.analysis = a.Append(nil, c.Text), a
	}
	return c.terms
}

// reserveFor makes room for a mutation's changes.
func (d *draft) reserveFor(m *Mutation) error {
	sizes := make([]int, len(m.Changes))
	values := false
	for i := range m.Changes {
		c := &m.Changes[i]
		p, value := payloadOf(&c.Record), c.Value
		p.terms = d.termsOf(c)
		if c.Mask != MaskAll {
			v := d.merge(c, m.LSN, m.Time)
			p, value = v.payload, v.value
		}
		sizes[i] = p.size()
		values = values || value != nil
	}
	return d.reserve(sizes, values, len(sizes))
}

// apply makes a mutation's changes, for which there is room.
func (d *draft) apply(m *Mutation) {
	d.lsn = m.LSN
	d.changed = true
	if m.Drop {
		d.dropped = true
		return
	}
	if m.MaxBytes != nil {
		d.set(func(s *settings) { s.maxBytes = *m.MaxBytes })
	}
	if m.Durability != nil {
		d.set(func(s *settings) { s.durability = *m.Durability })
	}
	if m.KeyEncoding != nil {
		d.set(func(s *settings) { s.encoding = *m.KeyEncoding })
	}
	if m.ValueEncoding != nil {
		d.set(func(s *settings) { s.values = *m.ValueEncoding })
	}
	if m.Recall != nil {
		d.set(func(s *settings) { s.recall = *m.Recall })
	}
	if m.Ranking != nil {
		d.set(func(s *settings) { s.ranking = *m.Ranking })
	}
	if m.Retention != nil {
		d.set(func(s *settings) { s.retention = *m.Retention })
	}
	if m.Repeats != nil {
		d.set(func(s *settings) { s.repeats = *m.Repeats })
	}
	if m.MaxRecords != nil {
		d.set(func(s *settings) { s.maxRecords = *m.MaxRecords })
	}
	if m.Eviction != nil {
		d.set(func(s *settings) { s.eviction = *m.Eviction })
	}
	if m.Forget != nil {
		d.set(func(s *settings) { s.forget = *m.Forget })
	}
	if m.Consolidation != nil {
		d.set(func(s *settings) { s.consolidation = *m.Consolidation })
	}
	for _, id := range m.Deletes {
		if ref, ok := d.Find(id); ok {
			d.kill(ref)
			d.count--
		}
	}
	for i := range m.Changes {
		v := d.merge(&m.Changes[i], m.LSN, m.Time)
		d.push(v.row, v.payload, v.key, v.value, v.lost, v.rehearsed, v.expire)
		if v.exists {
			d.kill(v.old)
			d.count--
		}
	}
	d.rehearse(m.Rehearsals)
	d.sweep()
	if m.Request != nil {
		d.requests = d.requests.with(*m.Request, &d.db.limits)
	}
}
