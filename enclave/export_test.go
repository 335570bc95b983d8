// SPDX-License-Identifier: Apache-2.0

package enclave

// BeforeExtend sets what runs between the writing of an event and its extend.
func BeforeExtend(f func()) { testingOnlyBeforeExtend = f }
