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

// The kinds of errors at start, for errors.Is.
var (
	// ErrSettings means that a setting is invalid: a URL, a file, or the embedded server's directory.
	ErrSettings = errors.New("wrong setting")
	// ErrUnreachable means that no server answered.
	ErrUnreachable = errors.New("cannot reach NATS")
	// ErrRefused means that a server refused the credential.
	ErrRefused = errors.New("NATS refused the credential")
	// ErrTLS means that the client and the server do not agree on encryption or certificates.
	ErrTLS = errors.New("no secure connection to NATS")
	// ErrTwoDomains means that streams of another JetStream domain also store what is published.
	ErrTwoDomains = errors.New("two JetStream domains contain the streams")
	// ErrServerTooOld means that the server is older than 2.12.
	ErrServerTooOld = errors.New("the NATS server is too old")
	// ErrNoJetStream means that the server or the account has no JetStream.
	ErrNoJetStream = errors.New("JetStream is not enabled on NATS")
	// ErrLocked means that another process uses the embedded server's directory.
	ErrLocked = errors.New("the directory is in use")
	// ErrAddrInUse means that another process uses the embedded server's address.
	ErrAddrInUse = errors.New("the address is in use")
)

// errSilent is the cause if a server accepts the connection and sends nothing.
var errSilent = fmt.Errorf("no answer within %s", reachWithin)

// errTLSFirst is the cause if a server sends nothing before the TLS handshake.
var errTLSFirst = errors.New("the server expects the TLS handshake first: set LETHE_NATS_TLS_FIRST=true")

// connectError is an error of one line: the variable to check, the kind (for errors.Is), the URL and the cause (from
// errors.Unwrap).
type connectError struct {
	variable string
	kind     error
	where    string
	cause    error
}

func (e *connectError) Error() string {
	return fmt.Sprintf("%s: %s at %s: %s", e.variable, e.kind, e.where, oneLine(e.cause))
}
func (e *connectError) Is(err error) bool { return err == e.kind }
func (e *connectError) Unwrap() error     { return e.cause }

// oneLine returns an error as one line, without the library's prefix.
func oneLine(err error) string {
	return strings.NewReplacer("nats: ", "", "tls error: tls: ", "tls: ").Replace(strings.Join(strings.Fields(err.Error()), " "))
}

// classify separates temporary errors (ErrUnreachable) from permanent ones. It checks for TLS before the network,
// because an alert from the server is a network error too.
func (c Config) classify(err error, shown string) error {
	kind := ErrSettings // found by nats.go: an unreadable file, an invalid seed
	switch {
	case isRefusal(err):
		kind = ErrRefused
	case isTLS(err):
		kind = ErrTLS
	case isNetwork(err):
		kind = ErrUnreachable
	}
	if errors.Is(err, nats.ErrNoServers) {
		// nats.go returns this instead of a refused connection, and for nothing else.
		err = syscall.ECONNREFUSED
	}
	return &connectError{variable: c.variable(kind, err), kind: kind, where: shown, cause: err}
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

// isCertificate detects errors of the server's certificate.
func isCertificate(err error) bool {
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid)
}

// isAlert detects TLS alerts from the server, usually about the client certificate.
func isAlert(err error) bool {
	var alert tls.AlertError
	return errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls:") // it has no exported type
}

// isNetwork detects errors of a server that is down, starting, stopping or full.
func isNetwork(err error) bool {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return false // the system error in it is a net.Error too
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, passing := range []error{nats.ErrNoServers, nats.ErrTimeout, io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded, errSilent} {
		if errors.Is(err, passing) {
			return true
		}
	}
	// Errors from a full or overloaded server, which nats.go returns only as text here.
	message := strings.ToLower(err.Error())
	return strings.Contains(message, "connections exceeded") || strings.Contains(message, "authentication timeout")
}
