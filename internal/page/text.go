package page

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// count formats a number; nil is unknown.
func count(n *uint64) string {
	if n == nil {
		return "unknown"
	}
	return grouped(*n)
}

// grouped formats a number with separated thousands.
func grouped(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:] // narrow no-break space
	}
	return digits
}

// short is a number in at most four digits, for axes.
func short(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= unit.size {
			return decimals(v/unit.size) + unit.name
		}
	}
	return decimals(v)
}

func decimals(v float64) string {
	if v >= 100 || v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	if v < 1 {
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// took is a duration in one unit, for axes.
func took(d time.Duration) string {
	switch {
	case d <= 0:
		return "0"
	case d < time.Second:
		return short(float64(d)/float64(time.Millisecond)) + " ms"
	case d < 2*time.Minute:
		return short(d.Seconds()) + " s"
	default:
		return short(d.Minutes()) + " min"
	}
}

// age is a duration in its two largest units.
func age(d time.Duration) string {
	d = max(d, 0)
	day := 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < day:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d d %d h", int(d/day), int(d.Hours())%24)
	}
}

// about is a duration in its largest unit.
func about(d time.Duration) string {
	switch day := 24 * time.Hour; {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 2*day:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d/day))
	}
}

// moment is a time with its distance from now.
type moment struct {
	Machine string // for the datetime attribute
	Clock   string // in UTC, with the date if it is another day
	Age     string // such as "3 min 2 s ago" or "in 4 s"
}

func momentOf(at, now time.Time) *moment {
	if at.IsZero() {
		return nil
	}
	at, now = at.UTC(), now.UTC()
	m := &moment{Machine: at.Format(time.RFC3339), Clock: at.Format("15:04:05"), Age: age(now.Sub(at)) + " ago"}
	if at.Format(time.DateOnly) != now.Format(time.DateOnly) {
		m.Clock = at.Format("2006-01-02 15:04:05")
	}
	if at.After(now) {
		m.Age = "in " + age(at.Sub(now))
	}
	return m
}

// size is a number of bytes in binary units.
func size(n uint64) string {
	v, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for len(units) > 1 && v >= 1024 {
		v, units = v/1024, units[1:]
	}
	return decimals(math.Round(v*10)/10) + " " + units[0]
}

// part is a piece of a sentence, which is code or is not.
type part struct {
	Text string
	Code bool
}

var codeLike = regexp.MustCompile("`[^`]+`|\\bLETHE_[A-Z_]+\\b|\\bDELETION_[A-Z]+\\b")

// parts splits a sentence at its commands and names.
func parts(sentence string) (all []part) {
	end := 0
	for _, at := range codeLike.FindAllStringIndex(sentence, -1) {
		if at[0] > end {
			all = append(all, part{Text: sentence[end:at[0]]})
		}
		all = append(all, part{Text: strings.Trim(sentence[at[0]:at[1]], "`"), Code: true})
		end = at[1]
	}
	if end < len(sentence) {
		all = append(all, part{Text: sentence[end:]})
	}
	return all
}

var command = regexp.MustCompile("`([^`]+)`")

// commands are those in a sentence, between backquotes.
func commands(sentence string) (all []string) {
	for _, m := range command.FindAllStringSubmatch(sentence, -1) {
		all = append(all, m[1])
	}
	return all
}
