// SPDX-License-Identifier: Apache-2.0

// Package pid1 makes assayd the first and only program of its machine. In the image
// that package image builds, assayd is /init: [Run] mounts what a kernel needs, loads
// modules, reads the configuration from a disk, sets up the network, mounts the disk
// with the state, runs the daemon, and switches the machine off when that ends,
// however it ends.
//
// [Here] says whether this process is that program. Elsewhere, in a container too,
// assayd takes a configuration file by flag and nothing of this happens.
//
// Nothing that comes from outside of the image is believed. The configuration disk is
// a tar archive of bounded size, whose files are copied into memory before anybody
// looks into one; assayd.yaml among them is hashed and measured by package daemon as
// everywhere. machine.yaml, beside it, has addresses, and is measured nowhere: whoever
// gives the machine its network can withhold and listen, whatever a file says. The
// disk with the state is mounted without devices, set-user-ID and programs, and the
// daemon checks what it reads there; that the kernel's ext4 withstands a disk that was
// made to attack it is taken for granted.
//
// It touches devices, and is for Linux. Its API may change.
package pid1
