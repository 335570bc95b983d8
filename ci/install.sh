#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what the tests need beside Go: swtpm for the TPM tests, a C compiler
# for the race detector and BoringCrypto. As root on Debian it does so itself;
# else it names the one command. With CI=true a missing package is an error,
# otherwise the tests that need it skip and say so.
set -euo pipefail

packages=()
command -v swtpm >/dev/null || packages+=(swtpm)
command -v swtpm_setup >/dev/null || packages+=(swtpm-tools)
command -v cc >/dev/null || command -v gcc >/dev/null || packages+=(gcc libc6-dev)
if [ "${#packages[@]}" -eq 0 ]; then
	exit 0
fi

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
	echo "installing ${packages[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
	exit 0
fi

echo "assay: not installed: ${packages[*]}; the tests that need them are skipped" >&2
echo "assay: hint: sudo apt-get update && sudo apt-get install -y ${packages[*]}" >&2
if [ "${CI:-}" = true ]; then
	exit 1
fi
