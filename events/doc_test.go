package events_test

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// The examples are compiled and run, so each line of code in the package comment must be one
// of theirs.
func TestTheCodeInThePackageCommentIsInTheExamples(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		examples[strings.TrimSpace(line)] = true
	}
	lines := 0
	for line := range strings.Lines(file.Doc.Text()) {
		code, ok := strings.CutPrefix(line, "\t")
		if !ok {
			continue
		}
		lines++
		if code = strings.TrimSpace(code); !examples[code] {
			t.Errorf("no line of the examples is %q", code)
		}
	}
	if lines < 10 {
		t.Errorf("found %d lines of code", lines)
	}
}
