// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package enclave

import (
	"errors"
	"fmt"
)

// openDevice opens the device at path: only Linux has one.
func openDevice(path string) (tpmDevice, error) {
	return nil, fmt.Errorf("opening %s: %w", path, errors.ErrUnsupported)
}
