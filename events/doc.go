// Package events is Lethe's contract in Go: requests, results and their NATS subjects.
//
// A [Request] is a CloudEvents 1.0 event that names a [Resource] to delete. A
// [Result] is an event with the [Outcome] of a request. The package needs neither a
// connection nor the rest of Lethe. Headers have the type map[string][]string, to
// which nats.Header converts. The examples use nats.go, where js is a
// jetstream.JetStream.
//
// # Publish a request
//
// Store the request's id with your own record first: then you can publish the same
// request again after a crash. An id identifies one request, so that the repetition
// has no second effect.
//
//	request := events.NewRequest("/crm/erasure", events.UserContexts{IDs: []int64{10, 11}})
//	body, err := request.Encode()
//	msg := &nats.Msg{
//		Subject: events.RequestSubject(request.Target()),
//		Header:  nats.Header{"content-type": {events.ContentType}},
//		Data:    body,
//	}
//	ack, err := js.PublishMsg(ctx, msg, jetstream.WithMsgID(request.MessageID()))
//
// Wait for the acknowledgement of the stream. Without one you do not know whether the
// request is stored: publish it again. The stream stores messages with the same
// [Request.MessageID] once. See the example Publish.
//
// # Read results
//
// Results are on the stream [StreamResults]. Read them with a durable consumer, which
// resumes where it stopped. [ResultFilter] selects by target, request and outcome.
//
//	results, err := js.CreateOrUpdateConsumer(ctx, events.StreamResults, jetstream.ConsumerConfig{
//		Durable:       "crm",
//		FilterSubject: events.ResultFilter("", "", ""),
//	})
//	result, err := events.ReadResult(msg.Headers(), msg.Data())
//
// Acknowledge a result after you have stored what follows from it. Like every message
// of a stream it can come twice. [Outcome.Final] reports whether another result follows.
// [Evidence] is what the API answered; it does not prove that the vendor erased every
// copy. See the example Subscribe.
//
// # Wait for my result
//
// The results of one request have subjects of their own. A request whose id Lethe cannot
// use, because it names another resource already, is answered under the [SequenceID] of
// its message. So wait on both subjects:
//
//	results, err := js.OrderedConsumer(ctx, events.StreamResults, jetstream.OrderedConsumerConfig{
//		FilterSubjects: []string{
//			events.ResultFilter(request.Target(), request.ID, ""),
//			events.ResultFilter(request.Target(), events.SequenceID(ack.Sequence), ""),
//		},
//	})
//
// Results are kept for 30 days by default, so it is no error to begin after the result
// was published. An accepted deletion ([AcceptedPending]) can take days until its final
// result: a program that must not wait for so long reads results with a durable
// consumer. See the example Wait.
//
// # Strictness
//
// Deletions cannot be undone, so requests are read strictly: an event that two JSON
// parsers could read differently is refused with an [*InvalidError] that names the rule
// and the field. Results are read tolerantly: unknown fields and codes are accepted.
//
// [AsyncAPI] and [Schemas] describe the same contract as documents. A test checks that
// code and documents agree.
package events
