package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version and commit are set by the linker for releases.
var version, commit string

// build describes the sources of this program.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"` // empty if the build did not record it
	Dirty   bool   `json:"dirty,omitempty"`  // built with uncommitted changes
	Go      string `json:"go"`
}

func newVersionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit and the version of Go",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			b := buildInfo()
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), b)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), b)
			return err
		},
	}
	addOutputFlag(cmd, &output)
	return cmd
}

func (b build) String() string {
	from := "unknown"
	if b.Commit != "" {
		from = b.Commit
	}
	if b.Dirty {
		from += ", with uncommitted changes"
	}
	return fmt.Sprintf("lethe %s (commit %s, %s)", b.Version, from, b.Go)
}

// buildInfo returns the values set by the linker, or else those that Go recorded.
func buildInfo() build {
	b := build{Version: version, Commit: commit, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if b.Commit == "" {
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				b.Commit = setting.Value
			case "vcs.modified":
				b.Dirty = setting.Value == "true"
			}
		}
	}
	if b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}

func buildVersion() string { return buildInfo().Version }
