package fakeapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lethe-dev/lethe/internal/fakeapi"
)

// discard is a ResponseWriter with almost no cost.
type discard struct{ *httptest.ResponseRecorder }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkHandler(b *testing.B) {
	bench := func(name string, config fakeapi.Config, next func(n int64) (path, body string)) {
		b.Run(name, func(b *testing.B) {
			config.MaxEntries = 1 << 30
			s := fakeapi.New(config)
			var n atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					path, body := next(n.Add(1))
					r := httptest.NewRequest(http.MethodDelete, path, strings.NewReader(body))
					r.Header.Set("X-ORGANIZATION-SECRET", orgSecret)
					r.Header.Set("access-key", accessKey)
					r.Header.Set("Content-Type", jsonType)
					s.ServeHTTP(discard{httptest.NewRecorder()}, r)
				}
			})
		})
	}
	sensay := func(n int64) (string, string) { return fmt.Sprint(sensayBase, n), "" }
	kv := func(n int64) (string, string) { return kvDelete, fmt.Sprintf(`{"ids":[%d]}`, n) }
	bench("sensay", fakeapi.Config{}, sensay)
	bench("kv", fakeapi.Config{}, kv)
	journal, err := fakeapi.OpenJournal(filepath.Join(b.TempDir(), "journal"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = journal.Close() }()
	bench("sensay with a journal", fakeapi.Config{Journal: journal}, sensay)
}

func BenchmarkServer(b *testing.B) {
	_, base := serve(b, fakeapi.Config{MaxEntries: 1 << 30})
	var n atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if resp, _, err := deleteEntry(b, base, n.Add(1)); err != nil || resp.StatusCode != http.StatusOK {
				b.Error(status(resp), err)
				return
			}
		}
	})
}
