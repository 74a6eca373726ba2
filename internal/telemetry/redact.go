package telemetry

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strings"
)

const redacted = "[redacted]"

// minSecret is the minimum length of a header's value that counts as a secret, in bytes.
const minSecret = 6

// query matches the query of a URL, where some collectors take a key.
var query = regexp.MustCompile(`\?[^\s"]+`)

// userPart matches the user and password of a URL.
var userPart = regexp.MustCompile(`://[^/?#\s"]*@`)

// redact removes the secrets of the collector from a text: the values of headers in OTEL_* variables, and the users and
// queries of URLs. OpenTelemetry's errors contain them if they are malformed, and contain the collector's answers, which
// may echo anything.
func redact(text string) string {
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "OTEL_") || !strings.HasSuffix(name, "_HEADERS") {
			continue
		}
		for pair := range strings.SplitSeq(value, ",") {
			header, content, named := strings.Cut(pair, "=")
			if !named { // probably "name: value", so all of it may be secret
				header, content = pair, pair
			}
			for _, secret := range spellings(content) {
				text = strings.ReplaceAll(text, secret, redacted)
			}
			if header = strings.TrimSpace(header); strings.ContainsAny(header, " :") && len(header) >= minSecret {
				text = strings.ReplaceAll(text, header, redacted) // it is not a name, so it may be secret
			}
		}
	}
	text = userPart.ReplaceAllLiteralString(text, "://"+redacted+"@")
	return query.ReplaceAllLiteralString(text, "?"+redacted)
}

// spellings returns a header's value as written in the variable and as sent.
func spellings(content string) (all []string) {
	content = strings.TrimSpace(content)
	sent, err := url.PathUnescape(content)
	if err != nil {
		sent = content
	}
	// An error may contain only the key of "Bearer KEY".
	_, key, _ := strings.Cut(sent, " ")
	for _, s := range []string{content, sent, key} {
		if len(s) >= minSecret {
			all = append(all, s)
		}
	}
	return all
}

// redactingHandler redacts the log of OpenTelemetry.
type redactingHandler struct{ slog.Handler }

// Handle passes the redacted record on.
func (d redactingHandler) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, redact(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(redactAttr(a))
		return true
	})
	return d.Handler.Handle(ctx, clean)
}

// WithAttrs passes the redacted attributes on.
func (d redactingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = redactAttr(a)
	}
	return redactingHandler{d.Handler.WithAttrs(clean)}
}

// WithGroup opens a group.
func (d redactingHandler) WithGroup(name string) slog.Handler {
	return redactingHandler{d.Handler.WithGroup(name)}
}

func redactAttr(a slog.Attr) slog.Attr {
	value := a.Value.Resolve().String()
	if text := redact(value); text != value {
		return slog.String(a.Key, text)
	}
	return a
}
