package server

import (
	"slices"

	"engram/memory"
	"engram/memory/lexical"
	engramv1 "engram/proto/engram/v1"
)

var lexicalProto = map[lexical.Analysis]engramv1.Lexical{
	lexical.None:    engramv1.Lexical_LEXICAL_NONE,
	lexical.Words:   engramv1.Lexical_LEXICAL_WORDS,
	lexical.English: engramv1.Lexical_LEXICAL_ENGLISH,
}

// analysis converts an analysis; unset, it is none.
func analysis(v *violations, field string, p engramv1.Lexical) lexical.Analysis {
	switch p {
	case engramv1.Lexical_LEXICAL_UNSPECIFIED, engramv1.Lexical_LEXICAL_NONE:
	case engramv1.Lexical_LEXICAL_WORDS:
		return lexical.Words
	case engramv1.Lexical_LEXICAL_ENGLISH:
		return lexical.English
	default:
		v.add(field+".lexical", "is %d, which is no way to search texts", p)
	}
	return lexical.None
}

// ranking converts a ranking; unset, it is similarity alone.
func ranking(v *violations, field string, p *engramv1.Ranking) memory.Ranking {
	if p == nil {
		return memory.Ranking{}
	}
	r := memory.Ranking{Similarity: p.Similarity, Lexical: p.Lexical, Association: p.Association, Mention: p.Mention, Retention: p.Retention, Importance: p.Importance, Kin: p.Kin}
	switch p.Fusion {
	case engramv1.Fusion_FUSION_UNSPECIFIED, engramv1.Fusion_FUSION_WEIGHTED:
	case engramv1.Fusion_FUSION_RECIPROCAL_RANK:
		r.Fusion = memory.ReciprocalRank
	default:
		v.add(field+".fusion", "is %d, which is no fusion", p.Fusion)
	}
	if reason := r.Check(); reason != "" {
		v.add(field, "%s", reason)
	}
	if r.Plain() { // of which there is one
		return memory.Ranking{}
	}
	return r
}

func rankingProto(r memory.Ranking) *engramv1.Ranking {
	fusion := engramv1.Fusion_FUSION_WEIGHTED
	if r.Fusion == memory.ReciprocalRank {
		fusion = engramv1.Fusion_FUSION_RECIPROCAL_RANK
	}
	if r == (memory.Ranking{}) {
		r.Similarity = 1
	}
	return &engramv1.Ranking{
		Similarity: r.Similarity, Lexical: r.Lexical, Association: r.Association, Mention: r.Mention,
		Retention: r.Retention, Importance: r.Importance, Kin: r.Kin, Fusion: fusion,
	}
}

// setParts writes what the parts of a ranking gave a record.
func setParts(to *engramv1.ScoreParts, p *memory.Parts) {
	to.Similarity, to.Lexical, to.Association, to.Mention = p.Similarity, p.Lexical, p.Association, p.Mention
	to.Retention, to.Importance, to.Kin = p.Retention, p.Importance, p.Kin
}

// rankingFor is a read's ranking: the request's, else where a query has text that which all
// the namespaces have.
func rankingFor(v *violations, vs views, req *engramv1.RetrieveRequest) memory.Ranking {
	if req.Ranking != nil {
		return ranking(v, "ranking", req.Ranking)
	}
	if len(vs) == 0 || !slices.ContainsFunc(req.Queries, func(q *engramv1.Query) bool { return q.GetText() != "" }) {
		return memory.Ranking{}
	}
	own := vs[0].Config().Ranking
	for _, view := range vs[1:] {
		if c := view.Config(); c.Ranking != own || c.Lexical != vs[0].Config().Lexical {
			return memory.Ranking{}
		}
	}
	return own
}
