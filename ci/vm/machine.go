// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/ci/swtpm"
	"github.com/assayd/assay/enclave/pid1"
)

// Of a machine.
const (
	// guestAddress is where it serves, apiAddress where its Workload API is.
	guestAddress = "10.0.2.15:8443"
	apiAddress   = "10.0.2.100:8081"
	// bootTimeout bounds a boot, offTimeout switching off.
	bootTimeout = 5 * time.Minute
	offTimeout  = time.Minute
	// memory in MiB: kernel, initramfs and daemon fit into 384.
	memory = "512"
	// portTries is how often another port is taken when somebody has that one.
	portTries = 3
)

// A boot says how a machine is started.
type boot struct {
	name string
	// uki is the image, hostLine the command line that the host sets.
	uki, hostLine string
	// config are the files of the configuration disk.
	config map[string][]byte
	// state is the disk with the state, tpm the folder of the TPM.
	state, tpm string
	// ready is what the console says when it serves.
	ready string
}

// A machine is one that runs.
type machine struct {
	name, dir string
	address   string // on loopback
	qemu, tpm *process
}

func (m *machine) console() string { return filepath.Join(m.dir, "console.log") }

// boot starts a machine and waits until it serves.
func (w *world) boot(ctx context.Context, b boot) (*machine, error) {
	dir := filepath.Join(w.dir, fmt.Sprintf("%d-%s", len(w.machines)+1, b.name))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	disk, err := archive(b.config)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.tar"), disk, 0o600); err != nil {
		return nil, err
	}
	m := &machine{name: b.name, dir: dir}
	w.machines = append(w.machines, m)
	began := time.Now()
	for range portTries {
		if err = w.startMachine(ctx, m, b); err == nil || !errors.Is(err, errPort) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if err := waitFor(ctx, "machine "+b.name, bootTimeout, func() (bool, error) {
		if m.qemu.exited() {
			return false, errors.New("it ended")
		}
		return contains(m.console(), b.ready)
	}); err != nil {
		return nil, errors.Join(err, m.tell(w), m.stop())
	}
	_, err = fmt.Fprintf(w.stdout, "%-8s up after %s\n", b.name, time.Since(began).Round(time.Second/10))
	return m, err
}

// errPort is somebody else on the port that was free a moment ago.
var errPort = errors.New("port was taken")

// startMachine starts swtpm and QEMU. All sockets have short, relative names.
func (w *world) startMachine(ctx context.Context, m *machine, b boot) (err error) {
	m.address, err = freeAddress(ctx)
	if err != nil {
		return err
	}
	variables, err := os.ReadFile(w.variables)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(m.dir, "vars.fd"), variables, 0o600); err != nil {
		return err
	}
	in := func(name string) string { return filepath.Join(m.dir, name) }
	for _, stale := range []string{in("tpm.sock"), in("qmp.sock")} { // of a try before
		if err := os.Remove(stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if m.tpm, err = start("swtpm", m.dir, in("swtpm.log"), "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+swtpm.StateDir(b.tpm),
		"--ctrl", "type=unixio,path=tpm.sock", "--terminate"); err != nil {
		return err
	}
	if err := waitFor(ctx, "swtpm", grace, func() (bool, error) {
		if m.tpm.exited() {
			return false, errors.New("it ended, see " + in("swtpm.log"))
		}
		_, err := os.Stat(in("tpm.sock"))
		return err == nil, nil
	}); err != nil {
		return errors.Join(err, m.stop())
	}
	args := []string{"-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "1", "-m", memory, "-nodefaults", "-no-reboot", "-display", "none",
		"-serial", "file:console.log", "-qmp", "unix:qmp.sock,server=on,wait=off",
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + w.firmware, "-drive", "if=pflash,unit=1,format=raw,file=vars.fd",
		"-chardev", "socket,id=tpm,path=tpm.sock", "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm",
		"-drive", "if=none,id=config,format=raw,readonly=on,file=config.tar", "-device", "virtio-blk-pci,drive=config,serial=" + pid1.ConfigDisk,
		"-drive", "if=none,id=state,format=raw,file=" + b.state, "-device", "virtio-blk-pci,drive=state,serial=" + pid1.StateDisk,
		"-netdev", "user,id=net,restrict=on,hostfwd=tcp:" + m.address + "-" + guestAddress + ",guestfwd=tcp:" + apiAddress + "-cmd:" + w.self + " relay " + w.path("dev", "svid", "assayd.sock"),
		"-device", "virtio-net-pci,netdev=net,romfile=", "-kernel", b.uki}
	if b.hostLine != "" {
		args = append(args, "-append", b.hostLine)
	}
	if m.qemu, err = start("QEMU", m.dir, in("qemu.log"), "qemu-system-x86_64", args...); err != nil {
		return errors.Join(err, m.stop())
	}
	// It listens before it makes the socket of its monitor.
	if err := waitFor(ctx, "QEMU", grace, func() (bool, error) {
		if m.qemu.exited() {
			said, _ := os.ReadFile(in("qemu.log"))
			if bytes.Contains(said, []byte("host forwarding rule")) {
				return false, errPort
			}
			return false, fmt.Errorf("it ended: %s", said)
		}
		_, err := os.Stat(in("qmp.sock"))
		return err == nil, nil
	}); err != nil {
		return errors.Join(err, m.stop())
	}
	return nil
}

// pressPowerButton does what its name says, and waits until the machine is off.
func (m *machine) pressPowerButton(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, offTimeout)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(m.dir, "qmp.sock"))
	if err != nil {
		return fmt.Errorf("connecting to QEMU's monitor: %w", err)
	}
	defer c.Close() //nolint:errcheck // QEMU ends
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	lines := bufio.NewReader(c)
	for _, command := range []string{"", `{"execute":"qmp_capabilities"}`, `{"execute":"system_powerdown"}`} {
		if _, err := c.Write([]byte(command)); err != nil {
			return fmt.Errorf("asking QEMU's monitor: %w", err)
		}
		if _, err := lines.ReadString('\n'); err != nil { // its greeting, then its answers
			return fmt.Errorf("asking QEMU's monitor: %w", err)
		}
	}
	return m.waitOff(ctx)
}

// waitOff waits until the machine has switched itself off.
func (m *machine) waitOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, offTimeout)
	defer cancel()
	select {
	case <-m.qemu.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("machine %s is not off within %s", m.name, offTimeout)
	}
}

// stop ends the machine at once, as a loss of power.
func (m *machine) stop() error {
	var errs []error
	for _, p := range []*process{m.qemu, m.tpm} {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(errs...)
}

// tell shows the end of the console of a machine that went wrong.
func (m *machine) tell(w *world) error {
	for _, name := range []string{"console.log", "qemu.log", "swtpm.log"} {
		data, err := os.ReadFile(filepath.Join(m.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		lines := strings.Split(strings.ReplaceAll(string(data), "\r", ""), "\n")
		if _, err := fmt.Fprintf(w.stdout, "--- %s of machine %s\n%s\n", name, m.name, strings.Join(lines[max(0, len(lines)-60):], "\n")); err != nil {
			return err
		}
	}
	return nil
}

// archive is a configuration disk. QEMU wants whole sectors, which a tar archive has.
func archive(files map[string][]byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(files[name]))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// freeAddress returns an address on loopback that was free a moment ago.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
