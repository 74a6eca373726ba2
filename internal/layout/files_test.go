package layout

import (
	"bufio"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// A use is a file that names something another file of its package declares. However often it does, it is one use.
type use struct{ by, of string }

// The package comment of consumer says so: a reader who follows its list meets each file before what it uses.
func TestFilesOfTheConsumerUseOnlyLaterOnes(t *testing.T) {
	t.Parallel()
	uses := usesIn(t, "./consumer")
	if len(uses) < 20 {
		t.Fatalf("found %d uses between the consumer's files; they were not read", len(uses))
	}
	order := readingList(t, filepath.Join(root, "consumer", "consumer.go"))
	for _, u := range uses {
		if slices.Index(order, u.of) < slices.Index(order, u.by) {
			t.Errorf("%s uses %s, which is before it in the reading list of consumer.go: let it take what it needs as an "+
				"argument, or move the declaration down", u.by, u.of)
		}
	}
}

// usesIn type-checks a package, without its tests, and returns the uses between its files, sorted.
func usesIn(t *testing.T, pattern string) []use {
	t.Helper()
	loaded, err := packages.Load(&packages.Config{
		Dir: root,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedDeps |
			packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesInfo,
	}, pattern)
	if err != nil {
		t.Fatal(err)
	}
	uses := map[use]bool{}
	for _, p := range loaded {
		for _, err := range p.Errors {
			t.Fatal(err)
		}
		for name, object := range p.TypesInfo.Uses {
			if object.Pkg() != p.Types || !object.Pos().IsValid() {
				continue
			}
			by := filepath.Base(p.Fset.Position(name.Pos()).Filename)
			of := filepath.Base(p.Fset.Position(object.Pos()).Filename)
			if by != of {
				uses[use{by, of}] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(uses), func(a, b use) int {
		return strings.Compare(a.by+" "+a.of, b.by+" "+b.of)
	})
}

// The comment of a package with many files lists them in the order in which they are best read.
func TestTheReadingListNamesEachFile(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"consumer", "internal/control", "internal/history", "internal/ledger", "internal/limiter", "internal/page"} {
		dir = filepath.Join(root, dir)
		commented := filepath.Base(dir) + ".go"
		listed := readingList(t, filepath.Join(dir, commented))
		there, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range there {
			name := filepath.Base(path)
			if !strings.HasSuffix(name, "_test.go") && !slices.Contains(listed, name) {
				t.Errorf("the reading list in %s lacks %s", commented, name)
			}
		}
		for i, name := range listed {
			if !slices.Contains(there, filepath.Join(dir, name)) {
				t.Errorf("the reading list in %s names %s, which is not there", commented, name)
			}
			if slices.Contains(listed[:i], name) {
				t.Errorf("the reading list in %s names %s twice", commented, name)
			}
		}
	}
}

// readingList returns the files that a package comment lists, a line each, with a tab before.
func readingList(t *testing.T, path string) (listed []string) {
	t.Helper()
	comment, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = comment.Close() }()
	lines := bufio.NewScanner(comment)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "package ") {
		if entry, ok := strings.CutPrefix(lines.Text(), "//\t"); ok {
			if name := strings.Fields(entry); len(name) > 0 && strings.HasSuffix(name[0], ".go") {
				listed = append(listed, name[0])
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return listed
}
