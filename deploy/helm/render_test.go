package helm

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// The values that each installation needs.
const least = "nats: {url: 'nats://nats.nats:4222'}\n"

// Values that use all of the chart.
const most = `
image: {tag: 9.9.9, pullSecrets: [{name: registry}]}
replicas: 3
targets: [kv-user-context, sensay-knowledge-base]
nats:
  url: tls://a.example:4443,wss://b.example
  tlsFirst: true
  jetstreamDomain: hub
  worker: {secret: nats-worker, creds: worker.creds, ca: ca.crt, cert: tls.crt, key: tls.key}
  admin: {secret: nats-admin, nkey: seed, ca: ca.crt}
kv: {secret: kv, rate: 1000000, concurrency: 10000}
sensay: {secret: sensay, rate: 0.5, baseURL: 'https://sensay.example:8443'}
retry: {maxElapsed: 48h}
streams: {replicas: 3, requestsMaxBytes: 10GiB, resultsMaxBytes: "1073741824", laterMaxBytes: 1GiB}
shutdownGraceSeconds: 90
allowHTTP: true
page: {enabled: true}
extraEnv: {OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318'}
extraEnvSecrets: [otel]
setup: {annotations: {example.com/a: b}}
networkPolicy:
  natsTo: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: nats}}}]
  egress: [{ports: [{port: 4318}]}]
serviceMonitor: {enabled: true, labels: {release: prometheus}}
prometheusRule: {enabled: true, labels: {release: prometheus}}
dashboard: {enabled: true, annotations: {folder: Lethe}}
podSecurity: {runAsUser: null, runAsGroup: null, fsGroup: null}
podAnnotations: {a: b}
podLabels: {team: privacy, app.kubernetes.io/name: other}
priorityClassName: high
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: a, operator: Exists}]
affinity: {nodeAffinity: {}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
`

// The matrix of values that each rule of the chart must hold for.
var matrix = map[string]string{
	"the least":                     least,
	"everything":                    most,
	"no setup job":                  least + "setup: {enabled: false}",
	"no network policy":             least + "networkPolicy: {enabled: false}",
	"no connection is allowed":      least + "networkPolicy: {from: []}",
	"no disruption budget":          least + "podDisruptionBudget: {enabled: false}",
	"a budget as a percentage":      least + "podDisruptionBudget: {maxUnavailable: 50%}",
	"one lane":                      least + "targets: [kv-user-context]\nkv: {secret: kv}",
	"a digest":                      least + "image: {digest: 'sha256:" + strings.Repeat("0a", 32) + "'}",
	"no worker":                     least + "replicas: 0",
	"a short grace period":          least + "shutdownGraceSeconds: 1",
	"a name of its own":             least + "fullnameOverride: " + strings.Repeat("a-long-name-", 8),
	"one secret for all":            "nats: {url: 'nats://n', worker: {secret: s, creds: c}, admin: {secret: s, creds: c}}\nkv: {secret: s}\nsensay: {secret: s}",
	"an address without a port":     "nats: {url: 'nats://[::1],ws://n'}",
	"a label that selectors use":    least + "podLabels: {app.kubernetes.io/component: other}\nserviceMonitor: {enabled: true, labels: {app.kubernetes.io/name: other}}",
	"used as part of another chart": least + "global: {anything: true}",
}

// document is one rendered document.
type document struct {
	template string // the file it comes from
	text     string
	object   runtime.Object
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load("lethe")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// try renders the chart with values, as helm install does.
func try(t *testing.T, values string) (map[string]string, error) {
	t.Helper()
	var v map[string]any
	if err := yaml.Unmarshal([]byte(values), &v); err != nil {
		t.Fatal(err)
	}
	c := load(t)
	options := chartutil.ReleaseOptions{Name: "prod", Namespace: "privacy", Revision: 1, IsInstall: true}
	render, err := chartutil.ToRenderValues(c, v, options, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(c, render)
}

// render returns the documents in a fixed order, decoded strictly.
func render(t *testing.T, values string) []document {
	t.Helper()
	files, err := try(t, values)
	if err != nil {
		t.Fatal(err)
	}
	known := runtime.NewScheme()
	if err := scheme.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	if err := monitoring.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	var all []document
	for name, content := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for text := range strings.SplitSeq("\n"+content, "\n---") {
			var empty any
			if err := yaml.Unmarshal([]byte(text), &empty); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			if empty == nil {
				continue
			}
			object, _, err := decoder.Decode([]byte(text), nil, nil)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			all = append(all, document{path.Base(name), text, object})
		}
	}
	slices.SortFunc(all, func(a, b document) int { return strings.Compare(a.id(), b.id()) })
	return all
}

func (d document) id() string {
	return d.object.GetObjectKind().GroupVersionKind().Kind + " " + d.meta().GetName()
}

type meta interface {
	GetName() string
	GetLabels() map[string]string
	GetAnnotations() map[string]string
}

func (d document) meta() meta {
	m, ok := d.object.(meta)
	if !ok {
		panic(fmt.Sprintf("%T has no metadata", d.object))
	}
	return m
}

// pod returns the pod of a document that has one.
func (d document) pod() *core.PodTemplateSpec {
	switch o := d.object.(type) {
	case *apps.Deployment:
		return &o.Spec.Template
	case *batch.Job:
		return &o.Spec.Template
	default:
		return nil
	}
}

// only returns the one document of a type.
func only[T runtime.Object](t *testing.T, documents []document) T {
	t.Helper()
	var found []T
	for _, d := range documents {
		if o, ok := d.object.(T); ok {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d documents of type %T", len(found), *new(T))
	}
	return found[0]
}

// variables returns a container's variables by name.
func variables(t *testing.T, pod *core.PodTemplateSpec) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, v := range pod.Spec.Containers[0].Env {
		if _, twice := all[v.Name]; twice {
			t.Errorf("%s is set twice", v.Name)
		}
		if v.ValueFrom != nil {
			t.Errorf("%s is no plain value", v.Name)
		}
		all[v.Name] = v.Value
	}
	return all
}
