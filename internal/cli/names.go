package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"gtrace/internal/names"
	"gtrace/report"
)

// namers are the look-ups beside the measurement that the options ask for; nil where they ask for none. The
// look-ups end with ctx.
func (s *session) namers(ctx context.Context) (called, origins report.Namer) {
	if s.wantsNames() {
		if s.env.reverse != nil {
			called = names.Reverse(ctx, s.env.reverse)
		} else {
			called = names.SystemReverse(ctx)
		}
	}
	if s.asPaths {
		if s.env.dial != nil {
			origins = names.Origins(ctx, s.env.dial, s.asServer)
		} else {
			origins = names.SystemOrigins(ctx, s.asServer)
		}
	}
	return called, origins
}

// unasked says, once a run, why the systems of some addresses are not known, where it was the registry.
func (s *session) unasked() {
	if o, ok := s.origins.(interface{ Err() error }); ok && o.Err() != nil {
		s.complain(fmt.Errorf("--as-path-lookups: not every address could be looked up: ask %s: %w; --as-server asks another registry", s.asServer, o.Err()))
	}
}

// wantsNames reports whether addresses get names: where people read, or the tool whose name the program has does so anyway.
// A name server then learns which addresses were met, so a program that reads asks for it in words.
func (s *session) wantsNames() bool {
	switch {
	case s.named:
		return true
	case s.numeric:
		return false
	case s.format != "text":
		return false
	}
	return s.tool.named() || terminal(s.env.Stdout)
}

// terminal reports whether w is one: a device that is read by somebody.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	i, err := f.Stat()
	if err != nil || i.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(i, null)
}
