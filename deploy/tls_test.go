package deploy

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestAClientNeedsACertificateOfAnAccount(t *testing.T) {
	s := newSite(t)
	certify(t, "client", "stranger")
	foreign := s.foreign(t)

	t.Run("a party with its certificate gets in", func(t *testing.T) {
		nc, err := nats.Connect(s.url, nats.Secure(s.tlsConfig(t, "ca.pem", "publisher-kv")))
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	})
	older := s.tlsConfig(t, "ca.pem", "publisher-kv")
	older.MaxVersion = tls.VersionTLS12
	for name, config := range map[string]*tls.Config{
		"no certificate":                         s.tlsConfig(t, "ca.pem", ""),
		"a certificate that names no user":       s.tlsConfig(t, "ca.pem", "stranger"),
		"the certificate of a server":            s.tlsConfig(t, "ca.pem", "server"),
		"the certificate of a route":             s.tlsConfig(t, "ca.pem", "route"),
		"a party's certificate of another CA":    {RootCAs: s.tlsConfig(t, "ca.pem", "").RootCAs, Certificates: foreign.tlsConfig(t, "ca.pem", "admin").Certificates},
		"no trust in the CA that the server has": foreign.tlsConfig(t, "ca.pem", ""),
		"TLS older than 1.3":                     older,
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			nc, err := nats.Connect(s.url, nats.Secure(config))
			if err == nil {
				nc.Close()
				t.Fatal("it was let in")
			}
			// How a refusal shows depends on whether its alert is read before the connection is closed.
			if errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) {
				t.Errorf("for another reason: %v", err)
			}
		})
	}
	t.Run("plain text is refused", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "tls://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // a connection has one
		from := bufio.NewReader(conn)
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var info struct {
			Required bool `json:"tls_required"`
			Verify   bool `json:"tls_verify"`
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil || !info.Required || !info.Verify {
			t.Errorf("%v: %s", err, line)
		}
		if _, err := conn.Write([]byte("CONNECT {\"user\":\"CN=admin\"}\r\nPING\r\n")); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			if line, err = from.ReadString('\n'); strings.HasPrefix(line, "PONG") {
				t.Fatal("it was answered")
			}
		}
		var slow net.Error
		if errors.As(err, &slow) && slow.Timeout() {
			t.Error("the connection stays open")
		}
	})
	t.Run("a user name cannot override the certificate", func(t *testing.T) {
		nc, err := nats.Connect(s.url, nats.Secure(s.tlsConfig(t, "ca.pem", "publisher-kv")), nats.UserInfo("CN=admin", ""))
		if err != nil {
			return // refused is good
		}
		defer nc.Close()
		nc.SetErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
		if err := nc.Publish("$SRV.STATS.lethe", nil); err != nil {
			t.Fatal(err)
		}
		refused(t, nc, `Publish to "$SRV.STATS.lethe"`)
	})
	t.Run("a party's certificate makes no server", func(t *testing.T) {
		for _, party := range parties {
			config := s.tlsConfig(t, "ca.pem", party)
			certificate, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			for usage, good := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: true, x509.ExtKeyUsageServerAuth: false} {
				_, err := certificate.Verify(x509.VerifyOptions{Roots: config.RootCAs, KeyUsages: []x509.ExtKeyUsage{usage}})
				if (err == nil) != good {
					t.Errorf("%s, usage %v: %v", party, usage, err)
				}
			}
		}
	})
	t.Run("a command without a certificate says why in one line", func(t *testing.T) {
		got := s.runWith(t, []string{"LETHE_NATS_URL=" + s.url, "LETHE_NATS_CA=" + s.pem("ca.pem")}, "status")
		if got.status != 2 || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, "no secure connection to NATS") {
			t.Errorf("status %d: %s", got.status, got.stderr)
		}
	})
}

// foreign is another site's folder, with certificates of its own CA for the same parties.
func (s *site) foreign(t *testing.T) *site {
	t.Helper()
	other := &site{dir: t.TempDir()}
	text := read(t, filepath.Join(s.dir, "certs.sh"))
	if err := os.WriteFile(filepath.Join(other.dir, "certs.sh"), text, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(other.dir)
	certify(t)
	t.Chdir(s.dir)
	return other
}
