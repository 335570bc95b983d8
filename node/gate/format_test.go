// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/ci/fuzz"
	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

func TestParseName(t *testing.T) {
	for _, test := range []struct {
		in, repository string
		digest         verdict.Digest
	}{
		{"registry.example/app", "registry.example/app", ""},
		{"registry.example/app:v1", "registry.example/app", ""},
		{"registry.example:5000/team/app:v1", "registry.example:5000/team/app", ""},
		{"127.0.0.1:5000/app:idx", "127.0.0.1:5000/app", ""},
		{"localhost/app", "localhost/app", ""},
		{"docker.io/library/alpine:3.20", "docker.io/library/alpine", ""},
		{"docker.io/alpine", "docker.io/library/alpine", ""},
		{"index.docker.io/alpine:latest", "docker.io/library/alpine", ""},
		{"registry-1.docker.io/team/app", "docker.io/team/app", ""},
		{"Registry.Example:443/app", "registry.example/app", ""},
		{"registry.example/app@" + string(image), "registry.example/app", image},
		{"registry.example/app:v1@" + string(image), "registry.example/app", image},
		{"[::1]:5000/app:v1", "[::1]:5000/app", ""},
		{"", "", ""},
		{"app", "", ""},
		{"app:v1", "", ""},
		{"library/alpine", "", ""},
		{"registry.example/", "", ""},
		{"registry.example/app:", "", ""},
		{"registry.example/app:v 1", "", ""},
		{"registry.example/app:-v1", "", ""},
		{"registry.example/App:v1", "", ""},
		{"registry.example//app", "", ""},
		{"registry.example/../app", "", ""},
		{"https://registry.example/app", "", ""},
		{"registry.example/app@sha256:12", "", ""},
		{"registry.example/app@" + string(image) + "@" + string(image), "", ""},
		{"registry.example/app\n:v1", "", ""},
		{"registry.example/" + strings.Repeat("a", 600), "", ""},
		{"registry.example/app:" + strings.Repeat("a", 129), "", ""},
	} {
		t.Run(test.in, func(t *testing.T) {
			repository, digest, err := gate.ParseName(test.in)
			if repository != test.repository || digest != test.digest {
				t.Errorf("got %q, %q, %v; want %q, %q", repository, digest, err, test.repository, test.digest)
			}
			if (err == nil) != (test.repository != "") {
				t.Errorf("got %v", err)
			} else if err != nil && verdict.CodeOf(err) != verdict.InputMalformed {
				t.Errorf("got %v, want %s", err, verdict.InputMalformed)
			}
		})
	}
}

func TestConfigMisuse(t *testing.T) {
	for _, test := range []struct{ name, from, to, want string }{
		{"version", `"v": 1`, `"v": 2`, "v: got 2"},
		{"unknown member", `"mode"`, `"modes"`, `unknown field "modes"`},
		{"member in capitals", `"mode"`, `"Mode"`, `unknown member "Mode"`},
		{"duplicate member", `"mode": "enforce"`, `"mode": "enforce", "mode": "off"`, `duplicate member "mode"`},
		{"duplicate member of a key", `"kty": "EC"`, `"kty": "EC", "kty": "EC"`, `duplicate member "kty"`},
		{"mode", `"enforce"`, `"permissive"`, `mode: got "permissive"`},
		{"no mode", `"enforce"`, `""`, `mode: got ""`},
		{"offline", `"last-known"`, `"allow"`, `offline: got "allow"`},
		{"profile", `"development"`, `"test"`, `profile: got "test"`},
		{"unwitnessed in production", `"development"`, `"production"`, "allow_unwitnessed: it needs profile"},
		{"node", `"spiffe://`, `"http://`, "node: "},
		{"cluster", `"cluster": "dev"`, `"cluster": ""`, `cluster: got ""`},
		{"relative state", `"state": "/`, `"state": "`, "state: got "},
		{"threshold 0", `"threshold": 1`, `"threshold": 0`, "owners: "},
		{"threshold above keys", `"threshold": 1`, `"threshold": 2`, "owners: "},
		{"forged kid", `"kid": "`, `"kid": "x`, "owners: "},
		{"min_head", `"min_head": 1`, `"min_head": 0`, "min_head: got 0"},
		{"quorum", `"quorum": 1`, `"quorum": 0`, "quorum: got 0"},
		{"quorum_by", `"quorum": 1`, `"quorum": 1, "quorum_by": "rack"`, `quorum_by: got "rack"`},
		{"quorum as text", `"quorum": 1`, `"quorum": "1"`, "cannot unmarshal"},
		{"status age", `"5m0s"`, `"2h"`, "status_age: got 2h0m0s"},
		{"negative deadline", `"deadline": "2s"`, `"deadline": "-2s"`, "deadline: got -2s"},
		{"duration without unit", `"deadline": "2s"`, `"deadline": "2"`, `duration is "2"`},
		{"max offline", `"8h0m0s"`, `"25h"`, "max_offline: got 25h0m0s"},
		{"uid", `"agent_uid": `, `"agent_uid": -`, ""},
		{"trailing bytes", "\n}\n", "\n}\n{}", "bytes after the end"},
		{"cut off", "\n}\n", "\n", "it ends too early"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			data, err := w.config.Encode()
			check(t, err)
			if test.name == "uid" && w.config.AgentUID == 0 {
				test.to = `"agent_uid": -1`
				data = bytes.Replace(data, []byte(`"agent_uid": 0`), []byte(`"agent_uid": -1`), 1)
			}
			changed := []byte(strings.Replace(string(data), test.from, test.to, 1))
			c, err := gate.ParseConfig("gate.json", changed)
			m, ok := errors.AsType[*verdict.Misuse](err)
			if !ok || !strings.HasPrefix(m.Text, "gate.json:") || !strings.Contains(m.Text, test.want) {
				t.Fatalf("got %v, want a misuse with %q", err, test.want)
			}
			if !strings.Contains(m.Hint, "assay-node config gate") {
				t.Errorf("got hint %q", m.Hint)
			}
			if diff := cmp.Diff(gate.Config{}, c); diff != "" {
				t.Errorf("got a configuration beside the misuse: %s", diff)
			}
		})
	}
}

func TestLoadConfig(t *testing.T) {
	w := newWorld(t)
	data, err := w.config.Encode()
	check(t, err)
	path := filepath.Join(w.dir, "gate.json")
	w.file("gate.json", data)
	if _, err := gate.LoadConfig(path); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func() string{
		"relative":       func() string { return "gate.json" },
		"absent":         func() string { return path + "x" },
		"folder":         func() string { return w.dir },
		"written by all": func() string { check(t, os.Chmod(path, 0o666)); return path },
		"huge":           func() string { w.file("huge.json", make([]byte, 1<<20)); return filepath.Join(w.dir, "huge.json") },
	} {
		if _, err := gate.LoadConfig(change()); err == nil {
			t.Errorf("%s: got no error", name)
		} else if _, ok := errors.AsType[*verdict.Misuse](err); !ok {
			t.Errorf("%s: got %v, want a misuse", name, err)
		}
	}
}

func FuzzParseName(f *testing.F) {
	inputs := fuzz.New(f, []byte(name), []byte("docker.io/alpine"), []byte(repository+"@"+string(image)), []byte("[::1]:5000/a:b"), []byte("a/b:c@d"), []byte(":@/"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := string(inputs.Of(data))
		inputs.Add(strings.Contains(s, "/") && len(s) <= verdict.MaxRepository)
		repository, digest, err := gate.ParseName(s)
		if err != nil {
			if repository != "" || digest != "" || verdict.CodeOf(err) != verdict.InputMalformed {
				t.Fatalf("got %q, %q, %v", repository, digest, err)
			}
			return
		}
		if err := verdict.CheckRepository(repository); err != nil {
			t.Fatal(err)
		}
		// A canonical name stays what it is.
		if again, _, err := gate.ParseName(repository); again != repository || err != nil {
			t.Fatalf("got %q, %v; want %q", again, err, repository)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	w := newWorld(f)
	data, err := w.config.Encode()
	check(f, err)
	inputs := fuzz.New(f, data, []byte(`{"v":1}`), []byte(`{"v":1,"owners":{"keys":[{}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		c, err := gate.ParseConfig("f", data)
		if err != nil {
			if _, ok := errors.AsType[*verdict.Misuse](err); !ok || !reflect.DeepEqual(c, gate.Config{}) {
				t.Fatalf("got %v, %+v", err, c)
			}
			return
		}
		text, err := c.Encode()
		check(t, err)
		if again, err := gate.ParseConfig("f", text); err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("read back: %v, %s", err, cmp.Diff(c, again))
		}
	})
}

// frames makes inputs that are frames: mostly good ones whose JSON is edited.
type frames struct {
	*fuzz.Count
	bodies, whole fuzz.Goods
}

func newFrames(f *testing.F, bodies ...string) *frames {
	f.Helper()
	in := &frames{Count: fuzz.NewCount(f)}
	var texts, framed [][]byte
	for i, body := range bodies {
		texts, framed = append(texts, []byte(body)), append(framed, frame(body))
		f.Add([]byte{0, 0x20 + byte(i)})
		f.Add([]byte{1, 0x40 + byte(i)})
	}
	f.Add([]byte{0, 0, 255, 255, 255, 255})
	in.bodies, in.whole = fuzz.NewGoods(f, texts...), fuzz.NewGoods(f, framed...)
	return in
}

// Of returns what to feed, and counts it: past the head is what has the length that it
// says, and is JSON.
func (in *frames) Of(data []byte) []byte {
	if len(data) == 0 || data[0]%8 == 0 {
		data = in.whole.Of(data[min(1, len(data)):])
	} else {
		data = frame(string(in.bodies.Of(data[1:])))
	}
	in.Add(len(data) > 4 && int64(binary.BigEndian.Uint32(data)) == int64(len(data)-4) && json.Valid(data[4:]))
	return data
}

func FuzzReadRequest(f *testing.F) {
	inputs := newFrames(f, `{"v":1,"name":"`+name+`","digest":"`+string(image)+`"}`, `{"v":1}`)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		q, err := gate.ReadRequest(bytes.NewReader(data))
		if err != nil {
			if q != (gate.Request{}) || verdict.CodeOf(err) == verdict.Internal {
				t.Fatalf("got %+v, %v", q, err)
			}
			return
		}
		if _, _, err := gate.ParseName(q.Name); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzReadAnswer(f *testing.F) {
	w := newWorld(f)
	var buf bytes.Buffer
	check(f, gate.WriteAnswer(&buf, w.answer))
	inputs := newFrames(f, string(buf.Bytes()[4:]), `{"v":1,"statements":[{"digest":"x"}]}`, `{"v":1,"statements":[null],"tickets":null}`)
	head := w.open()
	k := gate.Knowledge{Config: w.config, Head: head}
	subject := gate.Image{Repository: repository, Digest: image}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		a, err := gate.ReadAnswer(bytes.NewReader(data))
		if err != nil {
			if !reflect.DeepEqual(a, gate.Answer{}) || verdict.CodeOf(err) == verdict.Internal {
				t.Fatalf("got %+v, %v", a, err)
			}
			return
		}
		// Whatever it says: only the world's daemon lets through.
		d := gate.Judge(k, subject, a, at)
		if d.Allowed() && d.Ticket.Iss != w.daemon.issuer.Statement.Issuer {
			t.Fatalf("got %s", d.Line())
		}
		if line := d.Line(); len(line) > 1024 || strings.ContainsAny(line, "\r\n") {
			t.Fatalf("got line %q", line)
		}
	})
}

func FuzzDescriptor(f *testing.F) {
	inputs := fuzz.New(f, query().Descriptor, []byte(`{"digest":"`+string(manifest)+`","Digest":"`+string(image)+`"}`), []byte(`{"digest":["`+string(image)+`"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = inputs.Of(data)
		inputs.Add(json.Valid(data))
		err := gate.CheckDescriptor(gate.DescriptorType, data, image, "")
		var members map[string]any
		if err == nil && (json.Unmarshal(data, &members) != nil || members["digest"] != string(image)) {
			t.Fatalf("accepted %q", data)
		}
	})
}

// FuzzStateRecords: each kind of record is read by its own decoder alone, since all five
// would take five times as long.
func FuzzStateRecords(f *testing.F) {
	w := newWorld(f)
	var records []record
	add := func(value any, parse func(t *testing.T, data []byte)) {
		data, err := json.Marshal(value)
		check(f, err)
		f.Add(byte(len(records)), []byte{0x20})
		f.Add(byte(len(records)), []byte{0xff})
		records = append(records, record{fuzz.NewGoods(f, data), parse})
	}
	add(gate.Marks{V: 1, Head: verdict.HeadRef{Counter: 1, Digest: image}, Logs: []gate.LogMark{{LogMark: verdict.LogMark{Origin: "o", Size: 1}}}}, parsed(gate.ParseMarks))
	add(gate.Issuers{V: 1, Issuers: []gate.AcceptedIssuer{{Issuer: w.daemon.issuer}}}, parsed(gate.ParseIssuers))
	add(gate.StatusRecord{V: 1, Status: w.answer.Status}, parsed(gate.ParseStatusRecord))
	add(gate.ImageRecord{V: 1, Repository: repository, Digest: image, Tickets: w.answer.Tickets, Known: map[string]int64{"": 1}}, parsed(gate.ParseImageRecord))
	add(gate.UseRecord{V: 1, Exception: []byte("x"), Digest: image, UsedAt: 1}, parsed(gate.ParseUseRecord))
	count := fuzz.NewCount(f)
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		r := records[int(which)%len(records)]
		data = r.Of(data)
		count.Add(json.Valid(data))
		r.parse(t, data)
	})
}

// A record is a kind of file of the state folder.
type record struct {
	fuzz.Goods
	parse func(t *testing.T, data []byte)
}

// parsed is a decoder whose value is looked at.
func parsed[T any](decode func([]byte) (T, error)) func(*testing.T, []byte) {
	return func(t *testing.T, data []byte) {
		t.Helper()
		_ = parse(t, decode)(data) // a refusal is as good
	}
}

// same asserts that a decoder which refuses leaves the zero value.
func same[T any](t *testing.T, got, zero T, err error) {
	t.Helper()
	if err != nil && !reflect.DeepEqual(got, zero) {
		t.Fatalf("got %+v beside %v", got, err)
	}
}
