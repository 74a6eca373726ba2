package events

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// allocated returns how many bytes a call allocates.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Memory is proportional to the part of a message that is read, which is limited. Of a larger
// message only the id is read.
func TestHostileEventsUseLittleMemory(t *testing.T) {
	const limit, most = MaxEventBytes, 1 << 20
	fill := func(before, unit, after string, size int) []byte {
		return []byte(before + strings.Repeat(unit, max(0, (size-len(before)-len(after))/len(unit))) + after)
	}
	head := `{"specversion":"1.0","id":"r1","source":"/a","type":"` + RequestType + `",`
	manyHeaders := map[string][]string{"content-type": {"application/json"}}
	for i := range 3000 {
		manyHeaders[fmt.Sprintf("ce-x%d", i)] = []string{"v"}
	}
	for name, c := range map[string]struct {
		header map[string][]string
		body   func(size int) []byte
	}{
		"nested arrays":       {nil, func(n int) []byte { return fill("", "[", "", n) }},
		"nested objects":      {nil, func(n int) []byte { return fill("", `{"a":`, "", n) }},
		"a nest inside data":  {nil, func(n int) []byte { return fill(head+`"data":`, `[`, "", n) }},
		"one key again":       {nil, func(n int) []byte { return fill(head, `"a":1,`, `"b":1}`, n) }},
		"ids again and again": {nil, func(n int) []byte { return fill(head, `"id":"x",`, `"b":1}`, n) }},
		"escapes in a key":    {nil, func(n int) []byte { return fill(head+`"`, `\u0061`, `":1}`, n) }},
		"escapes in a value":  {nil, func(n int) []byte { return fill(head+`"subject":"`, `\ud83d\ude00`, `"}`, n) }},
		"broken UTF-8":        {nil, func(n int) []byte { return fill(head+`"subject":"`, "\xff", `"}`, n) }},
		"long numbers":        {nil, func(n int) []byte { return fill(head+`"data":{"target":"kv-user-context","ids":[`, "9", `]}}`, n) }},
		"many numbers":        {nil, func(n int) []byte { return fill(head+`"data":{"target":"kv-user-context","ids":[`, "1,", `1]}}`, n) }},
		"many attributes": {nil, func(n int) []byte {
			var b strings.Builder
			b.WriteString(head)
			for i := 0; b.Len() < n-20; i++ {
				fmt.Fprintf(&b, `"a%d":"",`, i)
			}
			return []byte(b.String() + `"z":""}`)
		}},
		"many headers":  {manyHeaders, func(n int) []byte { return fill(`{"target":"kv-user-context","ids":[`, "1,", "1]}", n) }},
		"base64":        {nil, func(n int) []byte { return fill(head+`"data_base64":"`, "W1tb", `"}`, n) }},
		"a long header": {map[string][]string{"ce-id": {strings.Repeat("%41", 20_000)}}, func(n int) []byte { return fill("{", " ", "}", n) }},
		"only blanks":   {nil, func(n int) []byte { return fill("", " ", "", n) }},
	} {
		for _, size := range []int{limit, most} {
			body := c.body(size)
			// Measured: at most 35 bytes for each byte of an event, for thousands of
			// attributes. Beyond the limit only the id is searched for.
			bound := uint64(45*limit + 2*len(body))
			got := allocated(func() { _, _ = ReadRequest(KVUserContext, c.header, body) })
			if got > bound {
				t.Errorf("%s: %d bytes of memory for %d bytes, want at most %d", name, got, len(body), bound)
			}
			t.Logf("%-20s %8d bytes: %8d", name, len(body), got)
		}
	}
}
