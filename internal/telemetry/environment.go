package telemetry

import (
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// environment checks the OTEL_* variables before OpenTelemetry reads them. OpenTelemetry reports most errors without the
// variable's name and with its value, which may contain a collector's key, and panics on some. An invalid variable is
// logged once, by name, and unset, as the specification requires.
type environment struct {
	warn    func(variable, reason string)
	dropped map[string]bool
}

// The values that OpenTelemetry's Go SDK and autoexport support.
var (
	knownExporters = map[string][]string{
		"TRACES": {"otlp", "console", "none"}, "METRICS": {"otlp", "prometheus", "console", "none"}, "LOGS": {"otlp", "console", "none"},
	}
	knownSamplers = []string{
		"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
	}
	knownPropagators = []string{"tracecontext", "baggage", "b3", "b3multi", "jaeger", "xray", "ottrace", "none"}
)

// cleanEnvironment checks all OTEL_* variables.
func cleanEnvironment(warn func(variable, reason string)) *environment {
	e := &environment{warn: warn, dropped: map[string]bool{}}
	e.list("OTEL_PROPAGATORS", "must be a list of "+strings.Join(knownPropagators, ", "), func(name string) bool {
		return slices.Contains(knownPropagators, name)
	})
	e.list("OTEL_RESOURCE_ATTRIBUTES", "must be percent-encoded key=value pairs separated by commas", isPair)
	e.list("OTEL_METRICS_PRODUCERS", "must be prometheus or none", func(name string) bool { return name == "prometheus" || name == "none" })
	e.oneOf("OTEL_TRACES_SAMPLER", knownSamplers...)
	e.oneOf("OTEL_SDK_DISABLED", "true", "false")
	if ratio, err := strconv.ParseFloat(os.Getenv("OTEL_TRACES_SAMPLER_ARG"), 64); err != nil || ratio < 0 || ratio > 1 {
		e.drop("OTEL_TRACES_SAMPLER_ARG", "must be a number from 0 to 1")
	}
	for signal, exporters := range knownExporters {
		e.oneOf("OTEL_"+signal+"_EXPORTER", exporters...)
	}
	for _, signal := range []string{"", "TRACES_", "METRICS_", "LOGS_"} {
		e.otlp("OTEL_EXPORTER_OTLP_" + signal)
	}
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "OTEL_") && isNumberName(name) && value != "" {
			if _, err := strconv.Atoi(strings.TrimSpace(value)); err != nil {
				e.drop(name, "must be an integer")
			}
		}
	}
	return e
}

// otlp checks the variables of the OTLP exporters that begin with prefix.
func (e *environment) otlp(prefix string) {
	e.oneOf(prefix+"PROTOCOL", "grpc", "http/protobuf")
	e.oneOf(prefix+"COMPRESSION", "gzip", "none")
	e.oneOf(prefix+"INSECURE", "true", "false")
	grpc := first(os.Getenv(prefix+"PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")) == "grpc"
	if value := os.Getenv(prefix + "ENDPOINT"); !isEndpoint(value, grpc) {
		e.drop(prefix+"ENDPOINT", "must be a URL with a scheme, such as http://localhost:4318; nothing is exported")
	}
	for _, name := range []string{prefix + "CERTIFICATE", prefix + "CLIENT_CERTIFICATE", prefix + "CLIENT_KEY"} {
		if path := os.Getenv(name); path != "" {
			if _, err := os.ReadFile(path); err != nil {
				e.drop(name, "must be a readable file")
			}
		}
	}
	for pair := range strings.SplitSeq(os.Getenv(prefix+"HEADERS"), ",") {
		if strings.TrimSpace(pair) != "" && !isPair(pair) {
			// The exporter skips only the invalid pair, and the others may contain its credential.
			e.warn(prefix+"HEADERS", "must be percent-encoded name=value pairs separated by commas")
			break
		}
	}
}

// exported reports whether a signal is configured, without an invalid endpoint. Otherwise the OTLP exporters would
// dial localhost.
func (e *environment) exported(signal string) bool {
	exporter, own := os.Getenv("OTEL_"+signal+"_EXPORTER"), "OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT"
	const common = "OTEL_EXPORTER_OTLP_ENDPOINT"
	if exporter == "" || exporter == "otlp" {
		if e.dropped[own] || e.dropped[common] && os.Getenv(own) == "" {
			return false
		}
	}
	return exporter != "" || os.Getenv(common) != "" || os.Getenv(own) != ""
}

func (e *environment) oneOf(name string, known ...string) {
	if !slices.Contains(known, strings.ToLower(os.Getenv(name))) {
		e.drop(name, "must be one of "+strings.Join(known, ", "))
	}
}

// list removes invalid entries from a list.
func (e *environment) list(name, reason string, good func(string) bool) {
	var kept []string
	all := strings.Split(os.Getenv(name), ",")
	for _, entry := range all {
		if entry = strings.TrimSpace(entry); good(entry) {
			kept = append(kept, entry)
		}
	}
	if len(kept) < len(all) {
		e.drop(name, reason)
	}
	if len(kept) > 0 {
		_ = os.Setenv(name, strings.Join(kept, ",")) // fails only for invalid names
	}
}

// drop logs and unsets a variable if it is set.
func (e *environment) drop(name, reason string) {
	if os.Getenv(name) == "" {
		return
	}
	e.warn(name, reason)
	e.dropped[name] = true
	_ = os.Unsetenv(name) // fails only for invalid names
}

func isPair(pair string) bool {
	key, value, found := strings.Cut(pair, "=")
	_, err := url.PathUnescape(strings.TrimSpace(value))
	return found && err == nil && strings.TrimSpace(key) != "" && !strings.ContainsAny(strings.TrimSpace(key), " :")
}

// isEndpoint reports whether value is a URL with a host. gRPC also allows other schemes, such as dns and unix.
func isEndpoint(value string, grpc bool) bool {
	u, err := url.Parse(strings.TrimSpace(value))
	if err != nil {
		return false
	}
	if grpc {
		return u.Scheme != ""
	}
	return u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// isNumberName reports whether a variable is a number, by its suffix.
func isNumberName(name string) bool {
	for _, end := range []string{"_TIMEOUT", "_DELAY", "_INTERVAL", "_SIZE", "_LIMIT", "_PORT"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

func first(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// namesSet lists the OTEL_* variables that are set.
func namesSet() string {
	var names []string
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OTEL_") && value != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
