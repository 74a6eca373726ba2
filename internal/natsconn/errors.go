package natsconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
)

// What can go wrong at the start. Each is found with errors.Is, and its line says the rest.
var (
	// ErrSettings means that a setting cannot be used: a URL, a file, the embedded server's directory.
	ErrSettings = errors.New("wrong setting")
	// ErrUnreachable means that no server answered.
	ErrUnreachable = errors.New("cannot reach NATS")
	// ErrRefused means that a server answered and did not accept the credential.
	ErrRefused = errors.New("NATS refused the credential")
	// ErrTLS means that the two sides do not agree on encryption or certificates.
	ErrTLS = errors.New("no secure connection to NATS")
	// ErrTwoDomains means that streams of another JetStream domain take what is published as well.
	ErrTwoDomains = errors.New("two JetStream domains hold the streams")
	// ErrServerTooOld means a server older than MinServerVersion.
	ErrServerTooOld = errors.New("the NATS server is too old")
	// ErrNoJetStream means a server, or an account, without JetStream.
	ErrNoJetStream = errors.New("JetStream is not enabled on NATS")
	// ErrLocked means that another process uses the embedded server's directory.
	ErrLocked = errors.New("the directory is in use")
	// ErrAddrInUse means that the embedded server's address is taken.
	ErrAddrInUse = errors.New("the address is in use")
)

// errSilent is the cause where a server takes the connection and says nothing.
var errSilent = fmt.Errorf("no answer within %s", reachWithin)

// errTLSFirst is the cause where a server says nothing before the TLS handshake.
var errTLSFirst = errors.New("the server expects the TLS handshake first: set LETHE_NATS_TLS_FIRST=true")

// trouble is one line that begins with the variable to look at and its kind, which errors.Is finds, and ends with its
// cause, which errors.Unwrap gives.
type trouble struct {
	variable string
	kind     error
	where    string
	cause    error
}

func (t *trouble) Error() string {
	return fmt.Sprintf("%s: %s at %s: %s", t.variable, t.kind, t.where, oneLine(t.cause))
}
func (t *trouble) Is(err error) bool { return err == t.kind }
func (t *trouble) Unwrap() error     { return t.cause }

// oneLine folds an error. Lethe's own line says NATS already.
func oneLine(err error) string {
	return strings.NewReplacer("nats: ", "", "tls error: tls: ", "tls: ").Replace(strings.Join(strings.Fields(err.Error()), " "))
}

// classify tells what waiting may mend (ErrUnreachable) from what it does not. TLS comes before the network,
// because an alert from the other side arrives as a network error.
func (c Config) classify(err error, shown string) error {
	kind := ErrSettings // what nats.go finds wrong by itself: a file that cannot be read, a seed that is none
	switch {
	case isRefusal(err):
		kind = ErrRefused
	case isTLS(err):
		kind = ErrTLS
	case isNetwork(err):
		kind = ErrUnreachable
	}
	if errors.Is(err, nats.ErrNoServers) {
		// nats.go puts this in the place of a refused connection, and only there.
		err = syscall.ECONNREFUSED
	}
	return &trouble{variable: c.variable(kind, err), kind: kind, where: shown, cause: err}
}

func isRefusal(err error) bool {
	for _, refusal := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, refusal) || strings.Contains(strings.ToLower(err.Error()), strings.TrimPrefix(refusal.Error(), "nats: ")) {
			return true
		}
	}
	return false
}

func isTLS(err error) bool {
	var record tls.RecordHeaderError
	return errors.Is(err, nats.ErrTLS) || errors.Is(err, nats.ErrSecureConnRequired) || errors.Is(err, nats.ErrSecureConnWanted) ||
		errors.Is(err, errTLSFirst) || errors.As(err, &record) || isCertificate(err) || isAlert(err)
}

// isCertificate knows the errors of a server's certificate.
func isCertificate(err error) bool {
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid)
}

// isAlert knows what the other side says of the handshake: most often that it wants another client certificate.
func isAlert(err error) bool {
	var alert tls.AlertError
	return errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls:") // which has no exported type
}

// isNetwork knows the errors of a server that is down, starting, stopping or full.
func isNetwork(err error) bool {
	var file *fs.PathError
	if errors.As(err, &file) {
		return false // its system error counts as a net.Error too
	}
	var network net.Error
	if errors.As(err, &network) {
		return true
	}
	for _, passing := range []error{nats.ErrNoServers, nats.ErrTimeout, io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded, errSilent} {
		if errors.Is(err, passing) {
			return true
		}
	}
	// What the server says while it is full or overloaded, for which nats.go has no error value at this point.
	said := strings.ToLower(err.Error())
	return strings.Contains(said, "connections exceeded") || strings.Contains(said, "authentication timeout")
}
