package cli

import (
	"fmt"
	"strings"
)

// An option is one row of a program's table of options.
type option struct {
	long  string
	short byte   // 0: none
	value string // what the help calls its value; "" for a switch
	help  string
	more  string             // what the manual page says beyond help
	group string             // the heading it stands under in help and manual; "": the first
	words []string           // the values there are, or "@file", "@host", "@interface": for completions
	set   func(string) error // takes the value ("" for a switch); nil where about acts on it
}

// normalise sorts arguments into options, each written --name or
// --name=value, and hosts, both in the order given; after are the hosts that
// came behind "--", which are hosts whatever they look like.
//
// The rules are those of getopt_long(3): options stand before, between or
// after hosts, short ones may be joined, a value is what follows in the same
// word or else the next word whatever it looks like, a lone "-" is no option,
// and everything after "--" is a host. Long names are not abbreviated: an
// abbreviation that works today would change its meaning with a new option.
func normalise(table []option, args []string) (options, hosts, after []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return options, hosts, args, nil

		case strings.HasPrefix(arg, "--"):
			name, value, joined := strings.Cut(arg[2:], "=")
			o := find(table, func(o *option) bool { return o.long == name })
			switch {
			case o == nil && nearest(table, name) != nil:
				return nil, nil, nil, fmt.Errorf("--%s: unknown option; did you mean --%s? (see --help)", printable(name), nearest(table, name).long)
			case o == nil:
				return nil, nil, nil, fmt.Errorf("--%s: unknown option (see --help)", printable(name))
			case o.value == "" && joined:
				return nil, nil, nil, fmt.Errorf("--%s: takes no value, got %q", name, value)
			case o.value == "":
				options = append(options, "--"+name)
				continue
			case !joined && len(args) == 0:
				return nil, nil, nil, fmt.Errorf("--%s: needs a value: --%s=%s", name, name, o.value)
			case !joined:
				value, args = args[0], args[1:]
			}
			options = append(options, "--"+name+"="+value)

		case len(arg) > 1 && arg[0] == '-':
			for i := 1; i < len(arg); i++ {
				o := find(table, func(o *option) bool { return o.short == arg[i] && o.short != 0 })
				if o == nil {
					return nil, nil, nil, fmt.Errorf("-%s: unknown option (see --help)", printable(arg[i:i+1]))
				}
				if o.value == "" {
					options = append(options, "--"+o.long)
					continue
				}
				value := arg[i+1:]
				if value == "" {
					if len(args) == 0 {
						return nil, nil, nil, fmt.Errorf("-%c: needs a value: -%c %s", o.short, o.short, o.value)
					}
					value, args = args[0], args[1:]
				}
				options = append(options, "--"+o.long+"="+value)
				break
			}

		default:
			hosts = append(hosts, arg)
		}
	}
	return options, hosts, nil, nil
}

func find(table []option, is func(*option) bool) *option {
	for i := range table {
		if is(&table[i]) {
			return &table[i]
		}
	}
	return nil
}
