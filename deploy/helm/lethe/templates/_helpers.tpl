{{- define "lethe.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* A name leaves room for the suffix -setup. */ -}}
{{- define "lethe.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 57 | trimSuffix "-" }}
{{- else if contains (include "lethe.name" .) .Release.Name -}}
{{ .Release.Name | trunc 57 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "lethe.name" .) | trunc 57 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- /* What selects pods: a dictionary of root and component. It must not change from one version to the next. */ -}}
{{- define "lethe.selector" -}}
app.kubernetes.io/name: {{ include "lethe.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "lethe.labels" -}}
{{ include "lethe.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{- define "lethe.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Rules that values.schema.json cannot explain. */ -}}
{{- define "lethe.check" -}}
{{- with .Values.nats -}}
{{- if not .url }}{{ fail "nats.url: set it to the address of your NATS server, such as nats://nats.nats:4222" }}{{ end -}}
{{- range splitList "," .url -}}
{{- if contains "@" . }}{{ fail "nats.url: must not contain a user, password or token: everybody who may read the Deployment could read it; use nats.worker.secret" }}{{ end -}}
{{- if not (regexMatch "^(nats|tls|ws|wss)://[^/]+/?$" .) }}{{ fail (printf "nats.url: each address must be such as nats://nats.nats:4222, not %s" .) }}{{ end -}}
{{- end -}}
{{- range $party, $files := dict "worker" .worker "admin" .admin -}}
{{- $keys := list -}}
{{- range $name := list "creds" "nkey" "ca" "cert" "key" }}{{ with get $files $name }}{{ $keys = append $keys $name }}{{ end }}{{ end -}}
{{- if and $files.secret (not $keys) }}{{ fail (printf "nats.%s: say which keys of the secret %s hold creds, nkey, ca, cert or key" $party $files.secret) }}{{ end -}}
{{- if and $keys (not $files.secret) }}{{ fail (printf "nats.%s: set secret to the name of the secret that holds %s" $party (join ", " $keys)) }}{{ end -}}
{{- if and $files.creds $files.nkey }}{{ fail (printf "nats.%s: set creds or nkey, not both" $party) }}{{ end -}}
{{- if ne (empty $files.cert) (empty $files.key) }}{{ fail (printf "nats.%s: set cert and key together" $party) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.extraEnv -}}
{{- if or (hasPrefix "LETHE_" $name) (eq $name "NATS_URL") }}{{ fail (printf "extraEnv: %s is a setting of Lethe; use the value that README.md names for it" $name) }}{{ end -}}
{{- end -}}
{{- end }}

{{- /* One variable: a list of name and value. A value that is not set leaves it out. Helm reads each number as a float, and
would write a million as 1e+06. */ -}}
{{- define "lethe.var" -}}
{{- $value := index . 1 -}}
{{- if kindIs "float64" $value }}{{ if eq $value (floor $value) }}{{ $value = int64 $value }}{{ end }}{{ end -}}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
- name: {{ index . 0 }}
  value: {{ toString $value | quote }}
{{- end -}}
{{- end }}

{{- /* What workers and the setup job have in common: a dictionary of root and files, which is nats.worker or nats.admin.
Both know the times, from which follows how long results must be kept. */ -}}
{{- define "lethe.env" -}}
{{- include "lethe.check" .root -}}
{{- with .root.Values -}}
{{- include "lethe.var" (list "LETHE_NATS_URL" .nats.url) }}
{{- include "lethe.var" (list "LETHE_NATS_TLS_FIRST" .nats.tlsFirst) }}
{{- include "lethe.var" (list "LETHE_JETSTREAM_DOMAIN" .nats.jetstreamDomain) }}
{{- range $name := list "creds" "nkey" "ca" "cert" "key" }}
{{- with get $.files $name }}
{{- include "lethe.var" (list (printf "LETHE_NATS_%s" (upper $name)) (printf "/etc/lethe/nats/%s" .)) }}
{{- end }}
{{- end }}
{{- include "lethe.var" (list "LETHE_STREAM_REPLICAS" .streams.replicas) }}
{{- include "lethe.var" (list "LETHE_RESULTS_MAX_AGE" .streams.resultsMaxAge) }}
{{- include "lethe.var" (list "LETHE_REQUESTS_MAX_BYTES" .streams.requestsMaxBytes) }}
{{- include "lethe.var" (list "LETHE_RESULTS_MAX_BYTES" .streams.resultsMaxBytes) }}
{{- include "lethe.var" (list "LETHE_LATER_MAX_BYTES" .streams.laterMaxBytes) }}
{{- include "lethe.var" (list "LETHE_RETRY_INITIAL_INTERVAL" .retry.initialInterval) }}
{{- include "lethe.var" (list "LETHE_RETRY_MULTIPLIER" .retry.multiplier) }}
{{- include "lethe.var" (list "LETHE_RETRY_RANDOMIZATION" .retry.randomization) }}
{{- include "lethe.var" (list "LETHE_RETRY_MAX_INTERVAL" .retry.maxInterval) }}
{{- include "lethe.var" (list "LETHE_RETRY_MAX_ELAPSED" .retry.maxElapsed) }}
{{- include "lethe.var" (list "LETHE_CONFIRM_AFTER" .confirmAfter) }}
{{- end }}
{{- end }}

{{- /* A lane's settings: a list of prefix and values. */ -}}
{{- define "lethe.lane" -}}
{{- $prefix := index . 0 -}}
{{- with index . 1 -}}
{{- include "lethe.var" (list (printf "%s_BASE_URL" $prefix) .baseURL) }}
{{- include "lethe.var" (list (printf "%s_CONCURRENCY" $prefix) .concurrency) }}
{{- include "lethe.var" (list (printf "%s_RATE" $prefix) .rate) }}
{{- include "lethe.var" (list (printf "%s_TIMEOUT" $prefix) .timeout) }}
{{- end }}
{{- end }}

{{- define "lethe.podSecurityContext" -}}
runAsNonRoot: true
{{- range $name, $id := .Values.podSecurity }}
{{- if not (kindIs "invalid" $id) }}
{{ $name }}: {{ int64 $id }}
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "lethe.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* What the pods of workers and of the setup job have in common. Without enableServiceLinks: false a Service named
lethe would add variables that begin with LETHE_. */ -}}
{{- define "lethe.pod" -}}
serviceAccountName: {{ .Values.serviceAccountName }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext: {{ include "lethe.podSecurityContext" . | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* A secret that is mounted as a directory: a list of volume and secret. Only a directory shows a changed secret. Only
the group may read it, unless the platform chooses the group. */ -}}
{{- define "lethe.volume" -}}
- name: {{ index . 0 }}
  secret:
    secretName: {{ index . 1 }}
    defaultMode: 0440
{{- end }}

{{- define "lethe.mount" -}}
- name: {{ . }}
  mountPath: /etc/lethe/{{ . }}
  readOnly: true
{{- end }}

{{- /* The ports of a list of URLs, without duplicates. */ -}}
{{- define "lethe.ports" -}}
{{- $default := dict "nats" "4222" "tls" "4222" "ws" "80" "wss" "443" "http" "80" "https" "443" -}}
{{- $ports := list -}}
{{- range . -}}
{{- $url := urlParse . -}}
{{- $ports = append $ports (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (get $default $url.scheme)) -}}
{{- end -}}
{{- range $ports | uniq | sortAlpha }}
- protocol: TCP
  port: {{ . }}
{{- end -}}
{{- end }}

{{- /* The egress that the workers and the setup job share. */ -}}
{{- define "lethe.egress" -}}
{{- include "lethe.check" . -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - protocol: UDP
      port: {{ int . }}
    - protocol: TCP
      port: {{ int . }}
    {{- end }}
- ports: {{- include "lethe.ports" (splitList "," .Values.nats.url) | nindent 4 }}
  {{- with .Values.networkPolicy.natsTo }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
