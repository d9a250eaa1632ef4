package trace

import (
	"net/netip"
	"reflect"
	"testing"
)

// What a trace leaves says nothing of it.
func TestSpareIsEmpty(t *testing.T) {
	c := good()
	c.Spare = new(Spare)
	r := start(t, c)
	r.drive(r.path(6))
	hops, mets := len(c.Spare.hops), len(c.Spare.met)
	if hops < 6 || mets != 1 {
		t.Fatalf("%d hops and %d lists of routers left, want 6 or more, and 1", hops, mets)
	}
	for range hops {
		if h := c.Spare.hop(c.Attempts); len(h.asks) != 0 || !reflect.DeepEqual(h, &hop{tries: make([]try, c.Attempts), asks: h.asks}) {
			t.Errorf("left: %+v", h)
		}
	}
	if m := c.Spare.routers(); len(m) != 0 {
		t.Errorf("left: %v", m)
	}
}

// A router that is met again, not right behind, is found among few and among hundreds.
func TestReturns(t *testing.T) {
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}) }
	for _, again := range []int{0, fewRouters - 1, fewRouters, fewRouters + 1, 239} {
		a := &T{spare: new(Spare)}
		for i := range 240 {
			a.returns(1+i, at(i))
			a.returns(2+i, at(i)) // as where paths of two lengths meet
		}
		if a.returned || len(a.met) != 240 {
			t.Fatalf("%d routers met, again %v", len(a.met), a.returned)
		}
		if a.returns(again+3, at(again)); !a.returned {
			t.Errorf("router %d met at TTL %d, %d and %d: not noticed", again, again+1, again+2, again+3)
		}
	}
}
