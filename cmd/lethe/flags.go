package main

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lethe-dev/lethe/events"
)

// parseID reads the id of a resource, which must be written in digits only. A sign, a
// leading zero or another base could be read as another id.
func parseID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(id, 10) != text || id < 1 {
		return 0, fmt.Errorf("%s is not an integer from 1 to 9223372036854775807%s", shown(text), hint(text))
	}
	return id, nil
}

// hint suggests why a number is malformed.
func hint(text string) string {
	digits := strings.Trim(text, "0123456789") == ""
	switch {
	case text == "" || digits && !strings.HasPrefix(text, "0"):
		return ""
	case digits:
		return " without leading zeros"
	case strings.Trim(text, "0123456789.,+-eE") == "" && strings.ContainsAny(text, "eE"):
		return ": a spreadsheet has rounded it and digits may be lost; format the column as text"
	case strings.Trim(text, "0123456789;., \u00a0\u202f'") == "":
		return " without separators"
	}
	return ""
}

// shown returns a user's value for an error: quoted, short and printable.
func shown(text string) string {
	const limit = 48
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit]) + "…"
	}
	return strconv.Quote(text)
}

// ids is a flag that takes one or more ids of resources.
type ids []int64

func (i *ids) String() string { return strings.Trim(fmt.Sprint([]int64(*i)), "[]") }
func (i *ids) Type() string   { return "ids" }
func (i *ids) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		id, err := parseID(part)
		if err != nil {
			return err
		}
		*i = append(*i, id)
	}
	return nil
}

// oneID is a flag that takes one id of a resource.
type oneID int64

func (i *oneID) String() string { return strconv.FormatInt(int64(*i), 10) }
func (i *oneID) Type() string   { return "id" }
func (i *oneID) Set(text string) error {
	id, err := parseID(text)
	*i = oneID(id)
	return err
}

// checkRequestID refuses an invalid request id. The id becomes part of a subject, where
// an empty token, a star or a dot would match other requests. It accepts the names of
// requests without a usable id (seq-12).
func checkRequestID(of, id string) error {
	if !events.IsName(id) {
		return usageError("%s: %s is not a request id: 1 to 64 of A-Z, a-z, 0-9, _ and -", of, shown(id))
	}
	return nil
}

// flagError returns the error of a flag that cannot be read, without the text of Go's
// parsers.
func flagError(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	name, value := "--"+invalid.GetFlag().Name, shown(invalid.GetValue())
	switch kind := invalid.GetFlag().Value.Type(); kind {
	case "int", "int64", "uint64", "float64":
		return fmt.Errorf("%s: must be a number, not %s", name, value)
	case "duration":
		return fmt.Errorf("%s: must be a duration such as 90s or 24h, not %s", name, value)
	case "bool":
		return fmt.Errorf("%s: must be true or false, not %s", name, value)
	default:
		return fmt.Errorf("%s: %w", name, errors.Unwrap(invalid))
	}
}

// checkGiven refuses a flag with an empty value, and --since unless it is more than 0.
// Such a value probably comes from an unset shell variable, and ignoring the flag would
// select everything.
func checkGiven(cmd *cobra.Command, _ []string) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		value := f.Value.String()
		if several, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(several.GetSlice(), "")
		}
		switch {
		case err != nil:
		case value == "":
			err = usageError("--%s: is empty", f.Name)
		case f.Name == "since":
			if since, _ := time.ParseDuration(value); since <= 0 {
				err = usageError("--since: must be more than 0, such as 24h")
			}
		}
	})
	return err
}

// oneOf returns a usage error unless exactly one of two alternatives is given.
func oneOf(cmd *cobra.Command, first string, hasFirst bool, second string, hasSecond bool) error {
	switch {
	case hasFirst && hasSecond:
		return usageError("%s and %s are both given; give only one of them (see %s --help)", first, second, cmd.CommandPath())
	case !hasFirst && !hasSecond:
		return usageError("%s or %s is missing (see %s --help)", first, second, cmd.CommandPath())
	default:
		return nil
	}
}

// printable makes foreign text safe for a terminal. It replaces all characters that
// cannot be printed, including line breaks.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// printableArgs makes the strings among the arguments of a format printable.
func printableArgs(args []any) []any {
	for i, arg := range args {
		if v := reflect.ValueOf(arg); v.Kind() == reflect.String {
			args[i] = printable(v.String())
		}
	}
	return args
}
