package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
)

// TestSortScripts: the same package whatever order nfpm wrote it in, and the files in it untouched.
func TestSortScripts(t *testing.T) {
	var first []byte
	for _, order := range [][]string{
		{".PKGINFO", ".post-install", ".post-upgrade"},
		{".PKGINFO", ".post-upgrade", ".post-install"},
	} {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		for _, name := range order {
			if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(name))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		z.Reset(&b)
		if _, err := z.Write([]byte("the files")); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		whole := bytes.Clone(b.Bytes())
		files := whole[bytes.LastIndex(whole, []byte{0x1f, 0x8b}):]
		path := filepath.Join(t.TempDir(), "x.apk")
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
		for range 2 { // again changes nothing
			if err := sortScripts(path); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = got
			}
			if !bytes.Equal(got, first) || !bytes.HasSuffix(got, files) {
				t.Errorf("%q: %x, want %x, which ends with %x", order, got, first, files)
			}
		}
	}
	if err := sortScripts("version.go"); err == nil {
		t.Error("no error for what is no package")
	}
}
