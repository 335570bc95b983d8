// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/assayd/assay/audit"
	"github.com/assayd/assay/verdict"
)

// randomHex returns n random bytes in hex.
func randomHex(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic("audit_test: " + err.Error())
	}
	return hex.EncodeToString(b)
}

// A daemon is a shard with the keys of whoever appends to it.
type daemon struct {
	*audit.Shard
	boot      string
	key       *verdict.Key
	statement verdict.Statement
	encoded   []byte
	now       time.Time
}

// testConfig is a configuration with short intervals.
func testConfig(dir string) audit.Config {
	return audit.Config{
		Dir: dir, Boot: randomHex(16), OriginPrefix: "dev.assay.invalid/log", Logger: slog.New(slog.DiscardHandler),
		CheckpointInterval: 100 * time.Millisecond, RefreshInterval: 200 * time.Millisecond, MaxCheckpointAge: time.Minute,
		AppendTimeout: 5 * time.Minute, // a loaded machine is no fault of the log
	}
}

// openDaemon opens a shard without leaf 0.
func openDaemon(ctx context.Context, config audit.Config) (*daemon, error) {
	s, err := audit.OpenShard(ctx, config)
	if err != nil {
		return nil, err
	}
	d := &daemon{Shard: s, boot: config.Boot, now: time.Now().Truncate(time.Millisecond).UTC()}
	ticket, err := verdict.GenerateKey(verdict.UseTicket)
	if err != nil {
		return nil, err
	}
	if d.key, err = verdict.GenerateKey(verdict.UseVerdict); err != nil {
		return nil, err
	}
	d.statement = verdict.Statement{
		V: 1, Boot: config.Boot, Seq: 1, Issuer: "spiffe://dev.assay.invalid/assay/daemon",
		Build:     verdict.Build{Version: "test", Crypto: verdict.Crypto{Module: "go", Version: "test"}},
		Config:    verdict.SHA256([]byte("config")),
		Policy:    verdict.SHA256([]byte("policy")),
		Roots:     verdict.SHA256([]byte("roots")),
		Head:      verdict.HeadRef{Counter: 1, Digest: verdict.SHA256([]byte("head"))},
		Keys:      []verdict.JWK{ticket.JWK(), d.key.JWK()},
		Log:       s.Log(),
		NotBefore: d.now.Unix(), NotAfter: d.now.Add(time.Hour).Unix(),
	}
	d.encoded, err = d.statement.Encode()
	return d, err
}

// statementLeaf returns leaf 0 with its objects.
func (d *daemon) statementLeaf() (verdict.Leaf, []audit.Object) {
	evidence := []byte(`{"evidence":"of ` + d.boot + `"}`)
	return verdict.Leaf{
		Kind: verdict.LeafStatement, Time: d.now, Object: sha256.Sum256(evidence),
		Policy: d.policy(), Statement: sha256.Sum256(d.encoded),
	}, []audit.Object{audit.Content(d.encoded), audit.Content(evidence)}
}

func (d *daemon) policy() [32]byte { b, _ := d.statement.Policy.Bytes(); return b }

// verdictLeaf returns the leaf of a new verdict with its core.
func (d *daemon) verdictLeaf() (verdict.Leaf, audit.Object, error) {
	core, err := verdict.SignCore(verdict.Core{
		Subject: []verdict.CoreSubject{{Name: "registry.example/app", Digest: verdict.DigestMap(verdict.SHA256([]byte("image")))}},
		Predicate: verdict.CorePredicate{
			InputAttestations: []verdict.CoreResource{}, Policy: verdict.CoreResource{URI: "policy.yaml", Digest: verdict.DigestMap(d.statement.Policy)},
			ResourceURI: "registry.example/app", TimeVerified: d.now.Truncate(time.Second).Format(time.RFC3339),
			VerificationResult: verdict.Passed, VerifiedLevels: []string{verdict.Unevaluated},
			Verifier: verdict.CoreVerifier{ID: d.statement.Issuer, Version: map[string]string{"assay": "test"}},
			Extension: verdict.CoreExtension{
				Cluster: "dev", Deny: verdict.SHA256(nil).Hex(), Head: 1, Roots: d.statement.Roots, Salt: randomHex(16),
				Namespaces: map[string]verdict.Outcome{"*": verdict.OutcomePass},
			},
		},
	}, d.key)
	if err != nil {
		return verdict.Leaf{}, audit.Object{}, err
	}
	object, err := audit.Envelope(core.Envelope)
	if err != nil {
		return verdict.Leaf{}, audit.Object{}, err
	}
	name, _ := core.Digest.Bytes()
	return verdict.Leaf{
		Kind: verdict.LeafVerdict, Result: verdict.ResultPassed, Time: d.now, Object: name,
		Policy: d.policy(), Statement: sha256.Sum256(d.encoded),
	}, object, nil
}

// begin appends leaf 0.
func (d *daemon) begin(ctx context.Context) error {
	leaf, objects := d.statementLeaf()
	index, err := d.Append(ctx, leaf, objects...)
	if err == nil && index != 0 {
		err = fmt.Errorf("leaf 0 got index %d", index)
	}
	return err
}

// decide appends a verdict.
func (d *daemon) decide(ctx context.Context) (uint64, verdict.Leaf, error) {
	leaf, object, err := d.verdictLeaf()
	if err != nil {
		return 0, leaf, err
	}
	index, err := d.Append(ctx, leaf, object)
	return index, leaf, err
}

// start opens a shard with leaf 0 and closes it at the end of the test.
func start(t testing.TB, config audit.Config) *daemon {
	t.Helper()
	d, err := openDaemon(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = d.Close(ctx) // tests that care closed it before
	})
	if err := d.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// newDir returns a log folder that is not there yet.
func newDir(t testing.TB) string { return filepath.Join(t.TempDir(), "log") }

// reader opens the archive's shard with this origin.
func reader(t testing.TB, dir, origin string) *audit.Reader {
	t.Helper()
	a, err := audit.OpenArchive(audit.ArchiveConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.Shard(t.Context(), origin)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantCode fails unless err carries code.
func wantCode(t testing.TB, err error, code verdict.Code) {
	t.Helper()
	if got := verdict.CodeOf(err); got != code {
		t.Errorf("got %v, want code %q", err, code)
	}
}

// eventually waits until ok, for at most a minute.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// testMain children: the test binary re-executed with a role.
const (
	roleVar = "ASSAY_AUDIT_TEST_ROLE"
	dirVar  = "ASSAY_AUDIT_TEST_DIR"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		os.Exit(child(role, os.Getenv(dirVar)))
	}
	os.Exit(m.Run())
}
