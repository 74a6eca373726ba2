package kv

import (
	"testing"

	"github.com/lethe-dev/lethe/deleter"
)

func BenchmarkRead(b *testing.B) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   deleter.Verdict
	}{
		{"deleted", 200, `{"data":{},"message":"Data deleted successfully"}`, deleter.Deleted},
		{"refused by name", 206, `{"data":{"invalid_ids":[3,5]},"message":"Some ids are invalid"}`, deleter.Invalid},
		{"refused by position", 422, `{"detail":[{"loc":["body","ids",2],"msg":"value is not a valid integer","type":"type_error.integer"}]}`, deleter.Invalid},
	} {
		b.Run(c.name, func(b *testing.B) {
			ids := []int64{1, 2, 3, 4, 5}
			response := deleter.Response{Status: c.status, JSON: true, Body: []byte(c.body)}
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)))
			for b.Loop() {
				if a := read(response, ids); a.Verdict != c.want {
					b.Fatalf("%+v", a)
				}
			}
		})
	}
}
