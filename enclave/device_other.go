// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package enclave

import (
	"errors"
	"fmt"
)

// askDevice sends a request to the firmware: only Linux has the device.
func askDevice(path string, _ *guestRequest) error {
	return fmt.Errorf("asking %s: %w", path, errors.ErrUnsupported)
}

// openDevice opens the device at path: only Linux has one.
func openDevice(path string) (tpmDevice, error) {
	return nil, fmt.Errorf("opening %s: %w", path, errors.ErrUnsupported)
}
