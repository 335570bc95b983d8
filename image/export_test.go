// SPDX-License-Identifier: Apache-2.0

package image

// What the tests call of what unpacks a package.
var SelectFiles = selectFiles

// MaxUnpacked is the largest file of a package, in bytes.
const MaxUnpacked = maxUnpacked
