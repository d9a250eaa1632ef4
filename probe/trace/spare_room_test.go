package trace

import (
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
