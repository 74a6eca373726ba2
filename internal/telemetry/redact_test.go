package telemetry

import (
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
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=1,tenant=x,=,")
	const text = `Post "http://collector:4318/v1/traces": 1 tenant is away, write to a@b.example`
	if got := redact(text); got != text {
		t.Errorf("%s", got)
	}
}
