// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/ci/swtpm"
	"github.com/assayd/assay/enclave"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/verdict"
)

// A demo is one run.
type demo struct {
	bin, dir, tee  string
	stdout, stderr io.Writer

	images    *images
	processes []*process
	tpms      []*swtpm.TPM

	daemon, other string // addresses
	differences   int
}

// statusAge is how old a status may be on the demo's nodes: short, so that
// offline comes soon.
const statusAge = 3 * time.Second

// newDemo looks for the binaries and makes the folder.
func newDemo(bin, tee string, stdout, stderr io.Writer) (*demo, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"assayd", "assay-node", "assay-gate", "assay"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return nil, fmt.Errorf("%w; build it first: make build", err)
		}
	}
	switch {
	case tee == "" && swtpm.Missing() == nil:
		tee = verdict.KindTPM
	case tee == "":
		tee = verdict.KindSimulatedSNP
	case tee == verdict.KindTPM:
		if err := swtpm.Missing(); err != nil {
			return nil, fmt.Errorf("%w; install it: apt-get install swtpm swtpm-tools", err)
		}
	case !verdict.Simulated(tee):
		return nil, fmt.Errorf("TEE is %q, want tpm, sim-snp or sim-tdx", tee)
	}
	dir, err := os.MkdirTemp("/tmp", "assay-demo-") // short: it holds sockets
	if err != nil {
		return nil, err
	}
	return &demo{bin: bin, dir: dir, tee: tee, stdout: stdout, stderr: stderr}, nil
}

// close ends everything, newest first.
func (d *demo) close(keep bool) error {
	var errs []error
	for _, p := range slices.Backward(d.processes) {
		errs = append(errs, p.stop())
	}
	for _, t := range d.tpms {
		errs = append(errs, t.Kill())
	}
	if d.images != nil {
		d.images.server.Close()
	}
	if !keep {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

func (d *demo) path(elem ...string) string {
	return filepath.Join(append([]string{d.dir}, elem...)...)
}

func (d *demo) run(ctx context.Context) error {
	began := time.Now()
	version, err := d.must(ctx, "assay", "version")
	if err != nil {
		return err
	}
	about := "swtpm, a TPM in software. It shows which binary and policy run, and says nothing about hardware"
	if name, simulated := map[string]string{verdict.KindSimulatedSNP: "SEV-SNP", verdict.KindSimulatedTDX: "TDX"}[d.tee]; simulated {
		about = "simulated " + name + ". It proves nothing about hardware; with swtpm installed the demo takes that"
	}
	if _, err := fmt.Fprintf(d.stdout, "%s\nTEE: %s.\nLog: unwitnessed; nobody but the daemon vouches for it yet.\n\n", strings.SplitN(version.stdout, "\n", 2)[0], about); err != nil {
		return err
	}
	if d.images, err = newImages(ctx, time.Now()); err != nil {
		return fmt.Errorf("making images: %w", err)
	}
	if err := d.setUp(ctx); err != nil {
		return fmt.Errorf("setting up: %w", err)
	}
	if err := d.table(ctx, d.rows()); err != nil {
		return err
	}
	if d.differences > 0 {
		return fmt.Errorf("%d rows differ from what is expected", d.differences)
	}
	_, err = fmt.Fprintf(d.stdout, "\nall as expected in %s; nothing was left running\n", time.Since(began).Round(time.Second/10))
	return err
}

// setUp makes the development folders and starts everything.
func (d *demo) setUp(ctx context.Context) error {
	for name, data := range map[string][]byte{"policy.yaml": d.images.policy, "trusted_root.json": d.images.roots,
		"anything.yaml": []byte("version: 1\nrules:\n  - name: anything\n    repositories: [\"**\"]\n    mode: \"off\"\n")} {
		if err := os.WriteFile(d.path(name), data, 0o600); err != nil {
			return err
		}
	}
	var err error
	if d.daemon, err = freeAddress(ctx); err != nil {
		return err
	}
	if d.other, err = freeAddress(ctx); err != nil {
		return err
	}
	if err := d.initFolder(ctx, "dev", "policy.yaml", d.daemon); err != nil {
		return err
	}
	if err := d.quickenNodes(ctx); err != nil {
		return err
	}
	api, err := d.start("workload-api", filepath.Join(d.bin, "assay"), "dev", "serve", d.path("dev"))
	if err != nil {
		return err
	}
	if err := waitFor(ctx, "the Workload API", 10*time.Second, func() (bool, error) { return contains(api, "serving SVIDs") }); err != nil {
		return err
	}
	if _, err := d.startDaemon(ctx, "assayd", filepath.Join(d.bin, "assayd"), d.path("dev", "assayd.yaml"), d.daemon); err != nil {
		return err
	}
	for _, node := range []string{"node-a", "node-b"} {
		agent, err := d.start(node, filepath.Join(d.bin, "assay-node"), "--config", d.path("dev", node, "trust.yaml"))
		if err != nil {
			return err
		}
		if err := waitFor(ctx, node, 20*time.Second, func() (bool, error) {
			if agent.exited() {
				return false, agent.err
			}
			_, err := os.Stat(d.path("dev", node, "state", gate.StatusFile))
			return err == nil, nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// initFolder runs assay dev init, with a TPM of its own where that is the TEE.
func (d *demo) initFolder(ctx context.Context, dir, policy, listen string) error {
	args := []string{"dev", "init", d.path(dir), "--assayd", filepath.Join(d.bin, "assayd"), "--tee", d.tee, "--listen", listen,
		"--registry", d.images.host, "--policy", d.path(policy), "--trusted-root", d.path("trusted_root.json")}
	if d.tee == verdict.KindTPM {
		tpm, err := d.startTPM(ctx, dir, filepath.Join(d.bin, "assayd"))
		if err != nil {
			return err
		}
		authority, err := tpm.AuthoritiesPEM()
		if err != nil {
			return err
		}
		if err := os.WriteFile(d.path(dir+"-ek-ca.pem"), authority, 0o600); err != nil {
			return err
		}
		args = append(args, "--tpm", tpm.Socket, "--ek-ca", d.path(dir+"-ek-ca.pem"))
	}
	_, err := d.must(ctx, "assay", args...)
	return err
}

// startTPM starts a software TPM and does what firmware and boot loader do in a
// machine: it measures the daemon's file before the daemon runs. All TPMs of a run
// are copies of one, so that nodes believe each of them to be a TPM, and refuse
// what is wrong for what is wrong.
func (d *demo) startTPM(ctx context.Context, name, binary string) (*swtpm.TPM, error) {
	first := d.path("tpm")
	if _, err := os.Stat(first); errors.Is(err, fs.ErrNotExist) {
		if err := os.Mkdir(first, 0o700); err != nil {
			return nil, err
		}
		if err := swtpm.SetUp(ctx, first); err != nil {
			return nil, err
		}
	}
	state := d.path(name + "-tpm")
	if err := os.CopyFS(state, os.DirFS(first)); err != nil {
		return nil, err
	}
	tpm, err := swtpm.Start(ctx, state)
	if err != nil {
		return nil, err
	}
	d.tpms = append(d.tpms, tpm)
	_, err = enclave.MeasureInto(ctx, tpm.Socket, 11, binary)
	return tpm, err
}

// quickenNodes shortens the pulse of the nodes, and writes their gates' files anew.
func (d *demo) quickenNodes(ctx context.Context) error {
	for _, node := range []string{"node-a", "node-b"} {
		file := d.path("dev", node, "trust.yaml")
		c, err := trust.Load(file)
		if err != nil {
			return err
		}
		c.StatusAge, c.StatusInterval = statusAge, time.Second
		text, err := c.Encode()
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
		if _, err := d.must(ctx, "assay-node", "config", "gate", "--config", file, "--output", d.path("dev", node, "gate.json")); err != nil {
			return err
		}
	}
	return nil
}

// startDaemon starts an assayd and waits until it serves.
func (d *demo) startDaemon(ctx context.Context, name, binary, config, addr string) (*process, error) {
	p, err := d.start(name, binary, "--config", config)
	if err != nil {
		return nil, err
	}
	return p, waitFor(ctx, name, 20*time.Second, func() (bool, error) {
		if p.exited() {
			return false, fmt.Errorf("%s ended: %w", name, p.err)
		}
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return true, c.Close()
	})
}

// freeAddress returns an address on loopback that was free a moment ago.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// callGate calls assay-gate as containerd does, and returns its outcome and code.
func (d *demo) callGate(ctx context.Context, config string, i image) (string, string, error) {
	descriptor, err := json.Marshal(map[string]any{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": i.digest, "size": 500})
	if err != nil {
		return "", "", err
	}
	o, err := d.call(ctx, append(descriptor, '\n'), "assay-gate", "-config", config, "-name", i.repository+":latest", "-digest", string(i.digest),
		"-stdin-media-type", "application/vnd.oci.descriptor.v1+json")
	if err != nil {
		return "", "", err
	}
	return d.gateOutcome(o)
}

// gateOutcome reads exit status and reason as containerd and a person do.
func (d *demo) gateOutcome(o output) (string, string, error) {
	word, _, ok := strings.Cut(o.stdout, ":")
	if !ok {
		return "", "", fmt.Errorf("assay-gate said %q%s", o.stdout, o.stderr)
	}
	outcome := "deny"
	if o.status == 0 {
		outcome = "allow"
	}
	if word == "pass" {
		return outcome, "", nil
	}
	fields := strings.Fields(word)
	return outcome, fields[len(fields)-1], nil
}

// jsonAnswer runs an assay command with --output json and returns its document.
func (d *demo) jsonAnswer(ctx context.Context, into any, args ...string) (output, error) {
	o, err := d.call(ctx, nil, "assay", append(args, "--output", "json")...)
	if err != nil {
		return output{}, err
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(o.stdout))).Decode(into); err != nil {
		return output{}, fmt.Errorf("assay %s: %w: %s%s", strings.Join(args, " "), err, o.stdout, o.stderr)
	}
	return o, nil
}
