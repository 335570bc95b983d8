// SPDX-License-Identifier: Apache-2.0

package pid1

import (
	"encoding/binary"
	"errors"
	"io"
)

// Of an input event (Linux include/uapi/linux/input.h and input-event-codes.h).
const (
	inputEventSize = 24
	inputEventType = 16 // offsets behind the time
	inputEventCode = 18
	inputEventData = 20
	eventKey       = 1
	keyPower       = 116
	keyPressed     = 1
)

// waitForButton reads input events until the power button is pressed. It returns false
// when there are no more.
func waitForButton(events io.Reader) (bool, error) {
	var e [inputEventSize]byte
	for {
		if _, err := io.ReadFull(events, e[:]); errors.Is(err, io.EOF) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		le := binary.LittleEndian
		if le.Uint16(e[inputEventType:]) == eventKey && le.Uint16(e[inputEventCode:]) == keyPower && le.Uint32(e[inputEventData:]) == keyPressed {
			return true, nil
		}
	}
}
