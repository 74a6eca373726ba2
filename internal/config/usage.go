package config

import (
	"errors"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/kelseyhightower/envconfig"
)

const usageHead = `Environment:
`

// The row's first cell is indented, so that the table stands under its heading.
const usageRow = `{{range .}}  {{usage_key .}}	{{with usage_default .}}{{.}}{{else}}none{{end}}	{{usage_description .}}
{{end}}`

const usageFoot = `
OpenTelemetry is set by the standard OTEL_* variables, such as OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and
OTEL_SDK_DISABLED. With no endpoint and no exporter set, nothing is exported.
A wrong value is a warning. The console exporters write to standard error. OTEL_PROPAGATORS is tracecontext,baggage by default.
A variable that is set but empty counts as not set.
`

// Usage is a table of every variable with its default and its meaning. apis are the names for [Config.LoadAPI].
func Usage(apis ...string) string {
	var b strings.Builder
	b.WriteString(usageHead)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	render(table, usageRow, apis)
	_ = table.Flush() // a strings.Builder takes everything
	b.WriteString(usageFoot)
	return b.String()
}

// Unknown names, in order, the variables that begin with LETHE_ and mean nothing to Lethe: misspelled ones, most
// likely. apis are the names for [Config.LoadAPI].
func Unknown(apis ...string) []string {
	var names strings.Builder
	render(&names, "{{range .}}{{usage_key .}}\n{{end}}", apis)
	known := strings.Fields(names.String())

	var unknown []string
	for name := range environ() {
		if strings.HasPrefix(name, prefix+"_") && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

func render(w io.Writer, format string, apis []string) {
	err := envconfig.Usagef(prefix, &Config{}, w, format)
	for _, name := range apis {
		err = errors.Join(err, envconfig.Usagef(prefix+"_"+name, &API{}, w, format))
	}
	if err != nil {
		panic(err) // the templates and the structs are constant: every call works or none does
	}
}
