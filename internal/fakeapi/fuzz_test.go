package fakeapi

import (
	"encoding/json"
	"testing"
)

func FuzzReadIDs(f *testing.F) {
	for _, seed := range []string{`{"ids":[10,11]}`, ``, `{}`, `{"ids":null}`, `{"ids":[1,"2",3.0,1e3,null,true]}`, `[1]`,
		`{"ids":[9223372036854775808,-1,0]}`, `{"ids":[1],"ids":[2]}`, "{\"\xff\":1}", `{"ids":[1`, ` {"x":{"ids":[1]}} `} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ids, problems := readIDs(body)
		if (len(ids) == 0) == (len(problems) == 0) {
			t.Fatalf("%d ids and %d problems", len(ids), len(problems))
		}
		for _, v2 := range []bool{false, true} {
			if _, err := json.Marshal(renderProblems(problems, v2)); err != nil {
				t.Fatalf("the answer cannot be written: %v", err)
			}
		}
		if len(problems) > 0 {
			return
		}
		// Another JSON reader must read the same ids.
		var other struct{ IDs []int64 }
		if err := json.Unmarshal(body, &other); err != nil || len(other.IDs) != len(ids) {
			t.Fatalf("encoding/json reads %v, %v; we read %v", other.IDs, err, ids)
		}
		for i, id := range ids {
			if id < 1 || id != other.IDs[i] {
				t.Fatalf("id %d is read as %d", other.IDs[i], id)
			}
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	for _, seed := range []string{"kv/10", "sensay/03db5651-cb61-4bdf-9ef0-89561f7c9c53/12345", "kv/", "kv/01", "kv/-1", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseEntry(text)
		if err != nil {
			return
		}
		again, err := ParseEntry(e.String())
		if err != nil || again != e || e.validate() != nil {
			t.Fatalf("%q is %v, which is then %v, %v", text, e, again, err)
		}
	})
}
