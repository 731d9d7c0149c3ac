package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// A page token names the place after which the next page begins. It holds
//
//	version   1 byte: 1
//	position  any bytes, the method's own
//	sum       8 bytes: the first of SHA-256 over the bytes before it and the scope
//
// in base64url. The scope is the rest of the request that must stay the same from page to
// page, so a token that was altered, or comes from another listing, doesn't fit. The
// server keeps nothing, and a token never goes stale.
const (
	tokenVersion = 1
	tokenSum     = 8
)

func pageToken(position []byte, scope ...[]byte) string {
	b := append([]byte{tokenVersion}, position...)
	sum := tokenHash(b, scope)
	return base64.RawURLEncoding.EncodeToString(append(b, sum[:tokenSum]...))
}

// parsePageToken gives back the position, or false if the token isn't of this scope.
func parsePageToken(s string, scope ...[]byte) ([]byte, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") || len(b) < 1+tokenSum || b[0] != tokenVersion { // which decoding passes over
		return nil, false
	}
	body, given := b[:len(b)-tokenSum], b[len(b)-tokenSum:]
	sum := tokenHash(body, scope)
	if subtle.ConstantTimeCompare(sum[:tokenSum], given) != 1 {
		return nil, false
	}
	return body[1:], true
}

func tokenHash(body []byte, scope [][]byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(binary.AppendUvarint(nil, uint64(len(body))))
	h.Write(body)
	for _, part := range scope {
		h.Write(binary.AppendUvarint(nil, uint64(len(part))))
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
