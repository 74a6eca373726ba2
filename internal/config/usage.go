package config

import (
	"errors"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/kelseyhightower/envconfig"
)

// Each group has a heading and its own column widths.
const usageRows = `{{range .}}{{with .Tags.Get "group"}}
{{.}}:
{{end}}  {{usage_key .}}	{{with usage_default .}}{{.}}{{else}}none{{end}}	{{usage_description .}}
{{end}}`

const usageFoot = `
OpenTelemetry:
  The standard OTEL_* variables, for example OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and OTEL_SDK_DISABLED.
  Without an endpoint or an exporter, nothing is exported. A wrong value is only a warning. The console exporters
  write to standard error. The default of OTEL_PROPAGATORS is tracecontext,baggage.
`

// Usage returns tables of all variables with their defaults and descriptions, one for each group. apis are the names for [Config.LoadAPI].
func Usage(apis ...string) string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	render(table, usageRows, apis)
	_ = table.Flush() // a strings.Builder never fails
	b.WriteString(usageFoot)
	return b.String()
}

// Unknown returns the sorted names of variables that begin with LETHE_ but are not settings; they are probably
// misspelled. apis are the names for [Config.LoadAPI].
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
		panic(err) // the templates and the structs are constant, so that it fails always or never
	}
}
