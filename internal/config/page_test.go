package config

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

func TestConfigurationPageMatchesTheCode(t *testing.T) {
	const path = "../../docs/configuration.md"
	want := page()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("generate it again: go test ./internal/config -run TestConfigurationPage -update\n%s", diff)
	}
}

const pageHead = `# Configuration

Every setting is an environment variable. A variable that is set but empty counts as not set. A wrong value stops the start with one
line that names the variable, and exit status 2. An unknown variable that begins with ` + "`LETHE_`" + ` gets a warning.

This page is generated from the code: ` + "`go test ./internal/config -run TestConfigurationPage -update`" + `.
`

const pageRows = "{{range .}}{{with .Tags.Get `group`}}\n## {{.}}\n\n| variable | default | meaning |\n| --- | --- | --- |\n{{end}}" +
	"| `{{usage_key .}}` | {{with usage_default .}}`{{.}}`{{end}} | {{usage_description .}} |\n{{end}}"

const pageFoot = `
## OpenTelemetry

The standard ` + "`OTEL_*`" + ` variables configure OpenTelemetry, for example ` + "`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME` and `OTEL_SDK_DISABLED`" + `.
Without an endpoint or an exporter nothing is exported. A wrong value is only a warning.
`

// page is the same as [Usage], as a document. apis are the names for [Config.LoadAPI].
func page(apis ...string) string {
	var b strings.Builder
	b.WriteString(pageHead)
	render(&b, pageRows, apis)
	b.WriteString(pageFoot)
	return b.String()
}
