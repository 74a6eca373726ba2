package config

import (
	"os"
	"strings"
	"testing"
)

func TestWrongValues(t *testing.T) {
	some, dir := someFile(t), t.TempDir()
	const hush = "hush-hush"
	tests := []struct {
		name string
		env  map[string]string
		want string // prefix of the error
	}{
		{"a NATS URL of another scheme", map[string]string{"LETHE_NATS_URL": "http://u:" + hush + "@n:1"}, "LETHE_NATS_URL: must be"},
		{"a NATS URL that cannot be parsed", map[string]string{"LETHE_NATS_URL": "nats://u:" + hush + "@n:port"}, "LETHE_NATS_URL: must be"},
		{"a NATS token with a slash", map[string]string{"LETHE_NATS_URL": "nats://" + hush + "/x@n:1"}, "LETHE_NATS_URL: has a /, ? or # before its @"},
		{"a NATS password with a question mark", map[string]string{"LETHE_NATS_URL": hush + "?x@n:1"}, "LETHE_NATS_URL: has a /, ? or # before its @"},
		{"a NATS token with a hash", map[string]string{"NATS_URL": "tls://" + hush + "#x@n:1"}, "NATS_URL: has a /, ? or # before its @"},
		{"a NATS password with a comma", map[string]string{"LETHE_NATS_URL": "nats://u:12,3" + hush + "@n:1"}, "LETHE_NATS_URL: has a comma before an @"},
		{"a NATS password with a percent sign", map[string]string{"LETHE_NATS_URL": "nats://u:" + hush + "%@n:1"}, "LETHE_NATS_URL: must be"},
		{"a NATS password with a space", map[string]string{"LETHE_NATS_URL": "nats://u:" + hush + " x@n:1"}, "LETHE_NATS_URL: must be"},
		{"a NATS password and no host", map[string]string{"LETHE_NATS_URL": "nats://u:" + hush + "@"}, "LETHE_NATS_URL: must be"},
		{"an IPv6 address without brackets", map[string]string{"LETHE_NATS_URL": "nats://::1:14222"}, "LETHE_NATS_URL: must have an IPv6 address in brackets"},
		{"an IPv6 address without a port and a scheme", map[string]string{"LETHE_NATS_URL": "u:" + hush + "@fe80::1"}, "LETHE_NATS_URL: must have an IPv6 address in brackets"},
		{"one bad NATS URL of two", map[string]string{"LETHE_NATS_URL": "n:1,,n:2"}, "LETHE_NATS_URL: must be"},
		{"an error names NATS_URL if that is set", map[string]string{"NATS_URL": "ftp://n"}, "NATS_URL: must be"},
		{"a missing credentials file", map[string]string{"LETHE_NATS_CREDS": "/no/where"}, `LETHE_NATS_CREDS: "/no/where": no such file`},
		{"a missing CA", map[string]string{"LETHE_NATS_CA": "/no/where"}, "LETHE_NATS_CA: "},
		{"a directory for a certificate", map[string]string{"LETHE_NATS_CERT": dir}, "LETHE_NATS_CERT: "},
		{"a missing key", map[string]string{"LETHE_NATS_KEY": "/no/where"}, "LETHE_NATS_KEY: "},
		{"a certificate without key", map[string]string{"LETHE_NATS_URL": "n:1", "LETHE_NATS_CERT": some}, "LETHE_NATS_CERT: is set, but LETHE_NATS_KEY is not"},
		{"a key without certificate", map[string]string{"LETHE_NATS_URL": "n:1", "LETHE_NATS_KEY": some}, "LETHE_NATS_KEY: is set, but LETHE_NATS_CERT is not"},
		{"credentials and no server", map[string]string{"LETHE_NATS_CREDS": some}, "LETHE_NATS_CREDS: is set, but LETHE_NATS_URL is not"},
		{"a missing seed", map[string]string{"LETHE_NATS_NKEY": "/no/where"}, `LETHE_NATS_NKEY: "/no/where": no such file`},
		{"credentials and a seed", map[string]string{"LETHE_NATS_URL": "n:1", "LETHE_NATS_CREDS": some, "LETHE_NATS_NKEY": some}, "LETHE_NATS_NKEY: must not be set together with LETHE_NATS_CREDS"},
		{"a seed and no server", map[string]string{"LETHE_NATS_NKEY": some}, "LETHE_NATS_NKEY: is set, but LETHE_NATS_URL is not"},
		{"a domain and no server", map[string]string{"LETHE_JETSTREAM_DOMAIN": "hub"}, "LETHE_JETSTREAM_DOMAIN: is set, but LETHE_NATS_URL is not"},
		{"a domain with a wildcard", map[string]string{"LETHE_NATS_URL": "n:1", "LETHE_JETSTREAM_DOMAIN": "hub.*"}, "LETHE_JETSTREAM_DOMAIN: must be a name"},
		{"an invalid boolean for TLS", map[string]string{"LETHE_NATS_TLS_FIRST": "yes please"}, "LETHE_NATS_TLS_FIRST: must be true or false"},
		{"an embedded address without port", map[string]string{"LETHE_EMBEDDED_ADDR": "127.0.0.1"}, "LETHE_EMBEDDED_ADDR: must be host:port"},
		{"an invalid port", map[string]string{"LETHE_EMBEDDED_ADDR": "127.0.0.1:70000"}, "LETHE_EMBEDDED_ADDR: must be host:port"},
		{"an invalid sync interval", map[string]string{"LETHE_EMBEDDED_SYNC": "sometimes"}, "LETHE_EMBEDDED_SYNC: must be \"always\""},
		{"a negative sync", map[string]string{"LETHE_EMBEDDED_SYNC": "-1s"}, "LETHE_EMBEDDED_SYNC: "},
		{"an unknown target", map[string]string{"LETHE_TARGETS": "kv-user-context,sensay"}, `LETHE_TARGETS: must be one or more of kv-user-context, sensay-knowledge-base, separated by commas, not "kv-user-context,sensay"`},
		{"an empty target", map[string]string{"LETHE_TARGETS": "kv-user-context,"}, "LETHE_TARGETS: must be one or more of"},
		{"no replicas", map[string]string{"LETHE_STREAM_REPLICAS": "0"}, "LETHE_STREAM_REPLICAS: must be 1 to 5, not 0"},
		{"six replicas", map[string]string{"LETHE_STREAM_REPLICAS": "6"}, "LETHE_STREAM_REPLICAS: must be 1 to 5, not 6"},
		{"replicas in words", map[string]string{"LETHE_STREAM_REPLICAS": "three"}, `LETHE_STREAM_REPLICAS: must be an integer, not "three"`},
		{"a negative age", map[string]string{"LETHE_RESULTS_MAX_AGE": "-1h"}, "LETHE_RESULTS_MAX_AGE: "},
		{"an age without unit", map[string]string{"LETHE_RESULTS_MAX_AGE": "720"}, "LETHE_RESULTS_MAX_AGE: must be a duration"},
		{"an age of a week", map[string]string{"LETHE_RESULTS_MAX_AGE": "168h"}, "LETHE_RESULTS_MAX_AGE: must be 0 (forever) or at least 240h0m0s (twice LETHE_RETRY_MAX_ELAPSED, plus LETHE_CONFIRM_AFTER, plus a week), not 168h0m0s"},
		{"an age shorter than the retries", map[string]string{"LETHE_RETRY_MAX_ELAPSED": "264h1s"}, "LETHE_RESULTS_MAX_AGE: must be 0 (forever) or at least 720h0m2s"},
		{"an age shorter than the confirmation", map[string]string{"LETHE_CONFIRM_AFTER": "505h"}, "LETHE_RESULTS_MAX_AGE: must be 0 (forever) or at least 721h0m0s"},
		{"retries longer than the longest age", map[string]string{"LETHE_RETRY_MAX_ELAPSED": "2562047h", "LETHE_RESULTS_MAX_AGE": "2562000h"}, "LETHE_RESULTS_MAX_AGE: must be 0 (forever) or at least 2562047h"},
		{"too few bytes for retries", map[string]string{"LETHE_LATER_MAX_BYTES": "268435455"}, "LETHE_LATER_MAX_BYTES: must be at least 256MiB, not 268435455"},
		{"too few bytes for requests", map[string]string{"LETHE_REQUESTS_MAX_BYTES": "1"}, "LETHE_REQUESTS_MAX_BYTES: must be at least 1MiB"},
		{"too few bytes for results", map[string]string{"LETHE_RESULTS_MAX_BYTES": "1023KiB"}, "LETHE_RESULTS_MAX_BYTES: must be at least 1MiB, not 1023KiB"},
		{"negative bytes", map[string]string{"LETHE_RESULTS_MAX_BYTES": "-1"}, "LETHE_RESULTS_MAX_BYTES: must be a number of bytes"},
		{"bytes of another unit", map[string]string{"LETHE_RESULTS_MAX_BYTES": "10GB"}, "LETHE_RESULTS_MAX_BYTES: must be a number of bytes such as"},
		{"a number of bytes above 2^63", map[string]string{"LETHE_RESULTS_MAX_BYTES": "9000000TiB"}, "LETHE_RESULTS_MAX_BYTES: must be a number of bytes"},
		{"another invalid boolean", map[string]string{"LETHE_MANAGE_STREAMS": "perhaps"}, "LETHE_MANAGE_STREAMS: must be true or false"},
		{"http beyond loopback", map[string]string{"LETHE_KV_BASE_URL": "http://api.k-v.ai"}, "LETHE_KV_BASE_URL: must be https"},
		{"http on an address that only looks like loopback", map[string]string{"LETHE_KV_BASE_URL": "http://localhost.example.com"}, "LETHE_KV_BASE_URL: must be https"},
		{"a base URL without scheme", map[string]string{"LETHE_KV_BASE_URL": "api.k-v.ai"}, "LETHE_KV_BASE_URL: must be a URL"},
		{"a base URL without host", map[string]string{"LETHE_SENSAY_BASE_URL": "https://"}, "LETHE_SENSAY_BASE_URL: must be a URL"},
		{"a base URL with a password", map[string]string{"LETHE_SENSAY_BASE_URL": "https://u:" + hush + "@x"}, "LETHE_SENSAY_BASE_URL: must not contain a user"},
		{"a base URL with a password in place of the port", map[string]string{"LETHE_SENSAY_BASE_URL": "https://u:" + hush}, "LETHE_SENSAY_BASE_URL: must be a URL"},
		{"a base URL with a query", map[string]string{"LETHE_SENSAY_BASE_URL": "https://x/?key=" + hush}, "LETHE_SENSAY_BASE_URL: must not contain a query"},
		{"a base URL with an empty fragment", map[string]string{"LETHE_SENSAY_BASE_URL": "https://x/#"}, "LETHE_SENSAY_BASE_URL: must not contain a query or fragment"},
		{"a key by value and by file", map[string]string{"LETHE_KV_ACCESS_KEY": hush, "LETHE_KV_ACCESS_KEY_FILE": some}, "LETHE_KV_ACCESS_KEY: must not be set together with LETHE_KV_ACCESS_KEY_FILE"},
		{"a key of two lines", map[string]string{"LETHE_KV_ACCESS_KEY": hush + "\nx"}, "LETHE_KV_ACCESS_KEY: must be one line"},
		{"a missing key file", map[string]string{"LETHE_KV_ACCESS_KEY_FILE": "/no/where"}, `LETHE_KV_ACCESS_KEY_FILE: "/no/where": no such file`},
		{"a key in place of its file", map[string]string{"LETHE_KV_ACCESS_KEY_FILE": hush}, "LETHE_KV_ACCESS_KEY_FILE: must be the path of a readable file"},
		{"a secret by value and by file", map[string]string{"LETHE_SENSAY_ORGANIZATION_SECRET": hush, "LETHE_SENSAY_ORGANIZATION_SECRET_FILE": some}, "LETHE_SENSAY_ORGANIZATION_SECRET: must not be set together with"},
		{"a missing secret file", map[string]string{"LETHE_SENSAY_ORGANIZATION_SECRET_FILE": dir + "/x"}, "LETHE_SENSAY_ORGANIZATION_SECRET_FILE: "},
		{"a version with a space", map[string]string{"LETHE_SENSAY_API_VERSION": "a b"}, "LETHE_SENSAY_API_VERSION: "},
		{"no concurrency", map[string]string{"LETHE_KV_CONCURRENCY": "0"}, "LETHE_KV_CONCURRENCY: must be 1 to 10000"},
		{"too much concurrency", map[string]string{"LETHE_SENSAY_CONCURRENCY": "10001"}, "LETHE_SENSAY_CONCURRENCY: must be 1 to 10000"},
		{"a concurrency above 2^63", map[string]string{"LETHE_KV_CONCURRENCY": "99999999999999999999"}, "LETHE_KV_CONCURRENCY: must be an integer"},
		{"a negative rate", map[string]string{"LETHE_KV_RATE": "-1"}, "LETHE_KV_RATE: must be a finite number of at least 0"},
		{"a rate that is not a number", map[string]string{"LETHE_KV_RATE": "NaN"}, "LETHE_KV_RATE: must be a finite number"},
		{"an infinite rate", map[string]string{"LETHE_SENSAY_RATE": "Inf"}, "LETHE_SENSAY_RATE: must be a finite number"},
		{"a rate in words", map[string]string{"LETHE_SENSAY_RATE": "fast"}, "LETHE_SENSAY_RATE: must be a number"},
		{"no timeout", map[string]string{"LETHE_KV_TIMEOUT": "0"}, "LETHE_KV_TIMEOUT: must be 1ms to 15m0s"},
		{"too long a timeout", map[string]string{"LETHE_SENSAY_TIMEOUT": "16m"}, "LETHE_SENSAY_TIMEOUT: must be 1ms to 15m0s"},
		{"a batch without ids", map[string]string{"LETHE_KV_BATCH_IDS": "0"}, "LETHE_KV_BATCH_IDS: must be 1 to 100"},
		{"a batch with too many ids", map[string]string{"LETHE_KV_BATCH_IDS": "101"}, "LETHE_KV_BATCH_IDS: must be 1 to 100"},
		{"a negative linger", map[string]string{"LETHE_KV_BATCH_LINGER": "-1ms"}, "LETHE_KV_BATCH_LINGER: must be 0s to 1s"},
		{"a long linger", map[string]string{"LETHE_KV_BATCH_LINGER": "2s"}, "LETHE_KV_BATCH_LINGER: must be 0s to 1s"},
		{"no initial interval", map[string]string{"LETHE_RETRY_INITIAL_INTERVAL": "0s"}, "LETHE_RETRY_INITIAL_INTERVAL: must be more than 0"},
		{"an initial interval above the maximum", map[string]string{"LETHE_RETRY_INITIAL_INTERVAL": "2m", "LETHE_RETRY_MAX_INTERVAL": "1m"}, "LETHE_RETRY_INITIAL_INTERVAL: must be at most LETHE_RETRY_MAX_INTERVAL"},
		{"a multiplier below 1", map[string]string{"LETHE_RETRY_MULTIPLIER": "0.9"}, "LETHE_RETRY_MULTIPLIER: must be a finite number of at least 1"},
		{"a randomization above 1", map[string]string{"LETHE_RETRY_RANDOMIZATION": "1.1"}, "LETHE_RETRY_RANDOMIZATION: must be 0 to 1"},
		{"no maximum interval", map[string]string{"LETHE_RETRY_MAX_INTERVAL": "0s"}, "LETHE_RETRY_MAX_INTERVAL: must be more than 0"},
		{"no time for retries", map[string]string{"LETHE_RETRY_MAX_ELAPSED": "0s"}, "LETHE_RETRY_MAX_ELAPSED: must be more than 0"},
		{"an immediate confirmation", map[string]string{"LETHE_CONFIRM_AFTER": "0s"}, "LETHE_CONFIRM_AFTER: must be more than 0"},
		{"no grace period", map[string]string{"LETHE_SHUTDOWN_GRACE": "0s"}, "LETHE_SHUTDOWN_GRACE: must be more than 0"},
		{"an invalid boolean", map[string]string{"LETHE_ALLOW_HTTP": "sure"}, "LETHE_ALLOW_HTTP: must be true or false"},
		{"an admin address without port", map[string]string{"LETHE_ADMIN_ADDR": "localhost"}, "LETHE_ADMIN_ADDR: must be host:port"},
		{"an unknown level", map[string]string{"LETHE_LOG_LEVEL": "loud"}, "LETHE_LOG_LEVEL: must be debug, info, warn or error"},
		{"a level between two levels", map[string]string{"LETHE_LOG_LEVEL": "info+1"}, "LETHE_LOG_LEVEL: must be debug, info, warn or error"},
		{"an unknown format", map[string]string{"LETHE_LOG_FORMAT": "xml"}, `LETHE_LOG_FORMAT: must be text or json, not "xml"`},
		{"a huge value with line ends", map[string]string{"LETHE_LOG_FORMAT": strings.Repeat("a\n", 100_000)}, "LETHE_LOG_FORMAT: must be text or json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.env)
			if err == nil {
				t.Fatal("no error")
			}
			line := err.Error()
			if !strings.HasPrefix(line, tt.want) {
				t.Errorf("error %q, want it to begin with %q", line, tt.want)
			}
			if strings.ContainsAny(line, "\n\r") || len(line) > 300 {
				t.Errorf("not one short line: %q", line)
			}
			if strings.Contains(line, hush) {
				t.Errorf("shows a secret: %q", line)
			}
		})
	}
}

func TestAllowHTTP(t *testing.T) {
	_, err := load(t, map[string]string{"LETHE_ALLOW_HTTP": "true", "LETHE_KV_BASE_URL": "http://sandbox:8081", "LETHE_SENSAY_BASE_URL": "http://sandbox:8081"})
	if err != nil {
		t.Error(err)
	}
}

func TestAnUnreadableFileIsNamed(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads every file")
	}
	path := someFile(t)
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	_, err := load(t, map[string]string{"LETHE_KV_ACCESS_KEY_FILE": path})
	if err == nil || !strings.HasPrefix(err.Error(), "LETHE_KV_ACCESS_KEY_FILE: ") || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("error %v, want the variable and why", err)
	}
}

func TestMinResultsAge(t *testing.T) {
	t.Setenv("LETHE_RESULTS_MAX_AGE", "240h")
	if _, err := Load(); err != nil {
		t.Error(err)
	}
}
