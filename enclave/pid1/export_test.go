// SPDX-License-Identifier: Apache-2.0

package pid1

// What the tests of other packages' kind call.
var (
	Unpack        = unpack
	FindDisk      = findDisk
	LoadModules   = loadModules
	WaitForButton = waitForButton
	Relay         = relay
	ResolvConf    = Machine.resolvConf
)
