package e2e

import (
	"net"
	"sync"
	"time"
)

// Proxy passes connections on to one address, and can cut them.
type Proxy struct {
	listener net.Listener
	to       string

	mu      sync.Mutex
	passing map[*passage]struct{}
	shut    bool // nobody gets through
	closed  bool
}

// passage is one connection and its continuation.
type passage struct {
	near, far net.Conn
	mute      bool // nothing comes back any more; guarded by the proxy's mu
}

// NewProxy listens on a free loopback port until Close.
func NewProxy(to string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: listener, to: to, passing: map[*passage]struct{}{}}
	go p.accept()
	return p, nil
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.pass(near)
	}
}

func (p *Proxy) pass(near net.Conn) {
	defer func() { _ = near.Close() }()
	far, err := net.DialTimeout("tcp", p.to, time.Second)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	c := &passage{near: near, far: far}
	p.mu.Lock()
	refused := p.shut || p.closed
	if !refused {
		p.passing[c] = struct{}{}
	}
	p.mu.Unlock()
	if refused {
		return
	}
	defer func() {
		p.mu.Lock()
		delete(p.passing, c)
		p.mu.Unlock()
	}()

	back := make(chan struct{})
	go func() {
		defer close(back)
		p.copyBack(c)
		_ = near.Close()
		_ = far.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := near.Read(buffer)
		if n > 0 {
			if _, err := far.Write(buffer[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = near.Close()
	_ = far.Close()
	<-back
}

func (p *Proxy) copyBack(c *passage) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := c.far.Read(buffer)
		p.mu.Lock()
		mute := c.mute
		p.mu.Unlock()
		if n > 0 && !mute {
			if _, err := c.near.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Mute lets nothing come back on the connections that there are, while what is
// sent still arrives: what is stored then is stored without its sender knowing.
func (p *Proxy) Mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.passing {
		c.mute = true
	}
}

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.passing {
		_ = c.near.Close()
		_ = c.far.Close()
	}
}

// Shut cuts all connections and lets nobody through until it is called with false.
func (p *Proxy) Shut(shut bool) {
	p.mu.Lock()
	p.shut = shut
	p.mu.Unlock()
	if shut {
		p.Cut()
	}
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
}
