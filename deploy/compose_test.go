package deploy

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/lethe-dev/lethe/internal/config"
	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// compose is as much of a compose file as the tests look at.
type compose struct {
	Services map[string]service
}

type service struct {
	Image       string
	Build       string
	Command     []string
	Environment map[string]string
	Ports       []string
	Volumes     []string
	Profiles    []string
	ReadOnly    bool                                  `yaml:"read_only"`
	CapDrop     []string                              `yaml:"cap_drop"`
	SecurityOpt []string                              `yaml:"security_opt"`
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck struct{ Test []string }
}

func readCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal(read(t, "../docker-compose.yml"), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCompose(t *testing.T) {
	c := readCompose(t)
	lethe, first := c.Services["lethe"], c.Services["sandbox"]

	t.Run("the stack is NATS, the sandbox, Lethe and Jaeger, and Prometheus and Grafana on request", func(t *testing.T) {
		profiles := map[string][]string{}
		for name, s := range c.Services {
			profile := strings.Join(s.Profiles, " ")
			profiles[profile] = append(profiles[profile], name)
			slices.Sort(profiles[profile])
		}
		want := map[string][]string{"": {"jaeger", "lethe", "nats", "sandbox"}, "observability": {"grafana", "prometheus"}}
		if diff := cmp.Diff(want, profiles); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("what is ours and what observes it runs without rights that it does not need", func(t *testing.T) {
		for _, name := range []string{"lethe", "sandbox", "prometheus", "grafana"} {
			s := c.Services[name]
			if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
				t.Errorf("%s is not hardened: %+v", name, s)
			}
		}
	})
	t.Run("each file that a service mounts exists, and is read only", func(t *testing.T) {
		for name, s := range c.Services {
			for _, volume := range s.Volumes {
				file, rest, _ := strings.Cut(volume, ":")
				if !strings.HasPrefix(file, "./") {
					continue // a named volume
				}
				if _, err := os.Stat("../" + file); err != nil || !strings.HasSuffix(rest, ":ro") {
					t.Errorf("%s mounts %s: %v", name, volume, err)
				}
			}
		}
	})
	t.Run("every port is bound to loopback", func(t *testing.T) {
		for name, s := range c.Services {
			for _, port := range s.Ports {
				if !strings.HasPrefix(port, "127.0.0.1:") {
					t.Errorf("%s publishes %s", name, port)
				}
			}
		}
	})
	t.Run("every image of others has a version", func(t *testing.T) {
		for name, s := range c.Services {
			if s.Image != "lethe" && !regexp.MustCompile(`:v?\d+\.\d+`).MatchString(s.Image) {
				t.Errorf("%s runs %s", name, s.Image)
			}
		}
	})
	t.Run("every service has a health check", func(t *testing.T) {
		image := strings.Contains(string(read(t, "../Dockerfile")), "\nHEALTHCHECK ")
		for name, s := range c.Services {
			if len(s.Healthcheck.Test) == 0 && (s.Image != "lethe" || !image) {
				t.Errorf("%s has none", name)
			}
		}
	})
	t.Run("the worker starts after what it needs, and not after telemetry", func(t *testing.T) {
		want := map[string]struct{ Condition string }{
			"nats": {"service_healthy"}, "sandbox": {"service_healthy"}, "jaeger": {"service_started"},
		}
		if diff := cmp.Diff(want, lethe.DependsOn); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("the image is built by the service that starts first", func(t *testing.T) {
		if first.Build != "." || lethe.Build != "" || first.Image != lethe.Image {
			t.Errorf("sandbox builds %q as %q, lethe builds %q as %q", first.Build, first.Image, lethe.Build, lethe.Image)
		}
	})
	t.Run("the sandbox accepts the worker's credentials", func(t *testing.T) {
		got := []string{lethe.Environment["LETHE_KV_ACCESS_KEY"], lethe.Environment["LETHE_SENSAY_ORGANIZATION_SECRET"]}
		if diff := cmp.Diff([]string{fakeapi.DefaultAccessKey, fakeapi.DefaultOrganizationSecret}, got); diff != "" {
			t.Error(diff)
		}
	})
}

// The worker itself reads what the compose file gives it.
func TestComposeSettings(t *testing.T) {
	settings := readCompose(t).Services["lethe"].Environment
	for name, value := range settings {
		t.Setenv(name, value)
	}

	c, err := config.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range config.Unknown() {
		if _, ours := settings[name]; ours {
			t.Errorf("%s means nothing to Lethe", name)
		}
	}
	// The default grace is what stop_grace_period is measured by.
	if !strings.Contains(string(read(t, "../docker-compose.yml")), "stop_grace_period: 35s") || c.ShutdownGrace.Seconds() >= 35 {
		t.Errorf("the worker may take %s to stop, and is killed after 35s", c.ShutdownGrace)
	}
}
