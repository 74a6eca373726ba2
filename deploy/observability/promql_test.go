package observability

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A query names metrics with conditions on their labels, and labels to group by.
type query struct {
	selectors []selector
	labels    []string // of by, on, ignoring, group_left, and so on
}

type selector struct {
	metric   string
	matchers []matcher
}

type matcher struct{ label, op, value string }

var (
	token      = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|[a-zA-Z_:][a-zA-Z0-9_:]*|[0-9][0-9a-zA-Z.]*|=~|!~|!=|[^\s]`)
	identifier = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	grouping   = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	keywords   = []string{"and", "or", "unless", "bool", "offset"}
	// aggregations are the functions whose grouping may stand between name and bracket.
	aggregations = []string{"sum", "max", "min", "avg", "count"}
)

// parseQuery reads what a query in PromQL names. It knows no more of the language: every name that is not a function's,
// a keyword or a label is a metric, so a wrong name is never skipped. promtool checks the syntax.
func parseQuery(text string) (q query) {
	tokens := token.FindAllString(text, -1)
	next := func(i int) string {
		if i+1 < len(tokens) {
			return tokens[i+1]
		}
		return ""
	}
	// until collects the tokens after the opening bracket at i.
	until := func(i int, closing string) (inside []string, end int) {
		end = i + 1
		for end < len(tokens) && tokens[end] != closing {
			inside = append(inside, tokens[end])
			end++
		}
		return inside, end
	}
	for i := 0; i < len(tokens); i++ {
		switch name := tokens[i]; {
		case name == "[": // a range, perhaps with a step
			_, i = until(i, "]")
		case !identifier.MatchString(name):
		case slices.Contains(grouping, name) && next(i) == "(":
			var labels []string
			labels, i = until(i+1, ")")
			q.labels = append(q.labels, slices.DeleteFunc(labels, func(s string) bool { return s == "," })...)
		case slices.Contains(keywords, name), slices.Contains(aggregations, name), next(i) == "(":
		default:
			s := selector{metric: name}
			if next(i) == "{" {
				var inside []string
				inside, i = until(i+1, "}")
				for ; len(inside) >= 3; inside = inside[min(4, len(inside)):] {
					s.matchers = append(s.matchers, matcher{inside[0], inside[1], strings.Trim(inside[2], `"`)})
				}
			}
			q.selectors = append(q.selectors, s)
		}
	}
	return q
}

func TestQueriesAreRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`up`: `[{up []}] []`,
		`absent(a{b="c", d=~"e|f"} == 1) or sum by (g, h) (rate(i_total{j!="}"}[5m:1m]))`: `[{a [{b = c} {d =~ e|f}]} {i_total [{j != }}]}] [g h]`,
		`x and on (y) z offset 5m > on () group_left () 0.5 * 1e3`:                        `[{x []} {z []}] [y]`,
	} {
		if got := fmt.Sprint(parseQuery(text).selectors, parseQuery(text).labels); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// page is the series of a page of metrics: by metric, the labels of each.
type page map[string][]map[string]string

var (
	line  = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+$`)
	label = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"`)
)

// readPage reads the text format of Prometheus.
func readPage(text string) (page, error) {
	p := page{}
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' {
			continue
		}
		found := line.FindStringSubmatch(l)
		if found == nil {
			return nil, fmt.Errorf("cannot read %q", l)
		}
		labels := map[string]string{"job": "lethe", "instance": "a"} // Prometheus adds them
		for _, pair := range label.FindAllStringSubmatch(found[2], -1) {
			labels[pair[1]] = pair[2]
		}
		p[found[1]] = append(p[found[1]], labels)
	}
	return p, nil
}

// check says which names of a query are not on the page: a metric, a label, or a value that a matcher asks for.
func (p page) check(text string) (problems []string) {
	q := parseQuery(text)
	if len(q.selectors) == 0 {
		return []string{"it names no metric"}
	}
	labels := map[string]bool{}
	for _, s := range q.selectors {
		series := p[s.metric]
		if len(series) == 0 {
			problems = append(problems, "there is no metric "+s.metric)
		}
		for _, one := range series {
			for name := range one {
				labels[name] = true
			}
		}
		for _, m := range s.matchers {
			problems = append(problems, m.check(s.metric, series)...)
		}
	}
	for _, name := range q.labels {
		if !labels[name] {
			problems = append(problems, "no metric of the query has a label "+name)
		}
	}
	return problems
}

// check says whether series have the matcher's label and, where it asks for values, each of them. A series without
// the label is right for a matcher that excludes values.
func (m matcher) check(metric string, series []map[string]string) (problems []string) {
	values := map[string]bool{}
	for _, labels := range series {
		if value, there := labels[m.label]; there {
			values[value] = true
		}
	}
	if len(values) == 0 {
		return []string{metric + " has no label " + m.label}
	}
	alternatives := []string{m.value}
	if strings.HasSuffix(m.op, "~") {
		alternatives = strings.Split(m.value, "|")
	}
	for _, a := range alternatives {
		if !values[a] && regexp.QuoteMeta(a) == a {
			problems = append(problems, fmt.Sprintf("%s has no %s=%q", metric, m.label, a))
		}
	}
	return problems
}
