package cli

import (
	"fmt"
	"strings"
)

// shells are those there are completions for.
var shells = []string{"bash", "zsh", "fish"}

// Values that the shell knows best; other words of an option stand for themselves.
const (
	someFile      = "@file"
	someHost      = "@host"
	someInterface = "@interface"
)

// completion is a shell's file of completions for a program, made from its options.
func completion(shell string, p *page, table []option) (string, error) {
	switch shell {
	case "bash":
		return bashCompletion(p, table), nil
	case "zsh":
		return zshCompletion(p, table), nil
	case "fish":
		return fishCompletion(p, table), nil
	}
	return "", errShell
}

// shellQuoted is s as one word of any of the shells, which agree on no escape within single quotes: so those end
// before an apostrophe and begin again after it.
func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'" }

// brief is an option's help as far as it fits beside it: its first clause.
func (o *option) brief() string {
	s, _, _ := strings.Cut(strings.Join(strings.Fields(o.help), " "), ";")
	return s
}

// spellings are an option's names as typed.
func (o *option) spellings() []string {
	names := []string{"--" + o.long}
	if o.short != 0 {
		names = append([]string{"-" + string(o.short)}, names...)
	}
	return names
}

// values is what the shell calls an option's values: one of the marks above, or "" for words and for nothing.
func (o *option) values() string {
	if len(o.words) == 1 && strings.HasPrefix(o.words[0], "@") {
		return o.words[0]
	}
	return ""
}

const bashHead = `# Completions of %[1]s for bash. Made by: %[1]s --completion bash

_%[1]s() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} lead= word
	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		if [[ $word == -- ]]; then # what follows is a host, whatever it looks like
			mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur")
			return
		fi
	done
	# "=" is a word of its own, unless COMP_WORDBREAKS was changed.
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	elif [[ $cur == --*=* ]]; then
		prev=${cur%%%%=*} lead=${cur%%%%=*}= cur=${cur#*=}
	fi
	case $prev in
`

const bashTail = `	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W %[2]s -- "$cur")
		[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
	else
		mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur")
%[3]s	fi
	return 0
}

complete -F _%[1]s %[1]s
`

func bashCompletion(p *page, table []option) string {
	var b strings.Builder
	fmt.Fprintf(&b, bashHead, p.name)
	var all []string
	for _, o := range table {
		names := o.spellings()
		if o.value == "" {
			all = append(all, names...)
			continue
		}
		all = append(all, names...)
		all[len(all)-1] += "="
		generate := ""
		switch o.values() {
		case someFile:
			generate = `compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -P "$lead" -- "$cur"); `
		case someHost:
			generate = `mapfile -t COMPREPLY < <(compgen -A hostname -P "$lead" -- "$cur"); `
		case someInterface:
			generate = `mapfile -t COMPREPLY < <(compgen -W "$(command ls /sys/class/net 2>/dev/null)" -P "$lead" -- "$cur"); `
		default:
			if len(o.words) > 0 {
				generate = fmt.Sprintf(`mapfile -t COMPREPLY < <(compgen -W %s -P "$lead" -- "$cur"); `, shellQuoted(strings.Join(o.words, " ")))
			}
		}
		fmt.Fprintf(&b, "\t%s) %sreturn ;;\n", strings.Join(names, "|"), generate)
	}
	first := ""
	if p.has(doctorSection) {
		first = "\t\t((COMP_CWORD == 1)) && [[ doctor == \"$cur\"* ]] && COMPREPLY+=(doctor)\n"
	}
	fmt.Fprintf(&b, bashTail, p.name, shellQuoted(strings.Join(all, " ")), first)
	return b.String()
}

const aboutDoctor = "tell which sockets can be opened here, and why not"

const zshTail = `    '1: :_%[1]s_first' '*:host:_hosts'
}

_%[1]s_first() {
  _alternative 'hosts:host:_hosts'%[2]s
}

# Where this file was read by compinit it is the function itself; where it was sourced, it says what for.
if [[ $funcstack[1] == _%[1]s ]]; then
  _%[1]s "$@"
else
  compdef _%[1]s %[1]s
fi
`

func zshCompletion(p *page, table []option) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %[1]s\n# Completions of %[1]s for zsh. Made by: %[1]s --completion zsh\n\n_%[1]s() {\n  _arguments -s -S \\\n", p.name)
	escape := strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`).Replace
	for _, o := range table {
		value := ""
		if o.value != "" {
			value = ":" + escape(o.value) + ":"
			switch o.values() {
			case someFile:
				value += "_files"
			case someHost:
				value += "_hosts"
			case someInterface:
				value += "_net_interfaces"
			default:
				value += " "
				if len(o.words) > 0 {
					value = value[:len(value)-1] + "(" + strings.Join(o.words, " ") + ")"
				}
			}
		}
		names := o.spellings()
		for _, name := range names {
			// Each excludes the other spelling. "+": the value is in the same word or the next; "=": after an = or in the next.
			without := "(" + strings.Join(names, " ") + ")"
			switch {
			case o.value != "" && strings.HasPrefix(name, "--"):
				name += "="
			case o.value != "":
				name += "+"
			}
			fmt.Fprintf(&b, "    %s \\\n", shellQuoted(without+name+"["+escape(o.brief())+"]"+value))
		}
	}
	first := ""
	if p.has(doctorSection) {
		first = ` 'commands:command:((doctor\:"` + aboutDoctor + `"))'`
	}
	fmt.Fprintf(&b, zshTail, p.name, first)
	return b.String()
}

func fishCompletion(p *page, table []option) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Completions of %[1]s for fish. Made by: %[1]s --completion fish\n\n", p.name)
	fmt.Fprintf(&b, "complete -c %s -f -a '(__fish_print_hostnames)' -d host\n", p.name)
	if p.has(doctorSection) {
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -a doctor -d %s\n", p.name, shellQuoted(aboutDoctor))
	}
	for _, o := range table {
		fmt.Fprintf(&b, "complete -c %s", p.name)
		if o.short != 0 {
			fmt.Fprintf(&b, " -s %s", shellQuoted(string(o.short)))
		}
		fmt.Fprintf(&b, " -l %s", o.long)
		switch v := o.values(); {
		case o.value == "":
		case v == someFile:
			b.WriteString(" -r -F")
		case v == someHost:
			b.WriteString(" -x -a '(__fish_print_hostnames)'")
		case v == someInterface:
			b.WriteString(" -x -a '(__fish_print_interfaces)'")
		case len(o.words) > 0:
			fmt.Fprintf(&b, " -x -a %s", shellQuoted(strings.Join(o.words, " ")))
		default:
			b.WriteString(" -x")
		}
		fmt.Fprintf(&b, " -d %s\n", shellQuoted(o.brief()))
	}
	return b.String()
}
