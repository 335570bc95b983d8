// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/assayd/assay/node/gate"
	"github.com/assayd/assay/verdict"
)

// TestReadRequest: what a caller sends is bounded and whole, and names one image.
func TestReadRequest(t *testing.T) {
	request := func(v int, name string, digest verdict.Digest) string {
		return fmt.Sprintf(`{"v":%d,"name":%q,"digest":%q}`, v, name, digest)
	}
	good := request(1, name, image)
	for _, test := range []struct {
		what string
		sent []byte
		code verdict.Code
		text string
	}{
		{what: "good", sent: frame(good)},
		{what: "the largest", sent: frame(good + strings.Repeat(" ", gate.MaxRequest-len(good)))},
		{"nothing", nil, verdict.AgentUnreachable, "EOF"},
		{"half a length", frame(good)[:3], verdict.AgentUnreachable, "unexpected EOF"},
		{"half a request", frame(good)[:40], verdict.AgentUnreachable, "unexpected EOF"},
		{"above the limit", frame(good + strings.Repeat(" ", gate.MaxRequest+1-len(good))), verdict.InputMalformed, "8193 bytes, want at most 8192"},
		{"no JSON", frame("hello"), verdict.InputMalformed, "reading message: 1:1"},
		{"another version", frame(request(2, name, image)), verdict.InputMalformed, "version 2, want 1"},
		{"no digest", frame(request(1, name, "sha256:12")), verdict.InputMalformed, "reading request: "},
		{"no name", frame(request(1, "app", image)), verdict.InputMalformed, "reading image name: "},
	} {
		q, err := gate.ReadRequest(bytes.NewReader(test.sent))
		if verdict.CodeOf(err) != test.code || err != nil && !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: got %v, want %q with %q", test.what, err, test.code, test.text)
		}
		want := gate.Request{V: 1, Name: name, Digest: image}
		if err != nil {
			want = gate.Request{}
		}
		if q != want {
			t.Errorf("%s: got %+v beside %v", test.what, q, err)
		}
	}
}

// TestLimitsOfTheInput: what is too long is refused for that, whatever else it says.
func TestLimitsOfTheInput(t *testing.T) {
	_, _, err := gate.ParseName("registry.example/" + strings.Repeat("a", 900))
	if verdict.CodeOf(err) != verdict.InputMalformed || !strings.Contains(err.Error(), "reading image name: 917 bytes, want at most") {
		t.Errorf("name: got %v", err)
	}
	descriptor := []byte(`{"digest":"` + string(image) + `"}`)
	descriptor = append(descriptor, bytes.Repeat([]byte(" "), gate.MaxDescriptor-len(descriptor))...)
	check(t, gate.CheckDescriptor(gate.DescriptorType, descriptor, image, ""))
	if err := gate.CheckDescriptor(gate.DescriptorType, append(descriptor, ' '), image, ""); verdict.CodeOf(err) != verdict.InputMalformed {
		t.Errorf("descriptor: got %v, want %s", err, verdict.InputMalformed)
	}
}

// TestPeerOfNoSocket: nobody is at the other end of a connection that is none or closed.
func TestPeerOfNoSocket(t *testing.T) {
	if uid, err := gate.PeerUID(&net.UnixConn{}); err == nil || uid != 0 {
		t.Errorf("got user %d, %v", uid, err)
	}
	one, two := net.Pipe()
	check(t, one.Close())
	check(t, two.Close())
	if _, err := gate.PeerUID(one); err == nil || !strings.Contains(err.Error(), "not a unix socket") {
		t.Errorf("got %v", err)
	}
	var config net.ListenConfig
	path := filepath.Join(t.TempDir(), "s")
	l, err := config.Listen(t.Context(), "unix", path)
	check(t, err)
	defer l.Close() //nolint:errcheck // nothing was written to it
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "unix", path)
	check(t, err)
	check(t, conn.Close())
	if uid, err := gate.PeerUID(conn); err == nil || uid != 0 {
		t.Errorf("of a closed one: got user %d, %v", uid, err)
	}
}

// TestRequestThatIsTooLong: what could not be asked is not answered, not even by an agent
// that answers before it is asked.
func TestRequestThatIsTooLong(t *testing.T) {
	w := newWorld(t)
	var buf bytes.Buffer
	check(t, gate.WriteAnswer(&buf, w.answer))
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "unix", w.config.Socket)
	check(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write(buf.Bytes())
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-served
	})
	a, err := gate.Ask(t.Context(), w.config.Socket, w.config.AgentUID, gate.Request{Name: strings.Repeat("a", gate.MaxRequest), Digest: image})
	if verdict.CodeOf(err) != verdict.AgentUnreachable || !cmp.Equal(a, gate.Answer{}) {
		t.Errorf("got %+v, %v; want %s", a, err, verdict.AgentUnreachable)
	}
}
