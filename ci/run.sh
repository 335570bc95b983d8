#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs assayd in development mode in the foreground, with the simulated TEE and
# the development Workload API, in a folder that is kept between runs. Both
# programs end with it.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${1:-/tmp/assay-dev-$(id -u)} # short: it holds sockets

if [ -f "$dir/assayd.yaml" ] && [ bin/assayd -nt "$dir/assayd.yaml" ]; then
	# The references measure the binary: with another one no node would believe it.
	grep -q '^# Made by assay dev init' "$dir/assayd.yaml" || { echo "assay: $dir is not a development folder" >&2; exit 2; }
	echo "assay: bin/assayd is newer than $dir, which is made anew" >&2
	rm -rf "$dir"
fi
[ -f "$dir/assayd.yaml" ] || bin/assay dev init "$dir" --assayd bin/assayd

bin/assay dev serve "$dir" &
api=$!
trap 'kill "$api" 2>/dev/null || true; wait "$api" 2>/dev/null || true' EXIT
for _ in $(seq 100); do
	[ -S "$dir/svid/assayd.sock" ] && break
	kill -0 "$api" 2>/dev/null || exit 1
	sleep 0.1
done
bin/assayd --config "$dir/assayd.yaml"
