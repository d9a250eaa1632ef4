#!/bin/sh
# Makes or removes the names of other tools for our programs: links.sh install|uninstall DIR PROGRAMS
#
# In DIR, ping, ping6, fping and fping6 become links to PROGRAMS/gping, and traceroute, traceroute6 and
# tracepath to PROGRAMS/gtrace. DIR is the user's own: it must be there, must not be one that the
# system's programs live in, and nothing in it that is not such a link is touched. Either all is done or nothing.
set -eu
unset CDPATH

fail() {
	echo "links.sh: $1" >&2
	exit "${2:-1}"
}

[ $# -eq 3 ] || fail "usage: links.sh install|uninstall DIR PROGRAMS" 2
what=$1
case $what in install | uninstall) ;; *) fail "$what: want install or uninstall" 2 ;; esac
[ -n "$2" ] || fail "no directory given: make $what-links DIR=DIRECTORY" 2
[ -d "$2" ] || fail "$2: is no directory: make it first, with: mkdir -p '$2'" 2
# Links in the way there must not hide where it leads.
dir=$(cd -- "$2" && pwd -P)
programs=$(cd -- "$3" 2>/dev/null && pwd -P) || programs=$3

for system in /bin /usr/bin /sbin /usr/sbin /usr/libexec /lib /usr/lib; do
	[ -d "$system" ] || continue
	system=$(cd -- "$system" && pwd -P)
	case $dir/ in
	"$system"/*) fail "$2: is where the system keeps its own programs ($dir); choose a directory of your own, before those in PATH" 2 ;;
	esac
done
[ "$dir" != / ] || fail "$2: is the root of the file system" 2

names="gping:ping gping:ping6 gping:fping gping:fping6 gtrace:traceroute gtrace:traceroute6 gtrace:tracepath"

# ours reports whether $1 is a link that was made for the program $2: to one of that name, wherever it was
# installed, whether or not that is still there.
ours() {
	[ -L "$1" ] || return 1
	case $(readlink "$1") in */"$2") return 0 ;; esac
	return 1
}

for pair in $names; do
	program=${pair%:*} link=$dir/${pair#*:}
	if [ "$what" = install ] && ! [ -x "$programs/$program" ]; then
		fail "$programs/$program: is not installed: sudo make install, or say where it is: make install-links PREFIX=… DIR='$2'" 2
	fi
	if { [ -e "$link" ] || [ -L "$link" ]; } && ! ours "$link" "$program"; then
		[ "$what" = uninstall ] || fail "$link: is there and is not a link to $program; nothing was changed"
	fi
done

for pair in $names; do
	program=${pair%:*} link=$dir/${pair#*:}
	if [ "$what" = install ]; then
		ln -sfn "$programs/$program" "$link"
		echo "$link -> $programs/$program"
	elif ours "$link" "$program"; then
		rm -- "$link"
		echo "removed $link"
	fi
done
