// SPDX-License-Identifier: Apache-2.0

package verifier

// TestingOnlyWake ends the rests that hosts asked for, as if their time had passed.
func (r *Registry) TestingOnlyWake() { r.hosts.wake() }

// TestingOnlyContentBytes is how much content is kept.
func (r *Registry) TestingOnlyContentBytes() int64 {
	r.contents.mu.Lock()
	defer r.contents.mu.Unlock()
	return r.contents.bytes
}
