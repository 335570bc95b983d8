#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Everything that can be said of the source without running it. All findings are
# reported, then it fails.
set -uo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/bin/tools
status=0

step() {
	echo "lint: $1"
	shift
	"$@" || status=1
}

formatted() {
	local files
	files=$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l) || return 1
	[ -z "$files" ] || { echo "not formatted by gofmt:" "$files" >&2; return 1; }
}

# generated fails when the checked-in code is not what the proto gives.
generated() {
	local dir
	dir=$(mktemp -d) || return 1
	PATH="$tools:$PATH" "$tools/buf" generate --output "$dir" &&
		(cd "$dir" && find . -name '*.go') | while read -r f; do
			cmp "$dir/$f" "$f" || exit 1
		done
	local result=$?
	rm -rf "$dir"
	[ "$result" -eq 0 ] || echo "generated code is not up to date: make generate" >&2
	return "$result"
}

step "gofmt" formatted
step "go vet" go vet ./...
step "golangci-lint" "$tools/golangci-lint" run ./...
step "buf lint" "$tools/buf" lint
step "generated code" generated
exit "$status"
