package lsp

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Answers are encoded by the rules of encoding/json/v2, where omitempty keeps a zero number and false: only omitzero leaves these out.
func TestAnswersOmit(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var check func(reflect.Type)
	check = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			check(typ.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		if seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			options := strings.Split(f.Tag.Get("json"), ",")
			kept := []reflect.Kind{reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Float64}
			if slices.Contains(options, "omitempty") && slices.Contains(kept, f.Type.Kind()) {
				t.Errorf("%v.%s: omitempty has no effect on a %v", typ, f.Name, f.Type)
			}
			check(f.Type)
		}
	}
	for _, c := range commands {
		check(c.Answer)
	}
	check(reflect.TypeFor[cellsAnswer]())
}
