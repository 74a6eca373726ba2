package deleter

import "testing"

func TestAnAnswerAboutSomeRequestsIsDivisible(t *testing.T) {
	for status, want := range map[int]bool{
		400: true, 404: true, 409: true, 410: true, 413: true, 422: true, 451: true,
		401: false, 403: false, 407: false, 408: false, 421: false, 425: false, 429: false, // about the caller
		0: false, 200: false, 301: false, 500: false, 503: false,
	} {
		if got := (Answer{Verdict: Retry, Status: status}).Divisible(); got != want {
			t.Errorf("a retry with status %d: %v, want %v", status, got, want)
		}
	}
	for _, status := range []int{200, 206, 400, 422} {
		if !(Answer{Verdict: Invalid, Status: status}).Divisible() {
			t.Errorf("a refusal with status %d is not divisible", status)
		}
	}
	if (Answer{Verdict: CredentialRefused, Status: 403}).Divisible() || (Answer{Verdict: NotFound, Status: 404}).Divisible() {
		t.Error("a refused credential or a missing resource is divisible")
	}
}
