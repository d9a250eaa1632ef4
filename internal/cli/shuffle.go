package cli

import (
	"encoding/binary"
	"iter"
	mathbits "math/bits"
	"math/rand/v2"
	"net/netip"
)

// mixes is among how many hosts of lists the next is drawn, where neighbours are to be kept apart.
const mixes = 4096

// groups are primes and a primitive root of each, as zmap has them: the powers of that are the numbers from 1 to the prime, each once.
var groups = []struct{ prime, root uint64 }{
	{1<<8 + 1, 3}, {1<<16 + 1, 3}, {1<<24 + 43, 2}, {1<<28 + 3, 2}, {1<<32 + 15, 3},
}

// permuted are the numbers from 0 to n, n left out, each once, in an order that chance decides and that takes no memory: zmap's, by a
// multiplicative group (Durumeric et al., USENIX Security 2013, section 4.1). n is at most maxNetwork.
func permuted(n uint64, chance *rand.Rand) iter.Seq[uint64] {
	g := groups[0]
	for _, g = range groups {
		if g.prime > n {
			break
		}
	}
	times := func(a, b uint64) uint64 {
		hi, lo := mathbits.Mul64(a, b)
		return mathbits.Rem64(hi, lo, g.prime)
	}
	// A power of a primitive root is one too where it has no divisor in common with the group's order.
	e := 1 + chance.Uint64N(g.prime-1)
	for gcd(e, g.prime-1) != 1 {
		e = 1 + chance.Uint64N(g.prime-1)
	}
	step := uint64(1)
	for square := g.root; e > 0; e >>= 1 {
		if e&1 != 0 {
			step = times(step, square)
		}
		square = times(square, square)
	}
	first := 1 + chance.Uint64N(g.prime-1)
	return func(yield func(uint64) bool) {
		for x := first; ; {
			if x <= n && !yield(x-1) {
				return
			}
			if x = times(x, step); x == first {
				return
			}
		}
	}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// plus is the n-th address behind a.
func plus(a netip.Addr, n uint64) netip.Addr {
	if a.Is4() {
		b := a.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	low, carry := mathbits.Add64(binary.BigEndian.Uint64(b[8:]), n, 0)
	binary.BigEndian.PutUint64(b[8:], low)
	binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])+carry)
	return netip.AddrFrom16(b).WithZone(a.Zone())
}

// mixed is read with neighbours kept apart: each host is drawn from the next ones, as far as those are there.
func (r *roster) mixed(yield func(item) bool) {
	var held []string
	draw := func() bool {
		i, last := r.chance.IntN(len(held)), len(held)-1
		name := held[i]
		held[i], held = held[last], held[:last]
		return yield(item{name: name})
	}
	ok := true
	flush := func() bool {
		for ok && len(held) > 0 {
			ok = draw()
		}
		return ok
	}
	r.read(func(i item) bool {
		switch {
		case i.err != nil && !i.last:
			ok = yield(i)
		case i.idle, i.last:
			ok = flush() && yield(i)
		default:
			if len(held) == mixes {
				ok = draw()
			}
			held = append(held, i.name)
		}
		return ok
	})
	flush()
}
