package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
)

// maxTargets bounds what a run measures that needs all its hosts before the first (session.whole).
const maxTargets = 1 << 17

// maxNetwork is how many hosts a network or a range may stand for where they are made one by one.
const maxNetwork = 1 << 32

var (
	errTooMany = fmt.Errorf("more than the %d targets of one run", maxTargets)
	errTooWide = fmt.Errorf("more than the %d hosts of one network or range", uint64(maxNetwork))
	errTooBad  = fmt.Errorf("more than %d lines that name no host", maxTargets)
)

// A list is a file of targets that has been opened.
type list struct {
	name  string
	r     io.Reader
	waits bool // reading may take any time: a pipe, a terminal
}

// openLists opens the files that name hosts, "-" being standard input. None is opened later: by then this program may read nothing more.
func (s *session) openLists(ctx context.Context) ([]list, error) {
	lists := make([]list, len(s.lists))
	for i, name := range s.lists {
		r := s.env.Stdin
		if name != "-" {
			f, err := openFile(ctx, name)
			if err != nil {
				return nil, fmt.Errorf("--targets %s: %w", printable(name), err)
			}
			r = f
		}
		lists[i] = list{name, r, true}
		if f, ok := r.(*os.File); ok {
			info, err := f.Stat()
			lists[i].waits = err != nil || !info.Mode().IsRegular()
		}
	}
	return lists, nil
}

// openFile opens a file to read. Who opens the other end of a pipe may never come: the interrupt does not wait for that.
func openFile(ctx context.Context, name string) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.Open(name)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		var pe *os.PathError
		if errors.As(o.err, &pe) {
			return nil, pe.Err
		}
		return o.f, o.err
	case <-ctx.Done():
		return nil, errInterrupted
	}
}

var errInterrupted = errors.New("interrupted")

// An item is what comes of a word of the command line or a line of a list.
type item struct {
	name string // a host
	err  error  // instead: why the line names none, or, with last, why there is nothing more
	last bool
	idle bool // instead: what follows may take any time
}

// A roster is the hosts of the command line, or made of them, and then those of the lists, where networks and ranges stand for
// their hosts: read as they are needed.
type roster struct {
	s     *session
	args  []string
	lists []list
	at    atomic.Int32 // which of lists is being read
	items chan item

	chance *rand.Rand   // hosts begin in an order of it; nil: as they come
	whole  bool         // all are needed before the first
	done   atomic.Int64 // hosts that were left out, as --resume has their results
	names  []string     // read, and nobody's yet
	bad    int          // lines that name no host
	more   bool         // there may be more
}

// newRoster looks at the command line and begins to read.
func (s *session) newRoster(ctx context.Context, args []string, lists []list) (*roster, error) {
	if s.generate && len(args) == 2 && !strings.Contains(args[0]+args[1], "/") {
		args = []string{args[0] + "-" + args[1]}
	} else if s.generate {
		for _, a := range args {
			if !strings.Contains(a, "/") && !strings.Contains(a, "-") {
				return nil, fmt.Errorf("--generate: %s: want a network, such as 192.0.2.0/29, or the first and the last address", printable(a))
			}
		}
	}
	for _, a := range args {
		// An address pasted with the length of its network is not a wish to measure all of that.
		if first, _, err := bounds(a); first.IsValid() && err == nil && !s.generate && !s.tool.verbatim() {
			return nil, fmt.Errorf("%s: is no host, but --generate makes hosts of a network or a range", printable(a))
		}
	}
	r := &roster{s: s, args: args, lists: lists, whole: s.whole()}
	if s.shuffle && !r.whole {
		r.chance = s.chance()
	}
	if len(lists) == 0 && !s.generate {
		for _, a := range args {
			if !r.isDone(a) {
				r.names = append(r.names, a)
			}
		}
		return r, nil
	}
	r.items, r.more = make(chan item, readAhead), true
	go func() { // what a terminal or a pipe says may never come: the interrupt does not wait for it
		read := r.read
		if r.chance != nil {
			read = r.mixed
		}
		read(func(i item) bool {
			select {
			case r.items <- i:
				return true
			case <-ctx.Done():
				return false
			}
		})
		if ctx.Err() == nil { // else it is no end
			close(r.items)
		}
	}()
	return r, nil
}

// read yields all there is, until yield reports false.
func (r *roster) read(yield func(item) bool) {
	n, bad, most := uint64(0), uint64(0), uint64(math.MaxUint64)
	if r.whole {
		most = maxTargets
	}
	add := func(word string, expands bool) (ok bool, err error) {
		hosts := iter.Seq[string](func(yield func(string) bool) { yield(word) })
		if expands {
			if hosts, _, err = expand(word, r.chance); r.whole && errors.Is(err, errTooWide) {
				return true, errTooMany
			} else if err != nil {
				return true, err
			}
		}
		for h := range hosts {
			switch {
			case r.isDone(h):
				continue
			case n == most:
				return true, errTooMany
			}
			n++
			if !yield(item{name: h}) {
				return false, nil
			}
		}
		return true, nil
	}
	for _, a := range r.args {
		if ok, err := add(a, r.s.generate); err != nil {
			yield(item{err: fmt.Errorf("%s: %w", printable(a), err), last: true})
			return
		} else if !ok {
			return
		}
	}
	left := int64(maxList)
	for i, l := range r.lists {
		r.at.Store(int32(i))
		for line := range l.lines(&left, r.s.tool.verbatim()) {
			ok, err := true, line.err
			switch {
			case line.idle:
				ok = yield(item{idle: true})
			case err == nil:
				ok, err = add(line.text, !r.s.tool.verbatim())
				if !r.whole {
					left = maxList
				}
			}
			if err != nil && !line.last {
				switch bad++; {
				case r.whole && bad > most-n:
					err = errTooMany
				case bad > maxTargets:
					err, line.last = fmt.Errorf("line %d: %w", line.n, errTooBad), true
				}
			}
			switch {
			case line.last, errors.Is(err, errTooMany):
				if !line.last {
					err = fmt.Errorf("line %d: %w", line.n, err)
				}
				yield(item{err: fmt.Errorf("--targets %s: %w", printable(l.name), err), last: true})
				return
			case err != nil:
				ok = yield(item{err: fmt.Errorf("%s, line %d: %s: %w", listName(l.name), line.n, printable(line.text), err)})
			}
			if !ok {
				return
			}
		}
	}
}

// isDone reports whether --resume has a result of that host already.
func (r *roster) isDone(name string) bool {
	if len(r.s.done) == 0 {
		return false
	}
	_, done := r.s.done[named(name)]
	if done {
		r.done.Add(1)
	}
	return done
}

// tellDone says how many those were.
func (r *roster) tellDone() {
	if n := r.done.Load(); n > 0 && r.s.out.err == nil {
		r.s.complain(fmt.Errorf("--resume %s: hosts that were left out, as it has their results: %d", printable(r.s.resume), n))
	}
}

// take keeps what is there. The error ends the reading.
func (r *roster) take(i item, ok bool) error {
	switch {
	case !ok:
		r.more = false
	case i.err != nil && i.last:
		r.more = false
		return i.err
	case i.err != nil:
		r.s.complain(i.err)
		r.bad++
	case !i.idle:
		r.names = append(r.names, i.name)
	}
	return nil
}

// fill reads what there is, all of it or, where that may take its time, no more than the run needs to begin.
func (r *roster) fill(ctx context.Context) error {
	least := 1
	if r.s.format == "events" { // which say whose they are where there are several
		least = 2
	}
	for r.more && (r.whole || len(r.names) < readAhead) {
		select {
		case i, ok := <-r.items:
			if err := r.take(i, ok); err != nil {
				return err
			}
			if i.idle && !r.whole && len(r.names) >= least {
				return nil
			}
		case <-ctx.Done():
			if len(r.lists) == 0 {
				return fmt.Errorf("--generate: %w", errInterrupted)
			}
			return fmt.Errorf("--targets %s: %w", printable(r.lists[r.at.Load()].name), errInterrupted)
		}
	}
	return nil
}

// listName is what a list is called in messages.
func listName(list string) string {
	if list == "-" {
		return "standard input"
	}
	return printable(list)
}

// A line is one of a list that holds something.
type line struct {
	n    int
	text string
	err  error // what is wrong with it, or, with last, with the list
	last bool
	idle bool // there is none, for the time being
}

// lines are those of a list. left is how many bytes may still come.
func (l list) lines(left *int64, firstWord bool) iter.Seq[line] {
	return func(yield func(line) bool) {
		r := bufio.NewReaderSize(bounded{l.r, left}, readSize)
		for n := 1; ; n++ {
			if b, _ := r.Peek(r.Buffered()); l.waits && bytes.IndexByte(b, '\n') < 0 && !yield(line{idle: true}) {
				return
			}
			text, err := readLine(r)
			if err == nil && strings.IndexByte(text, 0) >= 0 {
				err = fmt.Errorf("line %d: %w", n, errNoText)
			}
			if err == io.EOF {
				return
			}
			if err != nil && !errors.Is(err, errLongLine) {
				yield(line{err: err, last: true})
				return
			}
			if i := strings.IndexByte(text, '#'); i == 0 || i > 0 && strings.IndexByte(" \t", text[i-1]) >= 0 {
				text = text[:i]
			}
			words := strings.Fields(text)
			if len(words) == 0 {
				continue
			}
			if firstWord {
				words = words[:1]
			}
			if !yield(line{n: n, text: strings.Join(words, " "), err: err}) {
				return
			}
		}
	}
}

// readSize is how many bytes of a list are read at once, and readAhead how many hosts of it at most before they are needed.
const (
	readSize  = 1 << 14
	readAhead = 256
)

// maxLine is how long a line may be, in bytes; no name of a host comes near.
const maxLine = 4096

var errNoText = errors.New("has a byte 0, so this is no list of hosts")

var errLongLine = fmt.Errorf("the line is longer than %d bytes", maxLine)

// readLine is the next line; of one that is too long, which is errLongLine, its beginning, by which it is told.
func readLine(r *bufio.Reader) (string, error) {
	var text []byte
	long := false
	for {
		b, more, err := r.ReadLine()
		if err != nil && (err != io.EOF || len(text) == 0) {
			return "", err
		}
		if len(text) <= maxLine {
			text = append(text, b...)
		}
		if long = long || len(text) > maxLine; long {
			text = text[:64]
		}
		if !more || err != nil {
			break
		}
	}
	if long {
		return string(text) + "…", errLongLine
	}
	return string(text), nil
}

// expand is what a word stands for: a host; the hosts of a network, such as 192.0.2.0/29; or of a range, such as
// 192.0.2.1-192.0.2.9. They are made as they are asked for, in an order by chance where that is not nil; n is how many.
func expand(word string, chance *rand.Rand) (hosts iter.Seq[string], n uint64, err error) {
	if strings.ContainsAny(word, " \t") {
		return nil, 0, errors.New("want one host a line")
	}
	first, last, err := bounds(word)
	if err != nil {
		return nil, 0, err
	}
	if !first.IsValid() {
		return func(yield func(string) bool) { yield(word) }, 1, nil
	}
	if n, err = howMany(first, last); err != nil {
		return nil, 0, err
	}
	if chance != nil {
		return func(yield func(string) bool) {
			for i := range permuted(n, chance) {
				if !yield(plus(first, i).String()) {
					return
				}
			}
		}, n, nil
	}
	return func(yield func(string) bool) {
		for a := first; yield(a.String()) && a != last; a = a.Next() {
		}
	}, n, nil
}

// bounds are the first and the last address of a network or a range, invalid for what is neither.
func bounds(word string) (first, last netip.Addr, err error) {
	if strings.Contains(word, "/") {
		p, err := netip.ParsePrefix(word)
		if err != nil {
			return first, last, errors.New("want a network, such as 192.0.2.0/29 or 2001:db8::/120")
		}
		first, last = p.Masked().Addr(), lastOf(p)
		if first.Is4() && p.Bits() < 31 { // the network's own and the broadcast address; RFC 3021 for /31
			first, last = first.Next(), last.Prev()
		}
		return first, last, nil
	}
	a, b, found := strings.Cut(word, "-")
	if _, err := netip.ParseAddr(word); !found || err == nil { // a zone may have a hyphen
		return first, last, nil
	}
	first, err1 := netip.ParseAddr(a)
	last, err2 := netip.ParseAddr(b)
	switch {
	case err1 != nil || err2 != nil: // a name with a hyphen
		return netip.Addr{}, netip.Addr{}, nil
	case first.Zone() != last.Zone():
		return netip.Addr{}, netip.Addr{}, errors.New("want a range of addresses, such as 192.0.2.1-192.0.2.9")
	}
	return first.Unmap(), last.Unmap(), nil
}

// howMany addresses there are from first to last.
func howMany(first, last netip.Addr) (uint64, error) {
	if first.Is4() != last.Is4() {
		return 0, errors.New("want addresses of one family")
	}
	if last.Less(first) {
		return 0, errors.New("the last address is below the first")
	}
	var n big.Int
	n.Sub(new(big.Int).SetBytes(last.AsSlice()), new(big.Int).SetBytes(first.AsSlice()))
	if !n.IsUint64() || n.Uint64() >= maxNetwork {
		return 0, errTooWide
	}
	return n.Uint64() + 1, nil
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
