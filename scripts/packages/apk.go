package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// sortScripts puts what is told about an unsigned apk package in the order of the names, .PKGINFO first: nfpm writes several
// scripts in another order each time. A package is two gzip streams one after the other, of which the first has that, as
// a tar archive without an end.
func sortScripts(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	r := bytes.NewReader(b)
	z, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	z.Multistream(false)
	type entry struct {
		*tar.Header
		data []byte
	}
	var entries []entry
	for a := tar.NewReader(z); ; {
		h, err := a.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		data, err := io.ReadAll(a)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		entries = append(entries, entry{h, data})
	}
	if _, err := io.Copy(io.Discard, z); err != nil { // up to the second stream
		return fmt.Errorf("%s: %w", file, err)
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.Name, b.Name) })

	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	w := tar.NewWriter(packed)
	for _, e := range entries {
		if err := w.WriteHeader(e.Header); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	// Not closed, as that would write an end.
	if err := errors.Join(w.Flush(), packed.Close()); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, append(out.Bytes(), b[len(b)-r.Len():]...), 0o644)
}
