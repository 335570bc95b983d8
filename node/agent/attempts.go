// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// keepAttempt keeps an appraisal of a daemon for those who ask why: the last that was
// accepted, and the last that was not. A refusal that repeats is written once: its
// evidence says the same, and a disk is not for each try.
func (s *session) keepAttempt(made trust.Attempt, err error) {
	if len(made.Collection) == 0 || made.Err == nil && err != nil {
		return // the daemon gave nothing, or it is something else that is wrong
	}
	name := acceptedFile
	if made.Err != nil {
		name = refusedFile
		s.mu.Lock()
		again := s.code == verdict.CodeOf(made.Err)
		s.mu.Unlock()
		if again {
			return
		}
	}
	s.a.store.save(name, func() (any, error) { return made.Encode() })
}

// LastRefused returns the last appraisal that the agent of c did not accept, from its
// state folder. The error is a *verdict.Failure, and wraps fs.ErrNotExist where there is
// none.
func LastRefused(c trust.Config) (trust.Attempt, error) { return lastAttempt(c, refusedFile) }

// LastAccepted does so of the last that it accepted.
func LastAccepted(c trust.Config) (trust.Attempt, error) { return lastAttempt(c, acceptedFile) }

func lastAttempt(c trust.Config, name string) (trust.Attempt, error) {
	state, err := gate.OpenState(c.StateDir, c.AgentUID)
	if err != nil {
		return trust.Attempt{}, err
	}
	data, err := state.Read(name, trust.MaxAttempt)
	if err != nil {
		return trust.Attempt{}, err
	}
	return c.ParseAttempt(data)
}
