package server

import (
	"context"
	"math"
	"strings"

	"engram/index"
	"engram/memory"
	"engram/memory/lexical"
	engramv1 "engram/proto/engram/v1"
)

// namespaceService serves NamespaceService.
type namespaceService struct {
	engramv1.UnimplementedNamespaceServiceServer
	s *Server
}

var metricOf = map[engramv1.Metric]index.Metric{
	engramv1.Metric_METRIC_UNSPECIFIED: index.Cosine,
	engramv1.Metric_METRIC_COSINE:      index.Cosine,
	engramv1.Metric_METRIC_DOT:         index.Dot,
	engramv1.Metric_METRIC_L2:          index.L2,
}

var metricProto = map[index.Metric]engramv1.Metric{
	index.Cosine: engramv1.Metric_METRIC_COSINE,
	index.Dot:    engramv1.Metric_METRIC_DOT,
	index.L2:     engramv1.Metric_METRIC_L2,
}

var durabilityProto = map[memory.Durability]engramv1.Durability{
	memory.Sync:     engramv1.Durability_DURABILITY_SYNC,
	memory.Interval: engramv1.Durability_DURABILITY_INTERVAL,
	memory.None:     engramv1.Durability_DURABILITY_NONE,
}

var encodingProto = map[index.Encoding]engramv1.KeyEncoding{
	index.F32:      engramv1.KeyEncoding_KEY_ENCODING_F32,
	index.Int8:     engramv1.KeyEncoding_KEY_ENCODING_INT8,
	index.Int8Only: engramv1.KeyEncoding_KEY_ENCODING_INT8_ONLY,
	index.F16:      engramv1.KeyEncoding_KEY_ENCODING_F16,
	index.BF16:     engramv1.KeyEncoding_KEY_ENCODING_BF16,
}

var valueEncodingProto = map[index.Encoding]engramv1.ValueEncoding{
	index.F32:  engramv1.ValueEncoding_VALUE_ENCODING_F32,
	index.F16:  engramv1.ValueEncoding_VALUE_ENCODING_F16,
	index.BF16: engramv1.ValueEncoding_VALUE_ENCODING_BF16,
}

// keyEncoding converts an encoding; unset, it is float32.
func keyEncoding(v *violations, field string, p engramv1.KeyEncoding) index.Encoding {
	switch p {
	case engramv1.KeyEncoding_KEY_ENCODING_UNSPECIFIED, engramv1.KeyEncoding_KEY_ENCODING_F32:
	case engramv1.KeyEncoding_KEY_ENCODING_INT8:
		return index.Int8
	case engramv1.KeyEncoding_KEY_ENCODING_INT8_ONLY:
		return index.Int8Only
	case engramv1.KeyEncoding_KEY_ENCODING_F16:
		return index.F16
	case engramv1.KeyEncoding_KEY_ENCODING_BF16:
		return index.BF16
	default:
		v.add(field+".key_encoding", "is %d, which is no encoding of keys", p)
	}
	return index.F32
}

// valueEncoding converts an encoding of values; unset, it is float32.
func valueEncoding(v *violations, field string, p engramv1.ValueEncoding) index.Encoding {
	switch p {
	case engramv1.ValueEncoding_VALUE_ENCODING_UNSPECIFIED, engramv1.ValueEncoding_VALUE_ENCODING_F32:
	case engramv1.ValueEncoding_VALUE_ENCODING_F16:
		return index.F16
	case engramv1.ValueEncoding_VALUE_ENCODING_BF16:
		return index.BF16
	default:
		v.add(field+".value_encoding", "is %d, which is no encoding of values", p)
	}
	return index.F32
}

// durability converts a durability; unset, it is the server's default.
func (s *Server) durability(v *violations, field string, p engramv1.Durability) memory.Durability {
	switch p {
	case engramv1.Durability_DURABILITY_UNSPECIFIED:
		return s.durable
	case engramv1.Durability_DURABILITY_SYNC:
		return memory.Sync
	case engramv1.Durability_DURABILITY_INTERVAL:
		return memory.Interval
	case engramv1.Durability_DURABILITY_NONE:
		return memory.None
	}
	v.add(field+".durability", "is %d, which is no durability", p)
	return s.durable
}

// namespaceConfig converts a namespace to make.
func (s *Server) namespaceConfig(v *violations, field string, p *engramv1.Namespace) memory.Config {
	s.namespaceName(v, field+".name", p.GetName())
	metric, ok := metricOf[p.GetMetric()]
	if !ok {
		v.add(field+".metric", "is %d, which is no metric", p.GetMetric())
	}
	c := memory.Config{Name: p.GetName(), Metric: metric, Dimension: int(p.GetDimension()), ValueDimension: int(p.GetValueDimension())}
	if c.Dimension > s.records.Dimension {
		v.add(field+".dimension", "is %d; at most %d is allowed", c.Dimension, s.records.Dimension)
	}
	if c.ValueDimension > s.records.Dimension {
		v.add(field+".value_dimension", "is %d; at most %d is allowed", c.ValueDimension, s.records.Dimension)
	}
	c.KVHeads = int(p.GetKvHeads())
	for _, n := range []int{c.Dimension, c.ValueDimension} { // 0: unset, the commit checks
		if c.KVHeads > 1 && n%c.KVHeads != 0 {
			v.add(field+".kv_heads", "is %d, which doesn't divide %d components", c.KVHeads, n)
			break
		}
	}
	c.MaxBytes = maxBytes(v, field, p.GetMaxBytes())
	c.Durability = s.durability(v, field, p.GetDurability())
	c.KeyEncoding = keyEncoding(v, field, p.GetKeyEncoding())
	c.ValueEncoding = valueEncoding(v, field, p.GetValueEncoding())
	c.Recall = recall(v, field, p.GetRecall())
	c.Lexical = analysis(v, field, p.GetLexical())
	c.Ranking = ranking(v, field+".ranking", p.GetRanking())
	c.Retention = retention(v, field+".retention", p.GetRetention())
	c.Repeats = repeats(v, field, p.GetRepeatSimilarity())
	c.MaxRecords = maxRecords(v, field, p.GetMaxRecords())
	c.Eviction = eviction(v, field, p.GetEviction())
	c.Forget = forget(v, field, p.GetForget())
	c.Consolidation = consolidation(v, field+".consolidation", p.GetConsolidation())
	return c
}

var evictionProto = map[memory.Eviction]engramv1.Eviction{
	memory.EvictNone:              engramv1.Eviction_EVICTION_NONE,
	memory.EvictRetention:         engramv1.Eviction_EVICTION_RETENTION,
	memory.EvictOldest:            engramv1.Eviction_EVICTION_OLDEST,
	memory.EvictLeastRecentlyUsed: engramv1.Eviction_EVICTION_LEAST_RECENTLY_USED,
}

// eviction converts an eviction; unset, it is none.
func eviction(v *violations, field string, p engramv1.Eviction) memory.Eviction {
	if p == engramv1.Eviction_EVICTION_UNSPECIFIED {
		return memory.EvictNone
	}
	for e, known := range evictionProto {
		if known == p {
			return e
		}
	}
	v.add(field+".eviction", "is %d, which is no eviction", p)
	return memory.EvictNone
}

func maxRecords(v *violations, field string, n uint64) int64 {
	if n > memory.MaxRecords {
		v.add(field+".max_records", "is %d; give 1 to %d, or 0 for no bound", n, int64(memory.MaxRecords))
		return 0
	}
	return int64(n)
}

func repeats(v *violations, field string, similarity float64) float64 {
	if reason := memory.CheckRepeats(similarity); reason != "" {
		v.add(field+".repeat_similarity", "%s", reason)
	}
	return similarity
}

func recall(v *violations, field string, r float64) float64 {
	if reason := memory.CheckRecall(r); reason != "" {
		v.add(field+".recall", "%s", reason)
	}
	return r
}

func maxBytes(v *violations, field string, n uint64) int64 {
	if n > math.MaxInt64 {
		v.add(field+".max_bytes", "is %d; at most %d is allowed", n, int64(math.MaxInt64))
	}
	return int64(n)
}

func (n *namespaceService) Create(ctx context.Context, req *engramv1.NamespaceServiceCreateRequest) (*engramv1.NamespaceServiceCreateResponse, error) {
	s := n.s
	var v violations
	p := req.Namespace
	c := s.namespaceConfig(&v, "namespace", p)
	name := p.GetEmbedder().GetName()
	own := s.embedderID()
	wanted := name != "" || c.Dimension == 0 && s.embedder != nil
	switch {
	case wanted && name != "" && name != own.Name:
	case wanted && c.Dimension == 0:
		c.Dimension = own.Dimension
	case wanted && c.Dimension != own.Dimension:
		v.add("namespace.dimension", "is %d; embedder %q makes vectors of %d components", c.Dimension, own.Name, own.Dimension)
	case c.Dimension == 0:
		v.add("namespace.dimension", "is unset; give it, as the server has no embedder to take it from")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	if wanted {
		if name != "" && name != own.Name {
			has := "has none"
			if own.Name != "" {
				has = "has \"" + own.Name + "\""
			}
			return nil, precondition("namespaces/"+c.Name, "embedder %q is not this server's, which %s", name, has)
		}
		c.Embedder = own
	}
	words, order := memory.DefaultsFor(c.Embedder)
	if p.GetLexical() == engramv1.Lexical_LEXICAL_UNSPECIFIED {
		c.Lexical = words
	}
	if p.GetRanking() == nil && c.Lexical != lexical.None {
		c.Ranking = order
	}
	if c.ValueDimension == 0 {
		c.ValueDimension = c.Dimension
	}
	if _, err := s.db.CreateNamespace(ctx, &memory.CreateNamespace{Config: c}); err != nil {
		return nil, err
	}
	out, err := s.namespace(c.Name)
	if err != nil {
		return nil, err
	}
	return &engramv1.NamespaceServiceCreateResponse{Namespace: out}, nil
}

func (n *namespaceService) Get(_ context.Context, req *engramv1.NamespaceServiceGetRequest) (*engramv1.NamespaceServiceGetResponse, error) {
	var v violations
	n.s.namespaceName(&v, "name", req.Name)
	if err := v.err(); err != nil {
		return nil, err
	}
	out, err := n.s.namespace(req.Name)
	if err != nil {
		return nil, err
	}
	return &engramv1.NamespaceServiceGetResponse{Namespace: out}, nil
}

func (n *namespaceService) List(_ context.Context, req *engramv1.NamespaceServiceListRequest) (*engramv1.NamespaceServiceListResponse, error) {
	s := n.s
	var v violations
	size := s.pageSize(&v, req.PageSize)
	if len(req.Prefix) > s.records.NameBytes {
		v.add("prefix", "is %d bytes; at most %d are allowed", len(req.Prefix), s.records.NameBytes)
	}
	scope := [][]byte{[]byte("namespaces"), []byte(req.Prefix)}
	after := justBefore(req.Prefix)
	if req.PageToken != "" {
		position, ok := parsePageToken(req.PageToken, scope...)
		if !ok {
			v.add("page_token", "is not the token of a page of this listing; prefix must stay the same")
		}
		after = string(position)
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	out := new(engramv1.NamespaceServiceListResponse)
	page := s.db.Namespaces(after, size+1)
	for i, c := range page {
		if !strings.HasPrefix(c.Name, req.Prefix) { // names come in order, so the rest hasn't it either
			break
		}
		if i == size {
			out.NextPageToken = pageToken([]byte(page[i-1].Name), scope...)
			break
		}
		if p, err := s.namespace(c.Name); err == nil { // else it was just deleted
			out.Namespaces = append(out.Namespaces, p)
		}
	}
	return out, nil
}

// justBefore gives a string that sorts after every name before the prefix, and before the
// prefix itself. Names are UTF-8, so none has the byte 0xff.
func justBefore(prefix string) string {
	if prefix == "" {
		return ""
	}
	b := []byte(prefix)
	last := len(b) - 1
	if b[last] == 0 {
		return string(b[:last])
	}
	b[last]--
	return string(append(b, 0xff))
}

func (n *namespaceService) Update(ctx context.Context, req *engramv1.NamespaceServiceUpdateRequest) (*engramv1.NamespaceServiceUpdateResponse, error) {
	s := n.s
	var v violations
	s.namespaceName(&v, "namespace.name", req.Namespace.GetName())
	c := &memory.UpdateNamespace{Name: req.Namespace.GetName()}
	if len(req.UpdateMask.GetPaths()) == 0 {
		v.add("update_mask", "is empty; name the fields that change")
	}
	for i, path := range req.UpdateMask.GetPaths() {
		switch path {
		case "max_bytes":
			n := maxBytes(&v, "namespace", req.Namespace.GetMaxBytes())
			c.MaxBytes = &n
		case "durability":
			d := s.durability(&v, "namespace", req.Namespace.GetDurability())
			c.Durability = &d
		case "key_encoding":
			e := keyEncoding(&v, "namespace", req.Namespace.GetKeyEncoding())
			c.KeyEncoding = &e
		case "value_encoding":
			e := valueEncoding(&v, "namespace", req.Namespace.GetValueEncoding())
			c.ValueEncoding = &e
		case "recall":
			r := recall(&v, "namespace", req.Namespace.GetRecall())
			c.Recall = &r
		case "ranking":
			r := ranking(&v, "namespace.ranking", req.Namespace.GetRanking())
			c.Ranking = &r
		case "retention":
			r := retention(&v, "namespace.retention", req.Namespace.GetRetention())
			c.Retention = &r
		case "repeat_similarity":
			r := repeats(&v, "namespace", req.Namespace.GetRepeatSimilarity())
			c.Repeats = &r
		case "max_records":
			n := maxRecords(&v, "namespace", req.Namespace.GetMaxRecords())
			c.MaxRecords = &n
		case "eviction":
			e := eviction(&v, "namespace", req.Namespace.GetEviction())
			c.Eviction = &e
		case "forget":
			x := forget(&v, "namespace", req.Namespace.GetForget())
			c.Forget = &x
		case "consolidation":
			x := consolidation(&v, "namespace.consolidation", req.Namespace.GetConsolidation())
			c.Consolidation = &x
		case "metric", "dimension", "value_dimension", "kv_heads", "embedder", "lexical", "name":
			v.add(at("update_mask.paths", i), "is %q, which is fixed when a namespace is made", path)
		default:
			v.add(at("update_mask.paths", i), "is %q; a mask may name max_bytes, durability, key_encoding, value_encoding, recall, ranking, retention, repeat_similarity, max_records, eviction, forget and consolidation", path)
		}
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	if err := s.db.UpdateNamespace(ctx, c); err != nil {
		return nil, err
	}
	out, err := s.namespace(c.Name)
	if err != nil {
		return nil, err
	}
	return &engramv1.NamespaceServiceUpdateResponse{Namespace: out}, nil
}

func (n *namespaceService) Delete(ctx context.Context, req *engramv1.NamespaceServiceDeleteRequest) (*engramv1.NamespaceServiceDeleteResponse, error) {
	var v violations
	n.s.namespaceName(&v, "name", req.Name)
	if err := v.err(); err != nil {
		return nil, err
	}
	res, err := n.s.db.DeleteNamespace(ctx, &memory.DeleteNamespace{Name: req.Name})
	if err != nil {
		return nil, err
	}
	return &engramv1.NamespaceServiceDeleteResponse{DeletedRecords: uint64(res.Deleted), Lsn: uint64(res.LSN)}, nil
}

// namespace describes a namespace as it is.
func (s *Server) namespace(name string) (*engramv1.Namespace, error) {
	view, err := s.db.View(name)
	if err != nil {
		return nil, err
	}
	defer view.Release()
	return namespaceProto(view), nil
}

func namespaceProto(view *memory.View) *engramv1.Namespace {
	out := optionsProto(view.Config())
	out.RecordCount, out.Lsn = uint64(view.Count()), uint64(view.LSN())
	return out
}

// optionsProto writes what a namespace was made with.
func optionsProto(c memory.Config) *engramv1.Namespace {
	out := &engramv1.Namespace{
		Name: c.Name, Metric: metricProto[c.Metric], Dimension: uint32(c.Dimension), ValueDimension: uint32(c.ValueDimension),
		MaxBytes: uint64(c.MaxBytes), CreateTime: timestamp(c.CreateTime), Durability: durabilityProto[c.Durability],
		KeyEncoding: encodingProto[c.KeyEncoding], ValueEncoding: valueEncodingProto[c.ValueEncoding], Recall: c.Recall, KvHeads: uint32(c.KVHeads),
		Lexical: lexicalProto[c.Lexical], Ranking: rankingProto(c.Ranking),
		Retention: retentionProto(c.Retention), RepeatSimilarity: c.Repeats, MaxRecords: uint64(c.MaxRecords), Eviction: evictionProto[c.Eviction], Forget: c.Forget,
		Consolidation: consolidationProto(c.Consolidation),
	}
	if c.Embedder.Name != "" {
		out.Embedder = embedderProto(c.Embedder)
	}
	return out
}

func embedderProto(id memory.EmbedderID) *engramv1.Embedder {
	return &engramv1.Embedder{Name: id.Name, Version: id.Version, Dimension: uint32(id.Dimension)}
}
