package page

import (
	"bytes"
	"embed"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

//go:embed page.html page.css page.js icon.svg
var files embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{"parts": parts, "commands": commands}).ParseFS(files, "page.html"))

// Access controls who may see the page.
type Access struct {
	// Anywhere serves the page on every address. Otherwise it is served to connections
	// on loopback only, because it shows what is deleted and has no login.
	Anywhere bool
	// Setting is the name of the setting that Anywhere comes from.
	Setting string
	Log     *slog.Logger
}

// security are the headers of every answer. The page loads its own style sheet, script
// and icon, and nothing else.
var security = map[string]string{
	"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "clipboard-write=(self)",
	"Cache-Control":                "no-store",
}

// Register adds the page and its files to mux.
func (p *Page) Register(mux *http.ServeMux) {
	mux.Handle("GET /{$}", p.guard(p.serve))
	mux.Handle("GET /page.css", p.guard(file("page.css", "text/css; charset=utf-8")))
	mux.Handle("GET /page.js", p.guard(file("page.js", "text/javascript; charset=utf-8")))
	mux.Handle("GET /icon.svg", p.guard(icon))
}

func file(name, contentType string) http.HandlerFunc {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(content) // the client may have disconnected
	}
}

// icon answers with the icon of a level, so that a tab shows how the situation is.
func icon(w http.ResponseWriter, r *http.Request) {
	colors := map[level]string{good: "#0b6b3a", caution: "#c77d00", bad: "#b3141f"}
	color, ok := colors[level(r.FormValue("level"))]
	if !ok {
		color = "#4d5866"
	}
	content, _ := files.ReadFile("icon.svg") // it is embedded
	w.Header().Set("Content-Type", "image/svg+xml")
	_, _ = w.Write(bytes.Replace(content, []byte("#4d5866"), []byte(color), 1)) // the client may have disconnected
}

// guard sets the headers, and refuses requests that may not see the page.
func (p *Page) guard(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range security {
			w.Header().Set(name, value)
		}
		local := onLoopback(r)
		switch {
		case !local && !p.access.Anywhere:
			http.Error(w, "the operator's page is served on loopback only, because it shows what is deleted and has no login; set "+
				p.access.Setting+"=true to serve it on this address too", http.StatusForbidden)
		case local && !isLoopbackHost(r.Host):
			http.Error(w, "on loopback the operator's page is served to the hosts localhost, 127.0.0.1 and [::1] only; "+
				"a proxy must send one of them as Host", http.StatusMisdirectedRequest)
		default:
			next(w, r)
		}
	})
}

// onLoopback reports whether the request came to a loopback address of this machine.
func onLoopback(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	address, err := netip.ParseAddrPort(local.String())
	return err == nil && address.Addr().Unmap().IsLoopback()
}

// isLoopbackHost reports whether a Host header names loopback. A page of another site
// whose name was bound to 127.0.0.1 (DNS rebinding) sends its own name.
func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

func (p *Page) serve(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, p.view(r)); err != nil {
		p.access.Log.Error("cannot render the operator's page", "error", err)
		http.Error(w, "the page cannot be rendered; the worker's log has the reason", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(body.Bytes()) // the client may have disconnected
}
