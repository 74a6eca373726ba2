package natsconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// identity returns the options for authentication and TLS. nats.go reads the files again with each try, so that they
// can be replaced while it runs.
func (c Config) identity() ([]nats.Option, error) {
	var options []nats.Option
	if c.Creds != "" {
		if isSeedOnly(c.Creds) {
			return nil, fmt.Errorf("LETHE_NATS_CREDS: %w: the file contains only an nkey seed: set LETHE_NATS_NKEY instead", ErrSettings)
		}
		options = append(options, nats.UserCredentials(c.Creds))
	}
	if c.NKey != "" {
		if fileHasJWT(c.NKey) {
			return nil, fmt.Errorf("LETHE_NATS_NKEY: %w: the file contains credentials, not only a seed: set LETHE_NATS_CREDS instead", ErrSettings)
		}
		option, err := nats.NkeyOptionFromSeed(c.NKey)
		if err != nil {
			return nil, fmt.Errorf("LETHE_NATS_NKEY: %w: the file must contain the seed of a user's nkey, which begins with SU", ErrSettings)
		}
		options = append(options, option)
	}
	if c.CA != "" {
		option := nats.RootCAs(c.CA)
		if err := option(&nats.Options{}); err != nil {
			return nil, fmt.Errorf("LETHE_NATS_CA: %w: %s", ErrSettings, oneLine(err))
		}
		options = append(options, option)
	}
	if c.Cert != "" {
		option := nats.ClientCert(c.Cert, c.Key)
		if err := option(&nats.Options{}); err != nil {
			return nil, fmt.Errorf("LETHE_NATS_CERT: %w: %s", ErrSettings, oneLine(err))
		}
		options = append(options, option)
	}
	if c.TLSFirst {
		options = append(options, nats.TLSHandshakeFirst())
	}
	return options, nil
}

// isSeedOnly reports whether a file contains an nkey seed without a JWT. nats.go would use it as a JWT.
func isSeedOnly(file string) bool {
	content, err := os.ReadFile(file)
	if err != nil {
		return false // Connect returns the error
	}
	pair, err := nkeys.ParseDecoratedNKey(content)
	if err != nil {
		return false
	}
	pair.Wipe()
	return !hasJWT(content)
}

func fileHasJWT(file string) bool {
	content, err := os.ReadFile(file)
	return err == nil && hasJWT(content)
}

func hasJWT(content []byte) bool { return bytes.Contains(content, []byte("BEGIN NATS USER JWT")) }

// variable returns the name of the setting that probably causes an error of this kind.
func (c Config) variable(kind, err error) string {
	var record tls.RecordHeaderError
	switch {
	case errors.Is(kind, ErrRefused):
		return c.Credential()
	case errors.Is(err, errTLSFirst), c.TLSFirst && errors.As(err, &record):
		return "LETHE_NATS_TLS_FIRST"
	case errors.Is(kind, ErrTLS) && isCertificate(err):
		return "LETHE_NATS_CA"
	case errors.Is(kind, ErrTLS) && isAlert(err):
		return "LETHE_NATS_CERT"
	case errors.Is(kind, ErrSettings) && c.Creds != "":
		return "LETHE_NATS_CREDS" // nats.go reads only this file late, when the server requires it
	}
	return c.urlName()
}

// Credential returns the name of the variable with the credential: a file, or the URL.
func (c Config) Credential() string {
	switch {
	case c.Creds != "":
		return "LETHE_NATS_CREDS"
	case c.NKey != "":
		return "LETHE_NATS_NKEY"
	case c.Cert != "":
		return "LETHE_NATS_CERT"
	}
	return c.urlName()
}

func (c Config) urlName() string {
	if c.URLName == "" {
		return "LETHE_NATS_URL"
	}
	return c.URLName
}
