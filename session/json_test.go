package session

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"dipls/cells"
	"dipls/internal/ranklist"
	"dipls/ranks"
)

// Every argument and every answer of the API is the same after it was written as JSON, and all of its fields have names of their own there.
func TestJSON(t *testing.T) {
	known := map[reflect.Type]bool{
		reflect.TypeFor[context.Context](): true, reflect.TypeFor[error](): true, reflect.TypeFor[Subscription](): true,
	}
	check := func(typ reflect.Type) {
		if known[typ] {
			return
		}
		known[typ] = true
		value := reflect.New(typ)
		fill(t, value.Elem(), typ.String())
		text, err := json.Marshal(value.Interface())
		if err != nil {
			t.Errorf("%s: %v", typ, err)
			return
		}
		back := reflect.New(typ)
		if err := json.Unmarshal(text, back.Interface()); err != nil {
			t.Errorf("%s: %v: %s", typ, err, text)
			return
		}
		if !reflect.DeepEqual(value.Interface(), back.Interface()) {
			t.Errorf("%s was\n%+v and is\n%+v\nby %s", typ, value.Elem(), back.Elem(), text)
		}
	}
	check(reflect.TypeFor[Error]())
	for method := range reflect.TypeFor[API]().Methods() {
		for in := range method.Type.Ins() {
			check(in)
		}
		for out := range method.Type.Outs() {
			check(out)
		}
	}
}

// fill gives a value something in each of its fields.
func fill(t *testing.T, v reflect.Value, name string) {
	t.Helper()
	seed, _ := ranks.NewSeed(7)
	for _, sample := range []any{
		ranklist.Of(0, 2, 3), ranklist.Rank(3), cells.Target{Where: cells.Remote, Ranks: ranklist.Of(1)}, seed, json.RawMessage(`{"a":1}`),
		time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
	} {
		if v.Type() == reflect.TypeOf(sample) {
			v.Set(reflect.ValueOf(sample))
			return
		}
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("text of " + name)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint64:
		v.SetUint(1)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), name)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), name)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		element := reflect.New(v.Type().Elem()).Elem()
		fill(t, element, name)
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), element)
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			tag := field.Tag.Get("json")
			switch {
			case tag == "-":
				continue
			case !field.IsExported():
				t.Errorf("%s.%s is lost", name, field.Name)
				continue
			case tag == "" && !field.Anonymous:
				t.Errorf("%s.%s has no name", name, field.Name)
			}
			fill(t, v.Field(i), strings.TrimPrefix(name, "session.")+"."+field.Name)
		}
	default:
		t.Errorf("%s is a %s", name, v.Type())
	}
}
