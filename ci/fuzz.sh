#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes every target of the module for the given time in all (as 600s or 10m),
# at least a second each. Each package's test binary is built once. Minimising new
# inputs is kept short: its default of a minute takes the whole time of a target
# whose seeds are large.
set -euo pipefail
cd "$(dirname "$0")/.."

total=${1:?usage: ci/fuzz.sh TIME, as 600s or 10m}
case $total in
*m) seconds=$((${total%m} * 60)) ;;
*s) seconds=${total%s} ;;
*) echo "ci/fuzz.sh: got time $total, want as 600s or 10m" >&2; exit 2 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
started=$SECONDS

# Packages with a target; compiling the others only to list nothing is slow.
targets=()
while read -r dir; do
	binary=$work/$(tr / _ <<<"$dir").test
	go test -c -fuzz=. -o "$binary" "./$dir"
	names=$(cd "$dir" && "$binary" -test.list '^Fuzz')
	for name in $names; do
		targets+=("$dir $binary $name")
	done
done < <(git grep -l --untracked '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u)

if [ "${#targets[@]}" -eq 0 ]; then
	echo "ci/fuzz.sh: no fuzz targets" >&2
	exit 1
fi
each=$((seconds / ${#targets[@]}))
[ "$each" -ge 1 ] || each=1
echo "fuzz: ${#targets[@]} targets, ${each}s each; built in $((SECONDS - started))s"

# overtaken LOG NAME: the target failed, but only for Go 1.26's own race between
# the end of -fuzztime and its workers (go.dev/issue/75804, mended in Go 1.27): all
# that it says is the deadline. An input that fails a target is always named.
overtaken() {
	[ "$(sed -n '/^--- FAIL/,$p' "$1")" = "$(printf -- '%s\n    context deadline exceeded\nFAIL' \
		"$(grep "^--- FAIL: $2 (" "$1")")" ]
}

cache=$(go env GOCACHE)/fuzz
failed=0
for target in "${targets[@]}"; do
	read -r dir binary name <<<"$target"
	package=$(go list "./$dir")
	log=$work/log
	if (cd "$dir" && "$binary" -test.run '^$' -test.fuzz "^$name\$" -test.fuzztime "${each}s" \
		-test.fuzzminimizetime 10x -test.fuzzcachedir "$cache/$package" -test.timeout 0) >"$log" 2>&1; then
		echo "fuzz: ok   $dir $name ($(grep -o 'execs: [0-9]*' "$log" | tail -1))"
	elif overtaken "$log" "$name"; then
		echo "fuzz: ok   $dir $name ($(grep -o 'execs: [0-9]*' "$log" | tail -1), go.dev/issue/75804 at its end)"
	else
		echo "fuzz: FAIL $dir $name" >&2
		tail -50 "$log" >&2
		failed=1
	fi
done
exit "$failed"
