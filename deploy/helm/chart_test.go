package helm

import (
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// forAll runs a test for each combination of values.
func forAll(t *testing.T, test func(t *testing.T, documents []document)) {
	t.Helper()
	for name, values := range matrix {
		t.Run(name, func(t *testing.T) { test(t, render(t, values)) })
	}
}

func ids(documents []document) (all []string) {
	for _, d := range documents {
		all = append(all, d.id())
	}
	return all
}

func TestFlagsSwitchDocumentsOnAndOff(t *testing.T) {
	base := []string{
		"Deployment prod-lethe", "Job prod-lethe-setup", "NetworkPolicy prod-lethe", "NetworkPolicy prod-lethe-setup",
		"PodDisruptionBudget prod-lethe", "Service prod-lethe",
	}
	for values, c := range map[string]struct{ without, with []string }{
		"":                                                  {},
		"setup: {enabled: false}":                           {without: []string{"Job prod-lethe-setup", "NetworkPolicy prod-lethe-setup"}},
		"networkPolicy: {enabled: false}":                   {without: []string{"NetworkPolicy prod-lethe", "NetworkPolicy prod-lethe-setup"}},
		"podDisruptionBudget: {enabled: false}":             {without: []string{"PodDisruptionBudget prod-lethe"}},
		"serviceMonitor: {enabled: true}":                   {with: []string{"ServiceMonitor prod-lethe"}},
		"prometheusRule: {enabled: true}":                   {with: []string{"PrometheusRule prod-lethe"}},
		"dashboard: {enabled: true}":                        {with: []string{"ConfigMap prod-lethe-dashboard"}},
		"fullnameOverride: x":                               {without: base, with: []string{"Deployment x", "Job x-setup", "NetworkPolicy x", "NetworkPolicy x-setup", "PodDisruptionBudget x", "Service x"}},
		"nameOverride: prod\nreplicas: 1\nkv: {secret: kv}": {without: base, with: []string{"Deployment prod", "Job prod-setup", "NetworkPolicy prod", "NetworkPolicy prod-setup", "PodDisruptionBudget prod", "Service prod"}},
	} {
		want := slices.DeleteFunc(slices.Clone(base), func(id string) bool { return slices.Contains(c.without, id) })
		want = append(want, c.with...)
		slices.Sort(want)
		if got := ids(render(t, least+values)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", values, got, want)
		}
	}
}

func TestAWorkerHasTimeToFinish(t *testing.T) {
	for _, c := range []struct {
		grace  string
		want   int64
		values string
	}{{"30s", 35, ""}, {"1s", 6, "shutdownGraceSeconds: 1"}, {"90s", 95, "shutdownGraceSeconds: 90"}, {"1000000s", 1000005, "shutdownGraceSeconds: 1000000"}} {
		pod := &only[*apps.Deployment](t, render(t, least+c.values)).Spec.Template
		if got := *pod.Spec.TerminationGracePeriodSeconds; got != c.want || variables(t, pod)["LETHE_SHUTDOWN_GRACE"] != c.grace {
			t.Errorf("%d s for %s", got, variables(t, pod)["LETHE_SHUTDOWN_GRACE"])
		}
	}
}

func TestProbesAskTheRightEndpoints(t *testing.T) {
	served := read(t, "../../cmd/lethe/admin.go")
	forAll(t, func(t *testing.T, documents []document) {
		pod := &only[*apps.Deployment](t, documents).Spec.Template
		c := pod.Spec.Containers[0]
		if _, port, _ := strings.Cut(variables(t, pod)["LETHE_ADMIN_ADDR"], ":"); port != "8080" ||
			len(c.Ports) != 1 || c.Ports[0].ContainerPort != 8080 || c.Ports[0].Name != "http" {
			t.Errorf("%+v", c.Ports)
		}
		for want, probe := range map[string]*core.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
			if probe.HTTPGet.Path != want || probe.HTTPGet.Port.String() != "http" || !strings.Contains(served, `"GET `+want+`"`) {
				t.Errorf("%s: %+v", want, probe.HTTPGet)
			}
		}
		if c.StartupProbe.HTTPGet.Path != c.LivenessProbe.HTTPGet.Path || c.StartupProbe.HTTPGet.Port != c.LivenessProbe.HTTPGet.Port {
			t.Errorf("%+v", c.StartupProbe.HTTPGet)
		}
		// Readiness waits 3 s for NATS.
		if c.ReadinessProbe.TimeoutSeconds <= 3 {
			t.Errorf("readiness has %d s", c.ReadinessProbe.TimeoutSeconds)
		}
	})
}

func TestPodsAreRestricted(t *testing.T) {
	pods := 0
	forAll(t, func(t *testing.T, documents []document) {
		for _, d := range documents {
			p := d.pod()
			if p == nil {
				continue
			}
			pods++
			if s := p.Spec.SecurityContext; !*s.RunAsNonRoot || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: %+v", d.id(), s)
			}
			if *p.Spec.AutomountServiceAccountToken || *p.Spec.EnableServiceLinks {
				t.Errorf("%s: a token or variables of services", d.id())
			}
			s := p.Spec.Containers[0].SecurityContext
			if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || s.Capabilities.Add != nil {
				t.Errorf("%s: %+v", d.id(), s)
			}
		}
	})
	if pods < len(matrix) {
		t.Errorf("found %d pods", pods)
	}
}

func TestThePlatformMayChooseTheUser(t *testing.T) {
	user := regexp.MustCompile(`(?m)^USER (\d+):`).FindStringSubmatch(read(t, "../../Dockerfile"))
	s := only[*apps.Deployment](t, render(t, least)).Spec.Template.Spec.SecurityContext
	if user == nil || user[1] != "65532" || *s.RunAsUser != 65532 || *s.RunAsGroup != 65532 || *s.FSGroup != 65532 {
		t.Errorf("the image's user is %q: %+v", user, s)
	}
	if s = only[*apps.Deployment](t, render(t, most)).Spec.Template.Spec.SecurityContext; s.RunAsUser != nil || s.RunAsGroup != nil || s.FSGroup != nil {
		t.Errorf("%+v", s)
	}
}

// The settings that hold a credential; the chart sets their _FILE variables, or none.
var secret = regexp.MustCompile(`ACCESS_KEY$|ORGANIZATION_SECRET$|TOKEN|PASSWORD|HEADERS`)

func TestCredentialsComeAsFilesOnly(t *testing.T) {
	files := map[string]string{
		"LETHE_KV_ACCESS_KEY_FILE": "kv", "LETHE_SENSAY_ORGANIZATION_SECRET_FILE": "sensay",
		"LETHE_NATS_CREDS": "nats", "LETHE_NATS_NKEY": "nats", "LETHE_NATS_CA": "nats", "LETHE_NATS_CERT": "nats", "LETHE_NATS_KEY": "nats",
	}
	forAll(t, func(t *testing.T, documents []document) {
		for _, d := range documents {
			if _, ok := d.object.(*core.Secret); ok {
				t.Errorf("%s: the chart creates a secret", d.id())
			}
			p := d.pod()
			if p == nil {
				continue
			}
			volumes := map[string]string{}
			for _, v := range p.Spec.Volumes {
				if v.Secret == nil || *v.Secret.DefaultMode != 0o440 {
					t.Errorf("%s: %+v", d.id(), v)
				}
				volumes[v.Name] = v.Secret.SecretName
			}
			unused := maps.Clone(volumes)
			mounted := map[string]bool{}
			for _, m := range p.Spec.Containers[0].VolumeMounts {
				// A file that is mounted by itself never changes.
				if volumes[m.Name] == "" || m.SubPath != "" || !m.ReadOnly || m.MountPath != "/etc/lethe/"+m.Name {
					t.Errorf("%s: %+v", d.id(), m)
				}
				mounted[m.MountPath] = true
			}
			for name, value := range variables(t, p) {
				if secret.MatchString(name) {
					t.Errorf("%s: %s is a plain value", d.id(), name)
				}
				if files[name] == "" {
					continue
				}
				if !mounted[path.Dir(value)] || path.Dir(value) != "/etc/lethe/"+files[name] {
					t.Errorf("%s: %s=%s is in no mounted secret", d.id(), name, value)
				}
				delete(unused, files[name])
			}
			if len(unused) > 0 {
				t.Errorf("%s: nothing reads %v", d.id(), unused)
			}
		}
	})
}

func TestOnlyTheSetupJobHasTheAdministratorsCredentials(t *testing.T) {
	documents := render(t, most)
	job := only[*batch.Job](t, documents)
	worker := &only[*apps.Deployment](t, documents).Spec.Template
	for _, v := range worker.Spec.Volumes {
		if v.Secret.SecretName == "nats-admin" {
			t.Error("a worker has the administrator's credentials")
		}
	}
	if len(job.Spec.Template.Spec.Volumes) != 1 || job.Spec.Template.Spec.Volumes[0].Secret.SecretName != "nats-admin" {
		t.Errorf("%+v", job.Spec.Template.Spec.Volumes)
	}
	inJob, inWorker := variables(t, &job.Spec.Template), variables(t, worker)
	if inWorker["LETHE_MANAGE_STREAMS"] != "false" || inWorker["LETHE_NATS_CREDS"] != "/etc/lethe/nats/worker.creds" || inWorker["LETHE_NATS_NKEY"] != "" {
		t.Errorf("worker: %v", inWorker)
	}
	if inJob["LETHE_MANAGE_STREAMS"] != "" || inJob["LETHE_NATS_NKEY"] != "/etc/lethe/nats/seed" || inJob["LETHE_NATS_CREDS"] != "" {
		t.Errorf("job: %v", inJob)
	}
	for name, value := range inJob {
		if inWorker[name] != value && !strings.HasPrefix(name, "LETHE_NATS_") {
			t.Errorf("%s is %s for the job and %s for the workers", name, value, inWorker[name])
		}
	}
	if job.Spec.Template.Spec.Containers[0].Args[0] != "setup" || worker.Spec.Containers[0].Args[0] != "run" {
		t.Error("wrong command")
	}
}

func TestSetupRunsBeforeTheWorkersAndMayReachNATS(t *testing.T) {
	weights := map[string]string{}
	for _, d := range render(t, most) {
		a := d.meta().GetAnnotations()
		if (a["helm.sh/hook"] != "") != strings.HasSuffix(d.meta().GetName(), "-setup") {
			t.Errorf("%s: hook %q", d.id(), a["helm.sh/hook"])
		}
		if a["helm.sh/hook"] == "" {
			continue
		}
		weights[d.id()] = a["helm.sh/hook-weight"]
		// Without before-hook-creation the second upgrade fails: a Job cannot be changed.
		if a["helm.sh/hook"] != "pre-install,pre-upgrade" || a["helm.sh/hook-delete-policy"] != "before-hook-creation,hook-succeeded" {
			t.Errorf("%s: %v", d.id(), a)
		}
	}
	if want := map[string]string{"Job prod-lethe-setup": "0", "NetworkPolicy prod-lethe-setup": "-5"}; !maps.Equal(weights, want) {
		t.Errorf("weights %v", weights)
	}
}

// selects reports whether a selector selects labels.
func selects(selector, labels map[string]string) bool {
	for name, value := range selector {
		if labels[name] != value {
			return false
		}
	}
	return len(selector) >= 3
}

func TestSelectorsSelectTheirPodsAlone(t *testing.T) {
	forAll(t, func(t *testing.T, documents []document) {
		var job map[string]string
		deployment := only[*apps.Deployment](t, documents)
		worker := deployment.Spec.Template.Labels
		for _, d := range documents {
			if len(d.meta().GetName()) > 63 {
				t.Errorf("%s: the name is too long", d.id())
			}
			if d.meta().GetLabels()["app.kubernetes.io/instance"] != "prod" || d.meta().GetLabels()["app.kubernetes.io/managed-by"] != "Helm" {
				t.Errorf("%s: %v", d.id(), d.meta().GetLabels())
			}
			if j, ok := d.object.(*batch.Job); ok {
				job = j.Spec.Template.Labels
			}
		}
		for _, d := range documents {
			var selector map[string]string
			selected, other := worker, job
			switch o := d.object.(type) {
			case *apps.Deployment:
				selector = o.Spec.Selector.MatchLabels
			case *policy.PodDisruptionBudget:
				selector = o.Spec.Selector.MatchLabels
			case *core.Service:
				selector = o.Spec.Selector
			case *networking.NetworkPolicy:
				selector = o.Spec.PodSelector.MatchLabels
				if strings.HasSuffix(o.Name, "-setup") {
					selected, other = job, worker
				}
			case *monitoring.ServiceMonitor:
				selector, selected, other = o.Spec.Selector.MatchLabels, only[*core.Service](t, documents).Labels, nil
				if o.Spec.Endpoints[0].Port != only[*core.Service](t, documents).Spec.Ports[0].Name {
					t.Errorf("%s: port %s", d.id(), o.Spec.Endpoints[0].Port)
				}
			default:
				continue
			}
			if !selects(selector, selected) || selects(selector, other) {
				t.Errorf("%s: %v selects %v, and %v not", d.id(), selector, selected, other)
			}
		}
	})
}

func TestNodesCanBeDrained(t *testing.T) {
	b := only[*policy.PodDisruptionBudget](t, render(t, least)).Spec
	if *b.UnhealthyPodEvictionPolicy != policy.AlwaysAllow || b.MaxUnavailable.String() != "1" || b.MinAvailable != nil {
		t.Errorf("%+v", b)
	}
	if got := only[*apps.Deployment](t, render(t, least)).Spec; *got.Replicas != 2 ||
		got.Template.Spec.TopologySpreadConstraints[0].TopologyKey != "kubernetes.io/hostname" {
		t.Errorf("%+v", got)
	}
}

func TestANetworkPolicyOpensThePortsThatAreNeeded(t *testing.T) {
	for values, want := range map[string]string{
		least:                   "53 53; 4222; 443",
		"nats: {url: nats://n}": "53 53; 4222; 443",
		"nats: {url: 'tls://a:1,tls://b:1,tls://[::1]:2'}":                          "53 53; 1 2; 443",
		"nats: {url: 'wss://a,ws://b'}":                                             "53 53; 443 80; 443",
		least + "networkPolicy: {dnsPorts: [53, 5353]}":                             "53 53 5353 5353; 4222; 443",
		least + "kv: {baseURL: 'http://sandbox:8081/v1'}":                           "53 53; 4222; 443 8081",
		least + "networkPolicy: {egress: [{ports: [{port: 4318}]}, {ports: [{}]}]}": "53 53; 4222; 443; 4318; ",
	} {
		for _, d := range render(t, values) {
			n, ok := d.object.(*networking.NetworkPolicy)
			if !ok {
				continue
			}
			var rules []string
			for _, rule := range n.Spec.Egress {
				var ports []string
				for _, p := range rule.Ports {
					if p.Port != nil {
						ports = append(ports, p.Port.String())
					}
				}
				rules = append(rules, strings.Join(ports, " "))
			}
			want := want
			if strings.HasSuffix(n.Name, "-setup") {
				want = strings.Join(strings.Split(want, "; ")[:2], "; ")
				if len(n.Spec.Ingress) != 0 {
					t.Error("the setup job can be reached")
				}
			}
			if got := strings.Join(rules, "; "); got != want {
				t.Errorf("%s: got %s, want %s", values, got, want)
			}
			if len(n.Spec.PolicyTypes) != 2 {
				t.Errorf("%v", n.Spec.PolicyTypes)
			}
		}
	}
	if got := len(only[*apps.Deployment](t, render(t, least)).Spec.Template.Spec.Containers); got != 1 {
		t.Errorf("%d containers", got)
	}
}

func TestThePodsOfTheClusterMayReadMetricsOrNone(t *testing.T) {
	for values, want := range map[string]int{least: 1, least + "networkPolicy: {from: []}": 0} {
		for _, d := range render(t, values) {
			if n, ok := d.object.(*networking.NetworkPolicy); ok && n.Name == "prod-lethe" {
				if len(n.Spec.Ingress) != want || want == 1 && n.Spec.Ingress[0].Ports[0].Port.String() != "http" {
					t.Errorf("%s: %+v", values, n.Spec.Ingress)
				}
			}
		}
	}
}

func TestAlertsAndDashboardAreThoseOfTheProject(t *testing.T) {
	for copied, original := range map[string]string{"rules.yml": "rules.yml", "dashboard.json": "grafana/dashboards/lethe.json"} {
		original = "../observability/" + original
		copied = "lethe/files/" + copied
		if read(t, copied) != read(t, original) {
			t.Errorf("copy %s to %s", original, copied)
		}
	}
	documents := render(t, most)
	rule := only[*monitoring.PrometheusRule](t, documents)
	var want, got monitoring.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict([]byte(read(t, "../observability/rules.yml")), &want); err != nil {
		t.Fatal(err)
	}
	got = rule.Spec
	if a, b := toYAML(t, got), toYAML(t, want); a != b || len(got.Groups) == 0 {
		t.Errorf("got %s, want %s", a, b)
	}
	dashboard := only[*core.ConfigMap](t, documents)
	if strings.TrimSpace(dashboard.Data["lethe.json"]) != strings.TrimSpace(read(t, "lethe/files/dashboard.json")) {
		t.Error("the dashboard was changed")
	}
	if dashboard.Labels["grafana_dashboard"] != "1" || dashboard.Annotations["folder"] != "Lethe" || rule.Labels["release"] != "prometheus" {
		t.Errorf("%v %v", dashboard.ObjectMeta, rule.Labels)
	}
}

func toYAML(t *testing.T, v any) string {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheNotesSayWhatIsNext(t *testing.T) {
	for values, want := range map[string][]string{
		least: {"no autoscaler", "vendor's API", "rollout status deployment/prod-lethe", "lane kv-user-context is off", "lane sensay-knowledge-base is off"},
		least + "kv: {secret: a}\nsetup: {enabled: false}":                      {"lane sensay-knowledge-base is off", "lethe setup"},
		least + "kv: {secret: a}\ntargets: [kv-user-context]":                   {"no autoscaler"},
		least + "sensay: {secret: a}\ntargets: [kv-user-context]\nreplicas: 10": {"10 workers", "lane kv-user-context is off"},
	} {
		files, err := try(t, values)
		if err != nil {
			t.Fatal(err)
		}
		notes := files["lethe/templates/NOTES.txt"]
		for _, text := range want {
			if !strings.Contains(notes, text) {
				t.Errorf("%s: no %q in\n%s", values, text, notes)
			}
		}
		if off := strings.Count(notes, " is off:"); off != strings.Count(strings.Join(want, " "), " is off") {
			t.Errorf("%s: %d lanes off\n%s", values, off, notes)
		}
	}
	for name := range matrix {
		for _, id := range ids(render(t, matrix[name])) {
			if strings.HasPrefix(id, "HorizontalPodAutoscaler") {
				t.Error(id)
			}
		}
	}
}
