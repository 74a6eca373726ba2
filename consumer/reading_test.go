package consumer

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The reading list in the package comment names each file once, and a file uses only
// what is in the files after it.
func TestTheReadingListIsCompleteAndLeadsDown(t *testing.T) {
	t.Parallel()
	fset := token.NewFileSet()
	var parsed []*ast.File
	var files []string
	for _, name := range sources(t) {
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		parsed, files = append(parsed, file), append(files, name)
	}
	var listed []string
	for _, file := range parsed {
		for _, m := range regexp.MustCompile(`(?m)^\t(\w+\.go) `).FindAllStringSubmatch(file.Doc.Text(), -1) {
			listed = append(listed, m[1])
		}
	}
	if sorted := slices.Sorted(slices.Values(listed)); !slices.Equal(sorted, files) {
		t.Fatalf("listed %v\nfiles  %v", sorted, files)
	}
	for ident, object := range uses(fset, parsed) {
		from, to := filepath.Base(fset.Position(ident.Pos()).Filename), filepath.Base(fset.Position(object.Pos()).Filename)
		if slices.Index(listed, from) > slices.Index(listed, to) {
			t.Errorf("%s is listed after %s and uses its %s", from, to, object.Name())
		}
	}
}

// sources are the package's files without its tests, by name.
func sources(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
}

// noImports leaves other packages out: what this one declares is found without them.
type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, fs.ErrNotExist }

// uses are the places where one of the package's own functions, types, variables and
// methods is used, and what is used there.
func uses(fset *token.FileSet, files []*ast.File) map[*ast.Ident]types.Object {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: noImports{}, Error: func(error) {}}
	pkg, _ := config.Check("consumer", fset, files, info) // fails, because imports are missing
	found := map[*ast.Ident]types.Object{}
	for ident, object := range info.Uses {
		function, isFunction := object.(*types.Func)
		method := isFunction && function.Signature().Recv() != nil
		if object.Pkg() == pkg && (method || object.Parent() == pkg.Scope()) {
			found[ident] = object
		}
	}
	return found
}
