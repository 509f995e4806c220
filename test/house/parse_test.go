package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const (
	module = "github.com/varve-io/varve"
	root   = "../.."
)

// pkg is one directory of Go files.
type pkg struct {
	dir   string
	files []*file
}

// file is what the rules need to know of one Go file.
type file struct {
	path      string
	src       string
	syntax    *ast.File
	fset      *token.FileSet
	imports   []string
	lines     int
	funcs     map[string]int // name → lines
	receivers []string       // receiver type of each method
	doc       bool
	test      bool
	generated bool
}

var generatedMark = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// tree is the parsed module; each test reads it, none changes it.
var tree = sync.OnceValues(parseTree)

func load(t *testing.T) []*pkg {
	t.Helper()
	pkgs, err := tree()
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 3 {
		t.Fatalf("found %d packages under %s: the house test must run from test/house", len(pkgs), root)
	}
	return pkgs
}

func parseTree() ([]*pkg, error) {
	byDir := map[string]*pkg{}
	var out []*pkg
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if rel != "." && (d.Name() == "testdata" || d.Name() == "bin" || strings.HasPrefix(d.Name(), ".") || otherModule(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		f, err := parseFile(path, rel)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(rel))
		p := byDir[dir]
		if p == nil {
			p = &pkg{dir: dir}
			byDir[dir] = p
			out = append(out, p)
		}
		p.files = append(p.files, f)
		return nil
	})
	return out, err
}

// otherModule says whether a directory below the root is a module of its own, with rules of its own.
func otherModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil && filepath.Clean(dir) != filepath.Clean(root)
}

func parseFile(path, rel string) (*file, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, path, src, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parsing %s: %w", rel, err)
	}
	f := &file{
		path: filepath.ToSlash(rel), src: string(src), syntax: syntax, fset: fset,
		lines: bytes.Count(src, []byte("\n")), funcs: map[string]int{}, doc: syntax.Doc != nil,
		test: strings.HasSuffix(path, "_test.go"), generated: generatedMark.Match(src),
	}
	for _, imp := range syntax.Imports {
		f.imports = append(f.imports, strings.Trim(imp.Path.Value, `"`))
	}
	for _, d := range syntax.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		f.funcs[fn.Name.Name] = max(f.funcs[fn.Name.Name], f.line(fn.End())-f.line(fn.Pos())+1)
		if fn.Recv != nil && len(fn.Recv.List) == 1 {
			typ := fn.Recv.List[0].Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			if id, ok := typ.(*ast.Ident); ok {
				f.receivers = append(f.receivers, id.Name)
			}
		}
	}
	return f, nil
}

func (f *file) line(p token.Pos) int { return f.fset.Position(p).Line }

// test says whether the package lies in the yard of tests, where tools may be used freely.
func (p *pkg) test() bool {
	return p.dir == "test" || strings.HasPrefix(p.dir, "test/") || strings.HasPrefix(p.dir, "localstack")
}

// onlyTests says whether every file of the package is a test file.
func (p *pkg) onlyTests() bool {
	for _, f := range p.files {
		if !f.test {
			return false
		}
	}
	return true
}

// lines counts hand-written product code.
func (p *pkg) lines() int {
	n := 0
	for _, f := range p.files {
		if !f.test && !f.generated && !p.test() {
			n += f.lines
		}
	}
	return n
}

func (p *pkg) methods() map[string]int {
	n := map[string]int{}
	for _, f := range p.files {
		if f.test || f.generated {
			continue
		}
		for _, r := range f.receivers {
			n[r]++
		}
	}
	return n
}

func readFloors(t *testing.T) map[string]int {
	t.Helper()
	b, err := os.ReadFile("floors.txt")
	if err != nil {
		t.Fatal(err)
	}
	level := map[string]int{}
	for i, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, dir := range strings.Fields(line) {
			level[dir] = i + 1
		}
	}
	return level
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
