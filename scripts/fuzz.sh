#!/bin/sh
# Runs every fuzz target of the module: fuzz.sh TIME [GO TEST ARGUMENT...]
set -eu
go=${GO:-go}
time=$1
shift

log=$(mktemp)
trap 'rm -f "$log"' EXIT
found=0
packages=$("$go" list "$@" ./...)
for package in $packages; do
	dir=$("$go" list -f '{{.Dir}}' "$package")
	grep -q '^func Fuzz' "$dir"/*_test.go 2>/dev/null || continue
	# Not a pipeline: a package that does not build must not pass for one without targets.
	targets=$("$go" test "$@" -list='^Fuzz' "$package")
	for target in $(echo "$targets" | grep '^Fuzz'); do
		found=$((found + 1))
		for try in 1 2; do
			if "$go" test "$@" -run='^$' -fuzz="^$target\$" -fuzztime="$time" "$package" >"$log" 2>&1; then
				echo "ok   $package $target: $(grep '^fuzz: elapsed' "$log" | tail -n 1 | sed 's/^fuzz: //')"
				break
			fi
			# The fuzzer at times takes the end of its own time for a failure (golang/go#75804).
			if [ "$try" = 1 ] && grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then
				continue
			fi
			echo "FAIL $package $target"
			cat "$log"
			exit 1
		done
	done
done
if [ "$found" -eq 0 ]; then
	echo "fuzz.sh: no fuzz target found" >&2
	exit 1
fi
echo "$found fuzz targets, $time each"
