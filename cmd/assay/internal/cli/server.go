// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assayd/assay/attest"
	"github.com/assayd/assay/audit/proof"
	"github.com/assayd/assay/cmd/assay/internal/owner"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/node/trust"
	"github.com/assayd/assay/spiffe"
	"github.com/assayd/assay/verdict"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
	"github.com/assayd/assay/verifier"
)

// serverFlags say which daemon to ask and whom to believe.
type serverFlags struct{ addr, trust, workloadAPI string }

func (f *serverFlags) register(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.addr, "server", "", "ask the daemon at `HOST:PORT`, after appraising it")
	s.StringVar(&f.trust, "trust", "", "trust.yaml `FILE` that says which daemon to believe")
	s.StringVar(&f.workloadAPI, "workload-api", "", "SPIFFE Workload API, unix:///`PATH` (default that of trust.yaml)")
}

// config reads trust.yaml.
func (f *serverFlags) config() (trust.Config, error) {
	if f.trust == "" {
		return trust.Config{}, verdict.Misused("without it nothing says which daemon to believe; assay dev init makes one", "flag --trust names no file")
	}
	path, err := filepath.Abs(f.trust)
	if err != nil {
		return trust.Config{}, verdict.Misused("", "reading trust.yaml: %w", err)
	}
	c, err := trust.Load(path)
	if err == nil && f.workloadAPI != "" {
		c.WorkloadAPI = f.workloadAPI
	}
	return c, err
}

// A link is a connection to one daemon.
type link struct {
	config trust.Config
	src    *spiffe.Source
	conn   *trust.Conn
}

// dial gets an SVID and prepares the connection.
func (f *serverFlags) dial(ctx context.Context) (*link, error) {
	c, err := f.config()
	if err != nil {
		return nil, err
	}
	src, err := spiffe.OpenSource(ctx, c.WorkloadAPI)
	if err != nil {
		return nil, err
	}
	conn, err := trust.Dial(c, f.addr, src)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return &link{config: c, src: src, conn: conn}, nil
}

func (l *link) close() error { return errors.Join(l.conn.Close(), l.src.Close()) }

// An asked daemon is one that was appraised now.
type asked struct {
	*link
	head verdict.CheckedHead
	trust.Appraisal
}

// appraise connects to the daemon, and appraises it as a node does. What a node
// on this machine has seen before counts too.
func (a *app) appraise(ctx context.Context, f *serverFlags) (*asked, error) {
	d, _, err := a.ask(ctx, f)
	return d, err
}

// ask does so, and returns the appraisal that it made, also where that is a refusal.
func (a *app) ask(ctx context.Context, f *serverFlags) (*asked, trust.Attempt, error) {
	l, err := f.dial(ctx)
	if err != nil {
		return nil, trust.Attempt{}, err
	}
	var marks gate.Marks
	switch state, err := gate.OpenState(l.config.StateDir, l.config.AgentUID); {
	case errors.Is(err, fs.ErrNotExist): // no node runs here
	case err != nil:
		a.warn("an older head or daemon than a node here has seen would pass: %v", err)
	default:
		if marks, err = state.Marks(); err != nil {
			return nil, trust.Attempt{}, errors.Join(verdict.Fail(verdict.Internal, "reading marks: %w", err), l.close())
		}
	}
	heads := trust.NewHeads(l.config, marks)
	appraisal, made, err := l.config.AskDaemon(ctx, l.conn, heads, nil)
	if err != nil {
		a.noteMissingIn(made.Collection, err)
		return nil, made, firstOf(err, l.close())
	}
	head, _, _ := heads.Current()
	if err := head.CheckAt(time.Now()); err != nil {
		return nil, made, firstOf(err, l.close())
	}
	if appraisal.Simulated {
		a.note(verdict.EvidenceSimulated, "the daemon runs in a simulator: its evidence proves nothing about hardware")
	}
	if appraisal.Unwitnessed {
		a.note(verdict.LogUnwitnessed, "nobody but the daemon vouches for its log: unwitnessed")
	}
	return &asked{link: l, head: head, Appraisal: appraisal}, made, nil
}

// firstOf keeps the reason apart from trouble at closing, which adds nothing.
func firstOf(err, closing error) error {
	if err != nil {
		return err
	}
	return closing
}

// verifyByServer asks the daemon, and believes what it signed.
func (a *app) verifyByServer(ctx context.Context, ref verifier.Reference, f *verifyFlags, _ time.Time, explain bool, ans *answer) (*answer, error) {
	if ref.Layout != "" {
		return ans, verdict.Misused("name it in its registry", "a daemon cannot read the layout %s of this machine", ref.Layout)
	}
	img, _, closeSource, err := a.resolve(ctx, ref, f)
	defer closeSource()
	ans.Image = imageRef{Name: img.Repository, Digest: img.Digest}
	if err != nil {
		return ans, err
	}
	d, err := a.appraise(ctx, &f.server)
	if err != nil {
		return ans, err
	}
	if d.config.Quorum > 1 {
		return ans, firstOf(verdict.Misused("give it a trust.yaml of its own with quorum: 1", "trust.yaml demands that %d daemons decide, and this command asks one", d.config.Quorum), d.close())
	}
	resp, err := d.conn.Verify(ctx, &assayv1.VerifyRequest{Repository: img.Repository, Digest: string(img.Digest), HeadCounter: d.head.Counter, OwnCore: true})
	if err != nil {
		return ans, firstOf(d.conn.Err(err), d.close())
	}
	if explain {
		a.explainByServer(ctx, d, img, ans)
	}
	err = a.judge(ctx, d, img, f.namespace, resp, ans)
	a.explainHint(ans, f, explain)
	if err != nil {
		return ans, withCodeHint(ans, firstOf(err, d.close()))
	}
	return ans, d.close()
}

// judge decides by what the daemon signed: a core, or a ticket where the caller is a
// node. What is not signed can only withhold.
func (a *app) judge(ctx context.Context, d *asked, img verifier.Image, namespace string, resp *assayv1.VerifyResponse, ans *answer) error {
	now := time.Now()
	deny := d.head.DenyAt(now)
	if deny.DeniesImage(img.Digest) || deny.DeniesRepository(img.Repository) {
		return verdict.Refuse(verdict.RevokedImage, "applying deny list: owners denied %s", img)
	}
	switch {
	case len(resp.GetCore()) > 0:
		return a.judgeCore(ctx, d, img, namespace, resp, now, ans)
	case resp.GetTicket() != "":
		return a.judgeTicket(d, img, namespace, resp.GetTicket(), now, ans)
	}
	for _, r := range resp.GetReasons() {
		return r.Err()
	}
	return verdict.Fail(verdict.Internal, "asking the daemon: it gave neither a core nor a reason")
}

func (a *app) judgeCore(ctx context.Context, d *asked, img verifier.Image, namespace string, resp *assayv1.VerifyResponse, now time.Time, ans *answer) error {
	core, err := verdict.OpenCore(resp.GetCore(), d.Issuer.Statement.Keys)
	if err != nil {
		return err
	}
	if err := d.checkCore(core, img, now); err != nil {
		return err
	}
	ext := core.Predicate.Extension
	outcome := outcomeFor(ext.Namespaces, namespace)
	ans.Result, ans.Reasons = string(outcome), ext.Reasons
	if outcome != verdict.OutcomePass && len(ext.Reasons) == 0 {
		ans.Reasons = []verdict.Reason{{Code: verdict.PolicyNoRule, Text: "no rule lets it through in this namespace"}}
	}
	if outcome == verdict.OutcomePass {
		ans.Reasons = nil
	}
	if len(ans.Reasons) > 0 {
		ans.Code = ans.Reasons[0].Code
		if i, ok := ans.Code.Info(); ok {
			ans.Hint = i.Hint
		}
	}
	if len(ext.Rules) > 0 {
		ans.Rule = ext.Rules[len(ext.Rules)-1]
	}
	if outcome != verdict.OutcomePass {
		return nil
	}
	if ans.text == "" {
		ans.text = corePassText(ans, core, d)
	}
	return a.checkLogged(ctx, d, core, resp.GetLog())
}

// checkCore refuses a core that is about something else than what was asked, or
// was reached under something else than what owners say is current.
func (d *asked) checkCore(core verdict.SignedCore, img verifier.Image, now time.Time) error {
	ext := core.Predicate.Extension
	mismatch := func(format string, args ...any) error {
		return verdict.Refuse(verdict.SubjectMismatch, "checking core %s: "+format, append([]any{core.Digest.Short()}, args...)...)
	}
	switch {
	case len(core.Subject) == 0 || core.Subject[0].Digest[img.Digest.Algorithm()] != img.Digest.Hex():
		return mismatch("it is about another image than %s", img.Digest)
	case core.Predicate.ResourceURI != img.Repository:
		return verdict.Refuse(verdict.SubjectRepository, "checking core %s: it is for repository %.128q, asked was %s", core.Digest.Short(), core.Predicate.ResourceURI, img.Repository)
	case core.Predicate.Verifier.ID != d.Issuer.Statement.Issuer:
		return verdict.Refuse(verdict.IssuerIdentity, "checking core %s: its verifier is %.255q, the daemon is %s", core.Digest.Short(), core.Predicate.Verifier.ID, d.Issuer.Statement.Issuer)
	case core.Predicate.Policy.Digest[d.head.Policy.Algorithm()] != d.head.Policy.Hex():
		return verdict.Refuse(verdict.IssuerPolicy, "checking core %s: its policy is not that of head %d", core.Digest.Short(), d.head.Counter)
	case ext.Cluster != d.config.Cluster:
		return mismatch("it is for cluster %.128q, this is %s", ext.Cluster, d.config.Cluster)
	case ext.Roots != d.head.Roots && !d.fetchesRoots():
		return verdict.Refuse(verdict.IssuerRoots, "checking core %s: its roots are not those of head %d", core.Digest.Short(), d.head.Counter)
	// A core outlives its head as long as policy, roots and deny documents stay.
	case ext.Head > d.head.Counter || ext.Deny != verdict.DenyDigest(d.head.ActiveDocs(now)):
		return verdict.Refuse(verdict.TicketHead, "checking core %s: reached under head %d, and not with the deny documents of head %d", core.Digest.Short(), ext.Head, d.head.Counter)
	case ext.NotAfter != 0 && now.Unix() >= ext.NotAfter:
		return verdict.Refuse(verdict.TicketExpired, "checking core %s: it ended %s", core.Digest.Short(), utcUnix(ext.NotAfter))
	}
	return nil
}

// outcomeFor is the outcome of the most specific pattern; none is a refusal.
func outcomeFor(res map[string]verdict.Outcome, namespace string) verdict.Outcome {
	out, best := verdict.OutcomeFail, -1
	for p, o := range res {
		length := len(p)
		if p == namespace {
			length = verdict.MaxNamespace + 1 // exact
		}
		if verdict.MatchNamespace(p, namespace) && length > best {
			out, best = o, length
		}
	}
	return out
}

func (a *app) judgeTicket(d *asked, img verifier.Image, namespace, token string, now time.Time, ans *answer) error {
	t, err := verdict.CheckTicket(token, verdict.TicketCheck{At: now, Node: d.config.Node, Cluster: d.config.Cluster, Digest: img.Digest, Repository: img.Repository,
		Namespace: namespace, Issuers: []verdict.Issuer{d.Issuer}, Head: d.head, HeadSince: now})
	if err != nil {
		return err
	}
	outcome, _ := t.Outcome(namespace)
	ans.Result, ans.Code = string(outcome), t.Code
	if t.Code != "" {
		ans.Reasons = []verdict.Reason{{Code: t.Code, Text: "the ticket says " + string(outcome)}}
	}
	if ans.text == "" {
		ans.text = ticketText(t, outcome)
	}
	return nil
}

// checkLogged proves that the verdict is in the daemon's log.
func (a *app) checkLogged(ctx context.Context, d *asked, core verdict.SignedCore, at *assayv1.LogPosition) error {
	if at == nil {
		return verdict.Refuse(verdict.LogMissing, "checking core %s: the daemon does not say where it is written down", core.Digest.Short())
	}
	ref := d.Issuer.Statement.Log
	if at.GetOrigin() != ref.Origin {
		return verdict.Refuse(verdict.LogMismatch, "checking core %s: it is in log %.128q, the daemon's is %s", core.Digest.Short(), at.GetOrigin(), ref.Origin)
	}
	answer, err := d.conn.GetProof(ctx, &assayv1.GetProofRequest{Origin: ref.Origin, Index: at.GetIndex()})
	if err != nil {
		return d.conn.Err(err)
	}
	_, leaf, err := d.config.CheckLeaf(ref, at.GetIndex(), answer)
	if err != nil {
		return err
	}
	if leaf.Kind != verdict.LeafVerdict || verdict.DigestFromBytes(leaf.Object) != core.Digest {
		return verdict.Refuse(verdict.LogMismatch, "checking core %s: leaf %d is about something else", core.Digest.Short(), at.GetIndex())
	}
	return nil
}

func corePassText(ans *answer, core verdict.SignedCore, d *asked) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pass %s by rule %q\n", printable(ans.Image.String()), printable(ans.Rule))
	for _, i := range core.Predicate.Extension.Identities {
		who := "key " + string(i.Key)
		if i.SAN != "" {
			who = i.SAN + " of " + i.Issuer
		}
		fmt.Fprintf(&b, "  signed by %q: %s\n", printable(i.Authority), printable(who))
	}
	fmt.Fprintf(&b, "  decided by %s under head %d, %s evidence, core %s\n", printable(d.Issuer.Statement.Issuer), d.head.Counter, d.Result.Binding, core.Digest)
	return b.String()
}

// explainByServer adds the daemon's explanation, which nobody signed.
func (a *app) explainByServer(ctx context.Context, d *asked, img verifier.Image, ans *answer) {
	resp, err := d.conn.Explain(ctx, &assayv1.ExplainRequest{Repository: img.Repository, Digest: string(img.Digest)})
	if err != nil {
		a.warn("no explanation: %v", d.conn.Err(err))
		return
	}
	var e verifier.Explanation
	if err := json.Unmarshal(resp.GetExplanation(), &e); err != nil {
		a.warn("no explanation: the daemon's is none: %v", err)
		return
	}
	ans.Value, ans.text = &e, explanationText(&e)
}

func (a *app) headPutCommand() *cobra.Command {
	var f serverFlags
	c := a.command("put HEAD.json --server ADDR --trust trust.yaml", "Deliver a head set to a daemon; it counts only as far as owners signed it",
		"  assay head put owners/head.json --server 10.0.0.7:8443 --trust trust.yaml", exactly(1, "a head set"),
		func(ctx context.Context, args []string) (*answer, error) {
			if f.addr == "" {
				return nil, verdict.Misused("name the daemon with --server", "delivering head: no daemon is named")
			}
			set, err := owner.LoadSet(args[0])
			if err != nil {
				return nil, err
			}
			c, err := f.config()
			if err != nil {
				return nil, err
			}
			head, err := c.OpenHead(set)
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
			defer cancel()
			defer a.progress("delivering head")()
			l, err := f.dial(ctx)
			if err != nil {
				return nil, err
			}
			data, err := set.Encode()
			if err != nil {
				return nil, firstOf(err, l.close())
			}
			resp, err := assayv1.SendHead(ctx, l.conn, data)
			if err != nil {
				return nil, firstOf(l.conn.Err(err), l.close())
			}
			if resp.GetHeadCounter() != head.Counter {
				return nil, firstOf(verdict.Refuse(verdict.HeadRollback, "delivering head %d: the daemon has %d", head.Counter, resp.GetHeadCounter()), l.close())
			}
			return done(describeHead(head, time.Now()), "head %d is in force at %s\n", head.Counter, f.addr), l.close()
		})
	f.register(c)
	return c
}

// appraisalInfo says what an appraisal found.
type appraisalInfo struct {
	Statement   verdict.Digest `json:"statement"`
	Issuer      string         `json:"issuer"`
	Kind        string         `json:"kind"`
	Binding     string         `json:"binding"`
	Measurement string         `json:"measurement"`
	// Registers are those of a TD, or of a VM of Azure, beside its measurement.
	Registers map[string]string `json:"registers,omitempty"`
	// TCBStatus and Advisories are what Intel says of a TDX platform, Relaxed the
	// relaxations of trust.yaml that the evidence needed.
	TCBStatus  string   `json:"tcbStatus,omitempty"`
	Advisories []string `json:"advisories,omitempty"`
	Relaxed    []string `json:"relaxed,omitempty"`
	// Azure is what the paravisor of a VM of Azure says of the machine.
	Azure       *azureMachine `json:"azure,omitempty"`
	Entry       string        `json:"entry"`
	Profile     string        `json:"profile"`
	Simulated   bool          `json:"simulated"`
	Unwitnessed bool          `json:"unwitnessed"`
	Head        uint64        `json:"head"`
	NotAfter    string        `json:"notAfter"`
	// EAR is the result as draft-ietf-rats-ear has it, with a reason for each claim.
	EAR attest.EAR `json:"ear"`

	claims string
}

// describeAppraisal says what an appraisal by this build of assay found.
func describeAppraisal(p trust.Appraisal, build string) appraisalInfo {
	s, g := p.Issuer.Statement, p.Result.Grounds()
	return appraisalInfo{Azure: machineOf(p.Result.Azure), Registers: p.Issuer.Registers, TCBStatus: string(p.Result.Status), Advisories: p.Result.Advisories, Relaxed: p.Result.Relaxed,
		Statement: p.Issuer.Digest, Issuer: s.Issuer, Kind: p.Issuer.Kind, Binding: string(p.Result.Binding), Measurement: p.Issuer.Measurement,
		Entry: p.Result.Entry.Name, Profile: p.Result.Entry.Profile, Simulated: p.Simulated, Unwitnessed: p.Unwitnessed, Head: s.Head.Counter, NotAfter: utcUnix(s.NotAfter),
		EAR: attest.NewEAR(p.Accepted, build, p.Result.Claims, g), claims: claimsText(p.Result.Claims, p.Result.Claims.Reasons(g), "")}
}

func (i appraisalInfo) text() string {
	var more strings.Builder
	for _, name := range slices.Sorted(maps.Keys(i.Registers)) {
		fmt.Fprintf(&more, "%s %s\n", name, i.Registers[name])
	}
	if i.TCBStatus != "" {
		fmt.Fprintf(&more, "platform %s\n", printable(strings.Join(append([]string{i.TCBStatus}, i.Advisories...), " ")))
	}
	if len(i.Relaxed) > 0 {
		fmt.Fprintf(&more, "relaxed %s\n", strings.Join(i.Relaxed, " "))
	}
	if i.Azure != nil {
		fmt.Fprintf(&more, "machine %s of Azure, secure boot %t\n", printable(i.Azure.VMUniqueID), i.Azure.SecureBoot)
	}
	more.WriteString(i.claims)
	return fmt.Sprintf("accepted statement %s\nissuer %s under head %d until %s\nevidence %s, bound to %s, measurement %s\nreference entry %q, profile %s\nsimulated %t, unwitnessed %t\n%s",
		i.Statement, printable(i.Issuer), i.Head, i.NotAfter, i.Kind, i.Binding, i.Measurement, printable(i.Entry), i.Profile, i.Simulated, i.Unwitnessed, more.String())
}

func (a *app) statementAppraiseCommand() *cobra.Command {
	var f serverFlags
	var head, nonce, at string
	c := a.command("appraise [FILE --head HEAD.json] [--server ADDR] --trust trust.yaml", "Appraise an issuer statement by its evidence, in a file or of a daemon",
		"  assay statement appraise --server 10.0.0.7:8443 --trust trust.yaml\n  assay statement appraise collection.cmw --head head.json --trust trust.yaml", between(0, 1, "a collection, or none with --server"),
		func(ctx context.Context, args []string) (*answer, error) {
			if (len(args) == 1) == (f.addr != "") {
				return nil, verdict.Misused("name a file, or a daemon with --server", "appraising: want exactly one of a collection and --server")
			}
			if f.addr != "" {
				ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
				defer cancel()
				defer a.progress("appraising the daemon")()
				d, err := a.appraise(ctx, &f)
				if err != nil {
					return nil, err
				}
				i := describeAppraisal(d.Appraisal, a.env.Version)
				return done(i, "%s", i.text()), d.close()
			}
			p, err := a.appraiseFile(args[0], head, nonce, at, &f)
			if err != nil {
				return nil, err
			}
			i := describeAppraisal(p, a.env.Version)
			return done(i, "%s", i.text()), nil
		})
	f.register(c)
	s := c.Flags()
	s.StringVar(&head, "head", "", "head set in force, for a file: `FILE`")
	s.StringVar(&nonce, "nonce", "", "your nonce, 64 hex digits (default: published evidence, for auditors)")
	s.StringVar(&at, "at", "", "`TIME` of the appraisal of a file, RFC 3339 (default now)")
	return c
}

func (a *app) appraiseFile(path, headPath, nonce, at string, f *serverFlags) (trust.Appraisal, error) {
	c, err := f.config()
	if err != nil {
		return trust.Appraisal{}, err
	}
	q, when, err := a.question(c, headPath, nonce, at)
	if err != nil {
		return trust.Appraisal{}, err
	}
	collection, err := a.read("collection", path, attest.MaxCollectionSize)
	if err != nil {
		return trust.Appraisal{}, err
	}
	p, err := c.Appraise(collection, q, when)
	a.noteMissingIn(collection, err)
	return p, err
}

// proofFromServer makes the proof file of a leaf from a daemon that was appraised,
// and returns the statement that it names: that of the daemon, or an earlier one of
// its boot, which the same log vouches for.
func (a *app) proofFromServer(ctx context.Context, f *logFlags, w place) ([]byte, verdict.Digest, error) {
	if !w.hasIndex {
		return nil, "", verdict.Misused("name the leaf by index or --ticket", "reading log: a daemon is asked for a leaf by its index")
	}
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	d, err := a.appraise(ctx, &f.server)
	if err != nil {
		return nil, "", err
	}
	data, statement, err := d.proofFile(ctx, w)
	if err != nil {
		return nil, "", firstOf(err, d.close())
	}
	return data, statement, d.close()
}

func (d *asked) proofFile(ctx context.Context, w place) ([]byte, verdict.Digest, error) {
	ref := d.Issuer.Statement.Log
	if w.origin != "" && w.origin != ref.Origin {
		return nil, "", verdict.Refuse(verdict.LogMissing, "reading log: the daemon's running shard is %s, not %.128q", ref.Origin, w.origin)
	}
	answer, err := d.conn.GetProof(ctx, &assayv1.GetProofRequest{Origin: ref.Origin, Index: w.index})
	if err != nil {
		return nil, "", d.conn.Err(err)
	}
	_, leaf, err := d.config.CheckLeaf(ref, w.index, answer)
	if err != nil {
		return nil, "", err
	}
	statement, err := d.statementOf(ctx, leaf)
	if err != nil {
		return nil, "", err
	}
	p, err := proof.ParseTLogProof(answer.GetProof())
	if err != nil {
		return nil, "", err
	}
	return proof.File{Proof: p, Leaf: answer.GetLeaf(), Statement: statement, Object: answer.GetObject()}.Marshal(), verdict.SHA256(statement), nil
}

// statementOf returns the statement that a leaf names: the one that was appraised,
// or the first of its boot.
func (d *asked) statementOf(ctx context.Context, leaf verdict.Leaf) ([]byte, error) {
	want := verdict.DigestFromBytes(leaf.Statement)
	if want == d.Issuer.Digest {
		return d.Issuer.Statement.Encode()
	}
	first, err := d.conn.GetProof(ctx, &assayv1.GetProofRequest{Origin: d.Issuer.Statement.Log.Origin, Index: 0})
	if err != nil {
		return nil, d.conn.Err(err)
	}
	collection, err := attest.ParseCollection(first.GetObject())
	if err != nil {
		return nil, err
	}
	if raw := collection.Items[attest.LabelStatement].Value; verdict.SHA256(raw) == want {
		return raw, nil
	}
	return nil, verdict.Refuse(verdict.TicketStatement, "reading log: the leaf names statement %s, which is neither the one in force nor the first of its boot; read it from the log folder", want.Short())
}

// fetchesRoots says whether the head's roots file points to something that is
// fetched: a core then names the digest of that too, which this side cannot
// know.
func (d *asked) fetchesRoots() bool {
	data, err := d.head.Set.File("roots", d.head.Roots)
	if err != nil {
		return false
	}
	roots, err := verifier.ParseRoots(data)
	return err == nil && roots.Fetched()
}
