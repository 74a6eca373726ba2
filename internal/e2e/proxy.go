package e2e

import (
	"net"
	"sync"
	"time"
)

// Proxy forwards connections to one address and can break them.
type Proxy struct {
	listener net.Listener
	upstream string

	mu      sync.Mutex
	pairs   map[*connPair]struct{}
	blocked bool // new connections are refused
	closed  bool
}

// connPair is a client's connection and the one to the upstream address.
type connPair struct {
	client, upstream net.Conn
	dropReplies      bool // guarded by the proxy's mu
}

// NewProxy forwards to the address upstream from a free loopback port, until Close.
func NewProxy(upstream string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: listener, upstream: upstream, pairs: map[*connPair]struct{}{}}
	go p.accept()
	return p, nil
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.forward(client)
	}
}

func (p *Proxy) forward(client net.Conn) {
	defer func() { _ = client.Close() }()
	upstream, err := net.DialTimeout("tcp", p.upstream, time.Second)
	if err != nil {
		return
	}
	defer func() { _ = upstream.Close() }()
	c := &connPair{client: client, upstream: upstream}
	p.mu.Lock()
	refused := p.blocked || p.closed
	if !refused {
		p.pairs[c] = struct{}{}
	}
	p.mu.Unlock()
	if refused {
		return
	}
	defer func() {
		p.mu.Lock()
		delete(p.pairs, c)
		p.mu.Unlock()
	}()

	repliesDone := make(chan struct{})
	go func() {
		defer close(repliesDone)
		p.copyReplies(c)
		_ = client.Close()
		_ = upstream.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if n > 0 {
			if _, err := upstream.Write(buffer[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = client.Close()
	_ = upstream.Close()
	<-repliesDone
}

func (p *Proxy) copyReplies(c *connPair) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := c.upstream.Read(buffer)
		p.mu.Lock()
		dropReplies := c.dropReplies
		p.mu.Unlock()
		if n > 0 && !dropReplies {
			if _, err := c.client.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// DropReplies drops what the upstream address sends on the open connections. What
// clients send still arrives, so a message can be stored without its sender knowing.
func (p *Proxy) DropReplies() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.dropReplies = true
	}
}

// Cut closes all open connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		_ = c.client.Close()
		_ = c.upstream.Close()
	}
}

// SetBlocked with true closes all connections and refuses new ones, until it is called with false.
func (p *Proxy) SetBlocked(blocked bool) {
	p.mu.Lock()
	p.blocked = blocked
	p.mu.Unlock()
	if blocked {
		p.Cut()
	}
}

// Close closes the listener and all connections.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
}
