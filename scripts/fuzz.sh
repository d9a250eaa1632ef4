#!/bin/sh
# Runs every fuzz target of the module: fuzz.sh TIME [GO TEST ARGUMENT...]
#
# What a target found that is worth trying again Go keeps in its build cache; what failed it writes into testdata/fuzz. See
# scripts/fuzzkeep for making seeds of the former.
set -eu
go=${GO:-go}
time=$1
shift

log=$(mktemp)
trap 'rm -f "$log"' EXIT
found=0 execs=0 new=0
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
				# fuzz: elapsed: 5s, execs: 1234 (246/sec), new interesting: 7 (total: 40)
				last=$(grep '^fuzz: elapsed.*execs' "$log" | tail -n 1)
				echo "ok   $package $target: ${last#fuzz: }"
				execs=$((execs + $(echo "$last" | sed -n 's/.*execs: \([0-9]*\).*/\1/p' | grep . || echo 0)))
				new=$((new + $(echo "$last" | sed -n 's/.*new interesting: \([0-9]*\).*/\1/p' | grep . || echo 0)))
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
echo "$found fuzz targets, $time each: $execs executions, $new inputs that reached something new"
