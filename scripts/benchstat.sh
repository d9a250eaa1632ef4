#!/bin/sh
# The Go benchmarks of this tree beside those of another commit: benchstat.sh BENCHSTAT@VERSION COMMIT COUNT BENCHMARKS
#
# All are built first, and the two run in turn, COUNT times, so that what else the machine does falls on both. The table is benchstat's:
# medians, and "~" where a difference may be chance.
set -eu
go=${GO:-go}
tool=$1 commit=$2 count=$3 benchmarks=$4

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/before" "$dir/bin"
git archive "$commit" | tar -xf - -C "$dir/before"
GOBIN=$dir/bin "$go" install "$tool"

# with_benchmarks lists the packages that have some.
with_benchmarks() { grep -rl --include='*_test.go' '^func Benchmark' . | xargs -r -n 1 dirname | sort -u; }

for tree in before after; do
	root=$dir/before
	[ "$tree" = before ] || root=$PWD
	(
		cd "$root"
		for package in $(with_benchmarks); do
			"$go" test -c -o "$dir/bin/$tree$(echo "$package" | tr / _)" "$package"
		done
	)
done
n=0
while [ "$n" -lt "$count" ]; do
	n=$((n + 1))
	for package in $(with_benchmarks); do
		for tree in before after; do
			root=$dir/before
			[ "$tree" = before ] || root=$PWD
			program=$dir/bin/$tree$(echo "$package" | tr / _)
			[ -x "$program" ] || continue # a package that was not there
			echo "run $n of $count: $package $tree" >&2
			(cd "$root/$package" && "$program" -test.run='^$' -test.bench="$benchmarks" -test.benchmem >>"$dir/$tree.txt")
		done
	done
done
cd "$dir"
bin/benchstat before.txt after.txt
