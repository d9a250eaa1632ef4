package queue

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A Queue is what a slice would be, whatever its length in pieces.
func TestQueue(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var q Queue[int]
	var want []int
	for i := range 200_000 {
		// It grows to some pieces and shrinks to nothing, again and again.
		if grow := i/5000%2 == 0; len(want) == 0 || grow == (chance.IntN(3) > 0) {
			q.Push(i)
			want = append(want, i)
		} else {
			q.Pop()
			want = want[1:]
		}
		if q.Len() != len(want) {
			t.Fatalf("step %d: length %d, want %d", i, q.Len(), len(want))
		}
		if n := len(want); n > 0 {
			if at := chance.IntN(n); *q.At(at) != want[at] || *q.At(0) != want[0] || *q.At(n - 1) != want[n-1] {
				t.Fatalf("step %d: %d at %d, want %d", i, *q.At(at), at, want[at])
			}
		}
		if len(q.pieces) > len(want)/piece+2 {
			t.Fatalf("step %d: %d pieces for %d", i, len(q.pieces), len(want))
		}
		if i%9999 == 0 {
			odd := func(v int) bool { return v%2 == 1 }
			q.Keep(odd)
			want = slices.DeleteFunc(slices.Clone(want), func(v int) bool { return !odd(v) })
		}
	}
}

type number int

func (n number) Before(m number) bool { return n < m }

// A heap gives out what is in it, the least first, whatever comes in between.
func TestHeap(t *testing.T) {
	chance := rand.New(rand.NewPCG(3, 4))
	var h Heap[number]
	var want []number
	for i := range 20_000 {
		if grow := i/500%2 == 0; len(want) == 0 || grow == (chance.IntN(3) > 0) {
			n := number(chance.IntN(1000))
			h.Push(n)
			at, _ := slices.BinarySearch(want, n)
			want = slices.Insert(want, at, n)
		} else {
			h.Pop()
			want = want[1:]
		}
		if len(h) != len(want) || len(h) > 0 && h[0] != want[0] {
			t.Fatalf("step %d: %d in it, %v in front, want %d, %v", i, len(h), h[:min(1, len(h))], len(want), want[:min(1, len(want))])
		}
	}
}

type placed struct {
	Place
	name string
}

// TestBag: whatever is taken out, the others stay, and know where they are.
func TestBag(t *testing.T) {
	for mask := range 1 << 5 { // which are taken out
		var b Bag[*placed]
		all := []*placed{{name: "a"}, {name: "b"}, {name: "c"}, {name: "d"}, {name: "e"}}
		for _, p := range all {
			b.Add(p)
		}
		var want []string
		for i, p := range all {
			if mask&(1<<i) != 0 {
				b.Remove(p)
			} else {
				want = append(want, p.name)
			}
		}
		var got []string
		for i, p := range b {
			if int(p.Place) != i {
				t.Errorf("mask %b: %s is at %d and says %d", mask, p.name, i, p.Place)
			}
			got = append(got, p.name)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("mask %b: %v left, want %v", mask, got, want)
		}
		for _, p := range b[len(b):cap(b)] {
			if p != nil {
				t.Errorf("mask %b: %s is still held", mask, p.name)
			}
		}
	}
}
