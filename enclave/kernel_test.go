// SPDX-License-Identifier: Apache-2.0

package enclave_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/enclave"
)

// A fakeKernel is a tree in a temporary folder that behaves as configfs-tsm and the
// measurement registers of a TD do (drivers/virt/coco/guest/report.c and tsm-mr.c): a
// write counts up the generation, the first read of outblob makes the report, and a
// register is extended by what is written to it.
type fakeKernel struct {
	t    *testing.T
	root string
	// provider is the name of the registered one, "" for none.
	provider string
	// report makes outblob and auxblob of an inblob.
	report func(inblob [64]byte) (out, aux []byte, err error)
	// service makes outblob, auxblob and manifestblob of the SVSM's vTPM; nil is a guest
	// without SVSM.
	service func(nonce [64]byte) (out, aux, manifest []byte, err error)
	// floor is privlevel_floor, where the provider has levels.
	floor string
	// firmware answers requests through /dev/sev-guest.
	firmware enclave.Firmware
	// onRead and onWrite run before the kernel's own answer to a file, and may give
	// another one.
	onRead, onWrite func(k *fakeKernel, name string) error

	mu      sync.Mutex
	entries map[string]*fakeEntry
	made    int
}

// A fakeEntry is a report entry's state in the kernel.
type fakeEntry struct {
	generation, read uint64
	inblob           []byte
	privlevel        string
	service          [3]string // provider, GUID and version of the manifest
	out, aux         []byte
	manifest         []byte
}

const (
	sevGuestDevice = "/dev/sev-guest"
	tdxGuestDevice = "/dev/tdx_guest"

	tsmFolder = "/sys/kernel/config/tsm/report"
	rtmrFile  = "/sys/devices/virtual/misc/tdx_guest/measurements/rtmr3:sha384"
)

// newKernel takes the place of the kernel for a test.
func newKernel(t *testing.T, provider string) *fakeKernel {
	t.Helper()
	k := &fakeKernel{t: t, root: t.TempDir(), provider: provider, entries: map[string]*fakeEntry{}}
	for _, dir := range []string{tsmFolder, filepath.Dir(rtmrFile)} {
		if err := os.MkdirAll(k.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if provider == "tdx_guest" {
		k.put(rtmrFile, make([]byte, 48))
	}
	t.Cleanup(enclave.SetKernel(k.Mkdir, k.Remove, k.Read, k.Write, k.Stat, k.Ask))
	t.Cleanup(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.entries) != 0 {
			t.Errorf("%d entries were left behind", len(k.entries))
		}
	})
	return k
}

func (k *fakeKernel) path(path string) string { return filepath.Join(k.root, path) }

func (k *fakeKernel) put(path string, data []byte) {
	if err := os.WriteFile(k.path(path), data, 0o600); err != nil {
		k.t.Error(err)
	}
}

// rtmr3 is the register's value.
func (k *fakeKernel) rtmr3() [48]byte {
	data, err := os.ReadFile(k.path(rtmrFile))
	if err != nil || len(data) != 48 {
		k.t.Errorf("RTMR3: %d bytes, %v", len(data), err)
		return [48]byte{}
	}
	return [48]byte(data)
}

// Mkdir makes an entry.
func (k *fakeKernel) Mkdir(path string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.provider == "" {
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENXIO}
	}
	if err := os.Mkdir(k.path(path), 0o700); err != nil {
		return err
	}
	k.made++
	k.entries[path] = &fakeEntry{}
	k.put(path+"/generation", []byte("0\n"))
	k.put(path+"/provider", []byte(k.provider+"\n"))
	if k.service != nil {
		k.put(path+"/service_provider", nil)
	}
	if k.floor != "" {
		k.put(path+"/privlevel_floor", []byte(k.floor+"\n"))
	}
	return nil
}

// Remove removes an entry, attributes and all.
func (k *fakeKernel) Remove(path string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.entries, path)
	return os.RemoveAll(k.path(path))
}

// Stat is a stat of userspace.
func (k *fakeKernel) Stat(path string) error {
	_, err := os.Stat(k.path(path))
	return err
}

// Ask is an ioctl of userspace. The driver refuses what is no whole number of pages.
func (k *fakeKernel) Ask(path string, request, response, certs []byte) (uint64, error) {
	if path != sevGuestDevice || k.Stat(path) != nil {
		return 0, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if len(request) != 96 || len(response) != 4000 || len(certs)%4096 != 0 || len(certs) > 16<<10 {
		return 0, &fs.PathError{Op: "ioctl", Path: path, Err: syscall.EINVAL}
	}
	exitInfo, err := k.firmware(path, request, response, certs)
	if err != nil {
		err = &fs.PathError{Op: "ioctl", Path: path, Err: err}
	}
	return exitInfo, err
}

// Write is a write of userspace.
func (k *fakeKernel) Write(path string, data []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.onWrite != nil {
		if err := k.onWrite(k, filepath.Base(path)); errors.Is(err, errDropped) {
			return nil
		} else if err != nil {
			return &fs.PathError{Op: "write", Path: path, Err: err}
		}
	}
	if path == rtmrFile {
		if len(data) != 48 {
			return &fs.PathError{Op: "write", Path: path, Err: syscall.EINVAL}
		}
		value := attest.ExtendRTMR(k.rtmr3(), [48]byte(data))
		return enclave.WriteKernel(k.path(path), value[:])
	}
	e := k.entries[filepath.Dir(path)]
	switch {
	case e == nil:
		return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case filepath.Base(path) == "inblob" && len(data) <= 64:
		e.inblob = data
	case filepath.Base(path) == "privlevel" && k.floor != "":
		if string(data) < k.floor {
			return &fs.PathError{Op: "write", Path: path, Err: syscall.EINVAL}
		}
		e.privlevel = string(data)
	case strings.HasPrefix(filepath.Base(path), "service_"):
		i := slices.Index([]string{"service_provider", "service_guid", "service_manifest_version"}, filepath.Base(path))
		if k.service == nil || i < 0 {
			return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		e.service[i] = string(data)
	default:
		return &fs.PathError{Op: "write", Path: path, Err: syscall.EINVAL}
	}
	k.advance(filepath.Dir(path))
	return nil
}

// errDropped is what configfs does with a blob that it refuses when the file is closed.
var errDropped = errors.New("dropped")

// advance counts a write to an entry.
func (k *fakeKernel) advance(entry string) {
	e := k.entries[entry]
	e.generation++
	k.put(entry+"/generation", fmt.Appendf(nil, "%d\n", e.generation))
}

// meddle writes to all entries, as another program would.
func (k *fakeKernel) meddle() {
	for path, e := range k.entries {
		e.inblob = make([]byte, 64)
		k.advance(path)
	}
}

// Read is a read of userspace.
func (k *fakeKernel) Read(path string, limit int64) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.onRead != nil {
		if err := k.onRead(k, filepath.Base(path)); err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
	}
	name := filepath.Base(path)
	if e := k.entries[filepath.Dir(path)]; e != nil && slices.Contains([]string{"outblob", "auxblob", "manifestblob"}, name) {
		if len(e.inblob) == 0 {
			return nil, &fs.PathError{Op: "read", Path: path, Err: syscall.EINVAL}
		}
		if e.out == nil || e.read != e.generation {
			var err error
			switch e.service {
			case [3]string{}:
				e.out, e.aux, err = k.report([64]byte(e.inblob))
			case [3]string{"svsm", "c476f1eb-0123-45a5-9641-b4e7dde5bfe3", "0"}:
				e.out, e.aux, e.manifest, err = k.service([64]byte(e.inblob))
			default:
				err = syscall.EINVAL
			}
			if err != nil {
				return nil, &fs.PathError{Op: "read", Path: path, Err: err}
			}
			e.read = e.generation
		}
		data := e.out
		if name == "auxblob" {
			if data = e.aux; data == nil {
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			}
		}
		if name == "manifestblob" {
			data = e.manifest
		}
		k.put(path, data)
	}
	return enclave.ReadKernel(k.path(path), limit)
}

// levels are the privilege levels that entries asked for.
func (k *fakeKernel) levels() string {
	var out []string
	for _, e := range k.entries {
		out = append(out, e.privlevel)
	}
	return strings.Join(out, ",")
}
