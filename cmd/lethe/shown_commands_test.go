package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Commands in text and in blocks, on a line of their own or after variables.
var shownCommand = regexp.MustCompile("(?m)(?:`|^ {4}(?:\\$ )?(?:\\S+=\\S* +)*|/|; )lethe ([a-z][^`\n#;)]*)")

func TestTheDocumentsShowCommandsAndFlagsThatExist(t *testing.T) {
	t.Parallel()
	var documents []string
	for _, pattern := range []string{"../../README.md", "../../CONTRIBUTING.md", "../../docs/*.md", "../../docs/decisions/*.md", "../../deploy/*/*.md", "../../deploy/helm/lethe/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	commands := 0
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range shownCommand.FindAllSubmatch(text, -1) {
			commands++
			words := strings.Fields(string(shown[1]))
			command, arguments, err := newRootCommand().Find(words)
			if err != nil || !command.HasParent() {
				t.Errorf("%s: lethe %s: no such command", document, shown[1])
				continue
			}
			if err := command.ParseFlags(arguments); err != nil && !errors.Is(err, pflag.ErrHelp) {
				t.Errorf("%s: lethe %s: %v", document, shown[1], err)
			}
		}
	}
	if commands < 60 {
		t.Errorf("found %d commands", commands)
	}
}
