#!/bin/sh
# Installs the programs that the tests in internal/interop run ours beside, and strace, by which those in internal/e2e read our
# system calls; and programs named as arguments, from packages of that name.
# On Debian, as root; else it says what is missing and fails.
set -eu

# Debian does not have all of them on everybody's PATH.
PATH=$PATH:/usr/sbin:/usr/lib/nagios/plugins
missing=
for p in traceroute ping tracepath fping mtr jc check_ping check_fping strace "$@"; do
	command -v "$p" >/dev/null || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

packages="traceroute iputils-ping iputils-tracepath fping mtr-tiny jc monitoring-plugins-basic monitoring-plugins-standard strace $*"
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "interop: missing:$missing; as root on Debian: apt-get install -y --no-install-recommends $packages" >&2
	exit 1
fi
apt-get update -q
# shellcheck disable=SC2086 # words
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
