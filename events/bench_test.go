package events

import "testing"

func BenchmarkReadRequest(b *testing.B) {
	for _, bench := range []struct {
		name   string
		target Target
		header map[string][]string
		body   string
	}{
		{"structured", SensayKnowledgeBase, map[string][]string{"content-type": {ContentType}}, sensayEvent},
		{"binary", KVUserContext, binaryMode(nil), kvBody},
		{"100 ids", KVUserContext, nil, kvIDs(numbers(100))},
		{"refused", KVUserContext, nil, kvIDs("[1e3]")},
	} {
		b.Run(bench.name, func(b *testing.B) {
			body := []byte(bench.body)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				_, _ = ReadRequest(bench.target, bench.header, body)
			}
		})
	}
}

func BenchmarkResultEncode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := kvResult.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFingerprint(b *testing.B) {
	res := UserContexts{IDs: numberIDs(MaxIDs)}
	b.ReportAllocs()
	for b.Loop() {
		_ = Fingerprint(res)
	}
}
