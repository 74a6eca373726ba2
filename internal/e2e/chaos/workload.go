package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/lethe-dev/lethe/events"
)

// Message is an event to be published, and what is expected of it.
type Message struct {
	Publication
	Body []byte
}

// workload makes events of every kind: requests for both APIs, with one and
// with many ids, repeats, second requests for what another has asked for, ids
// that are used again for something else, and events that break the contract.
type workload struct {
	random *rand.Rand
	made   []events.Request
	next   int64 // id of an entry or context that nobody has named yet
}

// Workload returns count events. The same seed gives the same.
func Workload(seed uint64, count int) []Message {
	w := &workload{random: rand.New(rand.NewPCG(seed, 1)), next: 1}
	messages := make([]Message, 0, count)
	for range count {
		messages = append(messages, w.message())
	}
	return messages
}

var replicas = []uuid.UUID{
	uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53"),
	uuid.MustParse("b1e3c6a0-5b0c-4f3c-9d5c-0d3a3a5b7a11"),
}

func (w *workload) message() Message {
	switch kind := w.random.IntN(100); {
	case kind < 6:
		return w.malformed()
	case kind < 12 && len(w.made) > 0: // the same once more
		return valid(w.earlier())
	case kind < 16 && len(w.made) > 0: // what is gone, or going, is asked for under a new id
		return w.request(w.earlier().Resource)
	case kind < 20 && len(w.made) > 0: // an id that is taken
		r := w.earlier()
		r.Resource = w.like(r.Resource)
		return valid(r)
	case kind < 60:
		return w.request(w.entry())
	default:
		return w.request(w.contexts())
	}
}

// earlier is one of the latest requests, which may still be on its way.
func (w *workload) earlier() events.Request {
	return w.made[len(w.made)-1-w.random.IntN(min(len(w.made), 50))]
}

func (w *workload) entry() events.Resource {
	w.next++
	return events.KnowledgeBaseEntry{ReplicaUUID: replicas[w.random.IntN(len(replicas))], KnowledgeBaseID: w.next}
}

func (w *workload) contexts() events.Resource {
	ids := make([]int64, 1+w.random.IntN(4))
	for i := range ids {
		w.next++
		ids[i] = w.next
	}
	return events.UserContexts{IDs: ids}
}

// like is a new resource of the same kind.
func (w *workload) like(res events.Resource) events.Resource {
	if res.Target() == events.KVUserContext {
		return w.contexts()
	}
	return w.entry()
}

func (w *workload) request(res events.Resource) Message {
	r := events.NewRequest("/chaos", res)
	r.ID, r.Time = w.id(), time.Time{}
	w.made = append(w.made, r)
	return valid(r)
}

func (w *workload) id() string {
	id, err := uuid.NewRandomFromReader(w)
	if err != nil {
		panic(err) // the reader has no errors
	}
	return id.String()
}

// Read gives random bytes that the seed decides.
func (w *workload) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(w.random.UintN(256))
	}
	return len(p), nil
}

func valid(r events.Request) Message {
	body, err := r.Encode()
	if err != nil {
		panic(fmt.Sprintf("a request that the contract does not know: %v", err)) // a mistake of this file
	}
	return Message{Publication{Target: r.Target(), ID: r.ID, Resource: r.Resource}, body}
}

func (w *workload) malformed() Message {
	id := w.id()
	m := Message{Publication: Publication{Target: events.KVUserContext, ID: id, Code: events.CodeInvalidResource}}
	data := map[string]any{"target": m.Target}
	switch w.random.IntN(4) {
	case 0: // nothing that could be read
		return Message{Publication{Target: events.SensayKnowledgeBase, Code: events.CodeMalformedEvent}, []byte(`{"specversion":"1.0",` + id)}
	case 1:
		data["ids"] = []any{1, 1.5}
	case 2:
		data["ids"] = []any{"1"}
	default:
		data["target"], data["ids"], m.Code = events.SensayKnowledgeBase, []int{1}, events.CodeTargetMismatch
	}
	body, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": id, "source": "/chaos", "type": events.RequestType, "datacontenttype": "application/json", "data": data,
	})
	if err != nil {
		panic(err) // the value above has nothing that JSON has not
	}
	m.Body = body
	return m
}
