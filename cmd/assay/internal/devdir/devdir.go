// SPDX-License-Identifier: Apache-2.0

// Package devdir makes a development folder: an owner, a simulator's authority,
// a certificate authority for SVIDs, the daemon's configuration, a policy,
// references, the head over them, and trust.yaml and gate.json of two nodes, all
// of which fit together.
//
// [Init] makes it and reads every file back by the parser of the program that
// will read it; [Serve] runs the development Workload API over it. Nothing of
// it is for production: the private keys of all parties lie in one folder.
// docs/production.md has the order in which an operator makes the same things.
package devdir

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/cmd/assay/internal/file"
	"github.com/assayd/assay/cmd/assay/internal/owner"
	"github.com/assayd/assay/daemon"
	"github.com/assayd/assay/enclave/simsnp"
	"github.com/assayd/assay/enclave/simtdx"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/spiffe/devapi"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verdict/flavour"
	"github.com/assayd/assay/verifier"
)

// Names in a development folder, besides those of package owner.
const (
	// ConfigFile is the daemon's configuration.
	ConfigFile = "assayd.yaml"
	// ImageKeyFile signs images where no policy was given.
	ImageKeyFile = "image.key"
	// TrustFile and GateFile are in the folder of each node.
	TrustFile = "trust.yaml"
	// GateFile is written from TrustFile.
	GateFile = "gate.json"

	simulatorFolder = "simulator"
	svidCAFolder    = "svid-ca"
	svidFolder      = "svid"
	stateFolder     = "state"
)

// Cluster is the cluster of a development folder.
const Cluster = "dev"

// DefaultListen is where the daemon serves.
const DefaultListen = "127.0.0.1:8443"

// life is how long head and reference entry last.
const life = 90 * 24 * time.Hour

// maxSocket is the longest path of a unix socket, without the zero after it
// (unix(7), sun_path).
const maxSocket = 107

// maxFile bounds the certificates that are read, in bytes.
const maxFile = 1 << 20

// Options say what to make. Dir and Assayd are required.
type Options struct {
	// Dir is the folder; it must be empty or not there yet.
	Dir string
	// Assayd is the daemon's binary, which the references measure.
	Assayd string
	// TEE is verdict.KindSimulatedSNP (the zero value), verdict.KindSimulatedTDX or
	// verdict.KindTPM.
	TEE string
	// TPM is the TPM's device or the socket of swtpm; the zero value is
	// swtpm.sock in Dir.
	TPM string
	// EKCAs are PEM files with the authorities of endorsement keys. At least one
	// for a TPM.
	EKCAs []string
	// EKCertificate and Intermediates are as in the daemon's configuration.
	EKCertificate, Intermediates string
	// Registries are on loopback, and spoken to without TLS.
	Registries []string
	// Listen is the daemon's address; the zero value is DefaultListen.
	Listen string
	// Policy and Roots are files; the zero values are a policy for a new key, and
	// the embedded public-good root.
	Policy, Roots string
	// At is the time.
	At time.Time
}

// A Result says what was made.
type Result struct {
	Dir string `json:"dir"`
	// Config is the digest of assayd.yaml, which the references name.
	Config verdict.Digest `json:"config"`
	// Measurement is that of the daemon's file: MEASUREMENT, PCR 11, or RTMR1.
	Measurement string `json:"measurement"`
	TEE         string `json:"tee"`
	Listen      string `json:"listen"`
	Head        uint64 `json:"head"`
	// ImageKey signs images where no policy was given, or is empty.
	ImageKey string `json:"imageKey,omitempty"`
}

// A party is one that appraises the daemon, with a trust.yaml of its own.
type party struct{ name, id string }

// Init makes the folder.
func Init(o Options) (r Result, err error) {
	if err := o.complete(); err != nil {
		return Result{}, err
	}
	ids, err := devapi.Identities(devapi.TrustDomain, Cluster)
	if err != nil {
		return Result{}, err
	}
	measurement, entry, err := o.measure()
	if err != nil {
		return Result{}, err
	}
	policy, roots, imageKey, err := o.readPolicy()
	if err != nil {
		return Result{}, err
	}
	ekCAs, err := o.readEKCAs()
	if err != nil {
		return Result{}, err
	}
	if err := file.MakeFolder(o.Dir); err != nil {
		return Result{}, err
	}
	// A folder that is half made helps nobody, and would not be taken again.
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(o.Dir))
		}
	}()
	r = Result{Dir: o.Dir, Measurement: measurement, TEE: o.TEE, Listen: o.Listen}
	if imageKey != nil {
		r.ImageKey = o.path(ImageKeyFile)
		if err := file.Create(r.ImageKey, imageKey, file.Private); err != nil {
			return Result{}, err
		}
	}
	ownerKey, err := o.makeOwner()
	if err != nil {
		return Result{}, err
	}
	ownerPEM, err := owner.PublicPEM(ownerKey.JWK())
	if err != nil {
		return Result{}, err
	}
	config := o.config(string(ownerPEM), ids["assayd"])
	parsed, err := daemon.ParseConfig(o.path(ConfigFile), config)
	if err != nil {
		return Result{}, err
	}
	r.Config = parsed.Digest()
	tee, err := o.makeTEE(ekCAs)
	if err != nil {
		return Result{}, err
	}
	if err := devapi.Init(o.path(svidCAFolder), devapi.TrustDomain); err != nil {
		return Result{}, err
	}
	entry.Configs = []verdict.Digest{r.Config}
	references, err := o.references(entry)
	if err != nil {
		return Result{}, err
	}
	if err := o.writeAll(map[string][]byte{ConfigFile: config, owner.PolicyFile: policy, owner.RootsFile: roots, owner.ReferencesFile: references}); err != nil {
		return Result{}, err
	}
	signed, err := owner.Sign(owner.Options{Dir: o.Dir, Keys: []*verdict.Key{ownerKey}, At: o.At, NotAfter: o.At.Add(life), Grace: 5 * time.Minute})
	if err != nil {
		return Result{}, err
	}
	r.Head = signed.Counter
	for _, name := range []string{"node-a", "node-b", "ci", "auditor", "admin"} {
		if err := o.makeParty(party{name, ids[name]}, tee, string(ownerPEM)); err != nil {
			return Result{}, err
		}
	}
	return r, o.check()
}

func (o *Options) path(elem ...string) string {
	return filepath.Join(append([]string{o.Dir}, elem...)...)
}

// complete fills in defaults and refuses what does not fit together, before
// anything is made.
func (o *Options) complete() error {
	dir, err := filepath.Abs(o.Dir)
	if err != nil || o.Dir == "" {
		return verdict.Misused("name a folder", "making development folder: %q is no path", o.Dir)
	}
	o.Dir = dir
	if n := len(o.path(svidFolder, "admission.sock")); n > maxSocket {
		return verdict.Misused("use a shorter one, as /tmp/dev", "making development folder: paths of sockets would have %d bytes, want at most %d", n, maxSocket)
	}
	if strings.ContainsFunc(dir, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return verdict.Misused("use another name", "making development folder: %q has control characters", dir)
	}
	if o.Listen == "" {
		o.Listen = DefaultListen
	}
	host, _, err := net.SplitHostPort(o.Listen)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return verdict.Misused("use 127.0.0.1:PORT: the keys of a development folder protect nothing", "making development folder: %q is no address on loopback", o.Listen)
	}
	switch o.TEE {
	case "", verdict.KindSimulatedSNP, verdict.KindSimulatedTDX:
		o.TEE = cmp.Or(o.TEE, verdict.KindSimulatedSNP)
		if o.TPM != "" || len(o.EKCAs) > 0 || o.EKCertificate != "" || o.Intermediates != "" {
			return verdict.Misused("say --tee tpm", "making development folder: a TPM is described, and the TEE is %s", o.TEE)
		}
	case verdict.KindTPM:
		if o.TPM == "" {
			o.TPM = o.path("swtpm.sock")
		}
		if len(o.EKCAs) == 0 {
			return verdict.Misused("name it with --ek-ca; swtpm_localca keeps its own as issuercert.pem", "making development folder: no authority of the TPM's endorsement key is named")
		}
	default:
		return verdict.Misused("", "making development folder: TEE is %q, want %s, %s or %s", o.TEE, verdict.KindSimulatedSNP, verdict.KindSimulatedTDX, verdict.KindTPM)
	}
	for _, p := range []*string{&o.TPM, &o.EKCertificate, &o.Intermediates} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return verdict.Misused("", "making development folder: %w", err)
		}
	}
	return nil
}

// measure computes the reference entry of the daemon's file.
func (o *Options) measure() (string, verdict.ReferenceEntry, error) {
	if o.Assayd == "" {
		return "", verdict.ReferenceEntry{}, verdict.Misused("name the daemon's binary with --assayd", "making references: no assayd is named")
	}
	info, err := buildinfo.ReadFile(o.Assayd)
	if err != nil {
		return "", verdict.ReferenceEntry{}, verdict.Misused("name the daemon's binary", "making references: %s: %w", o.Assayd, err)
	}
	switch name := path.Base(info.Path); name {
	case "assay", "assay-node", "assay-gate":
		return "", verdict.ReferenceEntry{}, verdict.Misused("name the daemon's binary", "making references: %s is %s, want assayd", o.Assayd, name)
	}
	module := flavourOf(info)
	// The configuration differs by flavour, and only its own can parse it back.
	if own := flavour.Current().Module; module != own {
		return "", verdict.ReferenceEntry{}, verdict.Misused("use the assay of the same build", "making references: %s is of crypto flavour %s, this assay is of %s", o.Assayd, module, own)
	}
	f, err := os.Open(o.Assayd)
	if err != nil {
		return "", verdict.ReferenceEntry{}, verdict.Misused("", "making references: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	e := verdict.ReferenceEntry{Events: "none", Flavours: []string{module}, Kind: o.TEE, Name: "development",
		NotBefore: o.At.Add(-5 * time.Minute).Unix(), NotAfter: o.At.Add(life).Unix(), Profile: verdict.Development}
	m, err := measureInto(&e, f)
	if err != nil {
		return "", verdict.ReferenceEntry{}, verdict.Misused("", "making references: measuring %s: %w", o.Assayd, err)
	}
	return m, e, nil
}

// measureInto fills in what the TEE of an entry measures of the daemon's file, and
// returns the value that differs by it.
func measureInto(e *verdict.ReferenceEntry, f io.Reader) (m string, err error) {
	switch e.Kind {
	case verdict.KindTPM:
		if m, err = attest.MeasurePCR(f); err == nil {
			e.Events, e.Registers = "pcr14", map[string]string{"pcr11": m}
		}
	case verdict.KindSimulatedTDX:
		var measured attest.SimulatedTD
		if measured, err = attest.MeasureTDXSimulator(f); err == nil {
			measured.Entry(e)
			m = e.Registers["rtmr1"]
		}
	default:
		m, err = attest.MeasureSNPSimulator(f)
		e.Measurement = m
	}
	return m, err
}

// flavourOf reads the crypto flavour from what the go command wrote down.
func flavourOf(info *buildinfo.BuildInfo) string {
	for _, s := range info.Settings {
		switch {
		case s.Key == "GOFIPS140" && s.Value != "" && s.Value != "off":
			return "fips140"
		case s.Key == "GOEXPERIMENT" && slices.Contains(strings.Split(s.Value, ","), "boringcrypto"):
			return "boringcrypto"
		}
	}
	return "go"
}

// readPolicy returns policy and roots, and the key of images where it had to
// make one.
func (o *Options) readPolicy() (policy, roots, imageKey []byte, err error) {
	if o.Roots == "" {
		roots = verifier.PublicGoodJSON()
	} else if roots, err = file.Read("trusted root", o.Roots, verifier.MaxRootsBytes); err != nil {
		return nil, nil, nil, err
	}
	if _, err := verifier.ParseRoots(roots); err != nil {
		return nil, nil, nil, err
	}
	if o.Policy != "" {
		policy, err = file.Read("policy", o.Policy, verifier.MaxPolicyBytes)
		if err == nil {
			_, err = verifier.ParsePolicy(o.Policy, policy)
		}
		return policy, roots, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("generating key: %w", err)
	}
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("encoding key: %w", err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, nil, fmt.Errorf("encoding key: %w", err)
	}
	imageKey = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: priv})
	policy = fmt.Appendf(nil, defaultPolicy, indent(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})), 8))
	return policy, roots, imageKey, nil
}

const defaultPolicy = `# Every image has to be signed by image.key of this folder.
version: 1
authorities:
  development:
    key:
      pem: |
%s
rules:
  - name: everything
    repositories: ["**"]
    authorities: [development]
`

func (o *Options) readEKCAs() ([]string, error) {
	var out []string
	for _, p := range o.EKCAs {
		data, err := file.Read("EK authority", p, maxFile)
		if err != nil {
			return nil, err
		}
		out = append(out, string(data))
	}
	return out, nil
}

// makeOwner makes the owner's keys and files.
func (o *Options) makeOwner() (*verdict.Key, error) {
	key, err := owner.NewKey(o.path(owner.KeyFile), verdict.UseOwner)
	if err != nil {
		return nil, err
	}
	renewal, err := owner.NewKey(o.path(owner.RenewalFile), verdict.UseRenewal)
	if err != nil {
		return nil, err
	}
	jwk := renewal.JWK()
	owners, err := verdict.Owners{Keys: []verdict.JWK{key.JWK()}, Renewal: &jwk, Threshold: 1}.Encode()
	if err != nil {
		return nil, err
	}
	deny, err := verdict.DenyList{}.Encode()
	if err != nil {
		return nil, err
	}
	return key, o.writeAll(map[string][]byte{owner.OwnersFile: owners, owner.DenyFile: deny})
}

// makeTEE makes the simulator, and returns what relying parties trust.
func (o *Options) makeTEE(ekCAs []string) (trust.TEE, error) {
	if o.TEE == verdict.KindTPM {
		// swtpm starts from its state file without having seen an orderly
		// shutdown, and says that its clock may have gone back.
		return trust.TEE{Kinds: []string{verdict.KindTPM}, EKCAs: ekCAs, AllowUnsafeClock: true}, nil
	}
	dir := o.path(simulatorFolder)
	if err := file.MakeFolder(dir); err != nil {
		return trust.TEE{}, err
	}
	initCA := simsnp.InitCA
	if o.TEE == verdict.KindSimulatedTDX {
		initCA = simtdx.InitCA
	}
	root, err := initCA(dir)
	if err != nil {
		return trust.TEE{}, err
	}
	return trust.TEE{Kinds: []string{o.TEE}, SimulatorRoots: []string{string(root)}}, nil
}

func (o *Options) references(e verdict.ReferenceEntry) ([]byte, error) {
	r := verdict.References{Entries: []verdict.ReferenceEntry{e}}
	switch o.TEE {
	case verdict.KindSimulatedTDX:
		r.Floors.TDX = &verdict.TDXFloor{Evaluation: simtdx.Evaluation}
	case verdict.KindSimulatedSNP:
		t := simsnp.TCB
		r.Floors.SNP = &verdict.SNPTCB{Bootloader: t.Bootloader, TEE: t.TEE, SNP: t.SNP, Microcode: t.Microcode}
	}
	return r.Encode()
}

// config is the text of assayd.yaml. It is measured, so it has everything that
// matters and nothing else.
func (o *Options) config(ownerPEM, id string) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Made by assay dev init. Its digest is in references.json: a changed file is another daemon.")
	line("profile: development")
	line("listen: %s", quote(o.Listen))
	line("spiffe-id: %s", quote(id))
	line("workload-api: %s", quote(socketURL(o.path(svidFolder, "assayd.sock"))))
	line("state-dir: %s", quote(o.path(stateFolder, "assayd")))
	line("head: %s", quote(o.path(owner.HeadFile)))
	line("owners:\n  threshold: 1\n  keys:\n    - |\n%s", indent(ownerPEM, 6))
	line("min-head: 1")
	line("roles:")
	for _, role := range []string{"node", "admission", "ci", "auditor", "admin"} {
		line("  %s: [%s]", role, quote("spiffe://"+devapi.TrustDomain+"/assay/"+role+"/*/*"))
	}
	if o.TEE == verdict.KindTPM {
		line("tee:\n  kind: tpm")
		place := "socket"
		if st, err := os.Stat(o.TPM); err == nil && st.Mode()&os.ModeCharDevice != 0 {
			place = "device"
		}
		line("  %s: %s", place, quote(o.TPM))
		if o.EKCertificate != "" {
			line("  ek-certificate: %s", quote(o.EKCertificate))
		}
		if o.Intermediates != "" {
			line("  intermediates: %s", quote(o.Intermediates))
		}
	} else {
		line("tee:\n  kind: %s\n  dir: %s", o.TEE, quote(o.path(simulatorFolder)))
	}
	if len(o.Registries) > 0 {
		line("sources:\n  plain-http:")
		for _, r := range o.Registries {
			line("    - %s", quote(r))
		}
	}
	line("allow-unwitnessed: true")
	if flavour.Current().Module == "boringcrypto" {
		line("allow-unvalidated: [ed25519]")
	}
	return b.Bytes()
}

// makeParty makes the folder of one that appraises the daemon.
func (o *Options) makeParty(p party, tee trust.TEE, ownerPEM string) error {
	c := trust.Config{
		Profile: verdict.Development, Node: p.id, Cluster: Cluster, Daemons: []string{o.Listen},
		Issuers:     []string{"spiffe://" + devapi.TrustDomain + "/assay/d/" + Cluster + "/*"},
		WorkloadAPI: socketURL(o.path(svidFolder, p.name+".sock")),
		Owners:      trust.Owners{Threshold: 1, Keys: []string{ownerPEM}},
		MinHead:     1, TEE: tee, Quorum: 1, Mode: gate.Enforce,
		StateDir: o.path(p.name, stateFolder), Socket: o.path(p.name, "agent.sock"),
		AgentUID:         uint32(os.Getuid()), //nolint:gosec // G115: a uid has 32 bits
		AllowUnwitnessed: true,
	}
	if flavour.Current().Module == "boringcrypto" {
		c.AllowUnvalidated = []string{verifier.Ed25519}
	}
	text, err := c.Encode()
	if err != nil {
		return err
	}
	if err := file.MakeFolder(o.path(p.name, stateFolder)); err != nil {
		return err
	}
	if !strings.HasPrefix(p.name, "node-") { // no gate runs there
		return o.writeAll(map[string][]byte{filepath.Join(p.name, TrustFile): text})
	}
	if c, err = trust.Parse(TrustFile, text); err != nil {
		return err
	}
	g, err := c.Gate()
	if err != nil {
		return err
	}
	gateJSON, err := g.Encode()
	if err != nil {
		return err
	}
	return o.writeAll(map[string][]byte{filepath.Join(p.name, TrustFile): text, filepath.Join(p.name, GateFile): gateJSON})
}

// check reads back what was written, by the parsers of those who will read it.
func (o *Options) check() error {
	data, err := file.Read("configuration", o.path(ConfigFile), daemon.MaxConfig)
	if err != nil {
		return err
	}
	if _, err := daemon.ParseConfig(o.path(ConfigFile), data); err != nil {
		return err
	}
	for _, name := range []string{"node-a", "node-b"} {
		c, err := trust.Load(o.path(name, TrustFile))
		if err != nil {
			return err
		}
		if _, err := gate.LoadConfig(o.path(name, GateFile)); err != nil {
			return err
		}
		anchor, err := c.OwnerSet()
		if err != nil {
			return err
		}
		set, err := owner.LoadSet(o.path(owner.HeadFile))
		if err != nil {
			return err
		}
		if _, err := verdict.OpenHead(set, anchor); err != nil {
			return err
		}
	}
	return os.Mkdir(o.path(stateFolder), file.Folder)
}

func (o *Options) writeAll(files map[string][]byte) error {
	for name, data := range files {
		if err := file.Write(o.path(name), data, file.Public); err != nil {
			return err
		}
	}
	return nil
}

// Serve runs the development Workload API of the folder until ctx ends. Ready,
// if not nil, is closed when all sockets serve.
func Serve(ctx context.Context, dir string, ttl time.Duration, ready chan<- struct{}) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return verdict.Misused("name a folder", "serving: %w", err)
	}
	data, err := file.Read("configuration", filepath.Join(dir, ConfigFile), daemon.MaxConfig)
	if err != nil {
		return err
	}
	c, err := daemon.ParseConfig(filepath.Join(dir, ConfigFile), data)
	if err != nil {
		return err
	}
	ids, err := devapi.Identities(devapi.TrustDomain, Cluster)
	if err != nil {
		return err
	}
	return devapi.Serve(ctx, devapi.Config{Profile: c.Profile, Dir: filepath.Join(dir, svidCAFolder), SocketDir: filepath.Join(dir, svidFolder),
		Identities: ids, TTL: ttl, Ready: ready})
}

func socketURL(path string) string { return "unix://" + path }

// quote writes a string as YAML: a JSON string is one (YAML 1.2 §1.3).
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic("devdir: encoding a string: " + err.Error())
	}
	return strings.TrimSpace(b.String())
}

func indent(text string, n int) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+pad)
}
