// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/ci/swtpm"
	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/image"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
)

// Command lines that differ from the image's.
const (
	otherLine = image.CommandLine + " lockdown=none"
	hostLine  = image.CommandLine + " mitigations=off"
)

// machineYAML is the network of QEMU's slirp.
const machineYAML = "address: 10.0.2.15/24\ngateway: 10.0.2.2\nworkload-api: " + apiAddress + "\n"

// stateSize is the size of the disk with the state, in bytes.
const stateSize = 64 << 20

// A world is everything of one run.
type world struct {
	bin, dir, self      string
	firmware, variables string
	stdout              io.Writer
	machines            []*machine
	api                 *process
	src                 *spiffe.Source
	trust               trust.Config
	// config is the daemon's configuration, second another one.
	config, second []byte
	// images by name: good, line (another command line), other (another program).
	images map[string]string
	// heads by counter: 1 is older than the configuration's min-head, 2 lists the good
	// image alone, 3 the others too.
	heads map[uint64]verdict.CheckedHead
	sets  map[uint64][]byte

	// statement is that of the good machine, seen what it showed of its TPM.
	statement verdict.Statement
	seen      attest.KnownAK

	checks      int
	differences int
}

// newWorld looks for what is needed and makes the folder.
func newWorld(bin, firmware, variables string, stdout io.Writer) (*world, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	for _, p := range []string{"qemu-system-x86_64", "swtpm", "swtpm_setup", "swtpm_localca", "mke2fs"} {
		if _, err := exec.LookPath(p); err != nil {
			return nil, fmt.Errorf("%w; apt-get install qemu-system-x86 ovmf swtpm swtpm-tools e2fsprogs", err)
		}
	}
	for _, path := range []string{firmware, variables} {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w; apt-get install ovmf", err)
		}
	}
	for _, name := range []string{"assayd", "assay", "assay.efi"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return nil, fmt.Errorf("%w; build it first: make build image", err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/tmp", "assay-vm-") // short: it holds sockets
	if err != nil {
		return nil, err
	}
	return &world{bin: bin, dir: dir, self: self, firmware: firmware, variables: variables, stdout: stdout,
		images: map[string]string{}, heads: map[uint64]verdict.CheckedHead{}, sets: map[uint64][]byte{}}, nil
}

func (w *world) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

// assay is the path of the command.
func (w *world) assay() string { return filepath.Join(w.bin, "assay") }

// close ends everything, newest first.
func (w *world) close(keep bool) error {
	var errs []error
	for _, m := range slices.Backward(w.machines) {
		errs = append(errs, m.stop())
	}
	if w.src != nil {
		errs = append(errs, w.src.Close())
	}
	if w.api != nil {
		errs = append(errs, w.api.stop())
	}
	if !keep {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

// setUp makes TPM, owners, configurations, images, references, heads and disk, and
// starts the Workload API.
func (w *world) setUp(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"TPM", w.makeTPM}, {"development folder", w.makeFolder}, {"images", w.makeImages}, {"references", w.makeReferences},
		{"Workload API", w.startAPI}, {"disk", w.makeDisk},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("making %s: %w", step.what, err)
		}
	}
	return nil
}

func (w *world) makeTPM(ctx context.Context) error {
	if err := os.Mkdir(w.path("tpm"), 0o700); err != nil {
		return err
	}
	if err := swtpm.SetUp(ctx, w.path("tpm")); err != nil {
		return err
	}
	authority, err := (&swtpm.TPM{Dir: w.path("tpm")}).AuthoritiesPEM()
	if err != nil {
		return err
	}
	return os.WriteFile(w.path("ek-ca.pem"), authority, 0o600)
}

// makeFolder makes owners and relying parties, and the daemon's configuration for a
// machine out of that for a process.
func (w *world) makeFolder(ctx context.Context) error {
	if err := must(ctx, w.assay(), "dev", "init", w.path("dev"), "--assayd", filepath.Join(w.bin, "assayd"),
		"--tee", verdict.KindTPM, "--tpm", w.path("none.sock"), "--ek-ca", w.path("ek-ca.pem")); err != nil {
		return err
	}
	data, err := os.ReadFile(w.path("dev", "assayd.yaml"))
	if err != nil {
		return err
	}
	text := string(data)
	for key, value := range map[string]string{
		"listen": `"` + guestAddress + `"`, "workload-api": `"unix:///run/assay/workload.sock"`, "state-dir": `"/var/lib/assay/state"`,
		"head": `"/run/assay/config/head.json"`, "  socket": "", "min-head": "2",
	} {
		line := regexp.MustCompile(`(?m)^` + key + `: .*$`)
		if len(line.FindAllString(text, -1)) != 1 {
			return fmt.Errorf("the configuration of assay dev init has not one %q", key)
		}
		if key == "  socket" {
			text = line.ReplaceAllString(text, `  device: "/dev/tpmrm0"`)
			continue
		}
		text = line.ReplaceAllString(text, key+": "+value)
	}
	w.config, w.second = []byte(text), []byte(text+"# another\n")
	if w.sets[1], err = os.ReadFile(w.path("dev", "head.json")); err != nil {
		return err
	}
	if w.trust, err = trust.Load(w.path("dev", "ci", "trust.yaml")); err != nil {
		return err
	}
	return nil
}

// makeImages builds what has to be refused beside the image of make image.
func (w *world) makeImages(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", w.path("other"), "./ci/vm/other")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	inputs, err := image.Inputs()
	if err != nil {
		return err
	}
	w.images["good"] = filepath.Join(w.bin, "assay.efi")
	for name, o := range map[string]struct{ program, line string }{
		"line":  {filepath.Join(w.bin, "assayd"), otherLine},
		"other": {w.path("other"), image.CommandLine},
	} {
		program, err := os.ReadFile(o.program)
		if err != nil {
			return err
		}
		built, err := image.Build(ctx, image.Options{Assayd: program, Version: "vm", CommandLine: o.line, Inputs: inputs, Folder: filepath.Join(w.bin, "packages")})
		if err != nil {
			return err
		}
		w.images[name] = w.path(name + ".efi")
		if err := os.WriteFile(w.images[name], built, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// makeReferences computes the values of the good image, for head 2, and those of the
// others, for head 3. All of them name the one configuration.
func (w *world) makeReferences(ctx context.Context) error {
	parsed, err := daemon.ParseConfig("assayd.yaml", w.config)
	if err != nil {
		return err
	}
	references := w.path("dev", "references.json")
	if err := os.Remove(references); err != nil { // of a process
		return err
	}
	compute := func(name, image string, more ...string) error {
		return must(ctx, w.assay(), append([]string{"reference", "compute", "tpm", w.images[image], "--references", references,
			"--name", name, "--config", string(parsed.Digest()), "--flavour", "go", "--profile", verdict.Development}, more...)...)
	}
	if err := compute("assayd", "good"); err != nil {
		return err
	}
	if err := w.signHead(ctx, 2); err != nil {
		return err
	}
	if err := errors.Join(compute("another command line", "line"), compute("another program", "other"),
		compute("a command line of the host", "good", "--host-cmdline", hostLine)); err != nil {
		return err
	}
	return w.signHead(ctx, 3)
}

// signHead signs the next head, which has to have this counter.
func (w *world) signHead(ctx context.Context, counter uint64) error {
	if err := must(ctx, w.assay(), "head", "sign", w.path("dev"), "--key", w.path("dev", "owner.key")); err != nil {
		return err
	}
	data, err := os.ReadFile(w.path("dev", "head.json"))
	if err != nil {
		return err
	}
	set, err := verdict.ParseHeadSet(data)
	if err != nil {
		return err
	}
	head, err := w.trust.OpenHead(set)
	if err == nil && head.Counter != counter {
		err = fmt.Errorf("got head %d, want %d", head.Counter, counter)
	}
	w.heads[counter], w.sets[counter] = head, data
	return err
}

func (w *world) startAPI(ctx context.Context) (err error) {
	log := w.path("workload-api.log")
	if w.api, err = start("the Workload API", w.dir, log, w.assay(), "dev", "serve", w.path("dev")); err != nil {
		return err
	}
	if err := waitFor(ctx, "the Workload API", 20*time.Second, func() (bool, error) {
		if w.api.exited() {
			return false, errors.New("it ended, see " + log)
		}
		return contains(log, "serving SVIDs")
	}); err != nil {
		return err
	}
	w.src, err = spiffe.OpenSource(ctx, w.trust.WorkloadAPI)
	return err
}

// makeDisk makes an empty disk for the state.
func (w *world) makeDisk(ctx context.Context) error {
	f, err := os.OpenFile(w.path("state.img"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(stateSize), f.Close()); err != nil {
		return err
	}
	return must(ctx, "mke2fs", "-q", "-t", "ext4", w.path("state.img"))
}

// files are a configuration disk.
func (w *world) files(config []byte, head uint64) map[string][]byte {
	return map[string][]byte{"assayd.yaml": config, "machine.yaml": []byte(machineYAML), "head.json": w.sets[head]}
}

// snapshot copies disk and TPM as they are, for a host that sets them back.
func (w *world) snapshot(name string) error {
	data, err := os.ReadFile(w.path("state.img"))
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(w.path("state-"+name+".img"), data, 0o600), os.CopyFS(w.path("tpm-"+name), os.DirFS(w.path("tpm"))))
}

// check notes what came out of a check, and what was expected: a code, or "" for an
// acceptance, and words that have to be in the reason.
func (w *world) check(m *machine, what string, err error, code verdict.Code, words ...string) error {
	w.checks++
	text, mark := "accepted", "ok"
	if err != nil {
		text = err.Error()
	}
	if verdict.CodeOf(err) != code || slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) }) {
		w.differences++
		mark = "DIFFERS, want " + strings.Join(append([]string{string(code)}, words...), " ")
	}
	_, printErr := fmt.Fprintf(w.stdout, "%-8s %-58s %s: %s\n", m.name, what, mark, text)
	return printErr
}
