package cli

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"gtrace/report"
)

// FuzzTargets: whatever a list of targets holds, its lines are read with bounds, and a word stands for no more hosts than there is room
// for, each of them one that a line can be printed of.
func FuzzTargets(f *testing.F) {
	for _, s := range []string{"192.0.2.0/29\n", "2001:db8::/126", "192.0.2.1-192.0.2.9", "::1-::ffff:ffff:ffff", "0.0.0.0/0", "a-b", "fe80::1%a-b", "fe80::%x/64", "host # comment\r\n\x00",
		"1.2.3.4/33", "::ffff:1.2.3.0/120", "1.2.3.4-::1", "\xff\xfe", strings.Repeat("a", maxLine+1) + "\nb"} {
		f.Add(s, 16)
	}
	f.Fuzz(func(t *testing.T, list string, room int) {
		if room &= 0xff; len(list) > 1<<17 {
			return
		}
		lines := bufio.NewReaderSize(strings.NewReader(list), maxLine)
		for n := 0; ; n++ {
			text, err := readLine(lines)
			if err == io.EOF || n > len(list) {
				break
			}
			if errors.Is(err, errLongLine) {
				if len(text) > 100 {
					t.Errorf("%d bytes tell of a line that is too long", len(text))
				}
				continue
			}
			if err != nil || len(text) > maxLine || strings.ContainsAny(text, "\n") {
				t.Fatalf("%d bytes, %v", len(text), err)
			}
			for _, word := range append(strings.Fields(text), text) {
				hosts, n, err := expand(word, nil)
				if (err == nil) != (hosts != nil) || (err == nil) != (n > 0) || n > maxNetwork {
					t.Fatalf("%q: %d hosts, %v", word, n, err)
				}
				if err != nil {
					if report.Printable(err.Error()) != err.Error() {
						t.Errorf("%q: %q", word, err)
					}
					continue
				}
				made := uint64(0)
				for h := range hosts {
					if made++; made > uint64(room) {
						break
					}
					if s := printable(h); !utf8.ValidString(s) || strings.ContainsAny(s, "\n\r\x1b") {
						t.Errorf("%q of %q comes out as %q", h, word, s)
					}
				}
				if made <= uint64(room) && made != n {
					t.Errorf("%q: %d hosts, want %d", word, made, n)
				}
			}
		}
	})
}
