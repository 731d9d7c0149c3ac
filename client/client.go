// Package client talks to an Engram server: it stores records and reads them back
// by Retrieve and Attend. Vectors are plain []float32, metadata plain maps.
//
//	c, err := client.Dial("127.0.0.1:7440")
//	…
//	defer c.Close()
//	_, err = c.Store(ctx, "chat", client.Record{Text: "My dog is called Ada."})
//	hits, err := c.Retrieve(ctx, "chat", client.Text("what is the dog's name?"))
//
// Errors are gRPC statuses: status.Code tells the kind, and the message says which
// field is wrong. Calls that met an unavailable server are tried again, writes
// with a request id, so that none is applied twice.
package client

import (
	"crypto/tls"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	pb "engram/proto/engram/v1"
)

// maxMessage is what a server takes and gives by default, in bytes.
const maxMessage = 16 << 20

// retries lets gRPC try a call again that an unavailable server did not answer:
// up to four times in all, with growing, randomised pauses.
const retries = `{"methodConfig": [{
	"name": [{"service": "engram.v1.MemoryService"}, {"service": "engram.v1.NamespaceService"}],
	"retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s",
		"backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`

// A Client is a connection to a server. It is safe for concurrent use.
type Client struct {
	conn       *grpc.ClientConn
	memory     pb.MemoryServiceClient
	namespaces pb.NamespaceServiceClient
}

// A DialOption says how to connect.
type DialOption func(*dialing)

type dialing struct {
	creds credentials.TransportCredentials
	token string
	grpc  []grpc.DialOption
}

// WithTLS connects by TLS. Default: in the clear, as a server on loopback serves.
func WithTLS(config *tls.Config) DialOption {
	return func(d *dialing) { d.creds = credentials.NewTLS(config) }
}

// WithToken sends a bearer token with every call. It needs TLS, unless the server
// is on this machine.
func WithToken(token string) DialOption { return func(d *dialing) { d.token = token } }

// WithGRPC passes options on to gRPC.
func WithGRPC(options ...grpc.DialOption) DialOption {
	return func(d *dialing) { d.grpc = append(d.grpc, options...) }
}

// Dial makes a client of the server at address, "host:port". It doesn't wait for
// the connection; the first call does.
func Dial(address string, options ...DialOption) (*Client, error) {
	d := dialing{creds: insecure.NewCredentials()}
	for _, o := range options {
		o(&d)
	}
	all := []grpc.DialOption{
		grpc.WithTransportCredentials(d.creds),
		grpc.WithDefaultServiceConfig(retries),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage),
			grpc.MaxRetryRPCBufferSize(maxMessage)), // else requests over 256 KiB are not tried again
	}
	if d.token != "" {
		all = append(all, grpc.WithPerRPCCredentials(bearer{d.token, d.creds.Info().SecurityProtocol == "tls"}))
	}
	conn, err := grpc.NewClient(address, append(all, d.grpc...)...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return &Client{conn, pb.NewMemoryServiceClient(conn), pb.NewNamespaceServiceClient(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Conn is the connection itself, for generated clients of other services.
func (c *Client) Conn() *grpc.ClientConn { return c.conn }
