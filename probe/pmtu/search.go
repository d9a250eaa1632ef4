package pmtu

// plateaus are the MTUs that links have, largest first (RFC 1191 section 7), with what has come since.
var plateaus = [...]int{65535, 32000, 17914, 9000, 8166, 4352, 2002, 1500, 1492, 1280, 1006, 508, 296, 68}

// A cause is why a size is searched for.
type cause uint8

const (
	none   cause = iota
	device       // this host refuses the packet and does not say what would fit
	router       // a router does the same, or says what cannot be
	hole         // larger packets vanish
)

// A search looks for the largest size that gets through: most does not, and least does, if it is known.
type search struct {
	why         cause
	least, most int // least 0: not known
	floor       int // no size below is tried
	lost        int // probes of the present size in a row
}

// next is the size to try, or 0 where least is the answer.
func (s *search) next() int {
	if s.least == 0 {
		for _, p := range plateaus {
			if p < s.most {
				return max(p, s.floor)
			}
		}
		return s.floor
	}
	if s.most-s.least <= 1 {
		return 0
	}
	return (s.least + s.most) / 2
}

func (s *search) passes(size int) { s.least, s.lost = size, 0 }
func (s *search) fails(size int)  { s.most, s.lost = size, 0 }
