{{- /* The variables that only workers have. */ -}}
{{- define "lethe.workerEnv" -}}
{{- with .Values -}}
{{- /* Workers lack the right: the setup job does it. */ -}}
{{- include "lethe.var" (list "LETHE_MANAGE_STREAMS" false) }}
{{- include "lethe.var" (list "LETHE_TARGETS" (join "," .targets)) }}
{{- include "lethe.lane" (list "LETHE_KV" .kv) }}
{{- include "lethe.var" (list "LETHE_KV_BATCH_IDS" .kv.batchIDs) }}
{{- include "lethe.var" (list "LETHE_KV_BATCH_LINGER" .kv.batchLinger) }}
{{- if .kv.secret }}
{{- include "lethe.var" (list "LETHE_KV_ACCESS_KEY_FILE" (printf "/etc/lethe/kv/%s" .kv.secretKey)) }}
{{- end }}
{{- include "lethe.lane" (list "LETHE_SENSAY" .sensay) }}
{{- include "lethe.var" (list "LETHE_SENSAY_API_VERSION" .sensay.apiVersion) }}
{{- if .sensay.secret }}
{{- include "lethe.var" (list "LETHE_SENSAY_ORGANIZATION_SECRET_FILE" (printf "/etc/lethe/sensay/%s" .sensay.secretKey)) }}
{{- end }}
{{- include "lethe.var" (list "LETHE_SHUTDOWN_GRACE" (printf "%ds" (int .shutdownGraceSeconds))) }}
{{- include "lethe.var" (list "LETHE_ALLOW_HTTP" .allowHTTP) }}
{{- include "lethe.var" (list "LETHE_ADMIN_ADDR" "0.0.0.0:8080") }}
{{- if .page.enabled }}
{{- include "lethe.var" (list "LETHE_ADMIN_PAGE" true) }}
{{- end }}
{{- include "lethe.var" (list "LETHE_LOG_LEVEL" .log.level) }}
{{- include "lethe.var" (list "LETHE_LOG_FORMAT" .log.format) }}
{{- range $name, $value := .extraEnv }}
{{- include "lethe.var" (list $name $value) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The secrets of a worker by the directory that shows them, as YAML. */ -}}
{{- define "lethe.secrets" -}}
{{- with .Values.nats.worker.secret }}
nats: {{ . }}
{{- end }}
{{- with .Values.kv.secret }}
kv: {{ . }}
{{- end }}
{{- with .Values.sensay.secret }}
sensay: {{ . }}
{{- end }}
{{- end }}
