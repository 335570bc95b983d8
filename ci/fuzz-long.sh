#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs fuzz targets until each has had EXECUTIONS executions in all, one after the
# other with one worker at the lowest priority. STATE is a folder that keeps counts and
# corpora, so that a run that was interrupted (SIGTERM, or SIGINT at a terminal) is continued by the same
# command. Then it prints a row of docs/fuzzing.md for each.
#
# The first tenth is guided by coverage and makes the corpus that the rest starts from.
# The rest is not, and five to eight times as fast: Go compares all counters after each
# execution, which takes most of the time. For the same reason only this module and the
# libraries that SEEN names are instrumented. ci/fuzz.sh, which CI runs, is guided by
# everything all the time.
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: ci/fuzz-long.sh STATE EXECUTIONS FOLDER/NAME..., as ci/fuzz-long.sh /var/tmp/fuzz 10000000 attest/FuzzQuote"
state=${1:?$usage} executions=${2:?$usage}
shift 2
[ $# -gt 0 ] || { echo "$usage" >&2; exit 2; }
module=$(go list -m)
seen=${SEEN:-}
mkdir -p "$state"
state=$(cd "$state" && pwd)

child=
trap 'stopped=1; [ -z "$child" ] || kill -INT "$child" 2>/dev/null || true' INT TERM
stopped=

# counted TARGET KIND: executions and those past the head, of all workers so far.
counted() {
	local counts=$state/counts/${1//\//.}
	mkdir -p "$counts/guided" "$counts/not"
	find "$counts/${2:-.}" -type f -exec cat {} + | awk '{n += $1; p += $2} END {printf "%d %d\n", n, p}'
}

# fuzz TARGET KIND EXECUTIONS: what is left of them, in one run of the test binary.
fuzz() {
	local target=$1 kind=$2 want=$3 dir name key done past binary started commit status=0 flags=() library
	dir=$(dirname "$target") name=$(basename "$target") key=${target//\//.}
	read -r done past < <(counted "$target" "$kind")
	[ "$done" -lt "$want" ] && [ -z "$stopped" ] || return 0

	if [ "$kind" = guided ]; then
		flags=(-gcflags="$module/...=-d=libfuzzer")
		for library in $seen; do
			flags+=(-gcflags="$library=-d=libfuzzer")
		done
	fi
	binary=$state/${dir//\//.}.$kind.test
	nice -n 19 go test -c "${flags[@]}" -o "$binary" "./$dir"
	commit=$(git rev-parse --short=12 HEAD)$(git diff --quiet HEAD -- '*.go' go.mod || echo +)
	started=$(date +%s)
	(cd "$dir" && exec env ASSAY_FUZZ_COUNTS="$state/counts/$key/$kind" nice -n 19 "$binary" -test.run '^$' -test.fuzz "^$name\$" \
		-test.fuzztime "$((want - done))x" -test.parallel 1 -test.fuzzminimizetime 10x \
		-test.fuzzcachedir "$state/corpus/$dir" -test.timeout 0) >"$state/$key.log" 2>&1 &
	child=$!
	while kill -0 "$child" 2>/dev/null; do
		status=0
		wait "$child" || status=$?
	done
	child=
	echo "$(($(date +%s) - started)) $commit $(date -u +%F) $(go env GOVERSION)" >>"$state/$key.runs"
	if [ "$status" -ne 0 ] && [ -z "$stopped" ]; then
		echo "fuzz-long: FAIL $target: $state/$key.log" >&2
		tail -40 "$state/$key.log" >&2
		return 1
	fi
}

# row TARGET: its row of the table in docs/fuzzing.md.
row() {
	local target=$1 key=${1//\//.} done past guided
	read -r done past < <(counted "$target")
	read -r guided _ < <(counted "$target" guided)
	[ -s "$state/$key.runs" ] || return 0
	awk -v target="$(basename "$target")" -v dir="$(dirname "$target")" -v n="$done" -v guided="$guided" -v past="$past" '
		{s += $1; commit = $2; date = $3; go = $4}
		END {printf "| `%s` | `%s` | %d | %d | %d %% | %d | %s | %s | %s |\n",
			target, dir, n, guided, (n ? 100 * past / n : 0), (s ? n / s : 0), commit, date, go}' "$state/$key.runs"
}

failed=0
for target in "$@"; do
	fuzz "$target" guided $((executions / 10)) && fuzz "$target" not $((executions - executions / 10)) || failed=1
done
for target in "$@"; do
	row "$target"
done
exit "$failed"
