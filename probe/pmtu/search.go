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

const (
	// The proof of what silence seems to say: of the size in question so many probes are lost, and right behind them so
	// many of the other size are answered.
	//
	// So it is no limit to how often a node answers, whatever that is. Had the last of the lost ones met with it, two
	// answers would have become due from then on until the second one came, but not one in the time before, back to
	// the latest answer, which is longer. And it takes several losses, because packets are lost for no reason too.
	sure     = 4
	controls = 2

	// A search that has come so far without a proof will not find one.
	maxDoubts   = 5
	maxSearched = 120 // probes

	// So many probes of a size are lost, at most, until the search goes on: it is not proven yet.
	maxPatience = 3
)

// A search looks for the largest size that gets through. An answer from behind says that a size does, a refusal
// that it does not; silence is taken for one of both until the search is at its end, and must be proven there.
type search struct {
	why   cause
	floor int // no size below is tried
	asked int // probes so far

	least, most int  // the bounds so far: most does not get through, and least does, if it is known (else 0)
	heard       int  // the largest that was answered from behind; 0: none
	told        int  // the smallest that was refused; 0: none
	first       int  // most at the beginning
	back        int  // most when the last answer from behind came: what was lost since then may be no fault of its size
	mute        bool // whoever is behind answers nothing, so that silence is for what gets through

	lost, patience int  // probes of the present size, in a row; how many make it silent
	step           int  // of the proof: probes that went as they should
	doubts         int  // times that the other size was not answered
	slow           bool // the present pace is too fast
}

func newSearch(why cause, least, most, floor int) search {
	return search{why: why, floor: floor, least: least, heard: least, most: most, first: most, back: most, patience: 1}
}

// met reports whether the bounds leave nothing between them.
func (s *search) met() bool { return s.least != 0 && s.most-s.least <= 1 }

// proven reports whether the bounds are what they seem.
func (s *search) proven() bool { return !s.mute && s.most == s.told || s.step == sure+controls }

// over reports whether the search is at its end.
func (s *search) over() bool {
	return s.met() && s.proven() || s.doubts > maxDoubts || s.asked >= maxSearched
}

// next is the size to try.
func (s *search) next() int {
	switch {
	case s.least == 0:
		for _, p := range plateaus {
			if p < s.most {
				return max(p, s.floor)
			}
		}
		return s.floor
	case !s.met():
		return (s.least + s.most) / 2
	case s.controls() != s.mute:
		return s.least
	}
	return s.most
}

// controls reports whether a size that is known to be answered is asked, to see whether any is.
func (s *search) controls() bool { return s.met() && s.step >= sure }

// passes takes in that a size got through. It reports false if that is one with which the search began.
func (s *search) passes(size int) bool {
	switch {
	case s.controls() && size == s.heard:
		s.step++
		return true
	case size >= s.bound():
		return false
	case size >= s.most: // silence had another reason
		s.wrong()
		if s.back <= size {
			s.back = s.bound()
		}
		s.most = s.back
	}
	s.heard, s.least, s.back = size, size, s.most
	s.mute, s.step, s.lost = false, 0, 0
	return true
}

// wrong takes in that what is answered was lost: by chance, or, if it goes on, because too much is asked.
func (s *search) wrong() {
	s.slow = s.patience > 1 && s.doubts == 0 || s.patience == maxPatience
	s.patience = min(maxPatience, s.patience+1)
}

// bound is what does not get through at all events.
func (s *search) bound() int {
	if s.told != 0 {
		return s.told
	}
	return s.first
}

// refused takes in that a size was refused.
func (s *search) refused(size int) {
	if s.controls() && size == s.told {
		s.step++
		return
	}
	s.told, s.most, s.back = size, size, size
	if s.heard >= size {
		s.heard = 0 // it changed under our hands
	}
	switch {
	case !s.mute:
		s.least = s.heard
	case s.least >= size: // silence had another reason
		s.wrong()
		s.least = s.floor
	}
	s.step, s.lost = 0, 0
}

// silent takes in that a size got no answer.
func (s *search) silent(size int) {
	switch {
	case s.controls():
		s.wrong()
		s.slow, s.step = true, 0
		s.doubts++
		return
	case s.met():
		s.step++
		return
	}
	if s.lost++; s.lost < s.patience {
		return
	}
	s.lost = 0
	switch {
	case s.mute:
		s.least = size
	case size <= s.floor: // it was not refused either
		s.mute, s.least, s.most = true, size, s.bound()
	default:
		s.most = size
	}
}
