package natsconn

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"
)

// freeAddr returns an address where nothing listens.
func freeAddr(t *testing.T) (addr string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), l.Addr().(*net.TCPAddr).Port
}

func TestConnectWaitsForAServer(t *testing.T) {
	addr, port := freeAddr(t)
	var logged logBuffer
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := Connect(t.Context(), Config{URL: "nats://user:hush@" + addr, Command: "run", Wait: true, Log: logged.logger()})
		done <- result{nc, err}
	}()
	eventually(t, "the log line that Lethe waits, and why", func() bool {
		return strings.Contains(logged.String(), "waiting for NATS at nats://"+addr) && strings.Contains(logged.String(), "connection refused")
	})
	s := startServer(t, &server.Options{Port: port})
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.nc.Close()
	if strings.Contains(logged.String(), "hush") {
		t.Errorf("the log shows the password: %s", logged.String())
	}
	if n := strings.Count(logged.String(), "waiting for NATS"); n != 1 {
		t.Errorf("logged %d times within seconds that it waits", n)
	}
	conns, err := s.Connz(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(conns.Conns) != 1 || conns.Conns[0].Name != "lethe run" {
		t.Errorf("the server sees %+v, want one connection named lethe run", conns.Conns)
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	addr, _ := freeAddr(t)
	var logged logBuffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Connect(ctx, Config{URL: addr, Wait: true, Log: logged.logger()})
		done <- err
	}()
	eventually(t, "waiting", func() bool { return strings.Contains(logged.String(), "waiting") })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestPermanentErrorsAreReturnedImmediately(t *testing.T) {
	open := startServer(t, &server.Options{})
	guarded := startServer(t, &server.Options{Username: "user", Password: "right"})
	cert, ca := certificates(t)
	secure := startServer(t, &server.Options{TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, TLSTimeout: 5})
	mutual := startServer(t, &server.Options{TLSTimeout: 5, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert,
	}})
	nowhere, _ := freeAddr(t)
	first := startServer(t, &server.Options{TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, TLSTimeout: 5, TLSHandshakeFirst: true})
	seed, user := nkeySeed(t)
	other, _ := nkeySeed(t)
	signed := startServer(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: user}}})
	creds := writeFile(t, "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n"+readFile(t, seed))

	tests := []struct {
		name string
		c    Config
		want error
	}{
		{"LETHE_NATS_NKEY: another seed", Config{URL: signed.ClientURL(), NKey: other}, ErrRefused},
		{"LETHE_NATS_NKEY: a file without a seed", Config{URL: signed.ClientURL(), NKey: ca}, ErrSettings},
		{"LETHE_NATS_NKEY: credentials for a seed", Config{URL: signed.ClientURL(), NKey: creds}, ErrSettings},
		{"LETHE_NATS_CREDS: a seed for credentials", Config{URL: signed.ClientURL(), Creds: seed}, ErrSettings},
		{"NATS_URL: no seed", Config{URL: signed.ClientURL(), URLName: "NATS_URL"}, ErrRefused},
		{"LETHE_NATS_TLS_FIRST: a server that waits for the TLS handshake", Config{URL: first.ClientURL(), CA: ca}, ErrTLS},
		{"LETHE_NATS_TLS_FIRST: a server that speaks before the TLS handshake", Config{URL: secure.ClientURL(), CA: ca, TLSFirst: true}, ErrTLS},
		{"LETHE_NATS_URL: an IPv6 address without brackets", Config{URL: "nats://::1:14222"}, ErrSettings},
		{"LETHE_NATS_URL: a wrong password", Config{URL: "nats://user:hush@" + guarded.Addr().String()}, ErrRefused},
		{"LETHE_NATS_URL: no password", Config{URL: guarded.ClientURL()}, ErrRefused},
		{"LETHE_NATS_URL: a wrong token", Config{URL: "nats://hush@" + guarded.Addr().String()}, ErrRefused},
		{"LETHE_NATS_CA: a certificate of an unknown authority", Config{URL: secure.ClientURL()}, ErrTLS},
		{"LETHE_NATS_URL: a server without TLS although the client requires it", Config{URL: open.ClientURL(), CA: ca}, ErrTLS},
		{"LETHE_NATS_CERT: a server that requires a client certificate", Config{URL: mutual.ClientURL(), CA: ca}, ErrTLS},
		{"LETHE_NATS_CA: a missing CA file", Config{URL: secure.ClientURL(), CA: "/no/where"}, ErrSettings},
		{"LETHE_NATS_CREDS: a missing credentials file", Config{URL: open.ClientURL(), Creds: "/no/where"}, ErrSettings},
		{"LETHE_NATS_URL: an invalid URL", Config{URL: "nats://user:hush@host:port"}, ErrSettings},
		{"LETHE_NATS_URL: no URL", Config{URL: " , "}, ErrSettings},
	}
	for _, tt := range tests {
		for _, wait := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, waiting %t", tt.name, wait), func(t *testing.T) {
				var logged logBuffer
				tt.c.Wait, tt.c.Log = wait, logged.logger()
				if tt.c.Creds == "/no/where" {
					// nats.go reads it only when a server requires it.
					tt.c.URL = operatorServer(t)
				}
				_, err := Connect(t.Context(), tt.c)
				if !errors.Is(err, tt.want) {
					t.Fatalf("error %v, want %v", err, tt.want)
				}
				if variable, _, _ := strings.Cut(tt.name, " "); !strings.HasPrefix(err.Error(), variable+" ") {
					t.Errorf("error %q, want it to begin with %s", err, variable)
				}
				if strings.ContainsAny(err.Error(), "\n\r") || strings.Contains(err.Error()+logged.String(), "hush") {
					t.Errorf("not one line, or it shows the password: %q, log %q", err, logged.String())
				}
			})
		}
	}

	t.Run("no server, for a command that does not wait", func(t *testing.T) {
		_, err := Connect(t.Context(), Config{URL: "nats://user:hush@" + nowhere})
		want := "LETHE_NATS_URL: cannot reach NATS at nats://" + nowhere + ": connection refused"
		if !errors.Is(err, ErrUnreachable) || err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
	})
	t.Run("a server that accepts the connection and sends nothing", func(t *testing.T) {
		addr := fakeServer(t, "")
		_, err := Connect(t.Context(), Config{URL: addr})
		if !errors.Is(err, ErrUnreachable) {
			t.Errorf("error %v, want ErrUnreachable", err)
		}
	})
	for name, c := range map[string]Config{
		"the right certificates":                 {URL: secure.ClientURL(), CA: ca},
		"the TLS handshake first":                {URL: first.ClientURL(), CA: ca, TLSFirst: true},
		"the right seed":                         {URL: signed.ClientURL(), NKey: seed},
		"an IPv6 address in brackets":            {URL: ipv6(t)},
		"a password with all special characters": {URL: "nats://u:" + url.QueryEscape(specialCharacters) + "@" + difficult(t)},
		"a password with an at sign":             {URL: "nats://u:a@b:c@" + guard(t, "a@b:c")},
		"a server whose list has spaces":         {URL: " " + open.ClientURL() + " , " + nowhere},
	} {
		t.Run("connects: "+name, func(t *testing.T) {
			nc, err := Connect(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			nc.Close()
		})
	}
}

// specialCharacters is a password that must be percent-encoded in a URL.
const specialCharacters = `p@s/s#w?o%r:d,&=;"'\[]{}`

func difficult(t *testing.T) string { return guard(t, specialCharacters) }

func guard(t *testing.T, password string) string {
	return startServer(t, &server.Options{Username: "u", Password: password}).Addr().String()
}

func ipv6(t *testing.T) string {
	s := startServer(t, &server.Options{Host: "::1"})
	return "nats://" + s.Addr().String()
}

// nkeySeed creates an nkey and a file with its seed.
func nkeySeed(t *testing.T) (file, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, string(seed)+"\n"), public
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// A password may contain any character, and may not be encoded. Then the URL is refused or read as intended, and no
// part of the password is shown.
func TestNoPartOfAPasswordIsShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// The parts are capital letters, which no other text contains, separated by special characters.
		parts := rapid.SliceOfN(rapid.StringMatching(`[A-Z]{3}|[5-9]{3}`), 1, 4).Draw(t, "parts")
		password := strings.Join(parts, rapid.StringMatching(`[@/#?%:, \[\]\\]{1,2}`).Draw(t, "signs"))
		scheme := rapid.SampledFrom([]string{"nats://", "tls://", ""}).Draw(t, "scheme")
		user := rapid.SampledFrom([]string{"u:", ""}).Draw(t, "user")
		var shown string
		if urls, err := ParseURLs(scheme + user + password + "@127.0.0.1:1"); err != nil {
			shown = err.Error()
		} else {
			shown = withoutUsers(urls)
		}
		shown = strings.NewReplacer("127.0.0.1", "", "%2F", "", "%3F", "", "%23", "", "IP", "").Replace(shown)
		for _, part := range parts {
			if strings.Contains(shown, part) {
				t.Fatalf("%q shows in %q", part, shown)
			}
		}
	})
}

// fakeServer sends lines to each connection: the first immediately, the second as the answer to the first PING, the
// rest after that.
func fakeServer(t *testing.T, lines ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if lines[0] != "" {
					_, _ = fmt.Fprintf(conn, "%s\r\n", lines[0])
				}
				in := bufio.NewScanner(conn)
				for answered := false; in.Scan(); {
					if in.Text() == "PING" && !answered {
						answered = true
						_, _ = fmt.Fprintf(conn, "%s\r\n", strings.Join(lines[1:], "\r\n"))
					}
				}
			}()
		}
	}()
	return "nats://" + l.Addr().String()
}

// operatorServer requires a signature, so that a client has to read its credentials file.
func operatorServer(t *testing.T) string {
	t.Helper()
	s := startServer(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"}}})
	return s.ClientURL()
}

// certificates creates a self-signed certificate for 127.0.0.1 and a CA file with it.
func certificates(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

func TestTheConnectedURLShowsNoCredential(t *testing.T) {
	for name, tt := range map[string]struct{ user, password, token string }{
		"a user and a password": {user: "lethe", password: "hush"},
		"a token":               {token: "hush"},
	} {
		t.Run(name, func(t *testing.T) {
			addr, port := freeAddr(t)
			startServer(t, &server.Options{Port: port, Username: tt.user, Password: tt.password, Authorization: tt.token})
			user := tt.token
			if tt.user != "" {
				user = tt.user + ":" + tt.password
			}
			nc, err := Connect(t.Context(), Config{URL: "nats://" + user + "@" + addr})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if got, want := ConnectedURL(nc), "nats://"+addr; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			nc.Close()
			if got := ConnectedURL(nc); got != "" {
				t.Errorf("%s after Close", got)
			}
		})
	}
}

func TestAUserPartReadAsTheHostIsNotShown(t *testing.T) {
	for _, url := range []string{"nats://hush/x@127.0.0.1:1", "hush?x@127.0.0.1:1", "nats://hush#x@127.0.0.1:1"} {
		_, err := Connect(t.Context(), Config{URL: url})
		if !errors.Is(err, ErrSettings) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
