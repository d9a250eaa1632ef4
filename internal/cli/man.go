package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A page is what a program's manual says beside its options, in plain text.
//
// In a text, an empty line parts paragraphs; `words` are literal; a paragraph each line of which begins
// with a tab is an example; one that begins with "= " has a term in its first line, which the rest explains.
// %[1]s is the program's name.
type page struct {
	name     string
	short    string   // the one line of NAME
	synopsis []string // each way to call it, without its name
	names    []string // other tools' names that it can be called by
	sections []manSection
}

// has reports whether a section is one of the page's.
func (p *page) has(s manSection) bool { return slices.Contains(p.sections, s) }

// A manSection is one heading and what stands under it; the options come under optionsTitle, after its text.
type manSection struct{ title, text string }

const optionsTitle = "OPTIONS"

// manualDate is the date of the pages' text, for the foot of the page.
const manualDate = "2026-11-30"

// man is the manual page in the macros of man(7).
func (p *page) man(table []option, version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 %s \"%s %s\" \"User Commands\"\n", strings.ToUpper(p.name), manualDate, p.name, roff(version))
	// No hyphens and no justification: what is typed must not be broken.
	fmt.Fprintf(&b, ".nh\n.ad l\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n", p.name, roff(p.short))
	for i, s := range p.synopsis {
		if i > 0 {
			b.WriteString(".br\n")
		}
		fmt.Fprintf(&b, ".B %s\n%s\n", p.name, p.inline(s))
	}
	for _, s := range p.sections {
		fmt.Fprintf(&b, ".SH %q\n", s.title)
		p.text(&b, s.text)
		if s.title == optionsTitle {
			p.options(&b, table)
		}
	}
	return b.String()
}

func (p *page) options(b *strings.Builder, table []option) {
	names, under := optionGroups(table)
	for _, name := range names {
		fmt.Fprintf(b, ".SS %q\n", heading(name))
		for _, o := range under[name] {
			var terms []string
			if o.short != 0 {
				t := `\fB\-` + roff(string(o.short)) + `\fR`
				if o.value != "" {
					t += ` \fI` + roff(o.value) + `\fR`
				}
				terms = append(terms, t)
			}
			t := `\fB\-\-` + strings.ReplaceAll(o.long, "-", `\-`) + `\fR`
			if o.value != "" {
				t += `=\fI` + roff(o.value) + `\fR`
			}
			fmt.Fprintf(b, ".TP\n%s\n", strings.Join(append(terms, t), ", "))
			help := strings.TrimSuffix(strings.Join(strings.Fields(o.help), " "), ".") + "."
			fmt.Fprintf(b, "%s\n", p.inline(help))
			if o.more != "" {
				for i, para := range strings.Split(p.fill(o.more), "\n\n") {
					if i > 0 {
						b.WriteString(".IP\n")
					}
					fmt.Fprintf(b, "%s\n", p.inline(strings.Join(strings.Fields(para), " ")))
				}
			}
		}
	}
}

// fill puts the program's name in. Texts without %[ or %s, such as those that speak of 33 %, are left alone.
func (p *page) fill(s string) string {
	return strings.NewReplacer("%[1]s", p.name, "%s", p.name).Replace(s)
}

// text renders paragraphs.
func (p *page) text(b *strings.Builder, s string) {
	first := true
	for para := range strings.SplitSeq(strings.Trim(p.fill(s), "\n"), "\n\n") {
		switch lines := strings.Split(para, "\n"); {
		case para == "":
		case strings.HasPrefix(para, "\t"):
			fmt.Fprintf(b, "%s.RS 4\n.nf\n", gap(first))
			for _, l := range lines {
				fmt.Fprintf(b, "%s\n", strings.ReplaceAll(noRequest(roff(strings.TrimPrefix(l, "\t"))), "-", `\-`))
			}
			b.WriteString(".fi\n.RE\n")
		case strings.HasPrefix(para, "= "):
			fmt.Fprintf(b, ".TP\n%s\n%s\n", p.inline(strings.TrimPrefix(lines[0], "= ")), p.inline(strings.Join(lines[1:], "\n")))
		default:
			if !first {
				b.WriteString(".PP\n")
			}
			fmt.Fprintf(b, "%s\n", p.inline(para))
		}
		first = false
	}
}

// gap is the space before an example, which the heading has made where it is the first thing.
func gap(first bool) string {
	if first {
		return ""
	}
	return ".PP\n"
}

// Compiled when they are needed: what every start did would be done with privilege.
var (
	dashedWord  = lazy(`(^|[\s(=,])(-{1,2}[0-9A-Za-z])`)
	sentenceEnd = lazy(`([.!?]\)?) ([A-Z])`)
)

func lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// inline renders the text of a paragraph: `literal` is bold, and options can be copied and pasted. Its lines
// are short, and each sentence begins one, as roff wants it.
func (p *page) inline(s string) string {
	var b strings.Builder
	s = sentenceEnd().ReplaceAllString(strings.Join(strings.Fields(s), " "), "$1\n$2")
	var short []string
	for sentence := range strings.Lines(s) {
		short = append(short, wrap(sentence, 64)...)
	}
	s = strings.Join(short, "\n")
	for i, part := range strings.Split(s, "`") {
		part = roff(part)
		if i%2 == 1 {
			fmt.Fprintf(&b, `\fB%s\fR`, strings.ReplaceAll(part, "-", `\-`))
			continue
		}
		b.WriteString(dashedWord().ReplaceAllStringFunc(part, func(m string) string { return strings.ReplaceAll(m, "-", `\-`) }))
	}
	lines := strings.Split(b.String(), "\n")
	for i, l := range lines {
		lines[i] = noRequest(l)
	}
	return strings.Join(lines, "\n")
}

// noRequest is a line of text; a point at its start would make it a request. (An apostrophe would too, but
// roff leaves none.)
func noRequest(s string) string {
	if strings.HasPrefix(s, ".") {
		return `\&` + s
	}
	return s
}

// roff is s as text: nothing of it is an escape, and other characters than ASCII are named.
func roff(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '"':
			b.WriteString(`\(dq`) // it may stand in an argument
		case r > '~':
			fmt.Fprintf(&b, `\[u%04X]`, r)
		case r == '\'':
			b.WriteString(`\(aq`) // as it is, not as a closing quote
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
