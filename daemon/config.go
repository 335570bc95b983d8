// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/assayd/assay/enclave/endorse"
	"github.com/assayd/assay/internal/strictyaml"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
	"github.com/assayd/assay/verifier"
)

// MaxConfig bounds a configuration file, in bytes.
const MaxConfig = 256 << 10

// A Config is one assayd.yaml: YAML, decoded strictly. Unknown and duplicate
// keys, empty values and a second document are errors with file:line:column.
//
// The file is measured: its SHA-256 is in the issuer statement and in the
// register event, and the owners' references name the digests that are
// acceptable. So nothing that loosens anything is anywhere else, not in flags
// and not in the environment. [ParseConfig] makes a Config; the zero value, and
// one that was changed after parsing, are refused by [Run].
type Config struct {
	// Profile is production or development. Required. Development permits the
	// simulator, a Workload API of package spiffe/devapi, plain HTTP to
	// loopback and allow-unwitnessed.
	Profile string `yaml:"profile"`
	// Listen is the TCP address of the gRPC service, as 127.0.0.1:8443.
	// Required.
	Listen string `yaml:"listen"`
	// SPIFFEID is the daemon's own SPIFFE ID: verifier.id of each core, issuer
	// of each statement. A Workload API that gives another one stops the start.
	// Required.
	SPIFFEID string `yaml:"spiffe-id"`
	// WorkloadAPI is the socket of the SPIFFE Workload API, as
	// unix:///run/spire/agent.sock. Required.
	WorkloadAPI string `yaml:"workload-api"`
	// StateDir is the folder of log, newest head and register events, made when
	// only its last element is missing. One daemon at a time holds it.
	// Required.
	StateDir string `yaml:"state-dir"`
	// Head is a file with a head set that is offered at the start beside the
	// one in the state folder; the highest counter wins. Absent: none.
	Head string `yaml:"head"`
	// Owners are the keys that the first head is checked with. Inline, since
	// only this file is measured. Required.
	Owners Owners `yaml:"owners"`
	// MinHead is the lowest head counter that is accepted, and the head as of
	// which Owners are the owners: what protects a first start against a disk
	// that was rolled back. At least 1. Required.
	MinHead uint64 `yaml:"min-head"`
	// Roles gives callers' roles by patterns of SPIFFE IDs; see
	// [spiffe.Patterns]. The trust domain is that of spiffe-id. Required.
	Roles spiffe.Patterns `yaml:"roles"`
	// TEE says where evidence comes from. Required.
	TEE TEE `yaml:"tee"`
	// Sources say how registries are reached. Absent: by HTTPS, directly.
	Sources Sources `yaml:"sources"`
	// AllowUnwitnessed serves with a log that no witness cosigns. Profile
	// development only.
	AllowUnwitnessed bool `yaml:"allow-unwitnessed"`
	// AllowUnvalidated are algorithms that may be used outside the validated
	// module of a BoringCrypto build: only "ed25519" is one. Misuse in the other
	// flavours, where nothing is outside.
	AllowUnvalidated []string `yaml:"allow-unvalidated"`
	// Limits bound what callers can cost. Absent: the defaults.
	Limits Limits `yaml:"limits"`

	// Version is that of the program, for the issuer statement. It is set by
	// main and no part of the file.
	Version string `yaml:"-"`

	name string
	data []byte
}

// Owners are the keys of the owners and how many of them must sign.
type Owners struct {
	// Threshold is at least 1 and at most the number of keys. Required.
	Threshold int `yaml:"threshold"`
	// Keys are PUBLIC KEY blocks in PEM, ECDSA P-256. Required.
	Keys []string `yaml:"keys"`
}

// Sources say how registries are reached.
type Sources struct {
	// PlainHTTP are registries on loopback, with port, that are spoken to
	// without TLS. Profile development only.
	PlainHTTP []string `yaml:"plain-http"`
	// Mirrors are asked first, in order, for images of the host that is the
	// key. A mirror can withhold and nothing else.
	Mirrors map[string][]string `yaml:"mirrors"`
	// TokenHosts are hosts besides a registry's own that may be asked for its
	// token.
	TokenHosts []string `yaml:"token-hosts"`
	// RedirectHosts are hosts that a registry may redirect to whatever their
	// address.
	RedirectHosts []string `yaml:"redirect-hosts"`
	// Timeout bounds one request. Default 15s.
	Timeout time.Duration `yaml:"timeout"`
	// RevocationHosts, as host:port, are OCSP responders and CRLs that may be
	// asked although their addresses are not public. Absent: only public ones.
	RevocationHosts []string `yaml:"revocation-hosts"`
}

// Limits bound what callers can cost, and how long what was decided counts.
// Those of a caller are per SPIFFE ID.
type Limits struct {
	// Verifications is how many verifications run at a time. Default 16.
	Verifications int `yaml:"verifications"`
	// Queue is how many wait for one of them; more is overloaded. Callers take
	// turns. Default 1024.
	Queue int `yaml:"queue"`
	// CallerQueue is how many of them may be one caller's. Default 256.
	CallerQueue int `yaml:"caller-queue"`
	// CallerConcurrency is how many calls of a caller run at a time, streams
	// included. Default 512.
	CallerConcurrency int `yaml:"caller-concurrency"`
	// CallerMisses is how many verifications a caller may cause per minute,
	// CallerMissBurst how many at once. Defaults 600 and 600.
	CallerMisses    int `yaml:"caller-misses"`
	CallerMissBurst int `yaml:"caller-miss-burst"`
	// CallerLeaves is how many leaves a caller may cause per hour, at most that
	// many at once. Default 20000.
	CallerLeaves int `yaml:"caller-leaves"`
	// Verdicts is how many verdicts are kept in memory. Default 65536.
	Verdicts int `yaml:"verdicts"`
	// VerdictLife is for how long a verdict that lets an image through is
	// answered from memory. Default 1h.
	VerdictLife time.Duration `yaml:"verdict-life"`
	// DenialLife is the same for one that does not: an image may be signed a
	// moment later. At most 1m. Default 20s.
	DenialLife time.Duration `yaml:"denial-life"`
	// TicketLife bounds a ticket. At most 24h. Default 12h.
	TicketLife time.Duration `yaml:"ticket-life"`
	// StatementLife bounds an issuer statement; a new one is made after two
	// thirds of it. At most 24h. Default 24h.
	StatementLife time.Duration `yaml:"statement-life"`
	// VerifyTimeout bounds one verification, CallTimeout one call that is not a
	// stream. Defaults 30s and 35s.
	VerifyTimeout time.Duration `yaml:"verify-timeout"`
	CallTimeout   time.Duration `yaml:"call-timeout"`
	// ConnectionAge is after how long a connection is ended, so that the next
	// one is checked from the beginning. Keep it below the life of SVIDs.
	// Default 20m.
	ConnectionAge time.Duration `yaml:"connection-age"`
	// Drain is how long calls under way may take when the daemon is told to
	// stop. Default 10s.
	Drain time.Duration `yaml:"drain"`
	// HeadSet bounds what PutHead takes. Default 16MiB, which is also the most.
	HeadSet Size `yaml:"head-set"`
}

// defaultLimits are the defaults that Limits documents.
var defaultLimits = Limits{
	Verifications: 16, Queue: 1024, CallerQueue: 256, CallerConcurrency: 512,
	CallerMisses: 600, CallerMissBurst: 600, CallerLeaves: 20_000,
	Verdicts: 65_536, VerdictLife: time.Hour, DenialLife: 20 * time.Second,
	TicketLife: 12 * time.Hour, StatementLife: verdict.MaxStatementLife,
	VerifyTimeout: 30 * time.Second, CallTimeout: 35 * time.Second,
	ConnectionAge: 20 * time.Minute, Drain: 10 * time.Second,
	HeadSet: verdict.MaxHeadSet,
}

// ParseConfig reads an assayd.yaml; name is for messages. Its digest is that of
// data, taken before anything looks at the content. What is wrong with it is a
// [*verdict.Misuse], most of them with file:line:column.
func ParseConfig(name string, data []byte) (Config, error) {
	c := Config{Version: "devel", name: name, data: bytes.Clone(data)}
	if len(data) > MaxConfig {
		return Config{}, verdict.Misused("", "%s: %d bytes, want at most %d", name, len(data), MaxConfig)
	}
	f, err := strictyaml.Decode(name, data, &c)
	if err != nil {
		return Config{}, err
	}
	if err := c.check(f); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Digest is the SHA-256 of the file: what is measured.
func (c Config) Digest() verdict.Digest { return verdict.SHA256(c.data) }

// unchanged refuses a configuration that is not the one that Digest is about.
func (c Config) unchanged() error {
	if len(c.data) == 0 {
		return verdict.Misused("use ParseConfig", "starting: the configuration did not come from a file")
	}
	again, err := ParseConfig(c.name, c.data)
	if err != nil {
		return err
	}
	again.Version = c.Version
	if !reflect.DeepEqual(again, c) {
		return verdict.Misused("change the file, and have its digest added to the references", "starting: the configuration was changed after it was measured")
	}
	return nil
}

func (c *Config) check(f *strictyaml.File) error {
	c.Limits.fill()
	for _, check := range []func(*strictyaml.File) error{c.checkProfile, c.checkPlace, c.checkTrust, c.checkTEE, c.checkSources, c.checkFlavour, c.Limits.check} {
		if err := check(f); err != nil {
			return err
		}
	}
	if c.Profile == verdict.Production {
		return f.Misuse("profile", "until then, profile: development with allow-unwitnessed: true runs the whole chain, and says in every result that nobody watches",
			"profile production needs witnesses for the log, and this version has none")
	}
	if !c.AllowUnwitnessed {
		return f.Misuse("allow-unwitnessed", "say allow-unwitnessed: true",
			"the log needs witnesses, and this version has none")
	}
	return nil
}

func (c *Config) checkProfile(f *strictyaml.File) error {
	switch c.Profile {
	case verdict.Production, verdict.Development:
	case "":
		return f.Misuse("profile", "say profile: production, or development", "profile is missing")
	default:
		return f.Misuse("profile", "", "profile is %.64q, want production or development", c.Profile)
	}
	if c.Profile == verdict.Production && c.AllowUnwitnessed {
		return f.Misuse("allow-unwitnessed", "name witnesses, or use profile: development", "allow-unwitnessed needs profile development")
	}
	return nil
}

// checkPlace checks where the daemon lives.
func (c *Config) checkPlace(f *strictyaml.File) error {
	for _, r := range []struct{ path, value, hint string }{
		{"listen", c.Listen, "say where to serve, as 127.0.0.1:8443"},
		{"spiffe-id", c.SPIFFEID, "name the daemon's own SPIFFE ID, as spiffe://example.org/assay/d/CLUSTER/assayd"},
		{"workload-api", c.WorkloadAPI, "name the socket, as unix:///run/spire/agent.sock"},
		{"state-dir", c.StateDir, "name a folder of its own"},
	} {
		if r.value == "" {
			return f.Misuse(r.path, r.hint, "%s is missing", r.path)
		}
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || port == "" {
		return f.Misuse("listen", "write HOST:PORT", "listen is %.64q, want an address with a port", c.Listen)
	}
	if err := verdict.CheckSPIFFEID(c.SPIFFEID); err != nil {
		return f.Misuse("spiffe-id", "write spiffe://TRUST-DOMAIN/PATH", "spiffe-id: %w", err)
	}
	if !strings.HasPrefix(c.WorkloadAPI, "unix://") {
		return f.Misuse("workload-api", "write unix:///PATH", "workload-api is %.64q, want a unix socket", c.WorkloadAPI)
	}
	return nil
}

// checkTrust checks who is believed, and who may call.
func (c *Config) checkTrust(f *strictyaml.File) error {
	if len(c.Owners.Keys) == 0 {
		return f.Misuse("owners", "name the owners' public keys and how many of them must sign: without owners nothing says what is current",
			"owners are missing")
	}
	if c.Owners.Threshold < 1 || c.Owners.Threshold > len(c.Owners.Keys) {
		return f.Misuse("owners.threshold", "", "owners.threshold is %d, want 1 to %d, the number of keys", c.Owners.Threshold, len(c.Owners.Keys))
	}
	for i, key := range c.Owners.Keys {
		if _, err := verdict.ParsePublicKey([]byte(key), verdict.UseOwner); err != nil {
			return f.Misuse(fmt.Sprintf("owners.keys[%d]", i), "write the key as a PEM block, openssl pkey -pubout", "owners.keys[%d]: %w", i, err)
		}
	}
	anchor, err := c.anchor()
	if err == nil {
		_, err = anchor.Encode()
	}
	if err != nil {
		return f.Misuse("owners", "", "owners: %w", err)
	}
	if c.MinHead < 1 {
		return f.Misuse("min-head", "say which head was current when this file was written; 1 for the first", "min-head is %d, want at least 1", c.MinHead)
	}
	if _, err := spiffe.NewRoles(c.trustDomain(), c.Roles); err != nil {
		return f.Misuse("roles", hintOf(err), "%w", err)
	}
	return nil
}

func (c *Config) checkSources(f *strictyaml.File) error {
	for i, host := range c.Sources.PlainHTTP {
		path := fmt.Sprintf("sources.plain-http[%d]", i)
		if c.Profile != verdict.Development {
			return f.Misuse(path, "use TLS", "sources.plain-http needs profile development")
		}
		if !loopback(host) {
			return f.Misuse(path, "use 127.0.0.1:PORT", "sources.plain-http: %.64q is not on loopback", host)
		}
	}
	reg, err := verifier.NewRegistry(c.registry())
	if err != nil {
		return f.Misuse("sources", hintOf(err), "sources: %w", err)
	}
	reg.Close()
	return nil
}

// loopback tells whether host, with an optional port, is this machine for
// certain: an address, or the name that RFC 6761 §6.3 reserves.
func loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return name == "localhost" || err == nil && addr.IsLoopback()
}

func (c *Config) checkFlavour(f *strictyaml.File) error {
	for i, name := range c.AllowUnvalidated {
		path := fmt.Sprintf("allow-unvalidated[%d]", i)
		if name != "ed25519" {
			return f.Misuse(path, "", "allow-unvalidated: %.64q is unknown, want ed25519", name)
		}
		if !boring {
			return f.Misuse(path, "leave it out", "allow-unvalidated is for BoringCrypto builds: in this one ed25519 is inside the module")
		}
	}
	// design.md §11: C2SP knows Ed25519 for checkpoints, which is outside that
	// module.
	if boring && len(c.AllowUnvalidated) == 0 {
		return f.Misuse("allow-unvalidated", "say allow-unvalidated: [ed25519]", "the log signs with Ed25519 too, which is outside this build's module")
	}
	return nil
}

// fill puts the default where nothing was said.
func (l *Limits) fill() {
	have, def := reflect.ValueOf(l).Elem(), reflect.ValueOf(defaultLimits)
	for i := range have.NumField() {
		if have.Field(i).IsZero() {
			have.Field(i).Set(def.Field(i))
		}
	}
}

func (l *Limits) check(f *strictyaml.File) error {
	for _, r := range []struct {
		key  string
		got  int64
		most int64
	}{
		{"verifications", int64(l.Verifications), 1024},
		{"queue", int64(l.Queue), 1 << 20},
		{"caller-queue", int64(l.CallerQueue), int64(l.Queue)},
		{"caller-concurrency", int64(l.CallerConcurrency), 1 << 16},
		{"caller-misses", int64(l.CallerMisses), 1 << 20},
		{"caller-miss-burst", int64(l.CallerMissBurst), 1 << 20},
		{"caller-leaves", int64(l.CallerLeaves), 1 << 24},
		{"verdicts", int64(l.Verdicts), 1 << 22},
		{"head-set", int64(l.HeadSet), verdict.MaxHeadSet},
	} {
		if r.got < 1 || r.got > r.most {
			return f.Misuse("limits."+r.key, "", "limits.%s is %d, want 1 to %d", r.key, r.got, r.most)
		}
	}
	for _, r := range []struct {
		key              string
		got, least, most time.Duration
	}{
		{"verdict-life", l.VerdictLife, time.Second, 24 * time.Hour},
		{"denial-life", l.DenialLife, time.Second, verdict.MaxDenialLife},
		{"ticket-life", l.TicketLife, time.Minute, verdict.MaxTicketLife},
		{"statement-life", l.StatementLife, time.Minute, verdict.MaxStatementLife},
		{"verify-timeout", l.VerifyTimeout, time.Second, 10 * time.Minute},
		{"call-timeout", l.CallTimeout, time.Second, 15 * time.Minute},
		{"connection-age", l.ConnectionAge, 10 * time.Second, 24 * time.Hour},
		{"drain", l.Drain, time.Second, 10 * time.Minute},
	} {
		if r.got < r.least || r.got > r.most {
			return f.Misuse("limits."+r.key, "", "limits.%s is %s, want %s to %s", r.key, r.got, r.least, r.most)
		}
	}
	return nil
}

// anchor returns the owners that the walk to the current head begins with, as of
// min-head: changes of owners up to it are history.
func (c *Config) anchor() (verdict.Owners, error) {
	o := verdict.Owners{Threshold: c.Owners.Threshold, After: c.MinHead, V: 1}
	for _, text := range c.Owners.Keys {
		key, err := verdict.ParsePublicKey([]byte(text), verdict.UseOwner)
		if err != nil {
			return verdict.Owners{}, err
		}
		o.Keys = append(o.Keys, key)
	}
	return o, nil
}

func (c *Config) trustDomain() string {
	td, _, _ := strings.Cut(strings.TrimPrefix(c.SPIFFEID, "spiffe://"), "/")
	return td
}

func (c *Config) registry() verifier.RegistryConfig {
	return verifier.RegistryConfig{
		Mirrors: c.Sources.Mirrors, PlainHTTP: c.Sources.PlainHTTP,
		TokenHosts: c.Sources.TokenHosts, RedirectHosts: c.Sources.RedirectHosts,
		RequestTimeout: c.Sources.Timeout, UserAgent: "assayd",
	}
}

func (c *Config) allowEd25519() bool { return slices.Contains(c.AllowUnvalidated, "ed25519") }

// Names inside the state folder.
const (
	logName = "log"
	// revocationsName is the folder of what publishers said of certificates.
	revocationsName = "revocations"
	// rootsName is the folder of trust roots that were fetched.
	rootsName     = "roots"
	headName      = "head.json"
	registersName = "registers"
	previousName  = "previous-statement"
	// endorsementsName is the folder of what is fetched about the processor.
	endorsementsName = "endorsements"
)

// hintOf returns the hint of a misuse, so that wrapping does not lose it.
func hintOf(err error) string {
	if m, ok := asMisuse(err); ok {
		return m.Hint
	}
	return ""
}

// Relaxations tells in plain words what is not for production, in the order of
// the file. It is empty for a configuration that has none.
func (c Config) Relaxations() []string {
	var out []string
	if c.Profile == verdict.Development {
		out = append(out, "profile development: nodes refuse this daemon unless their trust.yaml accepts development")
	}
	if verdict.Simulated(c.TEE.Kind) {
		out = append(out, "the TEE is simulated: its evidence proves nothing about hardware")
	}
	if c.TEE.Socket != "" {
		out = append(out, "the TPM is swtpm, a program: its evidence proves nothing about hardware")
	}
	for _, host := range c.Sources.PlainHTTP {
		out = append(out, "plain HTTP to registry "+host)
	}
	if c.AllowUnwitnessed {
		out = append(out, "no witness watches the log: whoever runs this machine can fork or hide it")
	}
	for _, name := range c.AllowUnvalidated {
		out = append(out, name+" outside the validated module")
	}
	return out
}

// Describe writes what the configuration means, for people.
func (c Config) Describe(w io.Writer) error {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("configuration    %s", c.name)
	p("digest           %s (the references must name it)", c.Digest())
	p("profile          %s", c.Profile)
	p("serves           %s as %s", c.Listen, c.SPIFFEID)
	p("own identity     from %s", c.WorkloadAPI)
	p("state            %s", c.StateDir)
	if c.Head != "" {
		p("offered head     %s", c.Head)
	}
	p("owners           %d of %d must sign; head %d or newer", c.Owners.Threshold, len(c.Owners.Keys), c.MinHead)
	if anchor, err := c.anchor(); err == nil {
		for _, k := range anchor.Keys {
			p("                 %s", k.Kid)
		}
	}
	p("evidence         %s %s%s%s", c.TEE.Kind, c.TEE.Dir, c.TEE.Device, c.TEE.Socket+c.endorsements())
	if c.TEE.Fetch {
		p("fetches          endorsements from %s and %s", cmp.Or(c.TEE.KDSURL, endorse.KDS), cmp.Or(c.TEE.PCSURL, endorse.PCS))
	}
	for _, role := range spiffe.AllRoles() {
		for i, pattern := range c.Roles[role] {
			name := ""
			if i == 0 {
				name = "role " + string(role)
			}
			p("%-16s %s", name, pattern)
		}
		if len(c.Roles[role]) == 0 {
			p("%-16s nobody", "role "+string(role))
		}
	}
	for _, host := range c.Sources.PlainHTTP {
		p("plain HTTP       %s", host)
	}
	for _, host := range sortedKeys(c.Sources.Mirrors) {
		p("mirrors          %s: %s", host, strings.Join(c.Sources.Mirrors[host], ", "))
	}
	l := reflect.ValueOf(c.Limits)
	for i := range l.NumField() {
		name := ""
		if i == 0 {
			name = "limits"
		}
		p("%-16s %-18s %v", name, l.Type().Field(i).Tag.Get("yaml"), l.Field(i).Interface())
	}
	for i, text := range c.Relaxations() {
		name := ""
		if i == 0 {
			name = "not production"
		}
		p("%-16s %s", name, text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// LoadConfig reads an assayd.yaml from a file. Its errors are those of
// [ParseConfig], and a [*verdict.Misuse] for a file that cannot be read.
func LoadConfig(path string) (Config, error) {
	data, err := readFile(path, MaxConfig)
	if err != nil {
		return Config{}, verdict.Misused("name a readable file of at most 256 KiB", "reading configuration: %w", err)
	}
	return ParseConfig(path, data)
}
