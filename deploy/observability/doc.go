// Package observability holds what watches Lethe: alerts for Prometheus and a dashboard for Grafana, and the tests that
// keep them true.
//
// Its one idea: an alert that was never seen firing does not fire. Each rule is evaluated by promtool just below and
// just above its threshold, each metric is found on the page of a real worker, and faults in a real stack fire exactly
// the alerts that name them.
package observability
