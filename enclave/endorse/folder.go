// SPDX-License-Identifier: Apache-2.0

package endorse

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/verdict"
)

// MaxSize bounds an endorsement, in bytes: the largest is a revocation list.
const MaxSize = 256 << 10

// A File is a file of an endorsement folder.
type File struct{ Name, MediaType string }

// Files are the files of an endorsement folder by the labels of what is in them.
var Files = map[string]File{
	attest.LabelVCEK:            {"amd-vcek.der", attest.TypeCertificate},
	attest.LabelVLEK:            {"amd-vlek.der", attest.TypeCertificate},
	attest.LabelCRL:             {"amd-crl.der", attest.TypeCRL},
	attest.LabelTCBInfo:         {"tdx-tcb-info.json", attest.TypeCollateral},
	attest.LabelTCBInfoChain:    {"tdx-tcb-info-chain.pem", attest.TypePEMChain},
	attest.LabelQEIdentity:      {"tdx-qe-identity.json", attest.TypeCollateral},
	attest.LabelQEIdentityChain: {"tdx-qe-identity-chain.pem", attest.TypePEMChain},
	attest.LabelPCKCRL:          {"sgx-pck-crl.der", attest.TypeCRL},
	attest.LabelSGXRootCRL:      {"sgx-root-crl.der", attest.TypeCRL},
}

const (
	fileMode   = 0o644 // public data
	folderMode = 0o755
	// Temporary files begin with the first and are of nobody once they are older than
	// the second.
	temporaryPrefix = ".new-"
	temporaryAge    = time.Hour
)

// An Endorsement is one of them, with the chain of who signed it where that comes beside
// it. The zero value is none.
type Endorsement struct{ Value, Chain []byte }

// A Folder is an endorsement folder. Whoever reads it sees whole files, the old or the
// new. Several programs may use one folder.
type Folder struct{ root *os.Root }

// OpenFolder opens a folder, and makes it where only its last element is missing. The
// error is a *verdict.Misuse.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.Mkdir(dir, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, verdict.Misused("name a folder that can be made", "opening endorsements: %w", err)
	}
	return openFolder(dir)
}

func openFolder(dir string) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, verdict.Misused("name a folder", "opening endorsements: %w", err)
	}
	f := &Folder{root: root}
	return f, f.clean(time.Now())
}

// clean removes what a program left that ended while it wrote.
func (f *Folder) clean(now time.Time) error {
	entries, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return verdict.Misused("name a folder that can be read", "opening endorsements: %w", err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && strings.HasPrefix(entry.Name(), temporaryPrefix) && now.Sub(info.ModTime()) > temporaryAge {
			_ = f.root.Remove(entry.Name()) // it only takes room
		}
	}
	return nil
}

// Close frees the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Read returns what there is of a label: nothing, where there is no such file.
func (f *Folder) Read(label string) (e Endorsement, err error) {
	if e.Value, err = f.read(label); err != nil {
		return Endorsement{}, err
	}
	if chain := attest.ChainOf(label); chain != "" {
		if e.Chain, err = f.read(chain); err != nil {
			return Endorsement{}, err
		}
	}
	return e, nil
}

func (f *Folder) read(label string) ([]byte, error) {
	data, err := ReadFile(f.root, Files[label].Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// ReadFile reads a file of at most MaxSize bytes, and waits for nobody to write it.
func ReadFile(root *os.Root, name string) (data []byte, err error) {
	// Without O_NONBLOCK, opening a named pipe waits for its writer.
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", name))
	}
	data, err = io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = fmt.Errorf("%s has more than %d bytes", name, MaxSize)
	}
	return data, err
}

// Write puts an endorsement in the place of the one before: all of it is on disk before
// any of it has its name. Between the two names of a document and its chain, the chain
// of the next is beside the document before; that is one chain for years.
func (f *Folder) Write(label string, e Endorsement) (err error) {
	parts := []struct {
		label string
		data  []byte
	}{{attest.ChainOf(label), e.Chain}, {label, e.Value}}
	temporary := map[string]string{}
	defer func() {
		for _, name := range temporary {
			err = errors.Join(err, f.root.Remove(name))
		}
	}()
	for _, part := range parts {
		if part.label == "" {
			continue
		}
		if old, err := f.read(part.label); err == nil && string(old) == string(part.data) && old != nil {
			continue
		}
		name := temporaryPrefix + Files[part.label].Name + "-" + randomName()
		temporary[part.label] = name
		if err := f.create(name, part.data); err != nil {
			return fmt.Errorf("writing %s: %w", Files[part.label].Name, err)
		}
	}
	for _, part := range parts {
		name, ok := temporary[part.label]
		if !ok {
			continue
		}
		testingOnlyBeforeRename()
		if err := f.root.Rename(name, Files[part.label].Name); err != nil {
			return fmt.Errorf("writing %s: %w", Files[part.label].Name, err)
		}
		delete(temporary, part.label)
	}
	return f.sync()
}

// testingOnlyBeforeRename is called when a file is whole and has no name yet.
var testingOnlyBeforeRename = func() {}

func (f *Folder) create(name string, data []byte) error {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// sync makes renames durable.
func (f *Folder) sync() error {
	dir, err := f.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// randomName keeps two writers apart. crypto/rand.Read does not fail.
func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
