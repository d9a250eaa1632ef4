// Command packages makes the deb, rpm and apk packages of programs that are built, a list of what is in each
// program (an SBOM, CycloneDX JSON) and SHA256SUMS over all of them. It runs in the module's root:
//
//	packages -version V -nfpm MODULE@VERSION -cyclonedx MODULE@VERSION -arch LIST -out DIR BUILT
//
// BUILT has linux-ARCH/gtrace and linux-ARCH/gping, as "make release" leaves them, and dist/ what "make docs" does.
// The same commit makes the same bytes: times are SOURCE_DATE_EPOCH, and nothing of this machine goes in.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

var programs = []string{"gtrace", "gping"}

func main() {
	var p packager
	flag.StringVar(&p.version, "version", "devel", "the programs' `version`")
	flag.StringVar(&p.commit, "commit", "", "the `commit` they are built from")
	flag.StringVar(&p.nfpm, "nfpm", "", "the `command` to run for nfpm")
	flag.StringVar(&p.cyclonedx, "cyclonedx", "", "the `command` to run for cyclonedx-gomod")
	archs := flag.String("arch", "amd64 arm64", "`list` of architectures")
	flag.StringVar(&p.out, "out", "dist/packages", "the `directory` for the packages; what is there goes")
	flag.Parse()
	p.built = flag.Arg(0)
	if flag.NArg() != 1 || p.nfpm == "" || p.cyclonedx == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := p.all(strings.Fields(*archs)); err != nil {
		fmt.Fprintf(os.Stderr, "packages: %v\n", err)
		os.Exit(1)
	}
}

// A packager is what the command was told.
type packager struct {
	version, commit string
	nfpm, cyclonedx string // run with "go run"
	built, out      string
	at              time.Time // that files get
}

func (p *packager) all(archs []string) error {
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH, the time that files get: want seconds since 1970: %w", err)
	}
	p.at = time.Unix(epoch, 0)
	v, err := packageVersions(p.version, p.commit, p.at)
	if err != nil {
		return err
	}
	for _, dir := range []*string{&p.out, &p.built} { // the tools run elsewhere
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(p.out); err != nil {
		return err
	}
	if err := os.MkdirAll(p.out, 0o755); err != nil {
		return err
	}
	for _, arch := range archs {
		if err := p.arch(arch, v); err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
	}
	return sums(p.out)
}

// arch makes all for one architecture.
func (p *packager) arch(arch string, v versions) error {
	stage, err := os.MkdirTemp("", "packages")
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	for _, program := range programs {
		from := filepath.Join(p.built, "linux-"+arch, program)
		sbom := filepath.Join(p.out, fmt.Sprintf("%s-linux-%s.cdx.json", program, arch))
		if err := p.sbom(from, sbom); err != nil {
			return err
		}
		man, err := os.ReadFile("dist/man/" + program + ".1")
		if err != nil {
			return err
		}
		var gz bytes.Buffer
		z, err := gzip.NewWriterLevel(&gz, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := z.Write(man); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(stage, program+".1.gz"), gz.Bytes(), 0o644); err != nil {
			return err
		}
		for to, from := range map[string]string{
			program:               from,
			program + ".bash":     "dist/completions/" + program + ".bash",
			program + ".fish":     "dist/completions/" + program + ".fish",
			"_" + program:         "dist/completions/_" + program,
			program + ".cdx.json": sbom,
		} {
			if err := p.copyFile(from, filepath.Join(stage, to)); err != nil {
				return err
			}
		}
	}
	for _, from := range []string{"scripts/install-privilege", "scripts/packages/postinstall"} {
		if err := p.copyFile(from, filepath.Join(stage, filepath.Base(from))); err != nil {
			return err
		}
	}
	docs, err := documents(".")
	if err != nil {
		return err
	}
	for _, doc := range docs {
		to := filepath.Join(stage, doc)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), p.copyFile(doc, to)); err != nil {
			return err
		}
	}
	notices, err := copyright(filepath.Join(p.built, "linux-"+arch))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(stage, "copyright"), notices, 0o644); err != nil {
		return err
	}
	config, err := filepath.Abs("scripts/packages/nfpm.yaml")
	if err != nil {
		return err
	}
	for _, kind := range []struct{ name, version, release string }{{"deb", v.deb, "1"}, {"rpm", v.rpm, "1"}, {"apk", v.apk, "0"}} {
		c := tool(p.nfpm, "package", "--packager="+kind.name, "--config="+config, "--target="+p.out+"/")
		c.Dir = stage
		c.Env = append(c.Env, "PACKAGE_ARCH="+arch, "PACKAGE_VERSION="+kind.version, "PACKAGE_RELEASE="+kind.release)
		if err := run(c); err != nil {
			return err
		}
	}
	made, err := filepath.Glob(filepath.Join(p.out, "*.apk"))
	if err != nil || len(made) == 0 {
		return fmt.Errorf("%s: no apk there (%v)", p.out, err)
	}
	for _, file := range made {
		if err := sortScripts(file); err != nil {
			return err
		}
	}
	return nil
}

// documents are what people read, and what that links to, by their names in the module's root.
func documents(root string) (all []string, err error) {
	for _, pattern := range []string{"README.md", "CHANGELOG.md", "SECURITY.md", "docs/*.md", "docs/decisions/*.md", "report/schema/*.json"} {
		found, err := fs.Glob(os.DirFS(root), pattern)
		if err != nil || len(found) == 0 {
			return nil, fmt.Errorf("%s: no such document (%v)", pattern, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// sbom lists what is in a program, by what the linker left there, without what depends on this machine and moment.
func (p *packager) sbom(program, to string) error {
	c := tool(p.cyclonedx, "bin", "-json", "-std", "-noserial", "-notimestamp", "-version="+p.version, "-output="+to, program)
	if err := run(c); err != nil {
		return err
	}
	b, err := os.ReadFile(to)
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	meta, _ := doc["metadata"].(map[string]any)
	tools, _ := meta["tools"].([]any)
	if len(tools) == 0 {
		return fmt.Errorf("%s: names no tool", to)
	}
	for _, t := range tools {
		if t, ok := t.(map[string]any); ok {
			delete(t, "hashes") // of the tool as this machine has built it
		}
	}
	b, err = json.MarshalIndent(doc, "", "  ") // maps in the order of their keys
	if err != nil {
		return err
	}
	return os.WriteFile(to, append(b, '\n'), 0o644)
}

// copyright is the licence of this repository, where it has one, and of all that the programs in dir link, which ask to
// be reproduced with every copy.
func copyright(dir string) ([]byte, error) {
	var b bytes.Buffer
	notice := func(title, path string) error {
		text, err := os.ReadFile(path)
		if err == nil {
			fmt.Fprintf(&b, "== %s\n\n%s\n\n", title, bytes.TrimSpace(text))
		}
		return err
	}
	if err := notice("gtrace", "LICENSE"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	root, err := output("list", "-f", "{{.Root}}", "runtime")
	if err != nil {
		return nil, err
	}
	if err := notice("The Go standard library and runtime", filepath.Join(root, "LICENSE")); err != nil {
		return nil, fmt.Errorf("the licence of what the programs link of Go itself: %w; use Go as from https://go.dev/dl/", err)
	}
	var modules []string
	for _, program := range programs {
		info, err := buildinfo.ReadFile(filepath.Join(dir, program))
		if err != nil {
			return nil, err
		}
		for _, d := range info.Deps {
			modules = append(modules, d.Path)
		}
	}
	slices.Sort(modules)
	for _, m := range slices.Compact(modules) {
		at, err := output("list", "-m", "-f", "{{.Dir}}", m)
		if err != nil {
			return nil, err
		}
		if err := notice(m, filepath.Join(at, "LICENSE")); err != nil {
			return nil, fmt.Errorf("the licence of %s: %w", m, err)
		}
	}
	return b.Bytes(), nil
}

// sums writes SHA256SUMS, for sha256sum -c, over the files in dir.
func sums(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(data), f.Name())
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), b.Bytes(), 0o644)
}

func goCommand(args ...string) *exec.Cmd {
	name := os.Getenv("GO")
	if name == "" {
		name = "go"
	}
	return exec.Command(name, args...)
}

// tool runs a tool of the workshop, whatever system the programs are for. Some run go themselves.
func tool(module string, args ...string) *exec.Cmd {
	c := goCommand(append([]string{"run", module}, args...)...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=", "GOARCH=",
		"PATH="+filepath.Dir(c.Path)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return c
}

func run(c *exec.Cmd) error {
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, out)
	}
	return nil
}

func output(args ...string) (string, error) {
	c := goCommand(args...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	return strings.TrimSpace(string(out)), err
}

// copyFile copies with the mode and time that the apk gets of its scripts, whatever the umask and the clock are here.
func (p *packager) copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, b, 0o755), os.Chmod(to, 0o755), os.Chtimes(to, p.at, p.at))
}
