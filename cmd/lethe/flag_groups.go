package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagGroup is a group of flags in a help text.
type flagGroup struct {
	heading string
	flags   []string
}

// groupFlags makes the help of a command list these groups, and no other flags.
func groupFlags(command *cobra.Command, groups ...flagGroup) {
	command.InitDefaultHelpFlag()
	var text strings.Builder
	for _, group := range groups {
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		set.SortFlags = false
		for _, name := range group.flags {
			set.AddFlag(command.Flags().Lookup(name))
		}
		text.WriteString(group.heading + ":\n" + set.FlagUsagesWrapped(columns) + "\n")
	}
	// The template is cobra's, with this list in the place of its own.
	const own = "Flags:\n{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}"
	command.SetUsageTemplate(strings.Replace(command.UsageTemplate(), own, strings.TrimSpace(text.String()), 1))
}
