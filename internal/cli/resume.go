package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
)

// A seen is what is remembered of targets, to leave them out when they come again. Each takes 16 bytes, and some 20 to 40 in such a map.
type seen map[[16]byte]struct{}

// mostSeen bounds each.
const mostSeen = 1 << 22

// named is what a name is remembered by: two with the same are not to be found.
func named(name string) [16]byte {
	sum := sha256.Sum256([]byte(name))
	return [16]byte(sum[:])
}

// addressed is what an address is remembered by.
func addressed(a netip.Addr) [16]byte {
	if a.Zone() != "" {
		return named(a.String())
	}
	return a.As16()
}

// maxDocument is how long a line of a results file may be, in bytes, to be looked at.
const maxDocument = 128 << 20

// A resumption is what a results file holds.
type resumption struct {
	done    seen // targets that are
	at      seen // their addresses, where they are asked for
	results int  // documents, done or not
	odd     int  // lines that are neither documents of it nor events
	first   int  // of them
	cut     bool // the last line is cut off
	open    bool // it has no end of line, whatever is in it
}

// readResults reads the file of --resume.
func (s *session) readResults(ctx context.Context) error {
	if s.resume == "" {
		return nil
	}
	f, err := openFile(ctx, s.resume)
	if err != nil {
		return fmt.Errorf("--resume %s: %w", printable(s.resume), err)
	}
	var r resumption
	done := make(chan error, 1)
	go func() { // it may be a pipe
		var err error
		r, err = resumed(f, s.tool.page().name, s.unique)
		done <- err
	}()
	select {
	case err = <-done:
		f.Close()
	case <-ctx.Done():
		err = errInterrupted
	}
	if err != nil {
		return fmt.Errorf("--resume %s: %w", printable(s.resume), err)
	}
	switch {
	case r.results == 0 && r.odd > 0:
		return fmt.Errorf("--resume %s: holds no results of %s: want a file of --format json or events", printable(s.resume), s.tool.name())
	case r.odd > 0:
		s.complain(fmt.Errorf("--resume %s: %d lines are no results, the first of them line %d: they count for nothing", printable(s.resume), r.odd, r.first))
	}
	if r.cut {
		s.complain(fmt.Errorf("--resume %s: the last line is cut off: it counts for nothing", printable(s.resume)))
	}
	if r.open && sameFile(s.env.Stdout, s.resume) { // what follows is to be a line of its own
		_, _ = io.WriteString(s.out, "\n") // s.out keeps the error
	}
	s.done, s.doneAt = r.done, r.at
	return nil
}

// sameFile reports whether w is the file of that name.
func sameFile(w io.Writer, name string) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(name)
	return err == nil && os.SameFile(a, b)
}

// resumed reads the results of such a program, and their addresses if no other name of one is to be measured.
func resumed(from io.Reader, program string, unique bool) (resumption, error) {
	r := resumption{done: make(seen)}
	if unique {
		r.at = make(seen)
	}
	schema := map[string]string{"gtrace": "gtrace/trace/v1", "gping": "gping/ping/v1"}[program]
	lines := bufio.NewReaderSize(from, 1<<16)
	for n := 1; ; n++ {
		b, err := document(lines)
		if err != nil && err != io.EOF {
			return r, err
		}
		last := err == io.EOF
		if last && len(b) == 0 {
			return r, nil
		}
		r.open = last
		if b = bytes.TrimSpace(b); len(b) > 0 {
			var d struct {
				Schema, Event, Target string
				Destination           netip.Addr
				Complete              bool
				Method                struct{ Matrix string }
			}
			switch err := json.Unmarshal(b, &d); {
			case err != nil && last:
				r.cut = true
			case err == nil && schema == "gtrace/trace/v1" && (d.Schema == "gtrace/matrix/v1" || d.Method.Matrix != ""):
				r.results++ // of several methods, and no result of the one that is to be measured
			case err != nil, d.Schema != schema && d.Event == "":
				if r.odd++; r.odd == 1 {
					r.first = n
				}
			case d.Schema == schema:
				r.results++
				if d.Complete {
					r.done[named(d.Target)] = struct{}{}
					if unique && d.Destination.IsValid() {
						r.at[addressed(d.Destination)] = struct{}{}
					}
				}
			case d.Event != "":
				r.results++ // the beginning of some
			}
			if len(r.done) > mostSeen {
				return r, fmt.Errorf("line %d: more than %d targets", n, mostSeen)
			}
		}
		if last {
			return r, nil
		}
	}
}

// document is the next line; one that is too long ends as if it were cut off. With io.EOF it has no end of line.
func document(r *bufio.Reader) (b []byte, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(b) <= maxDocument {
			b = append(b, part...)
		}
		if err != bufio.ErrBufferFull {
			return b, err
		}
	}
}
