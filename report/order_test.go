package report

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestOrder: whatever the order in which targets print and end, what comes out is one after another, and the first
// that has not ended is never held back.
func TestOrder(t *testing.T) {
	for seed := range uint64(200) {
		chance := rand.New(rand.NewPCG(seed, 0))
		var b bytes.Buffer
		const n = 6
		held := seed%4 == 0
		o := NewOrder(&b, "--\n", held)
		left, ended := make([]int, n), make([]bool, n)
		want, some := "", false
		for i := range n {
			left[i] = chance.IntN(4)
			if left[i] > 0 && some {
				want += "--\n"
			}
			some = some || left[i] > 0
			for k := left[i]; k > 0; k-- {
				want += fmt.Sprintf("%d.%d\n", i, k)
			}
		}
		for open := n; open > 0; {
			i := chance.IntN(n)
			switch {
			case ended[i]:
			case left[i] == 0:
				ended[i] = true
				open--
				if err := o.End(i); err != nil {
					t.Fatal(err)
				}
			default:
				before := b.Len()
				fmt.Fprintf(o.Part(i), "%d.%d\n", i, left[i])
				left[i]--
				first := 0
				for first < n && ended[first] {
					first++
				}
				if printed := b.Len() > before; printed != (i == first && !held) {
					t.Errorf("seed %d: target %d printed at once: %v, the first that has not ended is %d", seed, i, printed, first)
				}
			}
		}
		if held {
			if b.Len() > 0 {
				t.Errorf("seed %d: %q before it was released", seed, &b)
			}
			if err := o.Release(); err != nil {
				t.Fatal(err)
			}
		}
		if b.String() != want {
			t.Errorf("seed %d: %q, want %q", seed, &b, want)
		}
	}
}
