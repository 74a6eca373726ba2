package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
)

// OpenTelemetry's errors contain a malformed header with the collector's key.
func TestTheCollectorsKeyIsNotLogged(t *testing.T) {
	const key = "hush-hush-collector"
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "not your key: "+r.Header.Get("Authorization")+r.Header.Get("Api-Key"), http.StatusBadRequest)
	}))
	t.Cleanup(echo.Close)
	withUser := func(raw string) string { return strings.Replace(raw, "://", "://user:"+key+"@", 1) }
	for name, env := range map[string]map[string]string{
		"a colon for an equals sign":   {"OTEL_EXPORTER_OTLP_HEADERS": "authorization: Bearer " + key},
		"a blank in a name":            {"OTEL_EXPORTER_OTLP_HEADERS": "api " + key + "=1"},
		"a bad escape":                 {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=" + key + "%zz"},
		"the collector echoes it":      {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20" + key},
		"it echoes an unencoded one":   {"OTEL_EXPORTER_OTLP_HEADERS": "other=1,api-key=" + url.PathEscape(key)},
		"a password in the URL":        {"OTEL_EXPORTER_OTLP_ENDPOINT": withUser(echo.URL)},
		"a password in a URL, no port": {"OTEL_EXPORTER_OTLP_ENDPOINT": withUser("http://h:port")},
		"a collector that is down":     {"OTEL_EXPORTER_OTLP_ENDPOINT": withUser("http://127.0.0.1:1")},
	} {
		t.Run(name, func(t *testing.T) {
			if env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "" {
				env["OTEL_EXPORTER_OTLP_ENDPOINT"] = echo.URL
			}
			var logged logBuffer
			for name, value := range env {
				t.Setenv(name, value)
			}
			output := ""
			tel, err := Setup(t.Context(), Config{Stderr: &logged, LogFormat: "json"})
			if err != nil {
				output = err.Error()
			} else {
				_, span := otel.Tracer("test").Start(t.Context(), "work")
				span.End()
				if err := tel.Shutdown(t.Context()); err != nil {
					output = err.Error()
				}
			}
			output += logged.String()
			if strings.Contains(output, key) || strings.Contains(output, "hush") {
				t.Errorf("shown in %s", output)
			}
			if output == "" {
				t.Error("no output, so nothing was tested")
			}
			t.Log(output)
		})
	}
}

func TestOtherTextIsNotRedacted(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=1,tenant=x,=,a b=1")
	t.Setenv("OTHER_HEADERS", "host=collector:4318") // of another program
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "at=collector:4318")
	const text = `Post "http://collector:4318/v1/traces": 1 tenant is away, write to a@b.example`
	if got := redact(text); got != text {
		t.Errorf("%s", got)
	}
}

// Whichever text a version of OpenTelemetry puts into its errors.
func TestEachSpellingOfACollectorsKeyIsRedacted(t *testing.T) {
	const key = "hush-hush-collector"
	for name, c := range map[string]struct{ headers, text string }{
		"as it is":                       {"api-key=" + key, "not your key: " + key},
		"without the scheme":             {"authorization=Bearer%20" + key, "not your key: " + key},
		"with the scheme":                {"authorization=Bearer%20" + key, "not your key: Bearer " + key},
		"as it is written":               {"authorization=Bearer%20" + key, "parse Bearer%20" + key},
		"decoded":                        {"api-key=%68ush-hush-collector", "not your key: " + key},
		"of the second header":           {"a=1,api-key=" + key, "not your key: " + key},
		"with blanks beside it":          {"api-key = " + key + " ", "not your key: " + key + "."},
		"with a bad escape":              {"authorization=Bearer " + key + "%zz", "not your key: " + key + "%zz"},
		"with a colon for an equals":     {"authorization: Bearer " + key, "parse authorization: Bearer " + key},
		"with a colon, the value":        {"authorization: Bearer " + key, "not your key: Bearer " + key},
		"in a name":                      {"api " + key + "=1", "invalid key api " + key},
		"of the shortest length":         {"api-key=" + key[:minSecret], "not your key: " + key[:minSecret]},
		"as a password, with no headers": {"", "dial http://user:" + key + "@collector:4318: refused"},
		"as a user":                      {"", "dial http://" + key + "@collector:4318: refused"},
		"in a query":                     {"", "post http://collector/v1?key=" + key + ": refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", c.headers)
			if got := redact(c.text); strings.Contains(got, key[:minSecret]) || !strings.Contains(got, redacted) {
				t.Errorf("%s", got)
			}
		})
	}
}

func TestTheLogOfOpenTelemetryIsRedactedWhereverTheKeyIs(t *testing.T) {
	const key = "hush-hush-collector"
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key="+key)
	var logged bytes.Buffer
	log := slog.New(redactingHandler{slog.NewJSONHandler(&logged, nil)})
	log.With("with", key, "n", 5).WithGroup("g").Warn("the message: "+key, "attribute", key, "error", errors.New(key), "m", 7)
	got := logged.String()
	if strings.Contains(got, "hush") || strings.Count(got, redacted) != 4 {
		t.Errorf("%s", got)
	}
	for _, kept := range []string{`"n":5`, `"m":7`, `"g":{`} {
		if !strings.Contains(got, kept) {
			t.Errorf("%s is not in %s", kept, got)
		}
	}
}
