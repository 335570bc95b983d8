// SPDX-License-Identifier: Apache-2.0

package image

// FilesOf reads the files of a package.
var FilesOf = selectFiles

// LargestFile is the largest file of a package, in bytes.
const LargestFile = maxUnpacked
