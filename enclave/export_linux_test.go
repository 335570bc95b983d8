// SPDX-License-Identifier: Apache-2.0

package enclave

import "context"

// Exchange sends a command over the descriptor of a device, as for /dev/tpmrm0.
func Exchange(ctx context.Context, fd int, command []byte) ([]byte, error) {
	return (&charDevice{fd: fd}).exchange(ctx, command)
}
