// Package names looks up what addresses are called (reverse DNS) and who
// announces them (routing registries), beside a measurement: nothing here
// holds a probe or a round-trip time up.
//
// Ask starts a look-up and returns at once; Name waits for it, but never
// beyond the cache's bound, counted from Ask. Where look-ups came to nothing within it
// a few times in a row, as with a name server that is down, Name stops waiting:
// later answers are still used. What is known stays known, absence included.
//
// Both kinds of answers are other people's text. What leaves the package is safe to
// print and to put into a document: see Clean.
//
// The package knows nothing of probes and of output.
package names

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

const (
	// atOnce is how many look-ups are under way at a time.
	atOnce = 16
	// most is how many addresses are remembered. Who meets more of them gets the rest without names.
	most = 1 << 16
	// patience is how many look-ups in a row may exceed the bound before nobody waits any more.
	patience = 3
)

// A Cache is the names of addresses, of one kind.
type Cache struct {
	look  func(context.Context, netip.Addr) (string, error) // "" where there is none; sanitised
	key   func(netip.Addr) netip.Addr                       // addresses with one key have one name; the zero Addr has none
	bound time.Duration
	ctx   context.Context
	slots chan struct{}

	mu      sync.Mutex // Ask and Name are called from goroutines of their own
	known   map[netip.Addr]*entry
	misses  int   // look-ups in a row that took longer than the bound
	err     error // the first
	started int   // for tests
}

// An entry is one look-up. name may be read once done is closed.
type entry struct {
	until time.Time // how long is waited for it
	done  chan struct{}
	name  string
}

// newCache returns a cache whose look-ups end with ctx.
func newCache(ctx context.Context, bound time.Duration, key func(netip.Addr) netip.Addr, look func(context.Context, netip.Addr) (string, error)) *Cache {
	return &Cache{look: look, key: key, bound: bound, ctx: ctx, slots: make(chan struct{}, atOnce), known: make(map[netip.Addr]*entry)}
}

// Ask starts to look up a, unless that has begun before. It returns at once.
func (c *Cache) Ask(a netip.Addr) { c.ask(a) }

func (c *Cache) ask(a netip.Addr) *entry {
	k := c.key(a)
	if !k.IsValid() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.known[k]
	if e != nil || len(c.known) >= most {
		return e
	}
	e = &entry{until: time.Now().Add(c.bound), done: make(chan struct{})}
	c.known[k] = e
	c.started++
	go c.run(k, e)
	return e
}

// run does one look-up. One that comes to nothing within ten times the bound is given up.
func (c *Cache) run(k netip.Addr, e *entry) {
	defer close(e.done)
	ctx, cancel := context.WithDeadline(c.ctx, e.until.Add(9*c.bound))
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return
	}
	name, err := c.look(ctx, k)
	e.name = name
	late := time.Now().After(e.until)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !late {
		c.misses = 0
	}
	c.failed(err)
}

// failed keeps the first error, but none for which the end of the run may be the reason. The caller holds mu.
func (c *Cache) failed(err error) {
	if c.err == nil && c.ctx.Err() == nil {
		c.err = err
	}
}

// Err is why some name could not be looked up, by the first look-up of which that is so; nil where all were answered. That there is no
// name is an answer.
func (c *Cache) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Name returns the name of a, "" where none is known: there is none, or it did not come within the bound.
func (c *Cache) Name(a netip.Addr) string {
	e := c.ask(a)
	if e == nil {
		return ""
	}
	select {
	case <-e.done:
		return e.name
	default:
	}
	c.mu.Lock()
	wait := time.Until(e.until)
	if c.misses >= patience {
		wait = 0
	}
	c.mu.Unlock()
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-e.done:
			return e.name
		case <-t.C:
		case <-c.ctx.Done():
			return ""
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait > 0 {
		c.misses++
	}
	c.failed(fmt.Errorf("no answer within %v", c.bound))
	return ""
}
