package probe

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A queue is what a slice would be, whatever its length in pieces.
func TestQueue(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var q queue[int]
	var want []int
	for i := range 200_000 {
		// It grows to some pieces and shrinks to nothing, again and again.
		if grow := i/5000%2 == 0; len(want) == 0 || grow == (chance.IntN(3) > 0) {
			q.push(i)
			want = append(want, i)
		} else {
			q.pop()
			want = want[1:]
		}
		if q.len() != len(want) {
			t.Fatalf("step %d: length %d, want %d", i, q.len(), len(want))
		}
		if n := len(want); n > 0 {
			if at := chance.IntN(n); *q.at(at) != want[at] || *q.at(0) != want[0] || *q.at(n - 1) != want[n-1] {
				t.Fatalf("step %d: %d at %d, want %d", i, *q.at(at), at, want[at])
			}
		}
		if len(q.pieces) > len(want)/piece+2 {
			t.Fatalf("step %d: %d pieces for %d", i, len(q.pieces), len(want))
		}
		if i%9999 == 0 {
			odd := func(v int) bool { return v%2 == 1 }
			q.keep(odd)
			want = slices.DeleteFunc(slices.Clone(want), func(v int) bool { return !odd(v) })
		}
	}
}
