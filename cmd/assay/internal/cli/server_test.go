// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assayd/assay/cmd/assay/internal/devdir"
	"github.com/assayd/assay/cmd/assay/internal/owner"
	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/verdict"
)

// freeAddress returns an address on loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it only told a free port
	return l.Addr().String()
}

// background runs a function until the test ends, and waits for it.
func background(t *testing.T, what string, run func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	})
}

// serveDaemon runs the daemon of a development folder in this process: the
// simulator measures this test, which dev init was told is the daemon.
func serveDaemon(t *testing.T, config string) *daemon.Daemon {
	t.Helper()
	c, err := daemon.ParseConfig(config, read(t, config))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d, err := daemon.Open(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	background(t, "daemon", d.Serve)
	return d
}

// serveSVIDs runs the development Workload API of a folder.
func serveSVIDs(t *testing.T, dir string) {
	t.Helper()
	ready := make(chan struct{})
	background(t, "dev serve", func(ctx context.Context) error { return devdir.Serve(ctx, dir, time.Hour, ready) })
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		t.Fatal("no SVIDs within 30 s")
	}
}

// TestServerTDX: of a simulated TD the registers and what the platform's maker says
// are told.
func TestServerTDX(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, addr := filepath.Join(t.TempDir(), "dev"), freeAddress(t)
	if o := must(t, "dev", "init", dir, "--assayd", self, "--listen", addr, "--tee", "sim-tdx"); !strings.Contains(o.stdout, "head 1, sim-tdx") {
		t.Errorf("dev init: %s", o)
	}
	serveSVIDs(t, dir)
	serveDaemon(t, filepath.Join(dir, devdir.ConfigFile))
	args := []string{"statement", "appraise", "--server", addr, "--trust", filepath.Join(dir, "ci", devdir.TrustFile)}
	refs, err := verdict.ParseReferences(read(t, filepath.Join(dir, owner.ReferencesFile)))
	if err != nil {
		t.Fatal(err)
	}
	text := must(t, args...).stdout
	for name, value := range refs.Entries[0].Registers {
		if !strings.Contains(text, name+" "+value+"\n") {
			t.Errorf("got %q, want %s %s in it", text, name, value)
		}
	}
	for _, want := range []string{"evidence sim-tdx, bound to simulated, measurement " + refs.Entries[0].Measurement, "platform UpToDate\n", "simulated true"} {
		if !strings.Contains(text, want) {
			t.Errorf("got %q, want %q in it", text, want)
		}
	}
	var got struct {
		Registers map[string]string
		TCBStatus string
		Relaxed   []string
	}
	if err := json.Unmarshal(parseDocument(t, must(t, append(args, "--output", "json")...)).Value, &got); err != nil {
		t.Fatal(err)
	}
	if got.TCBStatus != "UpToDate" || len(got.Registers) != 3 || len(got.Relaxed) != 0 {
		t.Errorf("got %+v", got)
	}
}

// The whole of it: a development folder as dev init makes it, its daemon, and
// the commands that talk to one.
func TestServer(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	y := newYard(t)
	base := t.TempDir()
	policy := filepath.Join(base, "policy.yaml")
	write(t, policy, []byte(strings.ReplaceAll(goodPolicy, "registry.example", y.host)))
	dir, addr := filepath.Join(base, "dev"), freeAddress(t)
	o := must(t, "dev", "init", dir, "--assayd", self, "--registry", y.host, "--policy", policy, "--trusted-root", y.root, "--listen", addr)
	for _, want := range []string{"head 1, sim-snp", "assay dev serve " + dir} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("dev init does not say %q\n%s", want, o)
		}
	}
	serveSVIDs(t, dir)
	serveDaemon(t, filepath.Join(dir, devdir.ConfigFile))

	at := func(role string, args ...string) []string {
		return append(args, "--server", addr, "--trust", filepath.Join(dir, role, devdir.TrustFile))
	}
	// Another daemon: the same binary and keys, under a configuration that no
	// reference names.
	other := freeAddress(t)
	changed := strings.NewReplacer(addr, other, filepath.Join(dir, "state", "assayd"), filepath.Join(dir, "state", "other")).Replace(string(read(t, filepath.Join(dir, devdir.ConfigFile))))
	write(t, filepath.Join(dir, "other.yaml"), []byte(changed))
	serveDaemon(t, filepath.Join(dir, "other.yaml"))
	// A relying party with another owner, and one that trusts another simulator.
	strange := filepath.Join(base, "strange")
	must(t, "dev", "init", strange, "--assayd", self, "--listen", addr)
	ciSocket := "unix://" + filepath.Join(dir, "svid", "ci.sock")
	otherSimulator := filepath.Join(base, "simulator.yaml")
	quorum := filepath.Join(base, "quorum.yaml")
	two := strings.NewReplacer("quorum: 1", "quorum: 2", "- "+addr, "- "+addr+"\n  - "+other)
	write(t, quorum, []byte(two.Replace(string(read(t, filepath.Join(dir, "ci", devdir.TrustFile))))))
	root := func(dir string) string {
		for line := range strings.Lines(string(read(t, filepath.Join(dir, "ci", devdir.TrustFile)))) {
			if strings.Contains(line, "- sha256:") {
				return strings.TrimSpace(line)
			}
		}
		t.Fatal("trust.yaml has no root")
		return ""
	}
	serveSVIDs(t, strange)
	write(t, otherSimulator, []byte(strings.ReplaceAll(string(read(t, filepath.Join(dir, "ci", devdir.TrustFile))), root(dir), root(strange))))

	logDir := filepath.Join(dir, "state", "assayd", "log")
	runScripts(t, []script{
		{name: "appraise", args: at("ci", "statement", "appraise"), stdout: []string{"accepted statement sha256:", "simulated true, unwitnessed true"}, stderr: []string{"runs in a simulator", "unwitnessed"}},
		{name: "state folder that others can write", setup: func(t *testing.T, base string) {
			t.Helper()
			state := filepath.Join(base, "state")
			if err := os.Mkdir(state, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(state, 0o777); err != nil {
				t.Fatal(err)
			}
			was := string(read(t, filepath.Join(dir, "ci", devdir.TrustFile)))
			from, _, _ := strings.Cut(was[strings.Index(was, "state-dir: "):], "\n")
			write(t, filepath.Join(base, "trust.yaml"), []byte(strings.Replace(was, from, "state-dir: "+state, 1)))
		}, args: []string{"statement", "appraise", "--server", addr, "--trust", "$DIR/trust.yaml"}, stdout: []string{"accepted statement sha256:"}, stderr: []string{"than a node here has seen would pass", "has mode 0777"}},
		{name: "pass", args: at("ci", "verify", y.image(y.keyless)), stdout: []string{"pass " + y.image(y.keyless) + ` by rule "acme"`, testSubject, "simulated evidence"}},
		{name: "pass with a ticket", args: at("node-a", "verify", y.image(y.keyless)), stdout: []string{"pass " + y.image(y.keyless) + " for spiffe://dev.assay.invalid/assay/node/dev/node-a"}},
		{name: "pass by tag", args: append(at("ci", "verify", y.host+"/app:keyless"), "--plain-http", y.host), stdout: []string{"pass "}, stderr: []string{"a tag can move"}},
		{name: "unsigned", args: at("ci", "verify", y.image(y.unsigned)), status: 1, code: verdict.SigNone, stderr: []string{"or see: assay explain"}},
		{name: "another signer", args: at("ci", "verify", y.image(y.keyed)), status: 1, code: verdict.CertUntrusted},
		{name: "no rule", args: at("ci", "verify", "other.example/app@"+aDigest), status: 1, code: verdict.PolicyNoRule},
		{name: "not there", args: at("ci", "verify", y.image(aDigest)), status: 1, code: verdict.ImageNotFound},
		{name: "explain", args: at("ci", "explain", y.image(y.unsigned)), status: 1, code: verdict.SigNone, stdout: []string{"no  image", `authority "release-team"`}},
		{name: "layout", args: at("ci", "verify", "oci:"+y.layout+"@"+string(y.keyless)), status: 2, stderr: []string{"cannot read the layout"}},
		{name: "time of one's own", args: append(at("ci", "verify", y.image(y.keyless)), "--at", "2020-01-01T00:00:00Z"), status: 2},
		{name: "no trust", args: []string{"verify", y.image(y.keyless), "--server", addr}, status: 2, stderr: []string{"flag --trust names no file"}},
		{name: "another configuration", args: []string{"verify", y.image(y.keyless), "--server", other, "--trust", filepath.Join(dir, "ci", devdir.TrustFile)}, status: 1, code: verdict.IssuerConfig},
		{name: "another owner", args: []string{"verify", y.image(y.keyless), "--server", addr, "--trust", filepath.Join(strange, "ci", devdir.TrustFile), "--workload-api", ciSocket}, status: 1, code: verdict.HeadSignature},
		{name: "another simulator", args: []string{"verify", y.image(y.keyless), "--server", addr, "--trust", otherSimulator}, status: 1, code: verdict.EndorsementUntrusted},
		{name: "a quorum of two", args: []string{"verify", y.image(y.keyless), "--server", addr, "--trust", quorum}, status: 2, stderr: []string{"demands that 2 daemons decide, and this command asks one"}},
		{name: "nobody there", args: []string{"verify", y.image(y.keyless), "--server", freeAddress(t), "--trust", filepath.Join(dir, "ci", devdir.TrustFile)}, status: 3, code: verdict.DaemonUnreachable},
		{name: "no Workload API", args: append(at("ci", "verify", y.image(y.keyless)), "--workload-api", "unix:///nowhere/x.sock", "--timeout", "500ms"), status: 3, code: verdict.SVIDMissing},
		{name: "role that may not ask", args: at("auditor", "verify", y.image(y.keyless)), status: 1, code: verdict.PeerRole},
		{name: "SVID of another authority", args: append(at("ci", "verify", y.image(y.keyless)), "--workload-api", "unix://"+filepath.Join(strange, "svid", "ci.sock")), status: 1, code: verdict.PeerUntrusted},
		{name: "log get", args: at("auditor", "log", "get", "0"), stdout: []string{"leaf 0 of ", "statement noted"}},
		{name: "log prove", args: at("auditor", "log", "prove", "1"), stdout: []string{"proven: leaf 1 of ", "verdict passed", "image " + y.image(y.keyless)}},
		{name: "log prove beyond the end", args: at("auditor", "log", "prove", "999"), status: 1, code: verdict.LogMissing},
		{name: "log prove without an index", args: at("auditor", "log", "prove"), status: 2},
		{name: "log of a running daemon", args: []string{"log", "prove", logDir, "1"}, stdout: []string{"proven: leaf 1 of "}},
		{name: "head put", args: at("admin", "head", "put", filepath.Join(dir, "head.json")), stdout: []string{"head 1 is in force at " + addr}},
		{name: "head put of another owner", args: at("admin", "head", "put", filepath.Join(strange, "head.json")), status: 1, code: verdict.HeadSignature},
		{name: "head put to nobody", args: []string{"head", "put", filepath.Join(dir, "head.json"), "--trust", filepath.Join(dir, "admin", devdir.TrustFile)}, status: 2},
	})

	// Published evidence, offline, as an auditor appraises it.
	collection := filepath.Join(base, "collection.cmw")
	must(t, "log", "get", logDir, "0", "--out", collection)
	trustCI := filepath.Join(dir, "ci", devdir.TrustFile)
	appraise := []string{"statement", "appraise", collection, "--head", filepath.Join(dir, "head.json"), "--trust", trustCI}
	runScripts(t, []script{
		{name: "inspect published", args: []string{"statement", "inspect", collection}, stdout: []string{"comes with statement, "}},
		{name: "appraise published", args: appraise, stdout: []string{"accepted statement"}, stderr: []string{"it may be old"}},
		{name: "appraise published for a nonce", args: append(append([]string{}, appraise...), "--nonce", strings.Repeat("ab", 32)), status: 1, code: verdict.EvidenceNonce},
		{name: "appraise for a nonce that is none", args: append(append([]string{}, appraise...), "--nonce", "ab"), status: 2},
		{name: "appraise without a head", args: []string{"statement", "appraise", collection, "--trust", trustCI}, status: 2, stderr: []string{"--head"}},
		{name: "appraise nothing", args: []string{"statement", "appraise", "--trust", trustCI}, status: 2},
	})

	// A deny document about something else withholds nothing.
	head := filepath.Join(dir, "head.json")
	must(t, "deny", "add", head, "--key", filepath.Join(dir, "owner.key"), "--identity", "somebody@example.org")
	must(t, at("admin", "head", "put", head)...)
	for _, role := range []string{"ci", "node-a"} {
		must(t, at(role, "verify", y.image(y.keyless))...)
	}
	// A newer head, and then the one before.
	before := filepath.Join(base, "before.json")
	write(t, before, read(t, head))
	must(t, "head", "sign", dir, "--key", filepath.Join(dir, "owner.key"))
	must(t, at("admin", "head", "put", head)...)
	must(t, at("ci", "verify", y.image(y.keyless))...)
	if d := parseDocument(t, assay(t, append(at("admin", "head", "put", before), "-o", "json")...)); d.Code != verdict.HeadRollback {
		t.Errorf("an older head: got %s %q, want %q", d.Result, d.Code, verdict.HeadRollback)
	}
	// A program reads stdout alone: what is not proven is among the reasons.
	d := parseDocument(t, assay(t, append(at("ci", "verify", y.image(y.keyless)), "-o", "json")...))
	var notes []verdict.Code
	for _, r := range d.Reasons {
		notes = append(notes, r.Code)
	}
	if want := []verdict.Code{verdict.EvidenceSimulated, verdict.LogUnwitnessed}; d.Result != "pass" || d.Code != "" || !slices.Equal(notes, want) {
		t.Errorf("got %s %q with %v, want a pass with %v", d.Result, d.Code, notes, want)
	}
	// What an owner denies is denied at once, also where the daemon passed it.
	must(t, "deny", "add", head, "--key", filepath.Join(dir, "owner.key"), "--image", string(y.keyless))
	must(t, at("admin", "head", "put", head)...)
	for _, role := range []string{"ci", "node-a"} {
		if d := parseDocument(t, assay(t, append(at(role, "verify", y.image(y.keyless)), "-o", "json")...)); d.Code != verdict.RevokedImage {
			t.Errorf("%s: denied by an owner: got %s %q, want %q", role, d.Result, d.Code, verdict.RevokedImage)
		}
	}
}

func TestDevInit(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runScripts(t, []script{
		{name: "no assayd", args: []string{"dev", "init", "$DIR/d"}, status: 2, stderr: []string{"--assayd"}},
		{name: "assayd that is no program", args: []string{"dev", "init", "$DIR/d", "--assayd", "$DIR"}, status: 2},
		{name: "folder that is not empty", setup: func(t *testing.T, dir string) { t.Helper(); write(t, filepath.Join(dir, "x"), nil) }, args: []string{"dev", "init", "$DIR", "--assayd", self}, status: 2, stderr: []string{"nothing is overwritten"}},
		{name: "folder that is a file", setup: func(t *testing.T, dir string) { t.Helper(); write(t, filepath.Join(dir, "x"), nil) }, args: []string{"dev", "init", "$DIR/x", "--assayd", self}, status: 2},
		{name: "path too long", args: []string{"dev", "init", "$DIR/" + strings.Repeat("x", 100), "--assayd", self}, status: 2, stderr: []string{"use a shorter one"}},
		{name: "listen to the world", args: []string{"dev", "init", "$DIR/d", "--assayd", self, "--listen", "0.0.0.0:8443"}, status: 2, stderr: []string{"loopback"}},
		{name: "unknown TEE", args: []string{"dev", "init", "$DIR/d", "--assayd", self, "--tee", "sgx"}, status: 2},
		{name: "TPM without an authority", args: []string{"dev", "init", "$DIR/d", "--assayd", self, "--tee", "tpm"}, status: 2, stderr: []string{"--ek-ca"}},
		{name: "TPM flags for the simulator", args: []string{"dev", "init", "$DIR/d", "--assayd", self, "--tpm", "/dev/tpmrm0"}, status: 2},
		{name: "registry that is not on loopback", args: []string{"dev", "init", "$DIR/d", "--assayd", self, "--registry", "registry.example:5000"}, status: 2},
		{name: "policy with a typo", setup: func(t *testing.T, dir string) {
			t.Helper()
			write(t, filepath.Join(dir, "p.yaml"), []byte("version: 1\nruls: []\n"))
		},
			args: []string{"dev", "init", "$DIR/d", "--assayd", self, "--policy", "$DIR/p.yaml"}, status: 2, stderr: []string{"did you mean"}},
		{name: "roots that are none", setup: func(t *testing.T, dir string) { t.Helper(); write(t, filepath.Join(dir, "r.json"), []byte("{}")) },
			args: []string{"dev", "init", "$DIR/d", "--assayd", self, "--trusted-root", "$DIR/r.json"}, status: 2},
		{name: "serve what is none", args: []string{"dev", "serve", "$DIR"}, status: 2},
	})
	// What did not work out left nothing behind.
	dir := filepath.Join(t.TempDir(), "d")
	if o := assay(t, "dev", "init", dir, "--assayd", self, "--registry", "registry.example:5000"); o.status != 2 {
		t.Errorf("got %s", o)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a half made folder was left behind")
	}
	must(t, "dev", "init", dir, "--assayd", self)
	for name, mode := range map[string]os.FileMode{"owner.key": 0o600, "renewal.key": 0o600, "image.key": 0o600, ".": 0o700, "simulator": 0o700, "svid-ca": 0o700, "node-a": 0o700, "state": 0o700} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if st.Mode().Perm() != mode {
			t.Errorf("%s has mode %04o, want %04o", name, st.Mode().Perm(), mode)
		}
	}
	// Its own command is how the Workload API is told to stop.
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan outcome, 1)
	go func() { ended <- assayWith(ctx, strings.NewReader(""), "dev", "serve", dir) }()
	for _, name := range []string{"ci.sock", "node-a.sock"} {
		waitFor(t, filepath.Join(dir, "svid", name))
	}
	cancel()
	if o := <-ended; o.status != 0 || !strings.Contains(o.stderr, "for development only") {
		t.Errorf("dev serve, told to stop: %s", o)
	}
}

// waitFor waits until there is something at path, for at most a minute.
func waitFor(t *testing.T, path string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		if _, err := os.Lstat(path); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s is not there within a minute", path)
		}
	}
}
