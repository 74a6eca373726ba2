package config

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/kelseyhightower/envconfig"
)

// Each group has a heading. The meaning of a variable has lines of its own, because it would not fit beside a long name.
const usageRows = `{{range .}}{{with .Tags.Get "group"}}
{{.}}:
{{end}}  {{usage_key .}} ({{with usage_default .}}{{.}}{{else}}none{{end}})
      {{usage_description .}}
{{end}}`

const columns = 80 // of a terminal

const usageFoot = `
OpenTelemetry:
  The standard OTEL_* variables, for example OTEL_EXPORTER_OTLP_ENDPOINT,
  OTEL_SERVICE_NAME and OTEL_SDK_DISABLED. Without an endpoint or an exporter,
  nothing is exported. A wrong value is only a warning. The console exporters
  write to standard error. The default of OTEL_PROPAGATORS is
  tracecontext,baggage.
`

// Usage returns a list of all variables with their defaults and descriptions, in groups and for a terminal of 80 columns.
// apis are the names for [Config.LoadAPI].
func Usage(apis ...string) string {
	var rows, b strings.Builder
	render(&rows, usageRows, apis)
	for line := range strings.Lines(rows.String()) {
		writeWrapped(&b, line)
	}
	b.WriteString(usageFoot)
	return b.String()
}

// writeWrapped writes a line, and breaks it between words where it is longer than a terminal has columns. Further lines are
// indented as the first one is.
func writeWrapped(b *strings.Builder, line string) {
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	width := 0
	for i, word := range strings.Fields(line) {
		switch {
		case i == 0:
			b.WriteString(indent)
			width = len(indent)
		case width+1+len(word) > columns:
			b.WriteString("\n" + indent)
			width = len(indent)
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	b.WriteByte('\n')
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
