#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what the tests need beside Go: swtpm for the TPM tests, cpio to read an
# archive of the machine image, what docs/attestation.md has its readers type, a C
# compiler for the race detector and BoringCrypto. With the argument vm also QEMU, OVMF
# and lists of apt that know the image's packages, for make vm. As root on Debian it
# does so itself; else it names the one command. With CI=true a missing package is an
# error, otherwise the tests that need it skip and say so.
set -euo pipefail

packages=()
command -v swtpm >/dev/null || packages+=(swtpm)
command -v swtpm_setup >/dev/null || packages+=(swtpm-tools)
command -v cpio >/dev/null || packages+=(cpio)
command -v tpm2_checkquote >/dev/null || packages+=(tpm2-tools)
command -v openssl >/dev/null || packages+=(openssl)
command -v xxd >/dev/null || packages+=(xxd)
command -v jq >/dev/null || packages+=(jq)
command -v cc >/dev/null || command -v gcc >/dev/null || packages+=(gcc libc6-dev)
lists=current
if [ "${1:-}" = vm ]; then
	command -v qemu-system-x86_64 >/dev/null || packages+=(qemu-system-x86)
	[ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || packages+=(ovmf)
	command -v mke2fs >/dev/null || packages+=(e2fsprogs)
	while read -r role name version _; do
		[[ $role == \#* ]] || apt-cache show "$name=$version" >/dev/null 2>&1 || lists=old
	done <"$(dirname "$0")/../image/inputs.lock"
fi
if [ "${#packages[@]}" -eq 0 ] && [ "$lists" = current ]; then
	exit 0
fi

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
	echo "updating the lists of apt, installing ${packages[*]:-nothing}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	[ "${#packages[@]}" -ne 0 ] || exit 0
	apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
	exit 0
fi

if [ "${#packages[@]}" -eq 0 ]; then
	exit 0 # make image says what it misses
fi

echo "assay: not installed: ${packages[*]}; the tests that need them are skipped" >&2
echo "assay: hint: sudo apt-get update && sudo apt-get install -y ${packages[*]}" >&2
if [ "${CI:-}" = true ]; then
	exit 1
fi
