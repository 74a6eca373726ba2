package deploy

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lethe-dev/lethe/internal/config"
)

func TestSystemdUnit(t *testing.T) {
	unit := string(read(t, "systemd/lethe.service"))

	t.Run("systemd accepts it", func(t *testing.T) {
		analyze, err := exec.LookPath("systemd-analyze")
		if err != nil {
			t.Skip("systemd-analyze is not installed")
		}
		// It reports a program that is missing; /bin/true is there.
		path := t.TempDir() + "/lethe.service"
		write(t, path, strings.ReplaceAll(unit, "/usr/local/bin/lethe run", "/bin/true"))
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput()
		if err != nil || strings.Contains(string(out), "Unknown key") {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("it waits longer than the worker's grace period", func(t *testing.T) {
		found := regexp.MustCompile(`(?m)^TimeoutStopSec=(\S+)$`).FindStringSubmatch(unit)
		if found == nil {
			t.Fatal("no TimeoutStopSec")
		}
		stop, err := time.ParseDuration(found[1])
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.Load()
		if err != nil {
			t.Fatal(err)
		}
		if stop <= c.ShutdownGrace {
			t.Errorf("%s, and the worker may take %s", stop, c.ShutdownGrace)
		}
	})
	t.Run("each variable is a setting", func(t *testing.T) {
		variables := regexp.MustCompile(`(?m)^(?:Environment=)?(LETHE_\w+)=`)
		known := config.Usage()
		found := variables.FindAllStringSubmatch(unit+string(read(t, "systemd/lethe.env")), -1)
		if len(found) < 4 {
			t.Fatalf("found %d variables", len(found))
		}
		for _, v := range found {
			if !regexp.MustCompile(`\b` + v[1] + `\b`).MatchString(known) {
				t.Errorf("%s is no setting", v[1])
			}
		}
	})
}
