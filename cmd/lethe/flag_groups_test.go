package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lethe-dev/lethe/internal/fakeapi"
)

func TestEachFlagIsShownOnceInItsGroup(t *testing.T) {
	for _, command := range []*cobra.Command{newSandboxCommand(), newRequestCommand()} {
		help := command.UsageString()
		if strings.Contains(help, "\nFlags:") {
			t.Errorf("%s: the flags are not in groups:\n%s", command.Name(), help)
		}
		command.Flags().VisitAll(func(f *pflag.Flag) {
			want := 1
			if ofOneAPI(command, f.Name) {
				want = 0
			}
			lines := regexp.MustCompile(`(?m)^ +(-\w, )?--`+f.Name+` `).FindAllString(help, -1)
			if len(lines) != want {
				t.Errorf("%s: --%s has %d lines, want %d", command.Name(), f.Name, len(lines), want)
			}
		})
	}
}

// ofOneAPI reports whether a flag repeats one that applies to all APIs.
func ofOneAPI(command *cobra.Command, name string) bool {
	return slices.ContainsFunc(fakeapi.APIs(), func(api fakeapi.API) bool {
		common, ok := strings.CutPrefix(name, string(api)+"-")
		return ok && command.Flags().Lookup(common) != nil
	})
}

// Examples are to be copied, and may be longer.
func TestHelpFitsIntoATerminal(t *testing.T) {
	t.Parallel()
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		help, example := c.Long+"\n"+c.UsageString(), c.Example
		for line := range strings.Lines(help) {
			line = strings.TrimRight(line, "\n")
			if utf8.RuneCountInString(line) > columns && !strings.Contains(example, line) {
				t.Errorf("%s: %q is longer than %d columns", c.CommandPath(), line, columns)
			}
		}
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	check(newRootCommand())
}
