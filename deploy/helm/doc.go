// Package helm tests the chart in the folder lethe without a cluster: Helm renders it with many values, and each document is
// decoded into Kubernetes' own types, which refuse unknown fields.
//
// It is a module of its own, so that Lethe does not depend on Helm and Kubernetes. It reads what it must agree with
// (docs/configuration.md, the Dockerfile, deploy/observability) as files.
package helm
