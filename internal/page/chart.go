package page

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// chart is one chart of the last hour.
type chart struct {
	ID, Title, Unit string
	Own             bool   // it shows this worker only
	Top             string // the largest value of the axis
	Lines           []line
	Label           string // the chart in words
	Empty           bool   // nothing is known yet
}

// line is one line of a chart.
type line struct {
	Name, Value string
	Class       string // its colour and dashes
	Path        string // of SVG
}

// The size of a chart in its own units. The style sheet stretches it.
const chartWidth, chartHeight = 480, 120

// series is what a line shows.
type series struct {
	name, class string
	of          func(sample) float64
	value       func(drawn []float64) string // beside its name
}

// outcomes are those of results, in the order of their colours.
var outcomes = []string{"deleted", "accepted-pending", "not-found", "invalid", "failed"}

// windows are the times that charts can show: as much of the last hour as is known.
var windows = []time.Duration{6 * time.Minute, 20 * time.Minute, span}

// windowOf is the shortest window that shows all samples.
func windowOf(samples []sample, now time.Time) time.Duration {
	for _, window := range windows {
		if len(samples) == 0 || now.Sub(samples[0].at) <= window {
			return window
		}
	}
	return span
}

// charts draws the last hour.
func charts(samples []sample, targets []string, now time.Time) []chart {
	var waiting, calls, latency, results []series
	for i, target := range targets {
		lane := func(get func(laneSample) float64) func(sample) float64 {
			return func(s sample) float64 {
				if l, ok := s.lanes[target]; ok {
					return get(l)
				}
				return math.NaN()
			}
		}
		class := fmt.Sprintf("line-%d", i%5+1)
		waiting = append(waiting, series{target, class, lane(func(l laneSample) float64 { return l.waiting }), latest(short)})
		calls = append(calls, series{target, class, lane(func(l laneSample) float64 { return l.calls }), latest(short)})
		latency = append(latency,
			series{target + ", median", class, lane(func(l laneSample) float64 { return l.median }), latest(seconds)},
			series{target + ", 95 %", class + " p95", lane(func(l laneSample) float64 { return l.p95 }), latest(seconds)})
	}
	for i, outcome := range outcomes {
		results = append(results, series{outcome, fmt.Sprintf("line-%d", i+1), func(s sample) float64 { return s.results[outcome] / s.minutes },
			func([]float64) string { return short(total(samples, outcome)) + " in the hour" }})
	}
	in := []series{{"all lanes", "line-1", func(s sample) float64 { return s.requestsIn }, latest(short)}}
	return []chart{
		draw(chart{ID: "in", Title: "Requests in", Unit: "a minute"}, samples, now, in, short),
		draw(chart{ID: "waiting", Title: "Waiting", Unit: "requests"}, samples, now, waiting, short),
		draw(chart{ID: "calls", Title: "Calls", Unit: "a minute", Own: true}, samples, now, calls, short),
		draw(chart{ID: "results", Title: "Results", Unit: "a minute", Own: true}, samples, now, results, short),
		draw(chart{ID: "latency", Title: "Latency of calls", Own: true}, samples, now, latency, seconds),
	}
}

func total(samples []sample, outcome string) (sum float64) {
	for _, s := range samples {
		sum += s.results[outcome]
	}
	return sum
}

func seconds(v float64) string { return took(time.Duration(v * float64(time.Second))) }

// latest is the last known value of a line, as text.
func latest(text func(float64) string) func([]float64) string {
	return func(drawn []float64) string {
		if len(drawn) == 0 || math.IsNaN(drawn[len(drawn)-1]) {
			return "–"
		}
		return text(drawn[len(drawn)-1])
	}
}

// draw draws the lines of a chart on one scale.
func draw(c chart, samples []sample, now time.Time, all []series, text func(float64) string) chart {
	top, values := 0.0, make([][]float64, len(all))
	c.Empty = true
	for i, s := range all {
		for _, sample := range samples {
			v := s.of(sample)
			values[i] = append(values[i], v)
			if !math.IsNaN(v) {
				top, c.Empty = max(top, v), false
			}
		}
	}
	top = roundUp(top)
	c.Top = text(top)
	window := windowOf(samples, now)
	var words []string
	for i, s := range all {
		c.Lines = append(c.Lines, line{Name: s.name, Class: s.class, Value: s.value(values[i]), Path: path(samples, values[i], now, window, top)})
		if known := slices.DeleteFunc(slices.Clone(values[i]), math.IsNaN); len(known) > 0 {
			words = append(words, fmt.Sprintf("%s: now %s, at most %s", s.name, latest(text)(values[i]), text(slices.Max(known))))
		}
	}
	c.Label = strings.TrimSpace(c.Title+" "+c.Unit) + " in the last hour. " + strings.Join(words, "; ") + "."
	if c.Empty {
		c.Label = c.Title + ": nothing is known yet."
	}
	return c
}

// path is a line in SVG. It has a gap where values are unknown or no samples were taken.
func path(samples []sample, values []float64, now time.Time, window time.Duration, top float64) string {
	var b strings.Builder
	drawing, last := false, time.Time{}
	for i, v := range values {
		at := samples[i].at
		x := chartWidth * (1 - float64(now.Sub(at))/float64(window))
		switch {
		case math.IsNaN(v) || x < 0:
			drawing = false
			continue
		case !drawing || at.Sub(last) > 3*sampleEvery:
			fmt.Fprintf(&b, "M%.1f %.1fh.1", x, chartHeight*(1-v/top)) // a single point shows too
		default:
			fmt.Fprintf(&b, "L%.1f %.1f", x, chartHeight*(1-v/top))
		}
		drawing, last = true, at
	}
	return b.String()
}

// roundUp is the next 1, 2 or 5 with zeros, and at least 0.01.
func roundUp(v float64) float64 {
	if v <= 0 {
		return 1
	}
	size := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 5} {
		if v <= step*size {
			return step * size
		}
	}
	return 10 * size
}
