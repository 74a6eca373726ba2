// Package config reads Lethe's settings from environment variables.
//
// The [Config] struct is the only definition of a setting. Its tags define the name, default and description. Reading
// ([Load]), the table in `lethe run --help` ([Usage]) and the warning about unknown names ([Unknown]) all use them, so
// that they agree. A variable that is set but empty counts as not set, as in the OpenTelemetry specification, because
// compose files pass such variables on.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"
)

const prefix = "LETHE"

// Config contains all settings of Lethe, in the order in which they are listed. A field with the tag group begins the
// group of that name. Printing a Config shows no secret.
type Config struct {
	// NATSURL is a Secret because a URL may contain a password or a token. Empty means the embedded server.
	// Its envconfig tag makes the name without the prefix a fallback.
	NATSURL         Secret `envconfig:"NATS_URL" group:"NATS" desc:"NATS server URL, or several separated by commas; NATS_URL is read too; none: an embedded server"`
	NATS            NATS
	JetstreamDomain string `split_words:"true" desc:"JetStream domain of the streams; none: the server's own"`
	Embedded        Embedded

	Stream           Stream
	ManageStreams    bool          `split_words:"true" default:"true" desc:"create streams at start where none exists, update existing ones"`
	ResultsMaxAge    time.Duration `split_words:"true" default:"720h" desc:"how long results are kept, 0: forever; exactly one final result is guaranteed for this time"`
	RequestsMaxBytes Bytes         `split_words:"true" desc:"size limit of DELETION_REQUESTS such as 10GiB, at least 1MiB, for accounts that require one; none: no limit"`
	ResultsMaxBytes  Bytes         `split_words:"true" desc:"size limit of DELETION_RESULTS, at least 1MiB"`
	LaterMaxBytes    Bytes         `split_words:"true" desc:"size limit of DELETION_LATER, at least 256MiB; from 75% on, no requests are taken"`

	Targets   Targets `group:"APIs" desc:"the targets that this worker serves, separated by commas; none: all"`
	AllowHTTP bool    `split_words:"true" default:"false" desc:"allow plain http to addresses other than loopback"`
	KV        KV
	Sensay    Sensay

	Retry        Retry
	ConfirmAfter time.Duration `split_words:"true" default:"24h" desc:"how long after an accepted-pending result another call confirms the deletion"`

	AdminAddr     string        `split_words:"true" group:"Operation" default:"127.0.0.1:8080" desc:"address of the operator's page, /healthz, /readyz and /metrics"`
	AdminPage     bool          `split_words:"true" default:"false" desc:"serve the operator's page on every address; false: on loopback only, because it has no login and shows what is deleted"`
	ShutdownGrace time.Duration `split_words:"true" default:"30s" desc:"the process exits within this time after SIGTERM; most of it is for calls in flight"`

	LogLevel  slog.Level `split_words:"true" group:"Log" default:"info" desc:"debug, info, warn or error"`
	LogFormat string     `split_words:"true" desc:"text or json; none: text on a terminal, json elsewhere"`
}

// NATS names the files for authentication at a NATS server, and for verifying its certificate.
type NATS struct {
	Creds    string `desc:"credentials file (JWT and seed)"`
	Nkey     string `desc:"file with the seed of an nkey; not together with LETHE_NATS_CREDS"`
	CA       string `desc:"file with the certificates to trust"`
	Cert     string `desc:"client certificate file"`
	Key      string `desc:"key file of the client certificate"`
	TLSFirst bool   `split_words:"true" default:"false" desc:"start with the TLS handshake, for servers with handshake_first"`
}

// Embedded configures the NATS server that Lethe embeds if no NATS URL is set.
type Embedded struct {
	Dir  string `group:"Embedded NATS server (without LETHE_NATS_URL)" default:"./lethe-data" desc:"data directory of the embedded server, locked while it runs"`
	Addr string `default:"127.0.0.1:4222" desc:"address of the embedded server"`
	Sync Sync   `default:"always" desc:"when it syncs to disk: always, or an interval such as 1s (a power cut then loses what was stored since the last sync)"`
}

// Stream contains the settings common to all streams.
type Stream struct {
	Replicas int `group:"Streams" default:"1" desc:"replicas of each stream, 1 to 5 (more than 1 needs a cluster)"`
}

// KV configures the lane of the target kv-user-context.
type KV struct {
	BaseURL       string `group:"API of k-v.ai (kv-user-context)" split_words:"true" default:"https://api.k-v.ai" desc:"address of the k-v.ai API"`
	AccessKey     Secret `split_words:"true" desc:"access key of k-v.ai; none: its requests wait"`
	AccessKeyFile string `split_words:"true" desc:"file with the access key, read again when it changes"`
	Calls
	Timeout time.Duration `default:"100s" desc:"timeout of a call, 1ms to 15m"`
	Batch   Batch
}

// Sensay configures the lane of the target sensay-knowledge-base.
type Sensay struct {
	BaseURL                string `group:"API of Sensay (sensay-knowledge-base)" split_words:"true" default:"https://api.sensay.io" desc:"address of the Sensay API"`
	OrganizationSecret     Secret `split_words:"true" desc:"organization secret of Sensay; none: its requests wait"`
	OrganizationSecretFile string `split_words:"true" desc:"file with the organization secret, read again when it changes"`
	APIVersion             string `split_words:"true" default:"2025-03-25" desc:"value of the X-API-Version header"`
	Calls
	Timeout time.Duration `default:"100s" desc:"timeout of a call, 1ms to 15m; with less than 90s, Lethe gives up on calls that Sensay still answers"`
}

// Calls limits a lane's API calls.
type Calls struct {
	Concurrency int     `default:"64" desc:"maximum calls in flight, 1 to 10000; fewer while calls time out or are slow"`
	Rate        float64 `default:"0" desc:"maximum calls per second; 0: only the limit learned from the API"`
}

// Batch configures calls for several requests.
type Batch struct {
	IDs    int           `default:"100" desc:"maximum ids in one call for several requests, 1 to 100 (1: one call per request)"`
	Linger time.Duration `default:"5ms" desc:"how long a request waits for others to join its call, at most 1s"`
}

// Retry is the exponential backoff between attempts.
type Retry struct {
	InitialInterval time.Duration `group:"Retries and confirmations" split_words:"true" default:"500ms" desc:"delay after the first attempt"`
	Multiplier      float64       `default:"2" desc:"growth of the delay from one attempt to the next, at least 1"`
	Randomization   float64       `default:"0.5" desc:"random share of the delay, 0 to 1"`
	MaxInterval     time.Duration `split_words:"true" default:"15m" desc:"maximum delay"`
	MaxElapsed      time.Duration `split_words:"true" default:"24h" desc:"total time of retries after which a request fails"`
}

// Sync is the interval at which the embedded server syncs to disk. 0, written "always", syncs each message before it
// is acknowledged.
type Sync time.Duration

// Decode reads "always" or a duration. envconfig calls it.
func (s *Sync) Decode(value string) error {
	if value == "always" {
		*s = 0
		return nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return errors.New(`must be "always" or an interval such as 1s`)
	}
	*s = Sync(d)
	return nil
}

// String returns the form that Decode reads.
func (s Sync) String() string {
	if s == 0 {
		return "always"
	}
	return time.Duration(s).String()
}

// Load reads and checks the environment variables. An error is one line that begins with the variable's name and never
// shows a secret. Load unsets Lethe's variables that are empty.
func Load() (*Config, error) {
	for name, value := range environ() {
		if value == "" {
			_ = os.Unsetenv(name) // fails only for invalid names
		}
	}
	var c Config
	if err := envconfig.Process(prefix, &c); err != nil {
		return nil, explain(err)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return &c, nil
}

// ClientURL returns the NATS URL for commands that connect to a running Lethe: the configured URL, or else the URL of
// the embedded server on this machine. It may contain a password: do not log it.
func (c *Config) ClientURL() string {
	if url := c.NATSURL.Reveal(); url != "" {
		return url
	}
	host, port, err := net.SplitHostPort(c.Embedded.Addr)
	if err != nil {
		return "nats://" + c.Embedded.Addr
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, port)
}

// environ returns Lethe's own variables and NATS_URL.
func environ() map[string]string {
	vars := map[string]string{}
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, prefix+"_") || name == "NATS_URL" {
			vars[name] = value
		}
	}
	return vars
}

// explain replaces envconfig's error, which shows the whole value, with a line that describes the valid values.
func explain(err error) error {
	var parse *envconfig.ParseError
	if !errors.As(err, &parse) {
		return fmt.Errorf("read the environment: %w", err)
	}
	want := map[string]string{
		"bool":           "true or false",
		"int":            "an integer",
		"float64":        "a number",
		"time.Duration":  "a duration such as 500ms, 30s or 24h",
		"slog.Level":     "debug, info, warn or error",
		"config.Bytes":   "a number of bytes such as 1073741824 or 1GiB",
		"config.Targets": "one or more of " + targetNames() + ", separated by commas",
		"config.Sync":    `"always" or an interval such as 1s`,
	}[parse.TypeName]
	if want == "" {
		return fmt.Errorf("%s: cannot be read", parse.KeyName)
	}
	return fmt.Errorf("%s: must be %s, not %s", parse.KeyName, want, quote(parse.Value))
}
