package deleter

import "testing"

func TestReadObjectRequiresOneStrictObject(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		ok   bool
	}{
		"an object":                {`{"a":1,"b":{"c":[]}}`, true},
		"an object with spaces":    {" {}\n", true},
		"null":                     {`null`, false},
		"a list":                   {`[]`, false},
		"a text":                   {`"a"`, false},
		"nothing":                  {``, false},
		"half of one":              {`{"a":`, false},
		"two":                      {`{}{}`, false},
		"a repeated name":          {`{"a":1,"a":1}`, false},
		"a repeated name, escaped": {`{"a":1,"\u0061":1}`, false},
		"a repeated name inside":   {`{"a":{"b":1,"b":1}}`, false},
		"broken UTF-8":             {"{\"a\":\"\xff\"}", false},
		"half a surrogate pair":    {`{"a":"\ud800"}`, false},
	} {
		if _, err := ReadObject(Response{Body: []byte(c.body), JSON: true}); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadObject(Response{Body: []byte(`{}`)}); err == nil {
		t.Error("an object that is not called JSON was read")
	}
}

func TestWordsReturnsTheMessage(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":"e","message":"m"}`:  "e",
		`{"error":"","message":"m"}`:   "m",
		`{"error":{},"detail":"no"}`:   "no",
		`{"data":{}}`:                  "",
		`{"detail":[{"msg":"m"}, {}]}`: "m",
		`{"detail":[1]}`:               "[1]",
		`{"detail":{"why":"no"}}`:      `{"why":"no"}`,
		`{"detail":[{"loc":["body","ids",1],"msg":"not an integer","input":"x"},{"loc":["body"],"msg":"m"}]}`: "body.ids.1: not an integer; body: m",
	} {
		o, err := ReadObject(Response{Body: []byte(body), JSON: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := o.Message(); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}
