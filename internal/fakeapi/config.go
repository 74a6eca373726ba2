package fakeapi

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// What a zero field of [Config] or [Faults] stands for.
const (
	DefaultAccessKey          = "sandbox-access-key"
	DefaultOrganizationSecret = "sandbox-organization-secret"
	DefaultPendingFor         = 5 * time.Second
	DefaultMaxEntries         = 1 << 20
	DefaultMaxCalls           = 1 << 16
	DefaultSlowFor            = 10 * time.Second
)

// Config says how a sandbox behaves from the start. The zero value is two well-behaved APIs.
type Config struct {
	// AccessKey is the only k-v.ai credential that is accepted. Empty: [DefaultAccessKey].
	AccessKey string
	// OrganizationSecret is the only Sensay credential that is accepted. Empty: [DefaultOrganizationSecret].
	OrganizationSecret string

	// PendingShare is the share of Sensay entries, 0 to 1, whose deletion is answered 202.
	PendingShare float64
	// PendingFor is how long such an entry stays after the 202. Until then a further deletion is answered 202 too,
	// afterwards 404. Zero: [DefaultPendingFor]. The real API says up to 24 hours.
	PendingFor time.Duration
	// UnknownShare is the share of Sensay entries, 0 to 1, that never existed: deleting one is answered 404.
	UnknownShare float64
	// Unknown lists entries that never existed.
	Unknown []Entry

	// PydanticV2 gives k-v.ai's 422 in the form of pydantic v2 (type, loc, msg, input) in place of v1 (loc, msg, type).
	PydanticV2 bool
	// Wrapped puts k-v.ai's answers into {"value":…}, as the reference of a sibling call shows them.
	Wrapped bool

	// Faults is each API's trouble at the start; an API that is not named has none. See [Server.SetFaults].
	Faults map[API]Faults
	// Seed decides every chance and share. The same seed gives the same entry the same rng.
	Seed uint64

	// MaxEntries is how many entries of one API are kept; a deletion that names one more is answered 507, for a deleted
	// entry must not be forgotten. Zero: [DefaultMaxEntries], some 100 MB at worst.
	MaxEntries int
	// MaxCalls is how many calls the record keeps, the newest; counts go on. Zero: [DefaultMaxCalls].
	MaxCalls int

	// Journal, where given, receives every call before it is answered. See [OpenJournal].
	Journal *Journal
	// Log receives a debug line for each call. Nil: nothing is logged.
	Log *slog.Logger
}

// LogValue keeps the credentials out of logs.
func (Config) LogValue() slog.Value { return slog.StringValue("[sandbox config]") }

// Validate returns the first rule that c breaks, naming the field.
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
			return fmt.Errorf("Faults: no API is called %q", api)
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

// isHeaderValue reports whether s survives a trip through an HTTP header unchanged.
func isHeaderValue(s string) bool {
	for _, b := range []byte(s) {
		if b <= ' ' || b > '~' {
			return false
		}
	}
	return true
}
