package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// aboutGroup is the heading of what the programs tell about themselves.
const aboutGroup = "About the program"

// aboutOptions are answered before anything is measured or even opened for it.
var aboutOptions = []option{
	{long: "help", short: 'h', group: aboutGroup, help: "show this and exit"},
	{long: "version", short: 'V', group: aboutGroup, help: "show version, commit and Go version, and exit"},
	{long: "man", group: aboutGroup, help: "print the manual page, for man -l -, and exit",
		more: "The page is in the man(7) format: `%s --man | man -l -` shows it."},
	{long: "completion", value: "SHELL", group: aboutGroup, words: shells,
		help: "print completions for bash, zsh or fish, and exit",
		more: "In bash, `source <(%s --completion bash)` has them at once. " +
			"zsh wants a file `_%[1]s` in a directory of `$fpath`, fish a file `%[1]s.fish` in `~/.config/fish/completions`."},
}

// about does what is asked about the program itself, and says whether that was all that was asked.
func (s *session) about(table []option, options, hosts, after []string) (status int, done bool, err error) {
	p := s.tool.page()
	// One after another, so that --help wins wherever it stands.
	var text string
	switch {
	case slices.Contains(options, "--help") && p.has(doctorSection) && slices.Equal(slices.Concat(hosts, after), []string{doctor}):
		text = doctorHelp(p.name)
	case slices.Contains(options, "--help"):
		text = helpText(s.tool.usage(), table) + "\n"
		if p.has(doctorSection) {
			text += fmt.Sprintf("\"%s doctor\" tells which sockets can be opened here, and why not.\n", p.name)
		}
		text += fmt.Sprintf("\"%s --man | man -l -\" is the manual.\n", p.name)
	case slices.Contains(options, "--version"):
		text = versionLine(p.name, s.env.Version, s.env.Commit)
	case slices.Contains(options, "--man"):
		text = p.man(table, s.env.Version)
	default:
		for _, o := range options {
			if shell, ok := strings.CutPrefix(o, "--completion="); ok {
				if text, err = completion(shell, p, table); err != nil {
					return unsure, true, fmt.Errorf("--completion %s: %w", printable(shell), err)
				}
			}
		}
		switch {
		case text != "":
		case len(after) == 0 && slices.Equal(hosts, []string{doctor}) && !slices.Contains(p.names, s.env.Name):
			status, err = s.doctor(options)
			return status, true, err
		default:
			return 0, false, nil
		}
	}
	_, err = io.WriteString(s.out, text)
	return yes, true, err
}

// doctorHelp is what the doctor takes.
func doctorHelp(program string) string {
	return fmt.Sprintf(`Usage: %[1]s doctor [--json] [-4|-6]

Tells which sockets this user can open on this host, and for each that is missing
why, what that means, and the command or container setting that mends it. Exit
status: 0 all is there, 1 something is missing or limited, 2 could not be told.

  -4, --ipv4                    look at IPv4 alone
  -6, --ipv6                    look at IPv6 alone
      --json                    one document, gtrace/doctor/v1

A host of that name: %[1]s -- doctor
`, program)
}

// Where the columns of the help are.
const (
	helpWidth  = 80
	helpColumn = 32
)

// optionGroups are the headings in the order in which they first come, and the options under each.
func optionGroups(table []option) (names []string, under map[string][]option) {
	under = make(map[string][]option)
	for _, o := range table {
		if _, known := under[o.group]; !known {
			names = append(names, o.group)
		}
		under[o.group] = append(under[o.group], o)
	}
	// Whatever has no heading of its own comes first, and what is about the program last.
	slices.SortStableFunc(names, func(a, b string) int { return groupRank(a) - groupRank(b) })
	return names, under
}

func groupRank(group string) int {
	switch group {
	case "":
		return 0
	case aboutGroup:
		return 2
	}
	return 1
}

func heading(group string) string {
	if group == "" {
		return "Options"
	}
	return group
}

// helpText lists the options as the manual pages of Unix programs do.
func helpText(usage string, table []option) string {
	var b strings.Builder
	b.WriteString(usage)
	names, under := optionGroups(table)
	for _, name := range names {
		fmt.Fprintf(&b, "\n%s:\n", heading(name))
		for _, o := range under[name] {
			left := "      --" + o.long
			if o.short != 0 {
				left = fmt.Sprintf("  -%c, --%s", o.short, o.long)
			}
			if o.value != "" {
				left += "=" + o.value
			}
			if utf8.RuneCountInString(left) > helpColumn-2 {
				b.WriteString(left + "\n")
				left = ""
			}
			for _, line := range wrap(o.help, helpWidth-helpColumn) {
				b.WriteString(strings.TrimRight(left+strings.Repeat(" ", helpColumn-utf8.RuneCountInString(left))+line, " ") + "\n")
				left = ""
			}
		}
	}
	return b.String()
}

// wrap breaks a text into lines of at most width characters, or of one word.
func wrap(s string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(s) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

var errShell = errors.New("want one of " + strings.Join(shells, ", "))
