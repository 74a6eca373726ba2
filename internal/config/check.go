package config

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/internal/natsconn"
)

// check checks the rules that the types cannot express. It returns the first violation.
func (c *Config) check() error {
	return first(
		c.checkNATS,
		func() error { return address("LETHE_EMBEDDED_ADDR", c.Embedded.Addr) },
		func() error { return within("LETHE_STREAM_REPLICAS", c.Stream.Replicas, 1, 5) },
		func() error { return age("LETHE_RESULTS_MAX_AGE", c.ResultsMaxAge) },
		func() error { return atLeast("LETHE_REQUESTS_MAX_BYTES", c.RequestsMaxBytes, 1<<20) },
		func() error { return atLeast("LETHE_RESULTS_MAX_BYTES", c.ResultsMaxBytes, 1<<20) },
		func() error { return atLeast("LETHE_LATER_MAX_BYTES", c.LaterMaxBytes, 256<<20) },
		c.checkKV,
		c.checkSensay,
		c.Retry.check,
		func() error { return positive("LETHE_CONFIRM_AFTER", c.ConfirmAfter) },
		c.checkResultsAge,
		func() error { return positive("LETHE_SHUTDOWN_GRACE", c.ShutdownGrace) },
		func() error { return address("LETHE_ADMIN_ADDR", c.AdminAddr) },
		func() error {
			return oneOf("LETHE_LOG_LEVEL", strings.ToLower(c.LogLevel.String()), "debug", "info", "warn", "error")
		},
		func() error { return oneOf("LETHE_LOG_FORMAT", c.LogFormat, "", "text", "json") },
	)
}

// MinResultsAge is the minimum age of results and attempts: twice the time that a
// request is retried, plus its confirmation, plus a week in which no worker runs. It
// is at most the maximum Duration.
func (c *Config) MinResultsAge() time.Duration {
	const week = 7 * 24 * time.Hour
	least := week
	for _, part := range []time.Duration{c.Retry.MaxElapsed, c.Retry.MaxElapsed, c.ConfirmAfter} {
		if part > math.MaxInt64-least {
			return math.MaxInt64
		}
		least += part
	}
	return least
}

func (c *Config) checkResultsAge() error {
	least := c.MinResultsAge()
	if c.ResultsMaxAge == 0 || c.ResultsMaxAge >= least {
		return nil
	}
	return fmt.Errorf("LETHE_RESULTS_MAX_AGE: must be 0 (forever) or at least %s (twice LETHE_RETRY_MAX_ELAPSED, plus LETHE_CONFIRM_AFTER, plus a week), not %s",
		least, c.ResultsMaxAge)
}

func (c *Config) checkNATS() error {
	n := c.NATS
	return first(
		func() error { return serverURLs(NATSURLName(), c.NATSURL.Reveal()) },
		func() error { return file("LETHE_NATS_CREDS", n.Creds) },
		func() error { return file("LETHE_NATS_NKEY", n.Nkey) },
		func() error {
			if n.Creds != "" && n.Nkey != "" {
				return errors.New("LETHE_NATS_NKEY: must not be set together with LETHE_NATS_CREDS")
			}
			return nil
		},
		func() error { return file("LETHE_NATS_CA", n.CA) },
		func() error { return file("LETHE_NATS_CERT", n.Cert) },
		func() error { return file("LETHE_NATS_KEY", n.Key) },
		func() error { return needs("LETHE_NATS_CERT", n.Cert, "LETHE_NATS_KEY", n.Key) },
		func() error { return needs("LETHE_NATS_KEY", n.Key, "LETHE_NATS_CERT", n.Cert) },
		// Without a URL the embedded server would start and ignore the credential.
		func() error { return needs("LETHE_NATS_CREDS", n.Creds, "LETHE_NATS_URL", c.NATSURL.Reveal()) },
		func() error { return needs("LETHE_NATS_NKEY", n.Nkey, "LETHE_NATS_URL", c.NATSURL.Reveal()) },
		func() error { return needs("LETHE_NATS_CA", n.CA, "LETHE_NATS_URL", c.NATSURL.Reveal()) },
		func() error { return needs("LETHE_NATS_CERT", n.Cert, "LETHE_NATS_URL", c.NATSURL.Reveal()) },
		func() error { return domain("LETHE_JETSTREAM_DOMAIN", c.JetstreamDomain) },
		func() error {
			return needs("LETHE_JETSTREAM_DOMAIN", c.JetstreamDomain, "LETHE_NATS_URL", c.NATSURL.Reveal())
		},
	)
}

func (c *Config) checkKV() error {
	return first(
		func() error { return validBaseURL("LETHE_KV_BASE_URL", c.KV.BaseURL, c.AllowHTTP) },
		func() error { return credential("LETHE_KV_ACCESS_KEY", c.KV.AccessKey, c.KV.AccessKeyFile) },
		func() error { return c.KV.check("LETHE_KV", c.KV.Timeout) },
		func() error { return within("LETHE_KV_BATCH_IDS", c.KV.Batch.IDs, 1, 100) },
		func() error { return between("LETHE_KV_BATCH_LINGER", c.KV.Batch.Linger, 0, time.Second) },
	)
}

func (c *Config) checkSensay() error {
	s := c.Sensay
	return first(
		func() error { return validBaseURL("LETHE_SENSAY_BASE_URL", s.BaseURL, c.AllowHTTP) },
		func() error {
			return credential("LETHE_SENSAY_ORGANIZATION_SECRET", s.OrganizationSecret, s.OrganizationSecretFile)
		},
		func() error {
			bad := func(r rune) bool { return r <= ' ' || r > '~' }
			if strings.ContainsFunc(s.APIVersion, bad) {
				return errors.New("LETHE_SENSAY_API_VERSION: must be a version such as 2025-03-25")
			}
			return nil
		},
		func() error { return s.check("LETHE_SENSAY", s.Timeout) },
	)
}

func (c Calls) check(lane string, timeout time.Duration) error {
	return first(
		func() error { return within(lane+"_CONCURRENCY", c.Concurrency, 1, 10_000) },
		func() error { return numberWithin(lane+"_RATE", c.Rate, 0, math.MaxFloat64) },
		func() error { return between(lane+"_TIMEOUT", timeout, time.Millisecond, 15*time.Minute) },
	)
}

func (r Retry) check() error {
	return first(
		func() error { return positive("LETHE_RETRY_INITIAL_INTERVAL", r.InitialInterval) },
		func() error { return numberWithin("LETHE_RETRY_MULTIPLIER", r.Multiplier, 1, math.MaxFloat64) },
		func() error { return numberWithin("LETHE_RETRY_RANDOMIZATION", r.Randomization, 0, 1) },
		func() error { return positive("LETHE_RETRY_MAX_INTERVAL", r.MaxInterval) },
		func() error {
			if r.InitialInterval > r.MaxInterval {
				return fmt.Errorf("LETHE_RETRY_INITIAL_INTERVAL: must be at most LETHE_RETRY_MAX_INTERVAL (%s), not %s", r.MaxInterval, r.InitialInterval)
			}
			return nil
		},
		func() error { return positive("LETHE_RETRY_MAX_ELAPSED", r.MaxElapsed) },
	)
}

func first(rules ...func() error) error {
	for _, rule := range rules {
		if err := rule(); err != nil {
			return err
		}
	}
	return nil
}

func within(name string, n, least, most int) error {
	if n < least || n > most {
		return fmt.Errorf("%s: must be %d to %d, not %d", name, least, most, n)
	}
	return nil
}

// numberWithin also refuses NaN and the infinities, which ParseFloat accepts.
func numberWithin(name string, f, least, most float64) error {
	switch {
	case f >= least && f <= most:
		return nil
	case most == math.MaxFloat64:
		return fmt.Errorf("%s: must be a finite number of at least %g, not %g", name, least, f)
	default:
		return fmt.Errorf("%s: must be %g to %g, not %g", name, least, most, f)
	}
}

func between(name string, d, least, most time.Duration) error {
	if d < least || d > most {
		return fmt.Errorf("%s: must be %s to %s, not %s", name, least, most, d)
	}
	return nil
}

func positive(name string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s: must be more than 0, not %s", name, d)
	}
	return nil
}

func age(name string, d time.Duration) error {
	if d != 0 && d < time.Second {
		return fmt.Errorf("%s: must be 0 (forever) or at least 1s, not %s", name, d)
	}
	return nil
}

func oneOf(name, value string, known ...string) error {
	if slices.Contains(known, value) {
		return nil
	}
	named := slices.DeleteFunc(slices.Clone(known), func(s string) bool { return s == "" })
	last := len(named) - 1
	return fmt.Errorf("%s: must be %s or %s, not %s", name, strings.Join(named[:last], ", "), named[last], quote(value))
}

func needs(name, value, otherName, other string) error {
	if value != "" && other == "" {
		return fmt.Errorf("%s: is set, but %s is not", name, otherName)
	}
	return nil
}

// address allows an empty host, which means all interfaces, and port 0, which means a free port.
func address(name, value string) error {
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%s: must be host:port such as 127.0.0.1:4222, not %s", name, quote(value))
	}
	return nil
}

// file accepts an empty path, or the path of a readable file that is not a directory.
func file(name, path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", name, quote(path), reason(err))
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%s: %s: %w", name, quote(path), reason(err))
	}
	if info.IsDir() {
		return fmt.Errorf("%s: %s is a directory, not a file", name, quote(path))
	}
	return nil
}

// credential checks a secret that is given by value or by file. The error does not show a path that does not look like
// one, because it may be the secret itself in the wrong variable.
func credential(name string, value Secret, path string) error {
	if value.Reveal() != "" && path != "" {
		return fmt.Errorf("%s: must not be set together with %s_FILE", name, name)
	}
	if strings.ContainsFunc(strings.TrimSpace(value.Reveal()), unicode.IsControl) {
		return fmt.Errorf("%s: must be one line without control characters", name)
	}
	err := file(name+"_FILE", path)
	if err != nil && !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, ".") {
		return fmt.Errorf("%s_FILE: must be the path of a readable file", name)
	}
	return err
}

func validBaseURL(name, raw string, allowHTTP bool) error {
	if _, err := deleter.CheckBaseURL(raw, allowHTTP); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// serverURLs checks a comma-separated list. An empty list means the embedded server.
func serverURLs(name, list string) error {
	if list == "" {
		return nil
	}
	if _, err := natsconn.ParseURLs(list); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// domain checks a name that becomes a token in subjects.
func domain(name, value string) error {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(".*>", r) }
	if strings.ContainsFunc(value, bad) {
		return fmt.Errorf("%s: must be a name without spaces, dots and wildcards, not %s", name, quote(value))
	}
	return nil
}

// NATSURLName returns the name of the variable that sets the NATS URL.
func NATSURLName() string {
	if _, own := os.LookupEnv("LETHE_NATS_URL"); !own {
		if _, plain := os.LookupEnv("NATS_URL"); plain {
			return "NATS_URL"
		}
	}
	return "LETHE_NATS_URL"
}

// reason removes the path, which fs.PathError repeats.
func reason(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// quote returns at most 64 bytes of a value in quotes, with control characters escaped.
func quote(value string) string {
	const most = 64
	if len(value) > most {
		return strconv.Quote(value[:most]) + "..."
	}
	return strconv.Quote(value)
}
