package events

import (
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// compiler compiles the schemas as file:///schemas/ and checks formats.
func compiler(t *testing.T) *jsonschema.Compiler {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	files, err := fs.Glob(Schemas(), "*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	for _, name := range files {
		text, err := fs.ReadFile(Schemas(), name)
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.AddResource("file:///schemas/"+name, document); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	s, err := compiler(t).Compile("file:///schemas/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fits reports whether a schema accepts a JSON text.
func fits(s *jsonschema.Schema, text string) error {
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(value)
}

func TestSchemaAgreesWithReadRequest(t *testing.T) {
	s := schema(t, "request.json")
	for _, test := range accepted {
		t.Run(test.name, func(t *testing.T) {
			if err := fits(s, test.body); err != nil {
				t.Error(err)
			}
		})
	}
	for _, test := range refused {
		if test.unseen {
			continue // a schema cannot express it
		}
		t.Run(test.name, func(t *testing.T) {
			if fits(s, test.body) == nil {
				t.Error("the schema accepts it")
			}
		})
	}
	for _, test := range refusedEntries {
		t.Run(test.name, func(t *testing.T) {
			if fits(s, in(sensayEvent, test.old, test.new)) == nil {
				t.Error("the schema accepts it")
			}
		})
	}
}

func TestSchemaAgreesWithReadResult(t *testing.T) {
	s := schema(t, "result.json")
	for name, r := range everyResult() {
		t.Run(name, func(t *testing.T) {
			if err := fits(s, resultText(t, r)); err != nil {
				t.Error(err)
			}
		})
	}
	for _, test := range tolerated {
		t.Run(test.name, func(t *testing.T) {
			if err := fits(s, in(resultText(t, kvResult), test.old, test.new)); err != nil {
				t.Error(err)
			}
		})
	}
	for _, test := range wrongResults {
		if test.unseen {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			if fits(s, in(resultText(t, kvResult), test.old, test.new)) == nil {
				t.Error("the schema accepts it")
			}
		})
	}
}

// names converts values to strings, to compare them with enumerations in documents.
func names[T ~string](values []T) []any {
	var list []any
	for _, v := range values {
		list = append(list, string(v))
	}
	return list
}

// at returns the value at a path of keys in a document.
func at(t *testing.T, document any, keys ...string) any {
	t.Helper()
	for _, key := range keys {
		object, ok := document.(map[string]any)
		if !ok || object[key] == nil {
			t.Fatalf("the document has no %s at %v", key, keys)
		}
		document = object[key]
	}
	return document
}

func schemaDocument(t *testing.T, name string) any {
	t.Helper()
	text, err := fs.ReadFile(Schemas(), name)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func asyncAPIDocument(t *testing.T) any {
	t.Helper()
	var document any
	if err := yaml.Unmarshal(AsyncAPI(), &document); err != nil {
		t.Fatal(err)
	}
	return document
}

func TestEnumerationsAgree(t *testing.T) {
	common, result, api := schemaDocument(t, "common.json"), schemaDocument(t, "result.json"), asyncAPIDocument(t)
	codesOf := func(o Outcome) []any {
		return names(slices.DeleteFunc(Codes(), func(c Code) bool { return c.Outcome() != o }))
	}
	var types []any
	for _, o := range Outcomes() {
		types = append(types, o.EventType())
	}
	var codes []any
	for _, entry := range at(t, api, "components", "schemas", "errorCode", "oneOf").([]any) {
		code := at(t, entry, "const").(string)
		codes = append(codes, code)
		if prefix := string(Code(code).Outcome()) + ": "; !strings.HasPrefix(at(t, entry, "description").(string), prefix) {
			t.Errorf("the description of %s does not begin with %q", code, prefix)
		}
	}
	var messageTypes []any
	for key := range at(t, api, "channels", "results", "messages").(map[string]any) {
		messageTypes = append(messageTypes, at(t, api, "components", "messages", key, "name"))
	}
	byText := func(a, b any) int { return strings.Compare(a.(string), b.(string)) }
	for name, test := range map[string]struct{ want, got []any }{
		"targets in the schema":           {names(Targets()), at(t, common, "$defs", "target", "enum").([]any)},
		"targets in asyncapi":             {names(Targets()), at(t, api, "components", "parameters", "target", "enum").([]any)},
		"outcomes in the schema":          {names(Outcomes()), at(t, common, "$defs", "outcome", "enum").([]any)},
		"outcomes in asyncapi":            {names(Outcomes()), at(t, api, "components", "parameters", "outcome", "enum").([]any)},
		"event types in the schema":       {types, at(t, result, "properties", "type", "enum").([]any)},
		"event types in asyncapi":         {types, messageTypes},
		"codes of invalid in the schema":  {codesOf(Invalid), at(t, common, "$defs", "invalidCode", "enum").([]any)},
		"codes of failed in the schema":   {codesOf(Failed), at(t, common, "$defs", "failedCode", "enum").([]any)},
		"codes in asyncapi":               {names(Codes()), codes},
		"codes that belong to an outcome": {names(Codes()), append(codesOf(Invalid), codesOf(Failed)...)},
	} {
		t.Run(name, func(t *testing.T) {
			want, got := slices.SortedFunc(slices.Values(test.want), byText), slices.SortedFunc(slices.Values(test.got), byText)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The types and the schemas have the same fields.
func TestSchemaHasEveryField(t *testing.T) {
	data := schemaDocument(t, "result-data.json")
	for name, test := range map[string]struct {
		of         any
		properties any
	}{
		"result":   {resultData{}, at(t, data, "properties")},
		"evidence": {Evidence{}, at(t, data, "$defs", "evidence", "properties")},
		"error":    {ResultError{}, at(t, data, "$defs", "error", "properties")},
	} {
		t.Run(name, func(t *testing.T) {
			var want []string
			for _, field := range reflect.VisibleFields(reflect.TypeOf(test.of)) {
				if tag, _, _ := strings.Cut(field.Tag.Get("json"), ","); tag != "" {
					want = append(want, tag)
				}
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, slices.Sorted(maps.Keys(test.properties.(map[string]any)))); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("the reader's list of names", func(t *testing.T) {
		want := slices.Sorted(maps.Keys(at(t, data, "properties").(map[string]any)))
		if diff := cmp.Diff(want, slices.Sorted(slices.Values(resultNames))); diff != "" {
			t.Error(diff)
		}
	})
}
