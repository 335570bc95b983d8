// SPDX-License-Identifier: Apache-2.0

package enclave

import (
	"errors"
	"io/fs"
	"os"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/enclave/endorse"
	"github.com/assayd/assay/verdict"
)

// An endorsementFolder has what a processor's maker says about it, as somebody fetched
// it. It is read for each piece of evidence, so that what is replaced counts from the
// next one on. Nothing in it is believed here: relying parties verify it, and what is
// missing leaves them undecided.
type endorsementFolder struct{ root *os.Root }

// openEndorsements opens a folder. Without one there are no endorsements but those of
// the host.
func openEndorsements(dir string) (*endorsementFolder, error) {
	if dir == "" {
		return &endorsementFolder{}, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, verdict.Misused("create the folder, and keep what the processor's maker publishes in it", "opening endorsements: %w", err)
	}
	return &endorsementFolder{root: root}, nil
}

func (f *endorsementFolder) close() error {
	if f.root == nil {
		return nil
	}
	return f.root.Close()
}

// read returns what is there.
func (f *endorsementFolder) read() (attest.Collection, error) {
	c := attest.Collection{Type: attest.TypeEndorsements, Items: map[string]attest.Item{}}
	if f.root == nil {
		return c, nil
	}
	for label, file := range endorse.Files {
		data, err := endorse.ReadFile(f.root, file.Name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return attest.Collection{}, err
		}
		c.Items[label] = attest.Item{MediaType: file.MediaType, Value: data, Indicator: attest.IndicatorEndorsements}
	}
	return c, nil
}
