package layout

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/modfile"
	"golang.org/x/tools/go/packages"
)

// Other programs import the contract, and compile what is behind it.
func TestTheContractNeedsTwoModules(t *testing.T) {
	t.Parallel()
	loaded, err := packages.Load(&packages.Config{
		Dir: root, Mode: packages.NeedName | packages.NeedImports | packages.NeedDeps | packages.NeedModule,
	}, "./events")
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]bool{}
	packages.Visit(loaded, nil, func(p *packages.Package) {
		for _, err := range p.Errors {
			t.Error(err)
		}
		if p.Module != nil && !p.Module.Main {
			modules[p.Module.Path] = true
		}
	})
	want := []string{
		"github.com/go-json-experiment/json", // strict reading; until encoding/json/v2 is in the standard library
		"github.com/google/uuid",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(modules))); diff != "" {
		t.Errorf("the modules behind events (-want +got):\n%s", diff)
	}
}

// The go line is the oldest Go that an importer may use. The toolchain line, which importers ignore, is the patched Go
// that releases are built with.
func TestNoPatchOfGoIsForcedOnImporters(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^1\.\d+(\.0)?$`).MatchString(mod.Go.Version) {
		t.Errorf("go %s, want no patch version", mod.Go.Version)
	}
	if mod.Toolchain == nil || !strings.HasPrefix(mod.Toolchain.Name, "go"+strings.TrimSuffix(mod.Go.Version, ".0")+".") {
		t.Errorf("toolchain %v, want a patch of Go %s", mod.Toolchain, mod.Go.Version)
	}
}
