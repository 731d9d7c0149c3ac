package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A redis is a Redis server that syncs its file before it answers, in a process of its own.
type redis struct {
	addr  string
	about string
	cmd   *exec.Cmd
}

func startRedis(ctx context.Context, dir string) (*redis, error) {
	about, err := exec.CommandContext(ctx, "redis-server", "--version").Output()
	if err != nil {
		return nil, err
	}
	l, err := listen() // for a port that is free
	if err != nil {
		return nil, err
	}
	addr := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		return nil, err
	}
	r := &redis{addr: addr.String(), about: strings.TrimSpace(string(about))}
	r.cmd = exec.CommandContext(ctx, "redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(addr.Port), "--dir", dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	r.cmd.Stderr = os.Stderr
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	for range 100 {
		var c *redisConn
		if c, err = r.dial(); err == nil {
			if err = c.do("PING"); err == nil {
				return r, c.Close()
			}
			_ = c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.stop()
	return nil, fmt.Errorf("redis-server doesn't answer: %w", err)
}

func (r *redis) stop() {
	if r != nil {
		_ = r.cmd.Process.Signal(os.Interrupt)
		_ = r.cmd.Wait()
	}
}

// A redisConn is a connection of one client, which waits for each answer.
type redisConn struct {
	net.Conn
	in  *bufio.Reader
	out []byte
}

func (r *redis) dial() (*redisConn, error) {
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		return nil, err
	}
	return &redisConn{Conn: c, in: bufio.NewReader(c)}, nil
}

// do sends a command and waits for an answer of one line.
func (c *redisConn) do(args ...string) error {
	b := append(c.out[:0], '*')
	b = strconv.AppendInt(b, int64(len(args)), 10)
	for _, a := range args {
		b = append(b, "\r\n$"...)
		b = strconv.AppendInt(b, int64(len(a)), 10)
		b = append(append(b, "\r\n"...), a...)
	}
	c.out = append(b, "\r\n"...)
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	line, err := c.in.ReadSlice('\n')
	if err == nil && line[0] == '-' {
		err = errors.New(strings.TrimSpace(string(line[1:])))
	}
	return err
}

var _ io.Closer = (*redisConn)(nil)
