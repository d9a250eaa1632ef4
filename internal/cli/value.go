package cli

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// printable is s as it may stand in a line of a diagnostic: as it is if it
// prints as it is, else quoted.
func printable(s string) string {
	if s == "" || !utf8.ValidString(s) {
		return strconv.Quote(s)
	}
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// count returns a setter for a whole number in decimal.
func count[T ~int | ~uint8 | ~uint16](into *T, least, most T) func(string) error {
	return func(s string) error {
		return number(s, 10, uint64(least), uint64(most), func(n uint64) { *into = T(n) })
	}
}

// bits returns a setter for a field of a header: decimal, 0x… or 0….
func bits[T ~uint8 | ~uint32](into *T, most T) func(string) error {
	return func(s string) error {
		if strings.Contains(s, "_") { // ParseUint allows those with base 0
			s = ""
		}
		return number(s, 0, 0, uint64(most), func(n uint64) { *into = T(n) })
	}
}

func number(s string, base int, least, most uint64, set func(uint64)) error {
	n, err := strconv.ParseUint(s, base, 64)
	if err != nil || n < least || n > most {
		return fmt.Errorf("want a whole number from %d to %d", least, most)
	}
	set(n)
	return nil
}

// seconds returns a setter for a time: seconds, whole or with a fraction, as
// ping and traceroute take them, or a number with a unit, such as 200ms.
func seconds(into *time.Duration, least, most time.Duration) func(string) error {
	return func(s string) error {
		d, err := parseSeconds(s)
		switch {
		case err == nil && d < 0:
			return fmt.Errorf("cannot be negative: want seconds from %s to %s", inSeconds(least), inSeconds(most))
		case err != nil || d < least || d > most:
			return fmt.Errorf("want seconds from %s to %s, such as 1.5 or 1500ms", inSeconds(least), inSeconds(most))
		}
		*into = d
		return nil
	}
}

// parseSeconds leaves overflow, NaN, infinities and exponents to ParseDuration, which knows none of them.
func parseSeconds(s string) (time.Duration, error) {
	if s != "" && strings.IndexByte("0123456789.", s[len(s)-1]) >= 0 {
		s += "s"
	}
	return time.ParseDuration(s)
}

func inSeconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// factor reads a number that times are multiplied with.
func factor(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f <= 1000) || strings.ContainsAny(s, "xXpP_") {
		return 0, errors.New("want a factor from 0 to 1000")
	}
	return math.Abs(f), nil // "-0" is 0
}

// address returns a setter for an address of this host.
func address(into *netip.Addr) func(string) error {
	return func(s string) error {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return errors.New("want an address of this host, such as 192.0.2.1 (the name of an interface will not do yet)")
		}
		*into = a.Unmap()
		return nil
	}
}

// word returns a setter for one of a few words.
func word(into *string, words ...string) func(string) error {
	return func(s string) error {
		for _, w := range words {
			if s == w {
				*into = s
				return nil
			}
		}
		return fmt.Errorf("want one of: %s", strings.Join(words, ", "))
	}
}

// text returns a setter for what cannot be checked before it is used.
func text(into *string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("want a name")
		}
		*into = s
		return nil
	}
}

// says returns a setter that has something to add to what set refuses.
func says(set func(string) error, words string) func(string) error {
	return func(s string) error {
		if err := set(s); err != nil {
			return fmt.Errorf("%w (%s)", err, words)
		}
		return nil
	}
}

// flag returns a setter for a switch.
func flag(into *bool) func(string) error {
	return func(string) error { *into = true; return nil }
}

// pattern returns a setter for the bytes that fill a payload, in hexadecimal.
// An odd last digit is a byte of its own, as iputils ping has it.
func pattern(into *string) func(string) error {
	return func(s string) error {
		var b []byte
		for rest := s; rest != ""; {
			n := min(2, len(rest))
			v, err := strconv.ParseUint(rest[:n], 16, 8)
			if err != nil || rest[0] == '+' || rest[0] == '-' {
				b = nil
				break
			}
			b, rest = append(b, byte(v)), rest[n:]
		}
		if len(b) == 0 || len(b) > 16 {
			return errors.New("want 1 to 16 bytes in hexadecimal, such as ff00")
		}
		*into = string(b)
		return nil
	}
}
