// Package config reads Lethe's settings from the environment, and nowhere else.
//
// Its one idea: the [Config] struct is the reference. Names, defaults and meanings stand in the struct's tags;
// reading ([Load]), the table of `lethe run --help` ([Usage]) and the warning about misspelled names ([Unknown])
// are all made from them, so that they cannot tell different stories. A variable that is set but empty counts as
// not set, as in the OpenTelemetry specification, because compose files pass such variables along.
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

// Config is every setting of Lethe. Printing it shows no secret.
type Config struct {
	// NATSURL is a Secret because a URL may hold a password or a token. Empty means the embedded server.
	// It alone has an envconfig tag, which gives it the fallback to the name without the prefix.
	NATSURL  Secret `envconfig:"NATS_URL" desc:"NATS server, or several with commas between; NATS_URL is read too; none: an embedded server"`
	NATS     NATS
	Embedded Embedded
	Stream   Stream

	JetstreamDomain string `split_words:"true" desc:"JetStream domain that holds the streams; none: that of the server"`

	ResultsMaxAge time.Duration `split_words:"true" default:"720h" desc:"how long results are kept, 0 forever; one final result a request is promised for as long"`
	ManageStreams bool          `split_words:"true" default:"true" desc:"create streams at start where none exists, update existing ones"`

	RequestsMaxBytes Bytes `split_words:"true" desc:"limit of DELETION_REQUESTS such as 10GiB, at least 1MiB, for accounts that require one; none: no limit"`
	ResultsMaxBytes  Bytes `split_words:"true" desc:"limit of DELETION_RESULTS, at least 1MiB"`
	LaterMaxBytes    Bytes `split_words:"true" desc:"limit of DELETION_LATER, at least 256MiB; no requests are taken from 75% on"`

	KV     KV
	Sensay Sensay
	Retry  Retry

	ConfirmAfter  time.Duration `split_words:"true" default:"24h" desc:"when an accepted-pending deletion is asked about again"`
	ShutdownGrace time.Duration `split_words:"true" default:"30s" desc:"the process ends within it after SIGTERM; calls in flight may finish in most of it"`
	AllowHTTP     bool          `split_words:"true" default:"false" desc:"allow plain http to addresses other than loopback"`

	AdminAddr string     `split_words:"true" default:"127.0.0.1:8080" desc:"address of /healthz, /readyz and /metrics"`
	LogLevel  slog.Level `split_words:"true" default:"info" desc:"debug, info, warn or error"`
	LogFormat string     `split_words:"true" desc:"text or json; none: text on a terminal, json elsewhere"`
}

// NATS holds the files with which Lethe shows who it is to a NATS server, and knows the server by.
type NATS struct {
	Creds    string `desc:"credentials file (JWT and seed)"`
	Nkey     string `desc:"file with the seed of an nkey; not beside LETHE_NATS_CREDS"`
	CA       string `desc:"file with the certificates to trust"`
	Cert     string `desc:"client certificate file"`
	Key      string `desc:"key file of the client certificate"`
	TLSFirst bool   `split_words:"true" default:"false" desc:"begin with the TLS handshake, for servers with handshake_first"`
}

// Embedded is the server that Lethe starts inside itself when no NATS URL is set.
type Embedded struct {
	Dir  string `default:"./lethe-data" desc:"directory of the embedded server, locked while it runs"`
	Addr string `default:"127.0.0.1:4222" desc:"address of the embedded server"`
	Sync Sync   `default:"always" desc:"when it syncs to disk: always, or an interval such as 1s (a power cut loses that much)"`
}

// Stream holds what is common to all streams.
type Stream struct {
	Replicas int `default:"1" desc:"copies of each stream, 1 to 5 (3 or 5 need a cluster)"`
}

// KV is the lane of the target kv-user-context.
type KV struct {
	BaseURL       string `split_words:"true" default:"https://api.k-v.ai" desc:"address of the k-v.ai API"`
	AccessKey     Secret `split_words:"true" desc:"access key of k-v.ai; none: its requests wait"`
	AccessKeyFile string `split_words:"true" desc:"file that holds the access key, read again when it changes"`
	Calls
	Batch Batch
}

// Sensay is the lane of the target sensay-knowledge-base.
type Sensay struct {
	BaseURL                string `split_words:"true" default:"https://api.sensay.io" desc:"address of the Sensay API"`
	OrganizationSecret     Secret `split_words:"true" desc:"organization secret of Sensay; none: its requests wait"`
	OrganizationSecretFile string `split_words:"true" desc:"file that holds the organization secret, read again when it changes"`
	APIVersion             string `split_words:"true" default:"2025-03-25" desc:"value of the X-API-Version header"`
	Calls
}

// Calls limits a lane's calls of its API.
type Calls struct {
	Concurrency int           `default:"64" desc:"the most calls at the same time, 1 to 10000; fewer are made where they time out or take long"`
	Rate        float64       `default:"0" desc:"the most calls a second, never exceeded; 0: only what the API is found to allow"`
	Timeout     time.Duration `default:"100s" desc:"longest call, 1ms to 15m (Sensay itself gives up at 90s)"`
}

// Batch says how requests for k-v.ai are sent together in one call.
type Batch struct {
	IDs    int           `default:"100" desc:"most ids in one call for several requests, 1 to 100 (1: each goes alone)"`
	Linger time.Duration `default:"5ms" desc:"how long a request waits for others to share its call, at most 1s"`
}

// Retry is the exponential backoff between attempts.
type Retry struct {
	InitialInterval time.Duration `split_words:"true" default:"500ms" desc:"wait after the first attempt"`
	Multiplier      float64       `default:"2" desc:"growth of the wait from one attempt to the next, at least 1"`
	Randomization   float64       `default:"0.5" desc:"share of the wait that is random, 0 to 1"`
	MaxInterval     time.Duration `split_words:"true" default:"15m" desc:"longest wait"`
	MaxElapsed      time.Duration `split_words:"true" default:"24h" desc:"after this long a request has failed"`
}

// Sync is how long the embedded server may leave a stored message unsynced; 0 syncs each one before it is
// acknowledged, and is written "always".
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

// String gives the form that Decode reads.
func (s Sync) String() string {
	if s == 0 {
		return "always"
	}
	return time.Duration(s).String()
}

// Load reads and checks the environment. An error is one line that begins with the variable's name and never
// shows a secret. Variables of Lethe that are set but empty are removed from the process's environment.
func Load() (*Config, error) {
	for name, value := range environ() {
		if value == "" {
			_ = os.Unsetenv(name) // fails only for names that cannot stand in an environment
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

// ClientURL is the NATS URL for commands that talk to a running Lethe: the one set, or else that of the
// embedded server as reached from this machine. It may hold a password: do not log it.
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

// environ gives Lethe's own variables, and NATS_URL.
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

// explain turns envconfig's error, which quotes the value, into a line about what the value must be.
func explain(err error) error {
	var parse *envconfig.ParseError
	if !errors.As(err, &parse) {
		return fmt.Errorf("reading the environment: %w", err)
	}
	want := map[string]string{
		"bool":          "true or false",
		"int":           "a whole number",
		"float64":       "a number",
		"time.Duration": "a duration such as 500ms, 30s or 24h",
		"slog.Level":    "debug, info, warn or error",
		"config.Bytes":  "a number of bytes such as 1073741824 or 1GiB",
		"config.Sync":   `"always" or an interval such as 1s`,
	}[parse.TypeName]
	if want == "" {
		return fmt.Errorf("%s: cannot be read", parse.KeyName)
	}
	return fmt.Errorf("%s: must be %s, not %s", parse.KeyName, want, quote(parse.Value))
}
