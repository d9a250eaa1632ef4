package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"unicode/utf8"

	"gtrace/internal/simnet"
)

func TestHelpText(t *testing.T) {
	got := helpText("Usage.\n", []option{
		{long: "late", group: aboutGroup, help: "last, wherever it stands"},
		{long: "numeric", short: 'n', help: "addresses\nonly"},
		{long: "format", value: "NAME", group: "Output", help: "a text that does not fit into one line of the help, so that it takes two"},
		{long: "very-long-option", short: 'v', value: "SOMETHING", help: "moves on"},
	})
	want := `Usage.

Options:
  -n, --numeric                 addresses only
  -v, --very-long-option=SOMETHING
                                moves on

Output:
      --format=NAME             a text that does not fit into one line of the
                                help, so that it takes two

About the program:
      --late                    last, wherever it stands
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestHelpFits: the help of each program fits a terminal of 80 columns, and leaves nothing out.
func TestHelpFits(t *testing.T) {
	for _, program := range []string{"gtrace", "gping"} {
		w := newWorld(simnet.Config{})
		if status := w.run(t.Context(), program+" --help"); status != yes {
			t.Errorf("%s: status %d", program, status)
		}
		for line := range strings.Lines(w.out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helpWidth {
				t.Errorf("%s: %d columns: %s", program, n, line)
			}
		}
		for _, o := range wholeTable(toolCalled(program)) {
			if !strings.Contains(w.out.String(), "--"+o.long) {
				t.Errorf("%s: no --%s", program, o.long)
			}
		}
	}
}

func toolCalled(program string) tool {
	if program == "gping" {
		return newPingTool()
	}
	return newTraceTool()
}

// TestOptionTable holds the options of each program to what help, manual and completions make of them.
func TestOptionTable(t *testing.T) {
	for _, tl := range []tool{newTraceTool(), newPingTool()} {
		long, short := make(map[string]bool), make(map[byte]bool)
		for _, o := range wholeTable(tl) {
			switch {
			case long[o.long], o.short != 0 && short[o.short]:
				t.Errorf("%s: --%s or -%c is there twice", tl.name(), o.long, o.short)
			case o.help == "":
				t.Errorf("%s: --%s has no help", tl.name(), o.long)
			case o.value == "" && len(o.words) > 0:
				t.Errorf("%s: --%s has words, but takes no value", tl.name(), o.long)
			}
			for _, w := range o.words {
				if strings.ContainsAny(w, " \t'") || strings.HasPrefix(w, "@") && w != someFile && w != someHost && w != someInterface {
					t.Errorf("%s: --%s has the word %q, which completions cannot offer", tl.name(), o.long, w)
				}
			}
			long[o.long], short[o.short] = true, true
		}
	}
}

func TestAbout(t *testing.T) {
	tests := []struct {
		line   string
		status int
		out    string // a regular expression for all of standard output
		err    string // how standard error begins
	}{
		{"gtrace --version", 0, `^gtrace v1\.2\.3 \(commit abcdef0, go1\.\S+ \w+/\w+\)\n$`, ""},
		{"gping host -V", 0, `^gping v1\.2\.3 \(commit abcdef0, go`, ""},
		{"gping --man", 0, `(?s)^\.TH GPING 1 .*\.SH "OPTIONS"`, ""},
		{"gtrace --completion bash", 0, `(?s)complete -F _gtrace gtrace\n$`, ""},
		{"gtrace --completion=zsh", 0, `^#compdef gtrace\n`, ""},
		{"gping --completion fish", 0, `(?m)^complete -c gping `, ""},
		{"gping --completion tcsh", 2, `^$`, "gping: --completion tcsh: want one of bash, zsh, fish\n"},
		{"gping --completion=", 2, `^$`, "gping: --completion \"\": want one of bash, zsh, fish\n"},
		{"gping --completion", 2, `^$`, "gping: --completion: needs a value"},
		{"gping --man=1", 2, `^$`, "gping: --man: takes no value"},
		{"gping -V --help", 0, `^Usage: gping `, ""},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			w := newWorld(simnet.Config{})
			if status := w.run(t.Context(), tt.line); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if !regexp.MustCompile(tt.out).MatchString(w.out.String()) {
				t.Errorf("standard output %.200q, want %s", &w.out, tt.out)
			}
			if got := w.stderr.String(); !strings.HasPrefix(got, tt.err) || tt.err == "" && got != "" {
				t.Errorf("standard error %q, want %q", got, tt.err)
			}
		})
	}
}

func TestVCSCommit(t *testing.T) {
	const revision = "0123456789abcdef0123456789abcdef01234567"
	tests := []struct {
		name     string
		settings []debug.BuildSetting
		want     string
	}{
		{name: "nothing known"},
		{"clean", []debug.BuildSetting{{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: "false"}}, "0123456"},
		{"modified", []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: revision}}, "0123456-dirty"},
		{"modified, but what", []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}}, ""},
		{"short", []debug.BuildSetting{{Key: "vcs.revision", Value: "12"}}, "12"},
	}
	for _, tt := range tests {
		if got := vcsCommit(tt.settings); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if version, commit := built("v9", "abc"); version != "v9" || commit != "abc" {
		t.Errorf("%q, %q: what the linker was told is lost", version, commit)
	}
	if version, _ := built("", ""); version == "" {
		t.Error("no version")
	}
	if got := versionLine("gping", "devel", ""); !strings.HasPrefix(got, "gping devel (go1.") {
		t.Errorf("without a commit: %q", got)
	}
}

// TestMan has the programs that show manual pages read ours, with all their warnings on.
func TestMan(t *testing.T) {
	for _, program := range []string{"gtrace", "gping"} {
		w := newWorld(simnet.Config{})
		w.run(t.Context(), program+" --man")
		file := filepath.Join(t.TempDir(), program+".1")
		if err := os.WriteFile(file, w.out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, o := range wholeTable(toolCalled(program)) {
			if want := `\fB\-\-` + strings.ReplaceAll(o.long, "-", `\-`) + `\fR`; !strings.Contains(w.out.String(), want) {
				t.Errorf("%s: no --%s", program, o.long)
			}
		}
		for _, reader := range []struct {
			args    []string
			install string
		}{
			{[]string{"groff", "-man", "-ww", "-Tutf8", "-P-cbou"}, "apt-get install groff"},
			{[]string{"mandoc", "-T", "lint"}, "apt-get install mandoc"},
		} {
			t.Run(program+" "+reader.args[0], func(t *testing.T) {
				if _, err := exec.LookPath(reader.args[0]); err != nil {
					t.Skipf("%v: %s", err, reader.install)
				}
				c := exec.Command(reader.args[0], append(reader.args[1:], file)...)
				var stderr strings.Builder
				c.Stderr = &stderr
				out, err := c.Output()
				if err != nil || stderr.Len() > 0 {
					t.Errorf("%v\n%s", err, &stderr)
				}
				if reader.args[0] == "mandoc" {
					if len(out) > 0 {
						t.Errorf("%s", out)
					}
					return
				}
				text := string(out)
				for _, want := range []string{"NAME\n       " + program + " - ", "\nOPTIONS\n", "\nEXIT STATUS\n", "\nSEE ALSO\n"} {
					if !strings.Contains(text, want) {
						t.Errorf("no %q in\n%s", want, text)
					}
				}
			})
		}
	}
}

// TestManText: what is typed comes through roff as it was, and nothing that was meant as text is a request.
func TestManText(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skipf("%v: apt-get install groff", err)
	}
	p := page{name: "x", short: "s", sections: []manSection{{"ODD", `
.TH is text, and 'so is this. \fBBold\fR is not; "quotes" and ^~ are.

	.SH "typed" --literally 'so' \n ~^
	second line

= ` + "`--term -1`" + `
one. Two (three.) Four … %s 33 % of %d
`}}}
	c := exec.Command("groff", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=200n")
	c.Stdin = strings.NewReader(p.man(nil, `v"1\`))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := regexp.MustCompile(" +").ReplaceAllString(string(out), " ") // two after a sentence, and the margins
	for _, want := range []string{
		` .TH is text, and 'so is this. \fBBold\fR is not; "quotes" and ^~ are.`,
		` .SH "typed" --literally 'so' \n ~^` + "\n second line",
		" --term -1\n one. Two (three.) Four … x 33 % of %d",
		`x v"1\`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
