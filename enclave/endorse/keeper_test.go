// SPDX-License-Identifier: Apache-2.0

package endorse_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/attest/attesttest"
	"github.com/assayd/assay/enclave/endorse"
	"github.com/assayd/assay/verdict"
)

// logs are the lines of a keeper.
type logs struct{ lines chan map[string]any }

func newLogs() (logs, *slog.Logger) {
	l := logs{make(chan map[string]any, 4096)}
	return l, slog.New(slog.NewJSONHandler(l, nil))
}

func (l logs) Write(line []byte) (int, error) {
	var values map[string]any
	err := json.Unmarshal(line, &values)
	l.lines <- values
	return len(line), err
}

// wait reads until there is a message about a path, which may be empty for any.
func (l logs) wait(t *testing.T, message, path string) map[string]any {
	t.Helper()
	for {
		select {
		case line := <-l.lines:
			if line["msg"] == message && (path == "" || line["path"] == path) {
				return line
			}
		case <-t.Context().Done():
			t.Fatalf("no message %q about %q", message, path)
		}
	}
}

// collection is evidence as a daemon makes it, with nothing beside it.
func collection(t *testing.T, x *attesttest.TDX) []byte {
	t.Helper()
	data, err := attest.Collection{Type: attest.CollectionType, Items: map[string]attest.Item{
		attest.LabelEvidence: {MediaType: attest.TypeTDXQuote, Value: x.QuoteBytes(), Indicator: attest.IndicatorEvidence},
	}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// keep runs a keeper until the test ends.
func keep(t *testing.T, f *endorse.Fetcher, folder *endorse.Folder) (*endorse.Keeper, logs) {
	t.Helper()
	l, log := newLogs()
	k := endorse.NewKeeper(f, folder, log)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k, l
}

const (
	lacking  = "evidence goes without endorsements, relying parties cannot decide"
	complete = "evidence has all endorsements"
	fetched  = "endorsement fetched"
	failed   = "endorsement could not be fetched"
	ending   = "endorsement ends soon, relying parties cannot decide after that"
)

// now is a platform whose endorsements are good now.
func now(t *testing.T, m *maker) (*attesttest.TDX, *attest.Platform, *endorse.Fetcher) {
	t.Helper()
	x := attesttest.NewTDX(t, time.Now())
	p, err := attest.TDXPlatformOf(x.QuoteBytes())
	if err != nil {
		t.Fatal(err)
	}
	m.publishTDX(&p, x.Collateral())
	return x, &p, m.fetcher(t, attest.EndorsementRoots{Intel: x.Root()})
}

func TestKeeper(t *testing.T) {
	m, folder := newMaker(t), openFolder(t, t.TempDir())
	x, _, f := now(t, m)
	k, l := keep(t, f, folder)
	k.Observe(collection(t, x))
	line := l.wait(t, lacking, "")
	if got, want := line["path"], "sgx-pck-crl.der,sgx-root-crl.der,tdx-qe-identity.json,tdx-tcb-info.json"; got != want || line["code"] != string(verdict.EndorsementMissing) {
		t.Errorf("got %v and code %v, want %s", got, line["code"], want)
	}
	for _, name := range []string{"tdx-tcb-info.json", "tdx-qe-identity.json", "sgx-pck-crl.der", "sgx-root-crl.der"} {
		l.wait(t, fetched, name)
	}
	l.wait(t, complete, "")
	c := x.Collateral()
	if e, err := folder.Read(attest.LabelTCBInfo); err != nil || !bytes.Contains(e.Value, []byte(`"tcbInfo"`)) || !bytes.Equal(e.Chain, c.TCBInfoChain) {
		t.Errorf("got %d bytes and %v", len(e.Value), err)
	}
	// The same again asks nobody.
	asked := len(m.requests())
	k.Observe([]byte("nonsense"))
	l.wait(t, "evidence does not say which endorsements it wants", "")
	k.Observe(collection(t, x))
	// Another platform does.
	other := attesttest.NewTDX(t, time.Now())
	other.PCK.FMSPC = [6]byte{1, 2, 3, 4, 5, 6}
	k.Observe(collection(t, other))
	line = l.wait(t, failed, "tdx-tcb-info.json")
	if line["code"] != string(verdict.EndorsementMissing) || line["attempt"] != 1.0 {
		t.Errorf("got %v, want code %s at the first attempt", line, verdict.EndorsementMissing)
	}
	if strings.Contains(line["err"].(string), "fmspc") {
		t.Errorf("the log has the address: %v", line["err"])
	}
	for _, uri := range m.requests()[asked:] {
		if strings.Contains(uri, "00806f05") {
			t.Errorf("asked for %s again", uri)
		}
	}
}

// While the service is away, what is there stays, as it does when the service goes back.
func TestKeeperKeeps(t *testing.T) {
	for name, change := range map[string]func(*maker, *attesttest.TDX, *attest.Platform){
		"down": func(m *maker, _ *attesttest.TDX, _ *attest.Platform) {
			m.on(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
		},
		"older": func(m *maker, x *attesttest.TDX, p *attest.Platform) {
			x.TCBInfo["tcbEvaluationDataNumber"] = 16
			m.publishTDX(p, x.Collateral())
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, folder := newMaker(t), openFolder(t, t.TempDir())
			x, p, f := now(t, m)
			// So little of its life is left that it is due.
			x.TCBInfo["nextUpdate"] = time.Now().Add(10 * time.Minute).UTC().Format(time.RFC3339)
			before := x.Collateral()
			items := before.Endorsements()
			for _, label := range p.Endorsements() {
				if err := folder.Write(label, endorse.Endorsement{Value: items[label].Value, Chain: items[attest.ChainOf(label)].Value}); err != nil {
					t.Fatal(err)
				}
			}
			change(m, x, p)
			k, l := keep(t, f, folder)
			k.Observe(collection(t, x))
			line := l.wait(t, ending, "tdx-tcb-info.json")
			if line["code"] != string(verdict.EndorsementExpired) || line["until"] != x.TCBInfo["nextUpdate"] {
				t.Errorf("got %v, want the end at %v", line, x.TCBInfo["nextUpdate"])
			}
			l.wait(t, complete, "")
			l.wait(t, failed, "tdx-tcb-info.json")
			if e, err := folder.Read(attest.LabelTCBInfo); err != nil || !bytes.Equal(e.Value, before.TCBInfo) {
				t.Errorf("got %d bytes and %v, want what was there", len(e.Value), err)
			}
			for _, uri := range m.requests() {
				if !strings.HasPrefix(uri, "/tdx/certification/v4/tcb?") {
					t.Errorf("asked for %s, which is not due", uri)
				}
			}
		})
	}
}

// What the host gives beside the evidence need not be fetched until it ends.
func TestKeeperTakesTheHosts(t *testing.T) {
	m, folder := newMaker(t), openFolder(t, t.TempDir())
	x, _, f := now(t, m)
	c, err := attest.ParseCollection(collection(t, x))
	if err != nil {
		t.Fatal(err)
	}
	collateral := x.Collateral()
	c.Items[attest.LabelEndorsements] = attest.Item{Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: collateral.Endorsements()}}
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	k, l := keep(t, f, folder)
	k.Observe(data)
	l.wait(t, complete, "")
	if asked := m.requests(); len(asked) != 0 {
		t.Errorf("got the requests %q, want none", asked)
	}
}

// TestKeeperTells: without a folder nobody is asked, and the log says the same of what
// comes with evidence: what is missing, that nothing is, and once what ends soon.
func TestKeeperTells(t *testing.T) {
	m := newMaker(t)
	x, _, f := now(t, m)
	with := func(change func(map[string]attest.Item)) []byte {
		t.Helper()
		c, err := attest.ParseCollection(collection(t, x))
		if err != nil {
			t.Fatal(err)
		}
		collateral := x.Collateral()
		items := collateral.Endorsements()
		change(items)
		c.Items[attest.LabelEndorsements] = attest.Item{Nested: &attest.Collection{Type: attest.TypeEndorsements, Items: items}}
		data, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	watch := func(collection []byte) logs {
		t.Helper()
		k, l := keep(t, f, nil)
		k.Observe(collection)
		return l
	}
	l := watch(with(func(items map[string]attest.Item) { delete(items, attest.LabelPCKCRL) }))
	if line := l.wait(t, lacking, ""); line["path"] != "sgx-pck-crl.der" {
		t.Errorf("got %v, want the list", line)
	}
	l = watch(with(func(map[string]attest.Item) {}))
	l.wait(t, complete, "")
	x.QEIdentity["nextUpdate"] = time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	l = watch(with(func(map[string]attest.Item) {}))
	if line := l.wait(t, ending, ""); line["path"] != "tdx-qe-identity.json" || line["level"] != "WARN" {
		t.Errorf("got %v, want the QE identity alone", line)
	}
	if asked := m.requests(); len(asked) != 0 {
		t.Errorf("asked for %q", asked)
	}
	if testing.Short() {
		return // it is not looked at each piece of evidence: some seconds pass
	}
	k, l := keep(t, f, nil)
	k.Observe(collection(t, x))
	l.wait(t, lacking, "")
	k.Observe(with(func(map[string]attest.Item) {}))
	l.wait(t, complete, "")
}

func TestSchedule(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, c := range []struct {
		name, label   string
		issued, until time.Duration
		want          time.Duration
	}{
		{"a-month", attest.LabelTCBInfo, -day, 29 * day, day},
		{"a-quarter-is-left", attest.LabelTCBInfo, -30 * day, 10*day + 12*time.Hour, 9 * time.Hour},
		{"ended", attest.LabelPCKCRL, -40 * day, -day, -day - 39*day/4},
		{"certificate", attest.LabelVCEK, -day, 365 * day, 365*day - endorse.RenewBefore},
	} {
		e := attest.Edition{Issued: at.Add(c.issued), Until: at.Add(c.until)}
		got := endorse.NextOf(c.label, e, at, day).Sub(at)
		if got != c.want {
			t.Errorf("%s: due after %v, want %v", c.name, got, c.want)
		}
	}
	for name, c := range map[string]struct{ issued, until, soon time.Duration }{
		"a month":     {-10 * day, 20 * day, 20*day - 30*day/8},
		"a day":       {0, day, 21 * time.Hour},
		"seven years": {-day, 7 * 365 * day, 7*365*day - endorse.RenewBefore/2},
	} {
		e := attest.Edition{Issued: at.Add(c.issued), Until: at.Add(c.until)}
		if got := endorse.SoonOf(e).Sub(at); got != c.soon {
			t.Errorf("%s: ends soon after %v, want %v", name, got, c.soon)
		}
	}
	for n, least := range map[int]time.Duration{1: endorse.LeastPause, 2: 2 * endorse.LeastPause, 20: endorse.MostPause, 1 << 20: endorse.MostPause} {
		if got := endorse.PauseAfter(n, nil); got < least || got > 2*least {
			t.Errorf("after %d failures: got %v, want %v and jitter", n, got, least)
		}
	}
	asked := verdict.Fail(verdict.EndorsementMissing, "later")
	asked.RetryAfter = 2 * time.Hour
	if got := endorse.PauseAfter(1, asked); got < 2*time.Hour {
		t.Errorf("got %v, want the two hours that the service asked for", got)
	}
}
