package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clearEnv removes Lethe's variables during a test.
func clearEnv(t *testing.T) {
	t.Helper()
	for name := range environ() {
		t.Setenv(name, "") // restores it afterwards
		_ = os.Unsetenv(name)
	}
}

func load(t *testing.T, env map[string]string) (*Config, error) {
	t.Helper()
	clearEnv(t)
	for name, value := range env {
		t.Setenv(name, value)
	}
	return Load()
}

func TestDefaultsAreThoseOfTheContract(t *testing.T) {
	got, err := load(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		NATSURL:       Secret{},
		NATS:          NATS{Creds: "", Nkey: "", CA: "", Cert: "", Key: "", TLSFirst: false},
		Embedded:      Embedded{Dir: "./lethe-data", Addr: "127.0.0.1:4222", Sync: 0 /* always */},
		Stream:        Stream{Replicas: 1},
		ResultsMaxAge: 720 * time.Hour,
		ManageStreams: true,
		KV: KV{
			BaseURL: "https://api.k-v.ai", AccessKey: Secret{}, AccessKeyFile: "",
			Calls: Calls{Concurrency: 64, Rate: 0}, Timeout: 100 * time.Second,
			Batch: Batch{IDs: 100, Linger: 5 * time.Millisecond},
		},
		Sensay: Sensay{
			BaseURL: "https://api.sensay.io", OrganizationSecret: Secret{}, OrganizationSecretFile: "",
			APIVersion: "2025-03-25",
			Calls:      Calls{Concurrency: 64, Rate: 0}, Timeout: 100 * time.Second,
		},
		Retry: Retry{
			InitialInterval: 500 * time.Millisecond, Multiplier: 2, Randomization: 0.5,
			MaxInterval: 15 * time.Minute, MaxElapsed: 24 * time.Hour,
		},
		ConfirmAfter: 24 * time.Hour, ShutdownGrace: 30 * time.Second, AllowHTTP: false,
		AdminAddr: "127.0.0.1:8080", LogLevel: slog.LevelInfo, LogFormat: "",
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Secret{})); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

// every lists each variable with a value other than its default, and the field that it sets.
func every(t *testing.T) []struct {
	name, value string
	read        func(*Config) any
	want        any
} {
	some := someFile(t)
	return []struct {
		name, value string
		read        func(*Config) any
		want        any
	}{
		{"LETHE_NATS_URL", "nats://u:p@n:4222", func(c *Config) any { return c.NATSURL.Reveal() }, "nats://u:p@n:4222"},
		{"LETHE_NATS_CREDS", some, func(c *Config) any { return c.NATS.Creds }, some},
		{"LETHE_NATS_NKEY", some, func(c *Config) any { return c.NATS.Nkey }, some},
		{"LETHE_NATS_TLS_FIRST", "true", func(c *Config) any { return c.NATS.TLSFirst }, true},
		{"LETHE_JETSTREAM_DOMAIN", "hub", func(c *Config) any { return c.JetstreamDomain }, "hub"},
		{"LETHE_NATS_CA", some, func(c *Config) any { return c.NATS.CA }, some},
		{"LETHE_NATS_CERT", some, func(c *Config) any { return c.NATS.Cert }, some},
		{"LETHE_NATS_KEY", some, func(c *Config) any { return c.NATS.Key }, some},
		{"LETHE_EMBEDDED_DIR", "/d", func(c *Config) any { return c.Embedded.Dir }, "/d"},
		{"LETHE_EMBEDDED_ADDR", "[::1]:0", func(c *Config) any { return c.Embedded.Addr }, "[::1]:0"},
		{"LETHE_EMBEDDED_SYNC", "2s", func(c *Config) any { return c.Embedded.Sync }, Sync(2 * time.Second)},
		{"LETHE_STREAM_REPLICAS", "5", func(c *Config) any { return c.Stream.Replicas }, 5},
		{"LETHE_TARGETS", " sensay-knowledge-base", func(c *Config) any { return c.Targets.Include("kv-user-context") }, false},
		{"LETHE_RESULTS_MAX_AGE", "0", func(c *Config) any { return c.ResultsMaxAge }, time.Duration(0)},
		{"LETHE_MANAGE_STREAMS", "false", func(c *Config) any { return c.ManageStreams }, false},
		{"LETHE_REQUESTS_MAX_BYTES", "1MiB", func(c *Config) any { return c.RequestsMaxBytes }, Bytes(1 << 20)},
		{"LETHE_RESULTS_MAX_BYTES", "2TiB", func(c *Config) any { return c.ResultsMaxBytes }, Bytes(2 << 40)},
		{"LETHE_LATER_MAX_BYTES", "268435456", func(c *Config) any { return c.LaterMaxBytes }, Bytes(256 << 20)},
		{"LETHE_KV_BASE_URL", "http://localhost:1/x", func(c *Config) any { return c.KV.BaseURL }, "http://localhost:1/x"},
		{"LETHE_KV_ACCESS_KEY", "hush", func(c *Config) any { return c.KV.AccessKey.Reveal() }, "hush"},
		{"LETHE_KV_ACCESS_KEY_FILE", some, func(c *Config) any { return c.KV.AccessKeyFile }, some},
		{"LETHE_KV_CONCURRENCY", "10000", func(c *Config) any { return c.KV.Concurrency }, 10000},
		{"LETHE_KV_RATE", "0.5", func(c *Config) any { return c.KV.Rate }, 0.5},
		{"LETHE_KV_TIMEOUT", "15m", func(c *Config) any { return c.KV.Timeout }, 15 * time.Minute},
		{"LETHE_KV_BATCH_IDS", "1", func(c *Config) any { return c.KV.Batch.IDs }, 1},
		{"LETHE_KV_BATCH_LINGER", "1s", func(c *Config) any { return c.KV.Batch.Linger }, time.Second},
		{"LETHE_SENSAY_BASE_URL", "http://127.0.0.1:1", func(c *Config) any { return c.Sensay.BaseURL }, "http://127.0.0.1:1"},
		{"LETHE_SENSAY_ORGANIZATION_SECRET", "hush", func(c *Config) any { return c.Sensay.OrganizationSecret.Reveal() }, "hush"},
		{"LETHE_SENSAY_ORGANIZATION_SECRET_FILE", some, func(c *Config) any { return c.Sensay.OrganizationSecretFile }, some},
		{"LETHE_SENSAY_API_VERSION", "2026-01-01", func(c *Config) any { return c.Sensay.APIVersion }, "2026-01-01"},
		{"LETHE_SENSAY_CONCURRENCY", "1", func(c *Config) any { return c.Sensay.Concurrency }, 1},
		{"LETHE_SENSAY_RATE", "100", func(c *Config) any { return c.Sensay.Rate }, 100.0},
		{"LETHE_SENSAY_TIMEOUT", "1ms", func(c *Config) any { return c.Sensay.Timeout }, time.Millisecond},
		{"LETHE_RETRY_INITIAL_INTERVAL", "15m", func(c *Config) any { return c.Retry.InitialInterval }, 15 * time.Minute},
		{"LETHE_RETRY_MULTIPLIER", "1", func(c *Config) any { return c.Retry.Multiplier }, 1.0},
		{"LETHE_RETRY_RANDOMIZATION", "1", func(c *Config) any { return c.Retry.Randomization }, 1.0},
		{"LETHE_RETRY_MAX_INTERVAL", "500ms", func(c *Config) any { return c.Retry.MaxInterval }, 500 * time.Millisecond},
		{"LETHE_RETRY_MAX_ELAPSED", "1s", func(c *Config) any { return c.Retry.MaxElapsed }, time.Second},
		{"LETHE_CONFIRM_AFTER", "1s", func(c *Config) any { return c.ConfirmAfter }, time.Second},
		{"LETHE_SHUTDOWN_GRACE", "1s", func(c *Config) any { return c.ShutdownGrace }, time.Second},
		{"LETHE_ALLOW_HTTP", "true", func(c *Config) any { return c.AllowHTTP }, true},
		{"LETHE_ADMIN_ADDR", ":9", func(c *Config) any { return c.AdminAddr }, ":9"},
		{"LETHE_ADMIN_PAGE", "true", func(c *Config) any { return c.AdminPage }, true},
		{"LETHE_LOG_LEVEL", "DEBUG", func(c *Config) any { return c.LogLevel }, slog.LevelDebug},
		{"LETHE_LOG_FORMAT", "json", func(c *Config) any { return c.LogFormat }, "json"},
	}
}

func TestEveryVariable(t *testing.T) {
	// Variables that others require.
	some := someFile(t)
	beside := map[string]map[string]string{
		"LETHE_NATS_CREDS":       {"LETHE_NATS_URL": "n:4222"},
		"LETHE_NATS_NKEY":        {"LETHE_NATS_URL": "n:4222"},
		"LETHE_NATS_TLS_FIRST":   {"LETHE_NATS_URL": "n:4222"},
		"LETHE_JETSTREAM_DOMAIN": {"LETHE_NATS_URL": "n:4222"},
		"LETHE_NATS_CA":          {"LETHE_NATS_URL": "n:4222"},
		"LETHE_NATS_CERT":        {"LETHE_NATS_URL": "n:4222", "LETHE_NATS_KEY": some},
		"LETHE_NATS_KEY":         {"LETHE_NATS_URL": "n:4222", "LETHE_NATS_CERT": some},
	}
	usage := Usage()
	rows := every(t)
	for _, row := range rows {
		t.Run(row.name+" is read", func(t *testing.T) {
			env := map[string]string{row.name: row.value}
			maps.Copy(env, beside[row.name])
			c, err := load(t, env)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, row.read(c)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if unknown := Unknown(); len(unknown) != 0 {
				t.Errorf("Unknown() = %q, want none", unknown)
			}
			if !strings.Contains(usage, "  "+row.name+" ") {
				t.Error("Usage() does not list it")
			}
		})
		t.Run(row.name+" set but empty is not set", func(t *testing.T) {
			if _, err := load(t, map[string]string{row.name: ""}); err != nil {
				t.Error(err)
			}
		})
	}
	if got := strings.Count(usage, "\n  LETHE_"); got != len(rows) {
		t.Errorf("Usage() has %d variables, this test %d", got, len(rows))
	}
}

func TestNATSURL(t *testing.T) {
	tests := []struct {
		name, own, plain, want string
	}{
		{"none means the embedded server", "", "", ""},
		{"NATS_URL is read", "", "nats://plain:1", "nats://plain:1"},
		{"LETHE_NATS_URL comes before NATS_URL", "nats://own:1", "nats://plain:1", "nats://own:1"},
		{"several, with and without a scheme", "a:1, tls://b:2", "", "a:1, tls://b:2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, map[string]string{"LETHE_NATS_URL": tt.own, "NATS_URL": tt.plain})
			if err != nil {
				t.Fatal(err)
			}
			if got := c.NATSURL.Reveal(); got != tt.want {
				t.Errorf("NATSURL = %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("no other variable is read without the prefix", func(t *testing.T) {
		t.Setenv("LOG_LEVEL", "nonsense")
		t.Setenv("CREDS", "/nowhere")
		t.Setenv("NATS_CREDS", "/nowhere")
		t.Setenv("NKEY", "/nowhere")
		t.Setenv("NATS_NKEY", "/nowhere")
		t.Setenv("JETSTREAM_DOMAIN", "other")
		t.Setenv("KV_ACCESS_KEY", "other")
		c, err := load(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.KV.AccessKey.Reveal() + c.NATS.Creds + c.NATS.Nkey + c.JetstreamDomain; got != "" {
			t.Errorf("read %q", got)
		}
	})
}

func TestClientURL(t *testing.T) {
	tests := []struct{ name, url, addr, want string }{
		{"the URL that is set", "tls://u:p@n:1", "127.0.0.1:4222", "tls://u:p@n:1"},
		{"the embedded server's address", "", "127.0.0.1:4333", "nats://127.0.0.1:4333"},
		{"all interfaces are reached through loopback", "", "0.0.0.0:4222", "nats://127.0.0.1:4222"},
		{"all interfaces, IPv6", "", "[::]:4222", "nats://127.0.0.1:4222"},
		{"no host means all interfaces", "", ":4222", "nats://127.0.0.1:4222"},
		{"IPv6 loopback", "", "[::1]:4222", "nats://[::1]:4222"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &Config{NATSURL: NewSecret(tt.url), Embedded: Embedded{Addr: tt.addr}}
			if got := c.ClientURL(); got != tt.want {
				t.Errorf("ClientURL() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestUnknown(t *testing.T) {
	clearEnv(t)
	t.Setenv("LETHE_NATS_ULR", "x")
	t.Setenv("LETHE_KV_CONCURENCY", "x")
	t.Setenv("LETHE_LOG_LEVEL", "info")
	t.Setenv("LETHEAN", "x")
	if diff := cmp.Diff([]string{"LETHE_KV_CONCURENCY", "LETHE_NATS_ULR"}, Unknown()); diff != "" {
		t.Errorf("Unknown() (-want +got):\n%s", diff)
	}
}

func TestUsage(t *testing.T) {
	clearEnv(t)
	t.Setenv("LETHE_KV_ACCESS_KEY", "hush-hush")
	usage := Usage()
	if strings.Contains(usage, "hush-hush") {
		t.Error("Usage() shows a secret")
	}
	for _, want := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "nothing is exported", "NATS_URL is read too", "127.0.0.1:8080"} {
		if !strings.Contains(usage, want) {
			t.Errorf("Usage() lacks %q", want)
		}
	}
	lines := strings.Split(usage, "\n")
	for i, line := range lines {
		if len(line) > 80 {
			t.Errorf("it does not fit into 80 columns: %q", line)
		}
		if strings.HasPrefix(line, "  LETHE_") && (!strings.HasSuffix(line, ")") || !regexp.MustCompile(`^ {6}\w`).MatchString(lines[i+1])) {
			t.Errorf("a variable without default or meaning: %q", line)
		}
	}
}

func TestUsageIsGrouped(t *testing.T) {
	clearEnv(t)
	groups := []struct{ heading, members string }{
		{"NATS", `NATS_\w+|JETSTREAM_DOMAIN`},
		{"Embedded NATS server (without LETHE_NATS_URL)", `EMBEDDED_\w+`},
		{"Streams", `STREAM_REPLICAS|MANAGE_STREAMS|\w+_MAX_AGE|\w+_MAX_BYTES`},
		{"APIs", `TARGETS|ALLOW_HTTP`},
		{"API of k-v.ai (kv-user-context)", `KV_\w+`},
		{"API of Sensay (sensay-knowledge-base)", `SENSAY_\w+`},
		{"Retries and confirmations", `RETRY_\w+|CONFIRM_AFTER`},
		{"Operation", `ADMIN_\w+|SHUTDOWN_GRACE`},
		{"Log", `LOG_\w+`},
		{"API", `TOY_\w+`},
		{"OpenTelemetry", "none of ours"},
	}
	at := -1
	for line := range strings.Lines(Usage("TOY")) {
		line = strings.TrimRight(line, "\n")
		if heading, ok := strings.CutSuffix(line, ":"); ok && !strings.HasPrefix(line, " ") {
			if at++; at == len(groups) || groups[at].heading != heading {
				t.Fatalf("heading %q, want the %d. of %v", heading, at+1, groups)
			}
		}
		if name, ok := strings.CutPrefix(line, "  LETHE_"); ok {
			name, _, _ = strings.Cut(name, " ")
			if !regexp.MustCompile("^(" + groups[max(at, 0)].members + ")$").MatchString(name) {
				t.Errorf("LETHE_%s is under %q", name, groups[max(at, 0)].heading)
			}
		}
	}
	if at != len(groups)-1 {
		t.Errorf("%d groups, want %d", at+1, len(groups))
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	const hush = "hush-hush"
	c, err := load(t, map[string]string{
		"LETHE_NATS_URL":                   "nats://user:" + hush + "@n:4222",
		"LETHE_KV_ACCESS_KEY":              hush,
		"LETHE_SENSAY_ORGANIZATION_SECRET": hush,
	})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "config", c, "key", c.KV.AccessKey)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "config", c, "key", c.KV.AccessKey)
	shown := string(encoded) + logged.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown += fmt.Sprintf(verb, *c) + fmt.Sprintf(verb, c.KV.AccessKey) + fmt.Sprintf(verb, &c.KV.AccessKey)
	}
	if strings.Contains(shown, hush) || strings.Contains(shown, fmt.Sprintf("%x", hush)) {
		t.Errorf("a secret is shown: %s", shown)
	}
	if !strings.Contains(shown, redacted) {
		t.Error("the output does not show that a secret is set")
	}
}

// A secret is not shown by any verb, encoder, error or panic, alone or in a struct.
func TestASecretIsNeverPrinted(t *testing.T) {
	const hush = "hush-hush"
	secret := NewSecret(hush)
	type hidden struct{ secret Secret }
	type deep struct{ inner *hidden }
	shown := ""
	for _, value := range []any{
		secret, &secret, []Secret{secret}, map[string]Secret{"k": secret}, map[Secret]int{secret: 1}, struct{ S Secret }{secret},
		hidden{secret}, &hidden{secret}, []hidden{{secret}}, map[string]hidden{"k": {secret}}, deep{&hidden{secret}}, [1]any{hidden{secret}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%c", "%U", "%t", "%e", "%z", "% x", "%08.3v"} {
			shown += fmt.Sprintf(verb, value) + fmt.Errorf("wrong: "+verb, value).Error()
		}
		shown += fmt.Sprintln(value)
		encoded, err := json.Marshal(value)
		if err != nil && !strings.Contains(err.Error(), "unsupported type") {
			t.Error(err)
		}
		var logged bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
			slog.New(handler).With("with", value).WithGroup("g").Info("m", "value", value, slog.Group("in", "value", value))
		}
		func() {
			defer func() { shown += fmt.Sprint(recover()) }()
			panic(value)
		}()
		shown += string(encoded) + logged.String()
	}
	for _, spelling := range []string{hush, fmt.Sprintf("%x", hush), fmt.Sprintf("%X", hush), fmt.Sprintf("% x", hush), fmt.Sprint([]byte(hush))} {
		if strings.Contains(shown, spelling) {
			t.Errorf("%q is shown in %s", spelling, shown)
		}
	}
	if secret.Reveal() != hush || NewSecret("").String() != "" {
		t.Error("Reveal() does not return the value")
	}
}

func someFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "some")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
