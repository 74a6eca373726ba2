package deploy

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestImage(t *testing.T) {
	dockerfile := string(read(t, "../Dockerfile"))

	// Without BuildKit, as with docker-compose on some machines, the variable is empty.
	t.Run("it is built with the Go of go.mod, by any builder", func(t *testing.T) {
		needs := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(read(t, "../go.mod"))
		if needs == nil {
			t.Fatal("go.mod names no Go")
		}
		if want := "FROM --platform=${BUILDPLATFORM:-linux} golang:" + string(needs[1]) + "-alpine AS build\n"; !strings.Contains(dockerfile, want) {
			t.Errorf("want %q", want)
		}
	})
	t.Run("it does not run as root", func(t *testing.T) {
		if !regexp.MustCompile(`(?m)^USER [1-9]\d*:[1-9]\d*$`).MatchString(dockerfile) {
			t.Error("no USER with a number above 0")
		}
	})
	t.Run("any user in group 0 may keep the embedded server's files", func(t *testing.T) {
		for _, want := range []string{"chmod 0770 /out/root/data\n", "COPY --from=build --chown=65532:0 /out/root/ /\n", "ENV LETHE_EMBEDDED_DIR=/data\n"} {
			if !strings.Contains(dockerfile, want) {
				t.Errorf("no %q", want)
			}
		}
	})
	t.Run("nothing is built from files that could hold a secret", func(t *testing.T) {
		lines := strings.Split(string(read(t, "../.dockerignore")), "\n")
		if !slices.Contains(lines, "*") {
			t.Error(".dockerignore does not begin by leaving everything out")
		}
		for _, line := range lines {
			if sent, ok := strings.CutPrefix(line, "!"); ok && !slices.Contains([]string{
				"go.mod", "go.sum", "LICENSE", "cmd", "consumer", "deleter", "events", "internal",
			}, sent) {
				t.Errorf("%s is sent to the builder", sent)
			}
		}
	})
}
