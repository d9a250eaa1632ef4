package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/netip"
	"os"
	"strings"
)

// maxTargets bounds what one run measures, and what a network or a range may stand for.
const maxTargets = 1 << 17

var errTooMany = fmt.Errorf("more than the %d targets of one run", maxTargets)

// targets are the hosts to measure: those of the command line, or made of them, then those of the lists, where networks
// and ranges stand for their hosts. What is wrong
// with a line of a list is told, and the others are taken all the same.
func (s *session) targets(ctx context.Context, args []string) (names []string, bad []result, err error) {
	if s.generate && len(args) == 2 && !strings.Contains(args[0]+args[1], "/") {
		args = []string{args[0] + "-" + args[1]}
	} else if s.generate {
		for _, a := range args {
			if !strings.Contains(a, "/") && !strings.Contains(a, "-") {
				return nil, nil, fmt.Errorf("--generate: %s: want a network, such as 192.0.2.0/29, or the first and the last address", printable(a))
			}
		}
	}
	add := func(word string, expands bool) error {
		more, err := []string{word}, error(nil)
		switch room := maxTargets - len(names); {
		case expands:
			more, err = expand(word, room)
		case room < 1:
			return errTooMany
		}
		names = append(names, more...)
		return err
	}
	for _, a := range args {
		// An address pasted with the length of its network is not a wish to measure all of that.
		if first, _, err := bounds(a); first.IsValid() && err == nil && !s.generate && !s.tool.verbatim() {
			return nil, nil, fmt.Errorf("%s: is no host, but --generate makes hosts of a network or a range", printable(a))
		}
		if err := add(a, s.generate); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", printable(a), err)
		}
	}
	s.listed = maxList
	for _, list := range s.lists {
		if err := s.readList(ctx, list, func(line int, text string, err error) error {
			if err == nil {
				err = add(text, !s.tool.verbatim())
			}
			if err == nil || errors.Is(err, errTooMany) {
				return err
			}
			if len(names)+len(bad) >= maxTargets {
				return errTooMany
			}
			err = fmt.Errorf("%s, line %d: %s: %w", listName(list), line, printable(text), err)
			s.complain(err)
			bad = append(bad, result{status: unsure, err: err})
			return nil
		}); err != nil {
			return nil, nil, fmt.Errorf("--targets %s: %w", printable(list), err)
		}
	}
	return names, bad, nil
}

// listName is what a list is called in messages.
func listName(list string) string {
	if list == "-" {
		return "standard input"
	}
	return printable(list)
}

// readList calls each with the lines of a file that hold something, "-" being standard input.
func (s *session) readList(ctx context.Context, name string, each func(line int, text string, err error) error) error {
	type numbered struct {
		n    int
		text string
		err  error // what is wrong with the line
	}
	found, failed := make(chan numbered), make(chan error, 1)
	go func() { // what a terminal or a pipe says may never come, nor who opens its other end: the interrupt waits for neither
		var r io.Reader = s.env.Stdin
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				var pe *os.PathError
				if errors.As(err, &pe) {
					err = pe.Err
				}
				failed <- err
				return
			}
			defer f.Close()
			r = f
		}
		lines := bufio.NewReaderSize(bounded{r, &s.listed}, maxLine)
		for n := 1; ; n++ {
			text, err := readLine(lines)
			if err == nil && strings.IndexByte(text, 0) >= 0 {
				err = fmt.Errorf("line %d: %w", n, errNoText)
			}
			if err != nil && !errors.Is(err, errLongLine) {
				failed <- err
				return
			}
			if i := strings.IndexByte(text, '#'); i == 0 || i > 0 && strings.IndexByte(" \t", text[i-1]) >= 0 {
				text = text[:i]
			}
			words := strings.Fields(text)
			if len(words) == 0 {
				continue
			}
			if s.tool.verbatim() {
				words = words[:1]
			}
			text = strings.Join(words, " ")
			select {
			case found <- numbered{n, text, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case l := <-found:
			if err := each(l.n, l.text, l.err); err != nil {
				return fmt.Errorf("line %d: %w", l.n, err)
			}
		case err := <-failed:
			if err == io.EOF {
				return nil
			}
			return err
		case <-ctx.Done():
			return errors.New("interrupted")
		}
	}
}

// maxLine is how long a line may be, in bytes; no name of a host comes near.
const maxLine = 4096

var errNoText = errors.New("has a byte 0, so this is no list of hosts")

var errLongLine = fmt.Errorf("the line is longer than %d bytes", maxLine)

// readLine is the next line; of one that is too long, which is errLongLine, its beginning, by which it is told.
func readLine(r *bufio.Reader) (string, error) {
	b, more, err := r.ReadLine()
	if !more {
		return string(b), err
	}
	text := string(b[:64]) + "…"
	for more && err == nil {
		_, more, err = r.ReadLine()
	}
	if err != nil && err != io.EOF {
		return "", err
	}
	return text, errLongLine
}

// expand is what a word stands for: a host; a network, such as 192.0.2.0/29; or a range, such as
// 192.0.2.1-192.0.2.9. No more than room of them are made.
func expand(word string, room int) ([]string, error) {
	if strings.ContainsAny(word, " \t") {
		return nil, errors.New("want one host a line")
	}
	first, last, err := bounds(word)
	if err != nil {
		return nil, err
	}
	if !first.IsValid() {
		if room < 1 {
			return nil, errTooMany
		}
		return []string{word}, nil
	}
	n, err := howMany(first, last)
	if err != nil {
		return nil, err
	}
	if n > room {
		return nil, errTooMany
	}
	names := make([]string, 0, n)
	for a := first; ; a = a.Next() {
		names = append(names, a.String())
		if a == last {
			return names, nil
		}
	}
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
func howMany(first, last netip.Addr) (int, error) {
	if first.Is4() != last.Is4() {
		return 0, errors.New("want addresses of one family")
	}
	if last.Less(first) {
		return 0, errors.New("the last address is below the first")
	}
	var n big.Int
	n.Sub(new(big.Int).SetBytes(last.AsSlice()), new(big.Int).SetBytes(first.AsSlice()))
	if !n.IsInt64() || n.Int64() >= maxTargets {
		return 0, errTooMany
	}
	return int(n.Int64()) + 1, nil
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
