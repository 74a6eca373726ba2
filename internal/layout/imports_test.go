package layout

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/lethe-dev/lethe/"
)

// rule says which packages of this module a package may import.
type rule struct {
	code  []string // its code
	tests []string // its tests, beyond that
}

// An API is imported by the commands alone: everything else knows targets. What imitates APIs and runs processes
// is imported by the command that offers it, and by tests.
var (
	events  = []string{"events"}
	api     = rule{code: []string{"deleter", "events"}}
	imports = map[string]rule{
		"events":            {},
		"internal/address":  {},
		"internal/text":     {},
		"internal/layout":   {},
		"internal/page":     {},
		"internal/fakeapi":  {},
		"docs":              {tests: []string{"events"}},
		"deploy":            {tests: []string{"events", "internal/config", "internal/history"}},
		"deleter":           {code: events},
		"deleter/kv":        api,
		"deleter/sensay":    api,
		"internal/streams":  {code: events, tests: []string{"internal/natsconn"}},
		"internal/ledger":   {code: []string{"events", "internal/streams"}},
		"internal/history":  {code: []string{"events", "internal/ledger", "internal/streams"}},
		"internal/control":  {code: []string{"deleter", "events", "internal/streams"}},
		"internal/limiter":  {code: []string{"deleter", "events"}},
		"internal/backlog":  {code: []string{"events", "internal/streams"}},
		"internal/natsconn": {},
		"internal/config":   {code: []string{"deleter", "events", "internal/natsconn"}},
		// A failpoint compiles to nothing except in the workers of the trials.
		"internal/failpoint": {},
		"internal/telemetry": {},
		"consumer": {code: []string{
			"deleter", "events", "internal/control", "internal/failpoint", "internal/ledger", "internal/limiter", "internal/streams",
		}, tests: []string{"internal/history", "internal/natsconn"}},
		"cmd/lethe": {code: []string{
			"consumer", "deleter", "deleter/kv", "deleter/sensay", "events", "internal/config", "internal/control",
			"internal/backlog", "internal/fakeapi", "internal/history", "internal/ledger", "internal/natsconn", "internal/page",
			"internal/streams", "internal/telemetry",
		}},
		"deploy/helm":          {},
		"deploy/observability": {tests: []string{"events"}},
		"internal/e2e":         {tests: []string{"internal/natsconn"}},
		"internal/e2e/bench":   {code: []string{"events", "internal/e2e", "internal/fakeapi", "internal/streams"}},
		"internal/e2e/chaos": {code: []string{
			"events", "internal/e2e", "internal/failpoint", "internal/fakeapi", "internal/streams",
		}},
	}
	// leaves import nothing of ours and are imported wherever they help, except by the contract.
	leaves = []string{"internal/address", "internal/text"}
	// tooling is what any test may import.
	tooling = []string{"internal/e2e", "internal/fakeapi"}
)

// may says whether a file of pkg, a test or not, may import the other package.
func may(pkg, imported string, test bool) bool {
	r := imports[pkg]
	return slices.Contains(r.code, imported) ||
		pkg != "events" && slices.Contains(leaves, imported) ||
		test && (imported == pkg || slices.Contains(r.tests, imported) || slices.Contains(tooling, imported))
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	files := token.NewFileSet()
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); base == "testdata" || base != ".." && strings.HasPrefix(base, ".") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := parser.ParseFile(files, name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		name, err = filepath.Rel(root, name)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		pkg := path.Dir(name)
		if _, ok := imports[pkg]; !ok && !seen[pkg] {
			t.Errorf("package %s has no rule; add to `imports` what it may import", pkg)
		}
		seen[pkg] = true
		for _, spec := range file.Imports {
			whole, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imported, ours := strings.CutPrefix(whole, module)
			if ours && !may(pkg, imported, strings.HasSuffix(name, "_test.go")) {
				t.Errorf("%s:%d: %s may not import %s; imports point down (see `imports`)",
					name, files.Position(spec.Pos()).Line, pkg, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range imports {
		if !seen[pkg] {
			t.Errorf("the rule for %s is for no package; remove it from `imports`", pkg)
		}
	}
}

func TestContributorsFindEachPackage(t *testing.T) {
	t.Parallel()
	contributing, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range imports {
		if !strings.Contains(string(contributing), "`"+pkg+"`") && pkg != "deploy/observability" {
			t.Errorf("CONTRIBUTING.md does not say what %s is", pkg)
		}
	}
}
