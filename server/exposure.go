package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Exposure is how a listening address is protected.
type Exposure struct {
	TLS         bool // connections are encrypted
	Credentials bool // calls carry a token
	Insecure    bool // the user said that neither is wanted
}

// CheckExposure refuses an address that other machines can reach without TLS and
// credentials, unless the user insists. The address is host:port, as for net.Listen;
// without a host it is every interface.
func CheckExposure(addr string, e Exposure) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: %w", addr, err)
	}
	if ip, err := netip.ParseAddr(host); (err == nil && ip.Unmap().IsLoopback()) || host == "localhost" {
		return nil
	}
	if e.Insecure || e.TLS && e.Credentials {
		return nil
	}
	missing := "TLS and credentials"
	switch {
	case e.TLS:
		missing = "credentials"
	case e.Credentials:
		missing = "TLS"
	}
	return fmt.Errorf("address %q can be reached by other machines, and there is no protection: give it %s, listen on 127.0.0.1, or insist with --insecure", addr, missing)
}

// token is the hash of a credential: comparing hashes takes the same time wherever the
// credentials differ.
type token [sha256.Size]byte

func tokens(credentials []string) ([]token, error) {
	out := make([]token, len(credentials))
	for i, c := range credentials {
		if c == "" || strings.ContainsAny(c, " \t\r\n") {
			return nil, fmt.Errorf("credential %d is empty or has white space in it", i)
		}
		out[i] = sha256.Sum256([]byte(c))
	}
	return out, nil
}

// authorized tells whether one of the values of an Authorization header is good.
func (s *Server) authorized(values []string) bool {
	ok := 0
	for _, v := range values {
		scheme, credential, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "bearer") {
			continue
		}
		given := token(sha256.Sum256([]byte(strings.TrimSpace(credential))))
		for _, t := range s.tokens {
			ok |= subtle.ConstantTimeCompare(given[:], t[:])
		}
	}
	return ok == 1
}
