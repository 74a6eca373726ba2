package helm

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	node "go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the table of values")

// setting is one row of docs/configuration.md.
var setting = regexp.MustCompile("(?m)^\\| `(LETHE_\\w+)` \\| (?:`([^`]*)`)? *\\|")

func settings(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, row := range setting.FindAllStringSubmatch(read(t, "../../docs/configuration.md"), -1) {
		all[row[1]] = row[2]
	}
	if len(all) < 40 {
		t.Fatalf("found %d settings", len(all))
	}
	return all
}

func TestEachVariableIsASetting(t *testing.T) {
	known := settings(t)
	forAll(t, func(t *testing.T, documents []document) {
		for _, d := range documents {
			if d.pod() == nil {
				continue
			}
			for name, value := range variables(t, d.pod()) {
				if _, ok := known[name]; !ok && name != "OTEL_EXPORTER_OTLP_ENDPOINT" {
					t.Errorf("%s: %s is no setting", d.id(), name)
				}
				if strings.Contains(value, "e+") || value == "" {
					t.Errorf("%s: %s=%q", d.id(), name, value)
				}
			}
		}
	})
}

func TestEachSettingHasAValueInTheChart(t *testing.T) {
	used := map[string]string{}
	for _, d := range append(render(t, most), render(t, least)...) {
		if d.pod() != nil {
			maps.Copy(used, variables(t, d.pod()))
		}
	}
	for name := range settings(t) {
		_, ok := used[name]
		// Pods embed no server, and credentials are files.
		without := strings.HasPrefix(name, "LETHE_EMBEDDED_") || secret.MatchString(name)
		if ok == without {
			t.Errorf("%s: set is %t", name, ok)
		}
	}
}

func TestDefaultsAreThoseOfTheProgram(t *testing.T) {
	differ := map[string]string{
		"LETHE_NATS_URL": "nats://nats.nats:4222", "LETHE_ADMIN_ADDR": "0.0.0.0:8080", "LETHE_MANAGE_STREAMS": "false", "LETHE_LOG_FORMAT": "json",
	}
	known := settings(t)
	for _, d := range render(t, least) {
		if d.pod() == nil {
			continue
		}
		for name, got := range variables(t, d.pod()) {
			want := known[name]
			if other, ok := differ[name]; ok {
				want = other
			}
			if got != want {
				t.Errorf("%s: %s is %q, and the program's default %q", d.id(), name, got, want)
			}
		}
	}
}

func TestLargeNumbersStayNumbers(t *testing.T) {
	for _, d := range render(t, most) {
		if d.id() != "Deployment prod-lethe" {
			continue
		}
		v := variables(t, d.pod())
		if v["LETHE_KV_RATE"] != "1000000" || v["LETHE_SENSAY_RATE"] != "0.5" || v["LETHE_KV_CONCURRENCY"] != "10000" {
			t.Errorf("%s %s %s", v["LETHE_KV_RATE"], v["LETHE_SENSAY_RATE"], v["LETHE_KV_CONCURRENCY"])
		}
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	for values, want := range map[string]string{
		"":                                  "nats.url: set it to the address",
		"nats: {url: nats}":                 "nats.url: each address must be such as",
		"nats: {url: 'nats://n, nats://m'}": "nats.url: each address must be such as",
		"nats: {url: 'nats://u:p@n'}":       "nats.url: must not contain a user, password or token",
		"nats: {url: nats://n, worker: {secret: s}}":                   "nats.worker: say which keys of the secret s hold",
		"nats: {url: nats://n, admin: {ca: ca.crt}}":                   "nats.admin: set secret to the name of the secret that holds ca",
		"nats: {url: nats://n, admin: {secret: s, creds: a, nkey: b}}": "nats.admin: set creds or nkey, not both",
		"nats: {url: nats://n, worker: {secret: s, cert: a}}":          "nats.worker: set cert and key together",
		least + "extraEnv: {LETHE_KV_ACCESS_KEY: x}":                   "extraEnv: LETHE_KV_ACCESS_KEY is a setting of Lethe",
		least + "extraEnv: {NATS_URL: x}":                              "extraEnv: NATS_URL is a setting of Lethe",
		least + "extraEnv: {A: 1}":                                     "at '/extraEnv/A': got number, want string",
		least + "replica: 3":                                           "additional properties 'replica' not allowed",
		least + "replicas: two":                                        "at '/replicas': got string, want integer",
		least + "replicas: 1.5":                                        "at '/replicas': got number, want integer",
		least + "page: {enabled: 'true'}":                              "at '/page/enabled': got string, want boolean",
		least + "kv: {timeout: 100}":                                   "at '/kv/timeout': got number, want string",
		least + "kv: {timeout: 100}\nsensay: {acessKey: x}":            "at '/sensay': additional properties 'acessKey' not allowed",
		least + "kv: {concurrency: 0}":                                 "at '/kv/concurrency': minimum: got 0, want 1",
		least + "kv: {secretKey: a/b}":                                 "at '/kv/secretKey': 'a/b' does not match pattern",
		least + "retry: {maxElapsed: 1d}":                              "at '/retry/maxElapsed': '1d' does not match pattern",
		least + "targets: [kv]":                                        "at '/targets/0': value must be one of 'kv-user-context', 'sensay-knowledge-base'",
		least + "podSecurity: {runAsUser: 0}":                          "at '/podSecurity/runAsUser': minimum: got 0, want 1",
		least + "log: {level: trace}":                                  "at '/log/level': value must be one of",
	} {
		if _, err := try(t, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", values, err, want)
		}
	}
}

// schema is the part of a JSON schema that the tests read.
type schema struct {
	Ref        string             `json:"$ref"`
	Properties map[string]*schema `json:"properties"`
	Additional any                `json:"additionalProperties"`
}

// groups are the objects of the schema whose keys are fixed, by their path.
func groups(t *testing.T) map[string]*schema {
	t.Helper()
	var root schema
	if err := json.Unmarshal([]byte(read(t, "lethe/values.schema.json")), &root); err != nil {
		t.Fatal(err)
	}
	all := map[string]*schema{}
	var walk func(path string, s *schema)
	walk = func(path string, s *schema) {
		if s.Properties == nil {
			return
		}
		all[path] = s
		for name, child := range s.Properties {
			walk(strings.TrimPrefix(path+"."+name, "."), child)
		}
	}
	walk("", &root)
	return all
}

func TestUnknownKeysAreRefusedEverywhere(t *testing.T) {
	all := groups(t)
	if len(all) < 15 {
		t.Fatalf("found %d groups", len(all))
	}
	for path := range all {
		values := "surprise: 1"
		if path != "" {
			names := strings.Split(path, ".")
			slices.Reverse(names)
			for _, name := range names {
				values = name + ": {" + values + "}"
			}
		}
		if _, err := try(t, values); err == nil || !strings.Contains(err.Error(), "additional properties 'surprise' not allowed") {
			t.Errorf("%s: %v", values, err)
		}
	}
}

// value is a row of the table: one value with its default.
type value struct{ path, fallback, meaning string }

// tableOf reads values.yaml. A map that the schema leaves open is one value.
func tableOf(t *testing.T) (rows []value) {
	t.Helper()
	fixed := groups(t)
	var root node.Node
	if err := node.Unmarshal([]byte(read(t, "lethe/values.yaml")), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, n *node.Node)
	walk = func(path string, n *node.Node) {
		for i := 0; i < len(n.Content); i += 2 {
			key, child := n.Content[i], n.Content[i+1]
			at := strings.TrimPrefix(path+"."+key.Value, ".")
			if fixed[at] != nil {
				walk(at, child)
				continue
			}
			lines := strings.Split(key.HeadComment, "\n\n")
			meaning := strings.TrimPrefix(lines[len(lines)-1], "# ")
			if meaning == "" || strings.Contains(meaning, "\n") {
				t.Errorf("%s: its comment must be one line, not %q", at, meaning)
			}
			rows = append(rows, value{at, oneLine(t, child), meaning})
		}
	}
	walk("", root.Content[0])
	return rows
}

func oneLine(t *testing.T, n *node.Node) string {
	t.Helper()
	var v any
	if err := n.Decode(&v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(string(text), `"`)
}

func TestTheTableOfValues(t *testing.T) {
	var table bytes.Buffer
	table.WriteString("| value | default | meaning |\n| --- | --- | --- |\n")
	inFile := map[string]bool{}
	for _, row := range tableOf(t) {
		fallback := row.fallback
		if fallback != "" {
			fallback = "`" + fallback + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", row.path, fallback, row.meaning)
		inFile[row.path] = true
	}
	for path, group := range groups(t) {
		for name, child := range group.Properties {
			at := strings.TrimPrefix(path+"."+name, ".")
			if child.Properties == nil && !inFile[at] && at != "global" {
				t.Errorf("values.yaml has no %s", at)
			}
		}
	}
	readme := read(t, "lethe/README.md")
	before, after, ok := strings.Cut(readme, "| value | default | meaning |")
	if !ok {
		t.Fatal("README.md has no table")
	}
	if _, rest, ok := strings.Cut(after, "\n\n"); ok {
		after = "\n" + rest
	} else {
		after = ""
	}
	want := before + table.String() + after
	if *update {
		if err := os.WriteFile("lethe/README.md", []byte(want), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
		return
	}
	if readme != want {
		t.Error("the table in lethe/README.md is old: go -C deploy/helm test . -run TestTheTableOfValues -update")
	}
}

func TestTheVersionIsThatOfAnImage(t *testing.T) {
	metadata := load(t).Metadata
	if err := metadata.Validate(); err != nil {
		t.Error(err)
	}
	// .github/workflows/release.yml tags images without the v.
	if !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(metadata.AppVersion) {
		t.Errorf("appVersion %s", metadata.AppVersion)
	}
	for _, d := range render(t, least) {
		if p := d.pod(); p != nil && p.Spec.Containers[0].Image != "ghcr.io/lethe-dev/lethe:"+metadata.AppVersion {
			t.Errorf("%s: %s", d.id(), p.Spec.Containers[0].Image)
		}
	}
}
