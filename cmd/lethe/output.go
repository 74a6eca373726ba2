package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/lethe-dev/lethe/events"
)

// addOutputFlag adds --output to a command that prints records.
func addOutputFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVarP(to, "output", "o", "text", "output format: text, or json with one record per line")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return usageError("--output: must be text or json, not %q", output)
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// targetNames are the targets as strings, for completion and help.
func targetNames() []string {
	var names []string
	for _, t := range events.Targets() {
		names = append(names, string(t))
	}
	return names
}

// checkTarget reads a target from the command line. An empty name is valid.
func checkTarget(of, name string) (events.Target, error) {
	t := events.Target(name)
	if name != "" && !t.Known() {
		return "", usageError("%s: must be one of %s, not %q", of, strings.Join(targetNames(), ", "), name)
	}
	return t, nil
}

func addTargetFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "target", "", "only this target: "+strings.Join(targetNames(), " or "))
	_ = cmd.RegisterFlagCompletionFunc("target", cobra.FixedCompletions(targetNames(), cobra.ShellCompDirectiveNoFileComp))
}

// printJSON prints a record as one line. It escapes characters that a terminal could
// interpret. They can occur only in strings, where the escape has the same meaning.
func printJSON(w io.Writer, record any) error {
	line, err := json.Marshal(record)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, r := range string(line) {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			_, _ = fmt.Fprintf(&b, "\\u%04x", unit) // a builder never fails
		}
	}
	_, err = fmt.Fprintln(w, b.String())
	return err
}

// resultLine formats a result as a line of text.
func resultLine(r events.Result) string {
	line := fmt.Sprintf("%s  %-16s  %s  %s  %s", r.Time.Local().Format("2006-01-02 15:04:05.000"), r.Outcome, r.Target, r.RequestID, resourceText(r.Resource))
	if details := explanation(r); details != "" {
		line += "  (" + details + ")"
	}
	return printable(line)
}

func resourceText(res events.Resource) string {
	if res == nil {
		return "unreadable"
	}
	return res.String()
}

// explanation summarizes a result's attempts, error and evidence.
func explanation(r events.Result) string {
	var parts []string
	if r.Attempts > 1 {
		parts = append(parts, fmt.Sprintf("%d attempts", r.Attempts))
	}
	if r.Error != nil {
		parts = append(parts, string(r.Error.Code)+": "+r.Error.Message)
	} else if r.Evidence != nil {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d %s", r.Evidence.Status, r.Evidence.Message)))
		if r.Evidence.AfterUnansweredAttempt {
			parts = append(parts, "after an unanswered attempt")
		}
	}
	if !r.ExpectedBy.IsZero() {
		parts = append(parts, "complete by "+r.ExpectedBy.Local().Format(time.DateTime))
	}
	return strings.Join(parts, "; ")
}
