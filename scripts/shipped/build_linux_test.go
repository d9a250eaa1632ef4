package shipped

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const dist = "../../dist"

var architectures = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// built are the programs, by system and name.
func built(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(dist + "/release/linux-*/*")
	if err != nil || len(files) != 2*len(architectures) {
		t.Fatalf("built: %q, %v; want gtrace and gping for each of %v; run the tests with: make test-packages",
			files, err, slices.Sorted(maps.Keys(architectures)))
	}
	return files
}

// TestStatic: a program needs nothing of the system it runs on, and tells nothing of the one it was built on.
func TestStatic(t *testing.T) {
	env, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE", "GOCACHE").Output()
	must(t, err)
	root, err := filepath.Abs("../..")
	must(t, err)
	here := append(strings.Fields(string(env)), root)
	for _, file := range built(t) {
		f, err := elf.Open(file)
		must(t, err)
		defer f.Close()
		if want := architectures[strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "linux-")]; f.Machine != want {
			t.Errorf("%s is for %v, want %v", file, f.Machine, want)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s has a segment %v, so it is not static", file, p.Type)
			}
		}
		b, err := os.ReadFile(file)
		must(t, err)
		for _, dir := range here {
			if bytes.Contains(b, []byte(dir)) {
				t.Errorf("%s has %s in it", file, dir)
			}
		}
		info, err := buildinfo.ReadFile(file)
		must(t, err)
		settings := make(map[string]string)
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if settings["CGO_ENABLED"] != "0" || settings["-trimpath"] != "true" || settings["vcs.revision"] != "" {
			t.Errorf("%s was built with %v", file, settings)
		}
	}
}

// tree are the sums of all files below a directory, by name.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil {
			out[strings.TrimPrefix(path, dir+"/")] = fmt.Sprintf("%x", sha256.Sum256(b))
		}
		return err
	}))
	return out
}

// TestSums: SHA256SUMS has every file beside it, and nothing else, as sha256sum -c wants it.
func TestSums(t *testing.T) {
	for _, dir := range []string{dist + "/release", dist + "/packages"} {
		want := tree(t, dir)
		if len(want) < 5 {
			t.Errorf("%s has only %v", dir, want)
		}
		delete(want, "SHA256SUMS")
		b, err := os.ReadFile(dir + "/SHA256SUMS")
		must(t, err)
		got := make(map[string]string)
		for line := range strings.Lines(string(b)) {
			sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
			got[name] = sum
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s/SHA256SUMS says %v, want %v", dir, got, want)
		}
	}
}

// TestSame builds everything again, in other directories and with nothing kept from builds before.
func TestSame(t *testing.T) {
	arg := []string{}
	for _, name := range []string{"VERSION", "COMMIT", "SOURCE_DATE_EPOCH"} {
		v, ok := os.LookupEnv("SHIPPED_" + name)
		if !ok {
			t.Fatalf("SHIPPED_%s is not set; run the tests with: make test-packages", name)
		}
		arg = append(arg, name+"="+v)
	}
	base := t.TempDir()
	again := func(dir, cache string, args ...string) string {
		t.Helper()
		// No repository: nothing may depend on there being one.
		must(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel("../..", path)
			switch {
			case err != nil:
				return err
			case rel == ".git" || rel == "bin" || rel == "dist":
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			case d.IsDir():
				return os.MkdirAll(filepath.Join(dir, rel), 0o700) // another umask, too
			}
			fi, err := d.Info()
			if err != nil {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, rel), b, fi.Mode()&0o700)
		}))
		c := exec.Command("make", append(args, arg...)...)
		c.Dir = dir
		c.Env = append(os.Environ(), "TZ=Pacific/Kiritimati", "LC_ALL=C", "MAKEFLAGS=", "MAKELEVEL=")
		if cache != "" {
			c.Env = append(c.Env, "GOCACHE="+cache)
		}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return dir + "/dist"
	}
	cold := again(base+"/a", base+"/cache", "release", "RELEASES="+runtime.GOARCH)
	for name, sum := range tree(t, cold+"/release/linux-"+runtime.GOARCH) {
		b, err := os.ReadFile(dist + "/release/linux-" + runtime.GOARCH + "/" + name)
		must(t, err)
		if want := fmt.Sprintf("%x", sha256.Sum256(b)); sum != want {
			t.Errorf("%s, built with an empty cache, is %s, was %s", name, sum, want)
		}
	}
	warm := again(base+"/a/much/longer/name", "", "packages")
	for _, dir := range []string{"/release", "/packages"} {
		if got, want := tree(t, warm+dir), tree(t, dist+dir); !maps.Equal(got, want) {
			t.Errorf("elsewhere %s has\n%v, it was\n%v", dir, got, want)
		}
	}
}

// TestSBOM holds each list of what is in a program to what the linker left there, as go version -m prints it.
func TestSBOM(t *testing.T) {
	for _, file := range built(t) {
		info, err := buildinfo.ReadFile(file)
		must(t, err)
		want := []string{"std@" + info.GoVersion}
		for _, d := range info.Deps {
			if d.Replace != nil {
				t.Errorf("%s: %s is replaced", file, d.Path)
			}
			want = append(want, d.Path+"@"+d.Version)
		}
		if len(want) < 3 {
			t.Errorf("%s links only %q", file, want)
		}
		program, system := filepath.Base(file), filepath.Base(filepath.Dir(file))
		b, err := os.ReadFile(fmt.Sprintf("%s/packages/%s-%s.cdx.json", dist, program, system))
		must(t, err)
		type component struct{ Name, Version, PURL string }
		var doc struct {
			BOMFormat, SpecVersion string
			Metadata               struct {
				Component  component
				Properties []struct{ Name, Value string }
			}
			Components []component
		}
		must(t, json.Unmarshal(b, &doc))
		var got []string
		for _, c := range doc.Components {
			got = append(got, c.Name+"@"+c.Version)
			if !strings.HasPrefix(c.PURL, "pkg:golang/"+c.Name+"@") {
				t.Errorf("%s: %s has the package URL %q", file, c.Name, c.PURL)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: listed %q, linked %q", file, got, want)
		}
		if doc.BOMFormat != "CycloneDX" || doc.SpecVersion == "" || doc.Metadata.Component.Name != "gtrace" {
			t.Errorf("%s: is about %+v, %s %s", file, doc.Metadata.Component, doc.BOMFormat, doc.SpecVersion)
		}
		b, err = os.ReadFile(file)
		must(t, err)
		sum := fmt.Sprintf("%x", sha256.Sum256(b))
		if !slices.ContainsFunc(doc.Metadata.Properties, func(p struct{ Name, Value string }) bool {
			return p.Name == "cdx:gomod:binary:hash:SHA-256" && p.Value == sum
		}) {
			t.Errorf("%s: the list is of another program than %s", file, sum)
		}
	}
}
