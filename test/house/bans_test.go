package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"strings"
)

// callBans are package-level calls that one kind of room owns, with what to use instead.
var callBans = []struct {
	pkg, name string // name "" = any exported call
	rooms     []string
	tests     bool // applies to test files too
	instead   string
}{
	{"os", "Open", fileRooms, false, "open files through vfs.FS, so that crashes can be played"},
	{"os", "OpenFile", fileRooms, false, "open files through vfs.FS, so that crashes can be played"},
	{"os", "Create", fileRooms, false, "create files through vfs.FS, so that crashes can be played"},
	{"os", "ReadFile", fileRooms, false, "use vfs.ReadFile"},
	{"os", "WriteFile", fileRooms, false, "use vfs.WriteFileAtomic"},
	{"os", "Rename", fileRooms, false, "use vfs.FS.Rename"},
	{"os", "Remove", fileRooms, false, "use vfs.FS.Remove"},
	{"os", "RemoveAll", fileRooms, false, "use vfs.FS.RemoveAll"},
	{"os", "MkdirAll", fileRooms, false, "use vfs.FS.MkdirAll"},
	{"fmt", "Print", []string{"cmd/"}, false, "return the text, or log with slog"},
	{"fmt", "Println", []string{"cmd/"}, false, "return the text, or log with slog"},
	{"fmt", "Printf", []string{"cmd/"}, false, "return the text, or log with slog"},
	{"log", "", []string{"cmd/"}, false, "log with the slog.Logger that is handed in"},
	{"time", "Sleep", []string{"broker/fault", "objstore/fault"}, true, "wait on a channel, or run under testing/synctest"},
}

var fileRooms = []string{"broker/vfs", "objstore/file", "cmd/", "broker/wire/wiregen", "broker/config/gendoc"}

// leftover finds marks of unfinished work in comments and errors.
var leftover = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b|(?i)\bnot (yet )?implemented\b`)

// bans lists what the file does that the house does not want.
func (f *file) bans(p *pkg) []string {
	var out []string
	for _, c := range f.syntax.Comments {
		if m := leftover.FindString(c.Text()); m != "" && !f.generated {
			out = append(out, fmt.Sprintf("%s:%d: %q left over: finish it, or list the gap in docs/differences.md", f.path, f.line(c.Pos()), m))
		}
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			out = append(out, f.bannedCall(p, call)...)
		}
		return true
	})
	for _, d := range f.syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.Name == "init" && d.Recv == nil {
				out = append(out, fmt.Sprintf("%s:%d: init function: use an explicit table or constructor", f.path, f.line(d.Pos())))
			}
		case *ast.GenDecl:
			if d.Tok == token.VAR && !f.test && !p.test() {
				out = append(out, f.mutableVars(d)...)
			}
		}
	}
	return out
}

func (f *file) bannedCall(p *pkg, call *ast.CallExpr) []string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok || id.Obj != nil || !contains(f.imports, id.Name) {
		return nil
	}
	var out []string
	for _, b := range callBans {
		if id.Name != b.pkg || (b.name != "" && b.name != sel.Sel.Name) {
			continue
		}
		if b.pkg == "time" && contains(f.imports, "testing/synctest") {
			continue // in a bubble, sleeping is how virtual time passes
		}
		if (f.test && !b.tests) || (p.test() && !b.tests) || inRooms(p.dir, b.rooms) || strings.HasPrefix(p.dir, "test/") && !f.test {
			continue
		}
		out = append(out, fmt.Sprintf("%s:%d: %s.%s: %s", f.path, f.line(call.Pos()), b.pkg, sel.Sel.Name, b.instead))
	}
	return out
}

func inRooms(dir string, rooms []string) bool {
	for _, r := range rooms {
		if dir == strings.TrimSuffix(r, "/") || strings.HasPrefix(dir, strings.TrimSuffix(r, "/")+"/") {
			return true
		}
	}
	return false
}

// mutableVars finds package variables that look like state: no value, or a plain literal.
func (f *file) mutableVars(d *ast.GenDecl) []string {
	var out []string
	for _, s := range d.Specs {
		v, ok := s.(*ast.ValueSpec)
		if !ok {
			continue
		}
		for i, name := range v.Names {
			if name.Name == "_" || !looksMutable(v, i) {
				continue
			}
			out = append(out, fmt.Sprintf("%s:%d: package variable %s: keep state in a struct that is handed in, or make it a const", f.path, f.line(name.Pos()), name.Name))
		}
	}
	return out
}

func looksMutable(v *ast.ValueSpec, i int) bool {
	if i >= len(v.Values) {
		typ := v.Type
		if arr, ok := typ.(*ast.ArrayType); ok {
			typ = arr.Elt
		}
		sel, ok := typ.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		return !ok || (x.Name != "sync" && x.Name != "embed")
	}
	switch val := v.Values[i].(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return val.Name == "true" || val.Name == "false" || val.Name == "nil"
	}
	return false
}

// registryOnly says whether a file uses prometheus for nothing but the Registerer it passes on.
func registryOnly(f *file) bool {
	only := true
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Name == "prometheus" && sel.Sel.Name != "Registerer" && sel.Sel.Name != "Registry" && sel.Sel.Name != "NewRegistry" {
			only = false
		}
		return true
	})
	return only
}
