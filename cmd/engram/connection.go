package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"engram/client"
)

// Connection says where the server is and how to reach it.
type Connection struct {
	Addr      string        `help:"The server's address." default:"127.0.0.1:7440" placeholder:"HOST:PORT"`
	Admin     string        `help:"The server's admin address." default:"127.0.0.1:7441" placeholder:"HOST:PORT"`
	TLS       bool          `name:"tls" help:"Connect by TLS."`
	CA        string        `name:"ca" help:"Trust the certificates in this PEM file (with --tls); default: the system's." type:"existingfile" placeholder:"FILE"`
	TokenFile string        `help:"Send the bearer token in this file." type:"existingfile" placeholder:"FILE"`
	Timeout   time.Duration `help:"How long a request may take." default:"1m"`
}

func (c *Connection) dial() (*client.Client, error)      { return c.dialTo(c.Addr) }
func (c *Connection) dialAdmin() (*client.Client, error) { return c.dialTo(c.Admin) }

func (c *Connection) dialTo(address string) (*client.Client, error) {
	var options []client.DialOption
	if c.TLS || c.CA != "" {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.CA != "" {
			pem, err := os.ReadFile(c.CA)
			if err != nil {
				return nil, err
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s holds no PEM certificate", c.CA)
			}
		}
		options = append(options, client.WithTLS(config))
	}
	if c.TokenFile != "" {
		token, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, err
		}
		options = append(options, client.WithToken(strings.TrimSpace(string(token))))
	}
	return client.Dial(address, options...)
}

// advice turns an error into what to tell the user, and the exit code.
func advice(err error, c *Connection) (string, int) {
	if isUsage(err) {
		return err.Error(), exitUsage
	}
	var refused interface {
		error
		GRPCStatus() *status.Status
	}
	if !errors.As(err, &refused) {
		return err.Error(), exitRefused
	}
	s := refused.GRPCStatus()
	switch s.Code() {
	case codes.Unavailable:
		for _, d := range s.Details() {
			if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetReason() == "READ_ONLY" {
				return s.Message() + "\n  Reads go on. Look at the server's log; writes need another start of it.", exitRefused
			}
		}
		return fmt.Sprintf("no server answers at %s (admin: %s). Start one with `engram serve`, or name its address with --addr and --admin.\n  (%s)", c.Addr, c.Admin, s.Message()), exitUnreachable
	case codes.Unauthenticated:
		return s.Message() + "\n  Give the server's token with --token-file.", exitRefused
	case codes.DeadlineExceeded:
		return fmt.Sprintf("the server did not answer within %s; allow more with --timeout", c.Timeout), exitRefused
	case codes.Unimplemented:
		return fmt.Sprintf("the server at %s doesn't know this request; is it engram, and as new as this program? (%s)", c.Addr, s.Message()), exitRefused
	}
	var b strings.Builder
	b.WriteString(strings.Replace(err.Error(), refused.Error(), s.Message(), 1))
	for _, d := range s.Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				fmt.Fprintf(&b, "\n  %s: %s", v.GetField(), v.GetDescription())
			}
		}
	}
	return b.String(), exitRefused
}
