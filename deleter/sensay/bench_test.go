package sensay

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
		{"deleted", 200, `{"success":true}`, deleter.Deleted},
		{"accepted", 202, `{"success":true,"message":"Deletion has begun"}`, deleter.AcceptedPending},
		{"not found", 404, `{"success":false,"error":"Knowledge base entry not found","request_id":"xyz1::r"}`, deleter.NotFound},
	} {
		b.Run(c.name, func(b *testing.B) {
			response := deleter.Response{Status: c.status, JSON: true, Body: []byte(c.body)}
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)))
			for b.Loop() {
				if a := read(response); a.Verdict != c.want {
					b.Fatalf("%+v", a)
				}
			}
		})
	}
}
