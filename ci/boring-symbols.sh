#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that each binary has BoringCrypto linked in: with CGO_ENABLED=0 the go
# command builds GOEXPERIMENT=boringcrypto without a word, and without it.
set -euo pipefail

for binary in "$@"; do
	# Not grep -q: it would close the pipe under nm, which pipefail reports.
	count=$(go tool nm "$binary" | grep -c goboringcrypto || true)
	if [ "$count" -eq 0 ]; then
		echo "$binary: no goboringcrypto symbol, want BoringCrypto linked in" >&2
		exit 1
	fi
	echo "$binary: $count goboringcrypto symbols"
done
