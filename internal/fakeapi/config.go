package fakeapi

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// The defaults of zero fields of [Config] and [Faults].
const (
	DefaultAccessKey          = "sandbox-access-key"
	DefaultOrganizationSecret = "sandbox-organization-secret"
	DefaultPendingFor         = 5 * time.Second
	DefaultMaxEntries         = 1 << 20
	DefaultMaxCalls           = 1 << 16
	DefaultSlowFor            = 10 * time.Second
)

// Config configures a server. The zero value has no faults.
type Config struct {
	// AccessKey is the only accepted k-v.ai credential. Empty: [DefaultAccessKey].
	AccessKey string
	// OrganizationSecret is the only accepted Sensay credential. Empty: [DefaultOrganizationSecret].
	OrganizationSecret string

	// PendingShare is the share of Sensay entries, 0 to 1, whose deletion is answered 202.
	PendingShare float64
	// PendingFor is the time from the 202 to the removal. Until then another deletion also gets 202, afterwards 404.
	// Zero: [DefaultPendingFor]. The real API's document says up to 24 hours.
	PendingFor time.Duration
	// UnknownShare is the share of Sensay entries, 0 to 1, that never existed: deleting one is answered 404.
	UnknownShare float64
	// Unknown lists entries that never existed.
	Unknown []Entry

	// PydanticV2 selects the form of pydantic v2 (type, loc, msg, input) for k-v.ai's 422, instead of v1 (loc, msg, type).
	PydanticV2 bool
	// Wrapped wraps k-v.ai's answers in {"value":…}, as the reference of a sibling call shows them.
	Wrapped bool

	// Faults is each API's faults at the start. See [Server.SetFaults].
	Faults map[API]Faults
	// Seed is the random seed. The same seed repeats the same faults for the same entries.
	Seed uint64

	// MaxEntries is the most entries of one API. A deletion that names one more gets 507, because the server must not
	// forget a deleted entry. Zero: [DefaultMaxEntries], at most about 100 MB.
	MaxEntries int
	// MaxCalls is the number of newest calls in the call log; counts include all. Zero: [DefaultMaxCalls].
	MaxCalls int

	// Journal, if not nil, gets every call before it is answered. See [OpenJournal].
	Journal *Journal
	// Log gets a debug line for each call. Nil: no logs.
	Log *slog.Logger
}

// LogValue keeps the credentials out of logs.
func (Config) LogValue() slog.Value { return slog.StringValue("[sandbox config]") }

// Validate returns an error with the name of the first invalid field.
func (c Config) Validate() error {
	for _, share := range []struct {
		name  string
		value float64
	}{{"PendingShare", c.PendingShare}, {"UnknownShare", c.UnknownShare}} {
		if !isShare(share.value) {
			return fmt.Errorf("%s must be between 0 and 1", share.name)
		}
	}
	for _, secret := range []struct{ name, value string }{
		{"AccessKey", c.AccessKey}, {"OrganizationSecret", c.OrganizationSecret},
	} {
		if !isHeaderValue(secret.value) {
			return fmt.Errorf("%s must be printable ASCII without spaces", secret.name)
		}
	}
	if c.PendingFor < 0 {
		return errors.New("PendingFor must not be negative")
	}
	if c.MaxEntries < 0 {
		return errors.New("MaxEntries must not be negative")
	}
	if c.MaxCalls < 0 {
		return errors.New("MaxCalls must not be negative")
	}
	for _, entry := range c.Unknown {
		if err := entry.validate(); err != nil {
			return fmt.Errorf("unknown entries: %w", err)
		}
	}
	for api, faults := range c.Faults {
		if !api.known() {
			return fmt.Errorf("Faults: unknown API %q", api)
		}
		if err := faults.Validate(api); err != nil {
			return fmt.Errorf("Faults: %s: %w", api, err)
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	setDefault(&c.AccessKey, DefaultAccessKey)
	setDefault(&c.OrganizationSecret, DefaultOrganizationSecret)
	setDefault(&c.PendingFor, DefaultPendingFor)
	setDefault(&c.MaxEntries, DefaultMaxEntries)
	setDefault(&c.MaxCalls, DefaultMaxCalls)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func isShare(f float64) bool { return f >= 0 && f <= 1 } // NaN is neither

// isHeaderValue reports whether an HTTP header can carry s unchanged.
func isHeaderValue(s string) bool {
	for _, b := range []byte(s) {
		if b <= ' ' || b > '~' {
			return false
		}
	}
	return true
}
