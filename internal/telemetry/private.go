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

// minPrivate is the least length of a header's value that is taken for a secret, in bytes.
const minPrivate = 6

// query is what follows a URL's question mark, which some collectors take a key in.
var query = regexp.MustCompile(`\?[^\s"]+`)

// userPart is where a URL holds a user and a password.
var userPart = regexp.MustCompile(`://[^/?#\s"]*@`)

// private takes out of a text what the operator tells the collector alone: the headers that OTEL_* variables set,
// which hold its keys, and the users and queries of URLs. OpenTelemetry quotes both where it cannot read them, and the collector's
// answers, which may quote anything.
func private(text string) string {
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "OTEL_") || !strings.HasSuffix(name, "_HEADERS") {
			continue
		}
		for pair := range strings.SplitSeq(value, ",") {
			header, content, named := strings.Cut(pair, "=")
			if !named { // "name: value", most likely, and nothing tells one from the other
				header, content = pair, pair
			}
			for _, secret := range spellings(content) {
				text = strings.ReplaceAll(text, secret, redacted)
			}
			if header = strings.TrimSpace(header); strings.ContainsAny(header, " :") && len(header) >= minPrivate {
				text = strings.ReplaceAll(text, header, redacted) // it is no name, and may be anything
			}
		}
	}
	text = userPart.ReplaceAllLiteralString(text, "://"+redacted+"@")
	return query.ReplaceAllLiteralString(text, "?"+redacted)
}

// spellings are the ways in which a header's value is written: as in the variable, and as it is sent.
func spellings(content string) (all []string) {
	content = strings.TrimSpace(content)
	sent, err := url.PathUnescape(content)
	if err != nil {
		sent = content
	}
	// Of "Bearer KEY" it is the key alone that may be quoted.
	_, key, _ := strings.Cut(sent, " ")
	for _, s := range []string{content, sent, key} {
		if len(s) >= minPrivate {
			all = append(all, s)
		}
	}
	return all
}

// discreet is a handler for what OpenTelemetry says.
type discreet struct{ slog.Handler }

// Handle hands the record on without what is private.
func (d discreet) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, private(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(discreetAttr(a))
		return true
	})
	return d.Handler.Handle(ctx, clean)
}

// WithAttrs hands the attributes on without what is private.
func (d discreet) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = discreetAttr(a)
	}
	return discreet{d.Handler.WithAttrs(clean)}
}

// WithGroup opens a group.
func (d discreet) WithGroup(name string) slog.Handler { return discreet{d.Handler.WithGroup(name)} }

func discreetAttr(a slog.Attr) slog.Attr {
	said := a.Value.Resolve().String()
	if text := private(said); text != said {
		return slog.String(a.Key, text)
	}
	return a
}
