package report

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"gtrace/probe"
)

// millis is written as milliseconds, exact to the nanosecond: the digits come
// from the integer, not through a float.
type millis time.Duration

func (m millis) MarshalJSON() ([]byte, error) {
	return appendMillionths(nil, int64(m)), nil
}

// percent is written with six digits behind the point at most.
type percent float64

func (p percent) MarshalJSON() ([]byte, error) {
	return p.append(nil), nil
}

func (p percent) append(b []byte) []byte {
	return appendMillionths(b, int64(math.Round(float64(p)*1e6)))
}

// appendMillionths appends n millionths as a decimal number without trailing zeros.
func appendMillionths(b []byte, n int64) []byte {
	const scale = 1_000_000
	u := uint64(n)
	if n < 0 {
		b, u = append(b, '-'), -u
	}
	b = strconv.AppendUint(b, u/scale, 10)
	if u%scale == 0 {
		return b
	}
	at := len(b)
	b = strconv.AppendUint(b, scale+u%scale, 10) // the 1 in front keeps the leading zeros
	b[at] = '.'
	return bytes.TrimRight(b, "0")
}

// instant is written as RFC 3339 UTC with nanoseconds.
type instant struct{ time.Time }

func (t instant) MarshalJSON() ([]byte, error) {
	return t.append(nil), nil
}

// octets are written as hexadecimal digits, two a byte.
type octets []byte

func (o octets) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, o), nil }

// rtt is an outcome's round-trip time, if it has one. A negative one would be
// a fault of the clocks, and is not known rather than below zero.
func rtt(o *probe.Outcome) (time.Duration, bool) {
	d, ok := o.RTT()
	return d, ok && d >= 0
}

// family is the IP version that an address belongs to.
func family(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// Printable escapes what a terminal might take for a command: control
// characters, invisible and direction marks, and bytes that are not UTF-8.
func Printable(s string) string {
	clean := func(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b []byte
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if clean(r) {
			b = append(b, s[:n]...)
		} else {
			q := strconv.QuoteToASCII(s[:n])
			b = append(b, q[1:len(q)-1]...)
		}
		s = s[n:]
	}
	return string(b)
}

// foreign is a name that somebody on the network chose: ASCII as it stands, but for the backslash, and each other byte as "\ddd", so
// that it can neither look like another name nor be taken for text around it.
func foreign(s string) string {
	var b []byte
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '\\' {
			b = fmt.Appendf(b, `\%03d`, c)
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// address is a in canonical form (RFC 5952). A zone is a name somebody gave to
// an interface.
func address(a netip.Addr) string { return Printable(a.String()) }

// escape makes a line of JSON safe to print: what is outside ASCII stands in
// strings only, and what of it is not printable is escaped there.
func escape(line []byte) []byte {
	var b []byte
	done := 0
	for i := 0; i < len(line); {
		if line[i] < 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRune(line[i:])
		if r >= 0x7f && !unicode.IsPrint(r) {
			b = append(b, line[done:i]...)
			if r > 0xffff {
				hi, lo := utf16.EncodeRune(r)
				b = fmt.Appendf(b, `\u%04x\u%04x`, hi, lo)
			} else {
				b = fmt.Appendf(b, `\u%04x`, r)
			}
			done = i + n
		}
		i += n
	}
	if done == 0 {
		return line
	}
	return append(b, line[done:]...)
}

// Address is an address as people write it, which no name server is asked about: what netip reads, and what
// inet_aton(3) does, such as 127.1 or 0x7f000001.
func Address(s string) (a netip.Addr, ok bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a, true
	}
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return a, false
	}
	var all uint64
	for i, p := range parts {
		room := 8
		if i == len(parts)-1 { // the last takes all that is left
			room = 8 * (5 - len(parts))
		}
		n, err := strconv.ParseUint(p, 0, room)
		if err != nil || strings.Contains(p, "_") || len(p) > 1 && strings.IndexByte("bBoO", p[1]) >= 0 { // which C does not have
			return a, false
		}
		all = all<<room | n
	}
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(all)))), true
}

// ask starts the look-ups of who sent an outcome's answer.
func ask(o *probe.Outcome, of ...Namer) {
	for _, n := range of {
		if n != nil && o.From.IsValid() {
			n.Ask(o.From)
		}
	}
}

// mostName is how long a printed name can be: 253 bytes, each escaped with four.
const mostName = 4 * 253

// nameOf is what n calls a, "" where there is no name. A Namer's names are safe to print; this does not rest on it:
// what is no letter, digit, hyphen, dot, underscore or escape comes out as "\ddd" (RFC 1035 section 5.1), and what looks
// like an address or a number, which a parser would take for one, or is longer than any name, is none.
func nameOf(n Namer, a netip.Addr) string {
	s := n.Name(a)
	if _, err := netip.ParseAddr(s); err == nil || len(s) > mostName || endsInNumber(s) {
		return ""
	}
	return plain(s, `-._\`)
}

// host is a label of a name as it came from the network.
func host(label string) string { return plain(label, "-_") }

// plain is s with what is no letter, digit or one of more as "\ddd".
func plain(s, more string) string {
	var b []byte
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(more, c) >= 0:
			b = append(b, c)
		default:
			b = fmt.Appendf(b, `\%03d`, c)
		}
	}
	return string(b)
}

// endsInNumber reports whether the last label of a name is a number: no name of the DNS does (RFC 3696 section 2), and much that takes
// addresses, inet_aton(3) and browsers among it, takes what does for one. internal/names has the same for what it lets in: neither package may
// know the other, and what is printed here does not rest on where a name comes from.
func endsInNumber(s string) bool {
	s = strings.TrimRight(s, ".")
	last := s[strings.LastIndexByte(s, '.')+1:]
	if hexadecimal, ok := strings.CutPrefix(strings.ToLower(last), "0x"); ok {
		return strings.Trim(hexadecimal, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// nameOr is a's name, and text where it has none.
func nameOr(text string, n Namer, a netip.Addr) string {
	if s := nameOf(n, a); s != "" {
		return s
	}
	return text
}

// originsOf are the numbers of the autonomous systems that announce a, nil where n knows of none. What is not "AS" and a
// 32-bit number (RFC 6793) is left out.
func originsOf(n Namer, a netip.Addr) (as []uint32) {
	for s := range strings.SplitSeq(n.Name(a), "/") {
		digits, ok := strings.CutPrefix(s, "AS")
		if v, err := strconv.ParseUint(digits, 10, 32); ok && err == nil {
			as = append(as, uint32(v))
		}
	}
	return as
}

// originsText is "AS64496/AS64497", and "*" where none is known.
func originsText(as []uint32) string {
	if len(as) == 0 {
		return "*"
	}
	var all []string
	for _, n := range as {
		all = append(all, fmt.Sprintf("AS%d", n))
	}
	return strings.Join(all, "/")
}
