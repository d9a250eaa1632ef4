package report

import "io"

// An Order keeps what several targets print apart: the first that has not ended prints at once, what others print
// waits until all before them have ended.
type Order struct {
	w     io.Writer
	sep   string // between two that print
	some  bool   // one has printed
	held  bool
	turn  int // the part that prints
	parts map[int]*turn

	// Waits is told how many bytes more wait for their turn, or fewer. May be nil.
	Waits func(more int)
}

func (o *Order) waits(more int) {
	if o.Waits != nil {
		o.Waits(more)
	}
}

// A turn is one target's output.
type turn struct {
	o       *Order
	n       int
	waiting []byte
	begun   bool // it has printed
	ended   bool
}

// turnSize is about what one takes that has ended and waits, if it printed nothing.
const turnSize = 128

// NewOrder returns an Order of parts from 0 on that writes to w, sep between them; one that is held writes
// nothing before Release.
func NewOrder(w io.Writer, sep string, held bool) *Order {
	return &Order{w: w, sep: sep, held: held, parts: make(map[int]*turn)}
}

func (o *Order) part(n int) *turn {
	p := o.parts[n]
	if p == nil {
		p = &turn{o: o, n: n}
		o.parts[n] = p
	}
	return p
}

// Part is where the n-th target's output goes.
func (o *Order) Part(n int) io.Writer { return o.part(n) }

func (p *turn) Write(b []byte) (int, error) {
	if p.o.held || p.n != p.o.turn {
		p.waiting = append(p.waiting, b...)
		p.o.waits(len(b))
		return len(b), nil
	}
	return p.print(b)
}

func (p *turn) print(b []byte) (int, error) {
	if !p.begun && p.o.some && p.o.sep != "" {
		if _, err := io.WriteString(p.o.w, p.o.sep); err != nil {
			return 0, err
		}
	}
	p.begun, p.o.some = true, true
	return p.o.w.Write(b)
}

// End tells that nothing more comes from the n-th target. Each has to end once, whether it printed or not.
func (o *Order) End(n int) error {
	o.part(n).ended = true
	o.waits(turnSize)
	return o.advance()
}

// Release lets a held Order write.
func (o *Order) Release() error {
	o.held = false
	return o.advance()
}

func (o *Order) advance() error {
	for !o.held {
		p := o.parts[o.turn]
		if p == nil {
			return nil
		}
		if len(p.waiting) > 0 {
			if _, err := p.print(p.waiting); err != nil {
				return err
			}
			o.waits(-len(p.waiting))
			p.waiting = nil
		}
		if !p.ended {
			return nil
		}
		o.waits(-turnSize)
		delete(o.parts, o.turn)
		o.turn++
	}
	return nil
}
