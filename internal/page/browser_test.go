package page

import (
	"context"
	_ "embed"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var update = flag.Bool("update", false, "write the picture of the page into docs/images")

//go:embed testdata/check.js
var check string

// browser is one browser for all tests.
var browser struct {
	once   sync.Once
	ctx    context.Context
	cancel []func()
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, cancel := range slices.Backward(browser.cancel) {
		cancel()
	}
	os.Exit(code)
}

// tab is one tab of the browser.
type tab struct {
	*testing.T
	ctx context.Context
}

type viewport struct {
	width, height int64
	dark, noJS    bool
}

var (
	desktop = viewport{width: 1440, height: 900}
	phone   = viewport{width: 360, height: 740}
)

// open opens a tab. It skips the test where no browser is installed.
func open(t *testing.T, l viewport) *tab {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil && program == "" {
			program = found
		}
	}
	if program == "" {
		t.Skip("no chromium is installed")
	}
	browser.once.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU)
		allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, end := chromedp.NewContext(allocator)
		browser.ctx, browser.cancel = ctx, []func(){cancel, end}
		browser.err = chromedp.Do(ctx)
	})
	if browser.err != nil {
		t.Fatal(browser.err)
	}
	ctx, cancel := chromedp.NewContext(browser.ctx)
	t.Cleanup(cancel)
	ctx, end := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(end)
	b := &tab{t, ctx}
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	b.run(
		chromedp.EmulateViewport(l.width, l.height),
		send(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}),
		send(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: l.noJS}),
	)
	return b
}

// send sends a command of the browser's protocol.
func send[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, c, params)
		return chromedp.Void{}, err
	}
}

func (b *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// goTo opens an address.
func (b *tab) goTo(url string) { b.Helper(); b.run(chromedp.Navigate(url)) }

// text is what a person reads in the first element that matches.
func (b *tab) text(selector string) string {
	b.Helper()
	return get(b, chromedp.Text(chromedp.CSS(selector)))
}

// get runs an action that has a result.
func get[T any](b *tab, action chromedp.Action[T]) T {
	b.Helper()
	value, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.Fatal(err)
	}
	return value
}

// evaluate evaluates JavaScript in the tab.
func evaluate[T any](b *tab, script string) T {
	b.Helper()
	return get(b, chromedp.Evaluate[T](script))
}

// until waits until JavaScript in the tab is true.
func (b *tab) until(what, script string) {
	b.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](script, chromedp.WithPollingTimeout(40*time.Second))); err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

// save writes a picture of the tab into the folder LETHE_PAGE_PICTURES, if that is set.
func (b *tab) save(name string) {
	b.Helper()
	dir := os.Getenv("LETHE_PAGE_PICTURES")
	if dir == "" {
		return
	}
	picture := get(b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil {
		b.Fatal(err)
	}
}

// Every situation is readable on every screen, in both colour schemes, and with every
// means of input.
func TestEachViewIsAccessibleOnEveryScreen(t *testing.T) {
	now := time.Now()
	gone := suspended(now)
	gone.situation.NotReady, gone.failure, gone.situation.CountedAt = "not connected to NATS", errGone, now.Add(-3*time.Minute)
	fine, paused := suspended(now), suspended(now)
	fine.situation, fine.attention = healthy(), Attention{}
	paused.situation.Lanes[1].State = "paused"
	paused.situation.Lanes[1].Problems = []Problem{{State: "paused", Reason: "paused by ops@example.org: maintenance of the API until 14:00", Since: now.Add(-time.Hour), Fix: "resume it with `lethe resume " + sensay + "`"}}
	dark := viewport{width: 1440, height: 900, dark: true}
	darkPhone := viewport{width: 360, height: 740, dark: true}
	for _, c := range []struct {
		situation, screen string
		source            *source
		viewport          viewport
		search            string
	}{
		{"a suspended lane", "a desktop", suspended(now), desktop, ""},
		{"a suspended lane", "a dark desktop", suspended(now), dark, ""},
		{"a suspended lane", "a phone", suspended(now), phone, ""},
		{"a suspended lane", "a dark phone", suspended(now), darkPhone, ""},
		{"a found request", "a desktop", suspended(now), desktop, aFailed},
		{"a found request", "a dark phone", suspended(now), darkPhone, aFailed},
		{"an unknown request", "a phone", suspended(now), phone, strings.Repeat("x", 64)},
		{"no problem", "a desktop", fine, desktop, ""},
		{"no problem", "a dark phone", fine, darkPhone, ""},
		{"a paused lane", "a dark desktop", paused, dark, ""},
		{"a paused lane", "a phone", paused, phone, ""},
		{"a server that is unreachable", "a dark desktop", gone, dark, ""},
		{"a worker that was never connected", "a phone", &source{situation: Situation{NotReady: "still waiting for NATS and its streams"}}, phone, ""},
	} {
		t.Run(c.situation+" on "+c.screen, func(t *testing.T) {
			b := open(t, c.viewport)
			b.goTo(serve(t, pageOf(c.source, now)) + "/?id=" + c.search)
			for _, violation := range evaluate[[]string](b, check) {
				t.Error(violation)
			}
			b.save(strings.ReplaceAll(c.situation+" "+c.screen, " ", "-"))
		})
	}
}

func TestThePageIsReadAgainWithoutAReload(t *testing.T) {
	s := suspended(time.Now())
	b := open(t, desktop)
	b.goTo(serve(t, pageOf(s, time.Now())))
	evaluate[any](b, `window.loaded = 'once'; document.getElementById('id').value = 'half an id'; document.getElementById('open-`+aFailed+`').focus(); scrollTo(0, 200)`)
	s.set(func(s *source) {
		s.situation = healthy()
		s.situation.Lanes[0].Waiting = new(uint64(4711))
		s.attention.Overdue = nil
	})
	b.until("the new number", `document.querySelector('.counts dd').textContent.replace(/\D/g, '') === '4711'`)
	if got := evaluate[[]any](b, `[window.loaded, document.getElementById('id').value, document.activeElement.id, scrollY]`); got[0] != "once" || got[1] != "half an id" || got[2] != "open-"+aFailed || got[3] != 200.0 {
		t.Errorf("the refresh lost what the person did: %v", got)
	}
	b.until("the title", `document.title.startsWith('All well')`)
	b.until("the icon", `document.getElementById('icon').href.endsWith('level=good')`)
	if announced := b.text("#announcement"); !strings.Contains(announced, "running") {
		t.Errorf("the announcement to screen readers is %q", announced)
	}
	b.run(chromedp.Click(chromedp.CSS("#updates")))
	s.set(func(s *source) { s.situation.Lanes[0].Waiting = new(uint64(1)) })
	if pressed := evaluate[string](b, `document.getElementById('updates').getAttribute('aria-pressed')`); pressed != "true" {
		t.Error("updates are not paused")
	}
	b.run(chromedp.Click(chromedp.CSS("#updates")))
	b.until("updates resume", `document.querySelector('.counts dd').textContent === '1'`)
}

func TestAPageWhoseWorkerIsGoneSaysSo(t *testing.T) {
	s := suspended(time.Now())
	p := pageOf(s, time.Now())
	url, stop := stoppable(t, p)
	b := open(t, phone)
	b.goTo(url)
	stop()
	b.until("the warning", `document.getElementById('stale').textContent.includes('has not answered since')`)
	if seen := evaluate[bool](b, `document.getElementById('stale').checkVisibility()`); !seen {
		t.Error("the warning is hidden")
	}
	if got := b.text("h1"); !strings.Contains(got, "suspended") {
		t.Errorf("the page no longer shows the last state: %q", got)
	}
}

func TestThePageWorksWithoutJavaScript(t *testing.T) {
	s := suspended(time.Now())
	url := serve(t, pageOf(s, time.Now()))
	b := open(t, viewport{width: 1440, height: 900, noJS: true})
	b.goTo(url)
	if got := b.text("h1"); !strings.Contains(got, "suspended") {
		t.Errorf("verdict: %q", got)
	}
	b.run(chromedp.SendKeys(chromedp.CSS("#id"), aFailed+kb.Enter), chromedp.WaitVisible(chromedp.CSS("#found")))
	if got := b.text(".story .sentence"); !strings.Contains(got, "retries-exhausted") {
		t.Errorf("story: %q", got)
	}
}

func TestTheSearchWorksWithTheKeyboardAlone(t *testing.T) {
	s := suspended(time.Now())
	b := open(t, desktop)
	b.goTo(serve(t, pageOf(s, time.Now())))
	var order []string
	for range 3 { // the link past the header, the name, the field
		b.run(chromedp.KeyEvent(kb.Tab))
		order = append(order, evaluate[string](b, `document.activeElement.id || document.activeElement.textContent`))
	}
	if order[2] != "id" {
		t.Fatalf("the keyboard reaches %q", order)
	}
	b.run(chromedp.KeyEvent(aFailed), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.CSS("#found")))
	if got := b.text("#found"); !strings.Contains(got, "retries-exhausted") || !strings.Contains(got, largest) {
		t.Errorf("found: %q", got)
	}
	if got := evaluate[string](b, `document.getElementById('id').value`); got != aFailed {
		t.Errorf("the field has %q", got)
	}
}

func TestMarkupFromAnAPIIsText(t *testing.T) {
	s := suspended(time.Now())
	s.attention.Failed[0].Reason = hostile
	s.situation.Lanes[1].Problems[0].Reason, s.situation.Lanes[1].Problems[0].Fix = hostile, hostile+"`"+hostile+"`"
	s.situation.Unread = []string{hostile}
	b := open(t, desktop)
	b.goTo(serve(t, pageOf(s, time.Now())) + "/?id=" + aFailed)
	b.until("the refresh", `document.querySelectorAll('.lane').length === 2`)
	if n := evaluate[int](b, `document.querySelectorAll('img, main script').length`); n != 0 {
		t.Errorf("%d elements came from the API", n)
	}
	for _, where := range []string{"h1", ".entries", ".story table", ".problem .reason", ".problem .command code"} {
		if got := b.text(where); !strings.Contains(got, hostile) {
			t.Errorf("%s shows %q", where, got)
		}
	}
	if title := evaluate[string](b, `document.title`); title == "broken" {
		t.Error("a script of the API ran")
	}
}

// The picture in the documents is a screenshot of the page.
func TestThePictureOfThePage(t *testing.T) {
	if !*update {
		t.Skip("-update writes docs/images/page.png")
	}
	b := open(t, desktop)
	b.run(chromedp.EmulateViewport(1500, 1000, chromedp.EmulateScale(0.8))) // 1200 by 800
	b.goTo(serve(t, pageOf(suspended(time.Now()), time.Now())))
	picture := get(b, chromedp.CaptureScreenshot())
	if len(picture) > 300_000 {
		t.Errorf("the picture has %d bytes", len(picture))
	}
	if err := os.MkdirAll("../../docs/images", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("../../docs/images/page.png", picture, 0o644); err != nil {
		t.Fatal(err)
	}
}
