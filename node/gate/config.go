// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/assayd/assay/verdict"
)

// DefaultConfig is where gate.json is when nobody says otherwise.
const DefaultConfig = "/etc/assay/gate.json"

// Defaults and bounds of a configuration.
const (
	// DefaultDeadline is below containerd's per_verifier_timeout of 10 s: the
	// gate answers with a reason before containerd kills it without one.
	DefaultDeadline = 8 * time.Second
	// DefaultStatusAge is how old a status may be.
	DefaultStatusAge = 5 * time.Minute
	// DefaultMaxOffline is how long after the last status known images still
	// run.
	DefaultMaxOffline = 8 * time.Hour
	// MaxOffline bounds max_offline.
	MaxOffline = 24 * time.Hour
	// MaxStatusAge bounds status_age.
	MaxStatusAge = time.Hour
	// MaxDeadline bounds deadline.
	MaxDeadline = time.Minute
	// MaxQuorum bounds quorum.
	MaxQuorum = 16
	// maxConfig bounds gate.json, in bytes.
	maxConfig = 64 << 10
	// configVersion is the version of gate.json.
	configVersion = 1
)

// A Mode is an upper bound on what the gate does, whatever the policy says.
type Mode string

// The modes. The zero value is none of them and refused.
const (
	// Enforce denies what no ticket or exception lets through.
	Enforce Mode = "enforce"
	// Audit lets everything through and says what it would have denied.
	Audit Mode = "audit"
	// Off checks nothing.
	Off Mode = "off"
)

// An Offline setting says what happens without a fresh status.
type Offline string

// The settings. The zero value is none of them and refused.
const (
	// OfflineDeny denies everything.
	OfflineDeny Offline = "deny"
	// OfflineLastKnown lets through what this node let through before the last
	// fresh status, until MaxOffline after that.
	OfflineLastKnown Offline = "last-known"
)

// A Duration is written as a string like "5m".
type Duration time.Duration

// MarshalText writes d as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration is %.32q, want one like 30s or 5m", text)
	}
	*d = Duration(v)
	return nil
}

// A Config is gate.json: what the gate of one node believes and demands. The zero
// value is refused. It is written by `assay-node config gate` from trust.yaml.
type Config struct {
	// V is 1.
	V int `json:"v"`
	// Profile is verdict.Production or verdict.Development. Only the latter
	// accepts daemons whose reference entry is of profile development, and
	// AllowUnwitnessed.
	Profile string `json:"profile"`
	// Node is the node's SPIFFE ID, the only audience whose tickets count.
	Node string `json:"node"`
	// Cluster is the node's cluster.
	Cluster string `json:"cluster"`
	// Socket is the absolute path of the agent's socket.
	Socket string `json:"socket"`
	// State is the absolute path of the agent's state folder.
	State string `json:"state"`
	// Owners are where the walk to the owners of today begins.
	Owners verdict.Owners `json:"owners"`
	// MinHead is the lowest head counter that counts, at least 1.
	MinHead uint64 `json:"min_head"`
	// Quorum is how many daemons, counted by QuorumBy, must have decided the same,
	// 1 to MaxQuorum.
	Quorum int `json:"quorum"`
	// QuorumBy says in what they have to differ.
	QuorumBy Distinct `json:"quorum_by,omitempty"`
	// StatusAge is how old the newest status may be, by the node's clock, up to
	// MaxStatusAge.
	StatusAge Duration `json:"status_age"`
	// Offline says what happens without a fresh status.
	Offline Offline `json:"offline"`
	// MaxOffline is for how long after the last status OfflineLastKnown
	// counts, up to MaxOffline.
	MaxOffline Duration `json:"max_offline"`
	// AgentUID is the user that the agent runs as. An answer of any other is not
	// believed. The state folder may belong to it.
	AgentUID uint32 `json:"agent_uid"`
	// Mode is the upper bound.
	Mode Mode `json:"mode"`
	// Deadline is how long the gate may take, up to MaxDeadline.
	Deadline Duration `json:"deadline"`
	// AllowUnwitnessed accepts daemons whose log nobody witnesses.
	AllowUnwitnessed bool `json:"allow_unwitnessed,omitempty"`
}

// ParseConfig decodes and checks gate.json; name is for messages. The error is a
// *verdict.Misuse with the position.
func ParseConfig(name string, data []byte) (Config, error) {
	if len(data) > maxConfig {
		return Config{}, verdict.Misused(configHint, "%s: %d bytes, want at most %d", name, len(data), maxConfig)
	}
	var c Config
	if err := unmarshal(data, &c); err != nil {
		return Config{}, verdict.Misused(configHint, "%s:%w", name, err)
	}
	if err := c.Check(); err != nil {
		return Config{}, verdict.Misused(configHint, "%s: %w", name, err)
	}
	return c, nil
}

const configHint = "write it again: assay-node config gate --config trust.yaml --output gate.json"

// LoadConfig reads gate.json from disk. It must belong to root or to the user of
// this process, who alone may write it.
func LoadConfig(path string) (Config, error) {
	if !filepath.IsAbs(path) {
		return Config{}, verdict.Misused("name it from /", "reading configuration: path %.255q is not absolute", path)
	}
	data, err := readOwned(path, maxConfig, nil)
	if err != nil {
		return Config{}, verdict.Misused(configHint, "reading configuration: %w", err)
	}
	return ParseConfig(path, data)
}

// Encode returns the bytes of gate.json, which ParseConfig gives back as c.
func (c Config) Encode() ([]byte, error) {
	if err := c.Check(); err != nil {
		return nil, verdict.Misused("", "encoding gate configuration: %w", err)
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding gate configuration: %w", err)
	}
	return append(data, '\n'), nil
}

// Check returns a *verdict.Misuse about the first member that is missing or out
// of bounds.
func (c Config) Check() error {
	if member, err := c.Wrong(); err != nil {
		return verdict.Misused("", "%s: %w", member, err)
	}
	return nil
}

// Wrong returns the first member that is missing or out of bounds, by its name in
// gate.json, and what is wrong with it, or "" and nil. It is for who makes a Config
// from another file and knows where in it a value stood.
func (c Config) Wrong() (member string, err error) {
	if c.V != configVersion {
		return "v", fmt.Errorf("got %d, want %d", c.V, configVersion)
	}
	if c.Profile != verdict.Production && c.Profile != verdict.Development {
		return "profile", fmt.Errorf("got %.32q, want %q or %q", c.Profile, verdict.Production, verdict.Development)
	}
	if c.AllowUnwitnessed && c.Profile != verdict.Development {
		return "allow_unwitnessed", fmt.Errorf("it needs profile %q, got %q", verdict.Development, c.Profile)
	}
	if err := verdict.CheckSPIFFEID(c.Node); err != nil {
		return "node", err
	}
	if c.Cluster == "" || len(c.Cluster) > 128 || strings.ContainsFunc(c.Cluster, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "cluster", fmt.Errorf("got %.128q, want a name of 1 to 128 bytes", c.Cluster)
	}
	for _, p := range []struct{ member, path string }{{"socket", c.Socket}, {"state", c.State}} {
		if !filepath.IsAbs(p.path) || filepath.Clean(p.path) != p.path {
			return p.member, fmt.Errorf("got %.255q, want an absolute, clean path", p.path)
		}
	}
	if _, err := c.Owners.Encode(); err != nil {
		return "owners", err
	}
	if c.MinHead < 1 {
		return "min_head", errors.New("got 0, want at least 1")
	}
	if c.Quorum < 1 || c.Quorum > MaxQuorum {
		return "quorum", fmt.Errorf("got %d, want 1 to %d", c.Quorum, MaxQuorum)
	}
	if !c.QuorumBy.known() {
		return "quorum_by", fmt.Errorf("got %.32q, want boot, chip, vendor or operator", c.QuorumBy)
	}
	switch c.Mode {
	case Enforce, Audit, Off:
	default:
		return "mode", fmt.Errorf("got %.32q, want enforce, audit or off", c.Mode)
	}
	switch c.Offline {
	case OfflineDeny, OfflineLastKnown:
	default:
		return "offline", fmt.Errorf("got %.32q, want deny or last-known", c.Offline)
	}
	for _, d := range []struct {
		member      string
		value, most time.Duration
	}{
		{"status_age", time.Duration(c.StatusAge), MaxStatusAge},
		{"max_offline", time.Duration(c.MaxOffline), MaxOffline},
		{"deadline", time.Duration(c.Deadline), MaxDeadline},
	} {
		if d.value <= 0 || d.value > d.most {
			return d.member, fmt.Errorf("got %s, want more than 0 and at most %s", d.value, d.most)
		}
	}
	return "", nil
}
