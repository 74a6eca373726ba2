package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/internal/config"
)

func newHealthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "healthcheck [URL]",
		Short: "Check whether the worker on this machine is ready",
		Long: `Healthcheck sends a request to URL (by default /readyz at LETHE_ADMIN_ADDR) and
prints the answer. It exits with 0 if the status is 200, else with 1. It is
meant for containers without another HTTP client.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			address, err := healthURL(args)
			if err != nil {
				return err
			}
			request, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, address, nil)
			if err != nil || request.URL.Host == "" || request.URL.Scheme != "http" && request.URL.Scheme != "https" {
				// The error quotes the address, which may contain a password.
				return usageError("URL: must be an http or https URL such as http://127.0.0.1:8080/readyz")
			}
			response, err := (&http.Client{Timeout: 5 * time.Second}).Do(request)
			if err != nil {
				if failed := (*url.Error)(nil); errors.As(err, &failed) {
					err = failed.Err // without the address
				}
				return fmt.Errorf("no answer from %s: %w", request.URL.Host, err)
			}
			defer func() { _ = response.Body.Close() }()
			if _, err := io.Copy(cmd.OutOrStdout(), io.LimitReader(response.Body, 64<<10)); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			if response.StatusCode != http.StatusOK {
				return silentError{}
			}
			return nil
		},
	}
}

func healthURL(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	cfg, err := config.Load()
	if err != nil {
		return "", usageError("%w", err)
	}
	host, port, err := net.SplitHostPort(cfg.AdminAddr)
	if err != nil {
		return "", usageError("LETHE_ADMIN_ADDR: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/readyz", nil
}
