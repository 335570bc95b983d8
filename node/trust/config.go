// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
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

	"go.yaml.in/yaml/v3"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// Defaults and bounds of trust.yaml, besides those of package gate.
const (
	// DefaultStatusInterval is how often the agent asks for a status.
	DefaultStatusInterval = 30 * time.Second
	// MaxStatusInterval bounds status-interval.
	MaxStatusInterval = 10 * time.Minute
	// maxDaemons bounds daemons.
	maxDaemons = 64
	// maxYAML bounds the file, in bytes. Most of it is certificates.
	maxYAML = 1 << 20
	// maxCertificates bounds the certificates in one key.
	maxCertificates = 64
)

// A Config is trust.yaml: what one relying party trusts and demands. It is the only
// file that has to arrive by a trusted way. The zero value is refused.
type Config struct {
	// Profile is production or development. Only development permits a
	// simulator, allow-unwitnessed, and daemons whose reference entry is of
	// profile development.
	Profile string `yaml:"profile"`
	// Node is the relying party's own SPIFFE ID.
	Node string `yaml:"node"`
	// Cluster is its cluster; it is the last but one segment of Node.
	Cluster string `yaml:"cluster"`
	// Daemons are the addresses of daemons, host:port, at least one. Their order
	// is the order in which they are asked.
	Daemons []string `yaml:"daemons"`
	// Issuers are the SPIFFE IDs of acceptable daemons; the last two segments may
	// be "*".
	Issuers []string `yaml:"issuers"`
	// WorkloadAPI is the socket of the SPIFFE Workload API, unix:///path.
	WorkloadAPI string `yaml:"workload-api"`
	// Owners are the owners whom the walk to those of today begins with.
	Owners Owners `yaml:"owners"`
	// MinHead is the lowest head counter that counts, at least 1.
	MinHead uint64 `yaml:"min-head"`
	// TEE says which evidence is believed.
	TEE TEE `yaml:"tee"`
	// Quorum is how many daemons, counted by QuorumBy, must have decided the same.
	Quorum int `yaml:"quorum"`
	// QuorumBy is boot (the default), chip, vendor or operator.
	QuorumBy gate.Distinct `yaml:"quorum-by,omitempty"`
	// Mode is an upper bound: enforce, audit or off.
	Mode gate.Mode `yaml:"mode"`
	// Offline is deny or last-known (the default).
	Offline gate.Offline `yaml:"offline,omitempty"`
	// StatusAge is how old a status may be; 5m by default.
	StatusAge time.Duration `yaml:"status-age,omitempty"`
	// StatusInterval is how often the agent asks for one; 30s by default. It is
	// shorter than StatusAge.
	StatusInterval time.Duration `yaml:"status-interval,omitempty"`
	// MaxOffline is for how long after the last status known images still run;
	// 8h by default.
	MaxOffline time.Duration `yaml:"max-offline,omitempty"`
	// Deadline is how long the gate may take; 8s by default.
	Deadline time.Duration `yaml:"deadline,omitempty"`
	// StateDir is the agent's folder, an absolute path. It belongs to the agent's
	// user, who alone may write it.
	StateDir string `yaml:"state-dir"`
	// Socket is the path of the agent's socket.
	Socket string `yaml:"socket"`
	// AgentUID is the user that the agent runs as; 0 by default.
	AgentUID uint32 `yaml:"agent-uid,omitempty"`
	// AllowUnwitnessed accepts daemons whose log nobody witnesses.
	AllowUnwitnessed bool `yaml:"allow-unwitnessed,omitempty"`
	// AllowUnvalidated names algorithms outside the crypto module that are used
	// all the same: "ed25519", for the BoringCrypto flavour.
	AllowUnvalidated []string `yaml:"allow-unvalidated,omitempty"`
}

// Owners is a threshold of keys.
type Owners struct {
	// Threshold is how many must sign.
	Threshold int `yaml:"threshold"`
	// Keys are public keys, ECDSA P-256, in PEM.
	Keys []string `yaml:"keys"`
}

// TEE says which evidence is believed (attest.Trust). The zero value believes none.
type TEE struct {
	// Kinds are snp, snp-svsm, tdx, tpm, azure-snp and azure-tdx, or a simulator alone: sim-snp or
	// sim-tdx.
	Kinds []string `yaml:"kinds"`
	// SNPProducts are the AMD product lines that are accepted, by AMD's roots:
	// Milan, Genoa, Turin.
	SNPProducts []string `yaml:"snp-products,omitempty"`
	// SimulatorRoots are digests of simulators' root certificates.
	SimulatorRoots []string `yaml:"simulator-roots,omitempty"`
	// EKCAs are authorities of endorsement keys, in PEM.
	EKCAs []string `yaml:"ek-cas,omitempty"`
	// AKCAs are authorities of attestation keys, in PEM.
	AKCAs []string `yaml:"ak-cas,omitempty"`
	// GCE demands an instance of Compute Engine, whose TPM Google certifies.
	GCE *GCE `yaml:"gce,omitempty"`
	// MinTCB is a floor besides that of the references.
	MinTCB TCB `yaml:"min-tcb,omitempty"`
	// SNP is what else is demanded of SNP evidence, the simulator's and that of Azure's
	// VMs included.
	SNP SNP `yaml:"snp,omitempty"`
	// TDX is what is demanded of TDX evidence, in the same way.
	TDX TDX `yaml:"tdx,omitempty"`
	// Azure is what else is demanded of Azure's VMs.
	Azure Azure `yaml:"azure,omitempty"`

	// The relaxations of attest.Trust.
	AllowDebug        bool     `yaml:"allow-debug,omitempty"`
	AllowMigratable   bool     `yaml:"allow-migratable,omitempty"`
	AllowSMT          bool     `yaml:"allow-smt,omitempty"`
	AllowVMPLs        []uint32 `yaml:"allow-vmpls,omitempty"`
	AllowMaskedChipID bool     `yaml:"allow-masked-chip-id,omitempty"`
	AllowNoCRL        bool     `yaml:"allow-no-crl,omitempty"`
	AllowNoFloor      bool     `yaml:"allow-no-floor,omitempty"`
	AllowUnsafeClock  bool     `yaml:"allow-unsafe-clock,omitempty"`
}

// TCB is a firmware floor, component by component.
type TCB struct {
	FMC        uint8 `yaml:"fmc,omitempty"`
	Bootloader uint8 `yaml:"bootloader,omitempty"`
	TEE        uint8 `yaml:"tee,omitempty"`
	SNP        uint8 `yaml:"snp,omitempty"`
	Microcode  uint8 `yaml:"microcode,omitempty"`
}

// Parse decodes and checks trust.yaml; name is for messages. Defaults are filled
// in. The error is a *verdict.Misuse with file:line:column.
func Parse(name string, data []byte) (Config, error) {
	if len(data) > maxYAML {
		return Config{}, verdict.Misused("check that this is trust.yaml", "%s: %d bytes, want at most %d", name, len(data), maxYAML)
	}
	var c Config
	f, err := strictyaml.Decode(name, data, &c)
	if err != nil {
		return Config{}, err
	}
	c = c.withDefaults()
	if key, err := c.check(); err != nil {
		hint := ""
		if m, ok := errors.AsType[*verdict.Misuse](err); ok {
			hint = m.Hint
		}
		return Config{}, f.Misuse(place(f, key), hint, "%s: %w", key, err)
	}
	return c, nil
}

// place returns where key is, or the nearest key around it that is in the file: a
// default is nowhere, and neither is what is missing.
func place(f *strictyaml.File, key string) string {
	for key != "" && !f.Has(key) {
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return key
}

// Load reads trust.yaml from disk. Without the file there is nothing that a
// relying party could trust, and no first use makes up for it.
func Load(path string) (Config, error) {
	data, err := readConfig(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, verdict.Misused("install it by the way that installs the runtime's configuration; there is no trust on first use",
			"reading trust.yaml: %s does not exist", path)
	}
	if err != nil {
		return Config{}, verdict.Misused("", "reading trust.yaml: %w", err)
	}
	return Parse(path, data)
}

// Encode returns the YAML of c, which Parse gives back.
func (c Config) Encode() ([]byte, error) {
	c = c.withDefaults()
	if key, err := c.check(); err != nil {
		return nil, verdict.Misused("", "encoding trust.yaml: %s: %w", key, err)
	}
	var buf bytes.Buffer
	e := yaml.NewEncoder(&buf)
	e.SetIndent(2)
	if err := e.Encode(c); err != nil {
		return nil, fmt.Errorf("encoding trust.yaml: %w", err)
	}
	if err := e.Close(); err != nil {
		return nil, fmt.Errorf("encoding trust.yaml: %w", err)
	}
	return buf.Bytes(), nil
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.StatusAge, gate.DefaultStatusAge)
	def(&c.StatusInterval, min(DefaultStatusInterval, max(c.StatusAge/2, time.Millisecond)))
	def(&c.MaxOffline, gate.DefaultMaxOffline)
	def(&c.Deadline, gate.DefaultDeadline)
	if c.Offline == "" {
		c.Offline = gate.OfflineLastKnown
	}
	return c
}

// check returns the key of what is wrong, and what.
func (c Config) check() (string, error) {
	development := c.Profile == verdict.Development
	if !development && c.Profile != verdict.Production {
		return "profile", fmt.Errorf("got %.32q, want %q or %q", c.Profile, verdict.Production, verdict.Development)
	}
	if c.AllowUnwitnessed && !development {
		return "allow-unwitnessed", fmt.Errorf("it needs profile %q, got %q", verdict.Development, c.Profile)
	}
	if slices.ContainsFunc(c.TEE.Kinds, verdict.Simulated) && !development {
		return "tee.kinds", fmt.Errorf("a simulator needs profile %q, got %q", verdict.Development, c.Profile)
	}
	if err := verdict.CheckSPIFFEID(c.Node); err != nil {
		return "node", err
	}
	segments := strings.Split(c.Node, "/")
	if len(segments) < 5 || c.Cluster == "" || segments[len(segments)-2] != c.Cluster {
		return "cluster", fmt.Errorf("got %.128q, want the last but one segment of %s", c.Cluster, c.Node)
	}
	if len(c.Daemons) == 0 || len(c.Daemons) > maxDaemons {
		return "daemons", fmt.Errorf("%d addresses, want 1 to %d", len(c.Daemons), maxDaemons)
	}
	for i, d := range c.Daemons {
		host, port, err := net.SplitHostPort(d)
		if err != nil || host == "" || port == "" {
			return "daemons", fmt.Errorf("got %.128q, want host:port", d)
		}
		if slices.Contains(c.Daemons[:i], d) {
			return "daemons", fmt.Errorf("%s is there twice", d)
		}
	}
	if c.Quorum > len(c.Daemons) {
		return "quorum", fmt.Errorf("got %d, and %d daemons are named: no image would ever run", c.Quorum, len(c.Daemons))
	}
	if len(c.Issuers) == 0 {
		return "issuers", errors.New("none, want at least one SPIFFE ID")
	}
	for _, p := range c.Issuers {
		if err := checkPattern(p); err != nil {
			return "issuers", err
		}
	}
	if c.WorkloadAPI == "" {
		return "workload-api", errors.New("missing, want the socket's address like unix:///run/spire/agent.sock")
	}
	if c.StatusInterval <= 0 || c.StatusInterval > MaxStatusInterval || c.StatusInterval >= c.StatusAge {
		return "status-interval", fmt.Errorf("got %s, want more than 0, at most %s and less than status-age (%s)", c.StatusInterval, MaxStatusInterval, c.StatusAge)
	}
	for _, a := range c.AllowUnvalidated {
		if a != "ed25519" {
			return "allow-unvalidated", fmt.Errorf("got %.32q, want ed25519", a)
		}
	}
	if _, err := c.OwnerSet(); err != nil {
		return "owners", err
	}
	if key, err := c.TEE.check(); err != nil {
		return key, err
	}
	g, err := c.gate()
	if err != nil {
		return "owners", err
	}
	if member, err := g.Wrong(); err != nil {
		return keyOf(member), err
	}
	return "", nil
}

func (t TEE) check() (string, error) {
	if len(t.Kinds) == 0 {
		return "tee.kinds", verdict.Misused("name what you trust: snp, snp-svsm, tdx, tpm, azure-snp, azure-tdx, or for development sim-snp or sim-tdx alone", "none, want at least one")
	}
	needs := map[string]struct {
		key  string
		have bool
	}{
		verdict.KindSNP:          {"tee.snp-products", len(t.SNPProducts) > 0},
		verdict.KindSVSM:         {"tee.snp-products", len(t.SNPProducts) > 0},
		verdict.KindTPM:          {"tee.ek-cas", len(t.EKCAs)+len(t.AKCAs) > 0 || t.GCE != nil},
		verdict.KindTDX:          {"tee.tdx.root", t.TDX.Root != ""},
		verdict.KindAzureSNP:     {"tee.snp-products", len(t.SNPProducts) > 0},
		verdict.KindAzureTDX:     {"tee.tdx.root", t.TDX.Root != ""},
		verdict.KindSimulatedSNP: {"tee.simulator-roots", len(t.SimulatorRoots) > 0},
		verdict.KindSimulatedTDX: {"tee.simulator-roots", len(t.SimulatorRoots) > 0},
	}
	for i, kind := range t.Kinds {
		need, known := needs[kind]
		if !known {
			return "tee.kinds", fmt.Errorf("got %.32q, want snp, snp-svsm, tdx, tpm, azure-snp, azure-tdx, sim-snp or sim-tdx", kind)
		}
		if slices.Contains(t.Kinds[:i], kind) {
			return "tee.kinds", fmt.Errorf("%s is there twice", kind)
		}
		if verdict.Simulated(kind) && len(t.Kinds) != 1 {
			return "tee.kinds", fmt.Errorf("%s is there beside other kinds, want it alone", kind)
		}
		if !need.have {
			return need.key, fmt.Errorf("none, and kind %s needs one", kind)
		}
	}
	// A root that no kind uses is a mistake, or what is left of an experiment.
	for _, kind := range slices.Sorted(maps.Keys(needs)) {
		need := needs[kind]
		uses := func(k string) bool { return needs[k].key == need.key }
		if need.have && !slices.ContainsFunc(t.Kinds, uses) {
			users := slices.DeleteFunc(slices.Sorted(maps.Keys(needs)), func(k string) bool { return !uses(k) })
			return need.key, fmt.Errorf("given, and kind %s is not accepted", strings.Join(users, " or "))
		}
	}
	if t.GCE != nil && len(t.EKCAs) > 0 {
		return "tee.ek-cas", errors.New("given beside tee.gce, and an endorsement key names no instance")
	}
	out, err := t.trust()
	if err != nil {
		return "tee", err
	}
	if out.GCE != nil {
		if err := out.GCE.Check(); err != nil {
			return "tee.gce", err
		}
	}
	if key, err := t.SNP.check(out); err != nil {
		return key, err
	}
	if key, err := t.TDX.check(out); err != nil {
		return key, err
	}
	return t.Azure.check(out)
}

// OwnerSet returns the owners in our format.
func (c Config) OwnerSet() (verdict.Owners, error) {
	o := verdict.Owners{V: 1, Threshold: c.Owners.Threshold}
	for i, text := range c.Owners.Keys {
		jwk, err := verdict.ParsePublicKey([]byte(text), verdict.UseOwner)
		if err != nil {
			return verdict.Owners{}, verdict.Misused("", "key %d: %w", i+1, err)
		}
		o.Keys = append(o.Keys, jwk)
	}
	if _, err := o.Encode(); err != nil {
		return verdict.Owners{}, err
	}
	return o, nil
}

// Trust returns what package attest needs.
func (c Config) Trust() (attest.Trust, error) {
	t, err := c.TEE.trust()
	if err != nil {
		return attest.Trust{}, err
	}
	t.AllowDevelopment = c.Profile == verdict.Development
	return t, nil
}

func (t TEE) trust() (attest.Trust, error) {
	out := attest.Trust{
		MinTCB:          attest.TCB(t.MinTCB),
		AllowDebug:      t.AllowDebug,
		AllowMigratable: t.AllowMigratable, AllowSMT: t.AllowSMT, AllowVMPLs: t.AllowVMPLs, AllowMaskedChipID: t.AllowMaskedChipID,
		AllowNoCRL: t.AllowNoCRL, AllowNoFloor: t.AllowNoFloor, AllowUnsafeClock: t.AllowUnsafeClock,
		Azure: attest.AzureTrust{VMIDs: t.Azure.VMIDs, RequireSecureBoot: t.Azure.RequireSecureBoot},
	}
	for _, kind := range t.Kinds {
		out.Kinds = append(out.Kinds, attest.Kind(kind))
	}
	for _, line := range t.SNPProducts {
		roots := slices.DeleteFunc(attest.AMDRoots(), func(r attest.SNPRoot) bool { return string(r.Line) != line })
		if len(roots) == 0 {
			return attest.Trust{}, verdict.Misused("", "snp-products: got %.32q, want Milan, Genoa or Turin", line)
		}
		out.SNPRoots = append(out.SNPRoots, roots...)
	}
	for _, text := range t.SimulatorRoots {
		d, err := verdict.ParseDigest(text)
		if err != nil || d.Algorithm() != "sha256" {
			return attest.Trust{}, verdict.Misused("", "simulator-roots: got %.80q, want sha256:…", text)
		}
		out.SimulatorRoots = append(out.SimulatorRoots, d)
	}
	var err error
	if out.SNP, err = t.SNP.trust(); err != nil {
		return attest.Trust{}, err
	}
	if out.TDX, err = t.TDX.trust(); err != nil {
		return attest.Trust{}, err
	}
	if out.EKCAs, err = certificates("ek-cas", t.EKCAs); err != nil {
		return attest.Trust{}, err
	}
	if out.AKCAs, err = certificates("ak-cas", t.AKCAs); err != nil {
		return attest.Trust{}, err
	}
	if out.GCE, err = t.GCE.trust(); err != nil {
		return attest.Trust{}, err
	}
	if out.GCE != nil {
		out.AKCAs = append(out.AKCAs, attest.GCERoot())
	}
	return out, nil
}

// certificates reads PEM texts of one certificate or more each.
func certificates(key string, texts []string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for i, text := range texts {
		rest := []byte(text)
		for len(bytes.TrimSpace(rest)) > 0 {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
				return nil, verdict.Misused("", "%s: entry %d: want PEM blocks CERTIFICATE", key, i+1)
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, verdict.Misused("", "%s: entry %d: not a certificate", key, i+1)
			}
			if out = append(out, cert); len(out) > maxCertificates {
				return nil, verdict.Misused("", "%s: more than %d certificates", key, maxCertificates)
			}
		}
	}
	return out, nil
}

// Gate returns the gate's configuration of this node.
func (c Config) Gate() (gate.Config, error) {
	g, err := c.gate()
	if err != nil {
		return gate.Config{}, err
	}
	if err := g.Check(); err != nil {
		return gate.Config{}, err
	}
	return g, nil
}

// keyOf returns the key of trust.yaml that a member of gate.json is made from.
func keyOf(member string) string {
	if member == "state" {
		return "state-dir"
	}
	return strings.ReplaceAll(member, "_", "-")
}

func (c Config) gate() (gate.Config, error) {
	owners, err := c.OwnerSet()
	if err != nil {
		return gate.Config{}, err
	}
	return gate.Config{
		V: 1, Profile: c.Profile, Node: c.Node, Cluster: c.Cluster, Socket: c.Socket, State: c.StateDir, Owners: owners,
		MinHead: c.MinHead, Quorum: c.Quorum, QuorumBy: c.QuorumBy, StatusAge: gate.Duration(c.StatusAge), Offline: c.Offline, MaxOffline: gate.Duration(c.MaxOffline),
		AgentUID: c.AgentUID, Mode: c.Mode, Deadline: gate.Duration(c.Deadline), AllowUnwitnessed: c.AllowUnwitnessed,
	}, nil
}

func readConfig(path string) (data []byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return nil, fmt.Errorf("%s has mode %04o, want nobody but its owner to write it", path, perm)
	}
	if info.Size() > maxYAML {
		return nil, fmt.Errorf("%s has %d bytes, want at most %d", path, info.Size(), maxYAML)
	}
	return os.ReadFile(filepath.Clean(path))
}
