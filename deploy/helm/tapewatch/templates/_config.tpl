{{/* tapewatch.toml: what the chart knows over what the values say. */}}

{{- define "tapewatch.owned" -}}
{{- $ports := include "tapewatch.ports" . | fromYaml -}}
data: /var/lib/tapewatch
listen: 0.0.0.0:{{ $ports.gateway }}
journal: {listen: "0.0.0.0:{{ $ports.journal }}"}
recent: {listen: "0.0.0.0:{{ $ports.recent }}"}
engine: {listen: "0.0.0.0:{{ $ports.engine }}"}
history: {listen: "0.0.0.0:{{ $ports.history }}"}
{{- if eq .Values.topology "roles" }}
peers:
  journal: {{ include "tapewatch.addresses" (list . "journal" 1) | fromJsonArray | first }}
  recent: {{ include "tapewatch.addresses" (list . "recent" .Values.roles.recent.replicas) }}
  engine: {{ include "tapewatch.addresses" (list . "engine" .Values.roles.engine.shares) }}
  history: {{ include "tapewatch.name" . }}-history.{{ .Release.Namespace }}.svc:{{ $ports.history }}
{{- end }}
{{- with .Values.rulesConfigMap }}
rules: {dir: /etc/tapewatch-rules}
{{- end }}
{{- if .Values.kdb.usersSecret }}
kdb: {users: /etc/tapewatch-kdb/users}
{{- end }}
{{- if .Values.postgres.usersSecret }}
postgres: {users: /etc/tapewatch-postgres/users}
{{- end }}
{{- if .Values.tls.secret }}
tls:
  cert: /etc/tapewatch-tls/tls.crt
  key: /etc/tapewatch-tls/tls.key
  ca: /etc/tapewatch-tls/ca.crt
  {{- if .Values.tls.requireClientCertificate }}
  client_ca: /etc/tapewatch-tls/ca.crt
  {{- end }}
{{- end }}
{{- end }}

{{- define "tapewatch.config" -}}
{{- $owned := include "tapewatch.owned" . | fromYaml -}}
{{- include "tapewatch.toml" (list "" (mergeOverwrite (deepCopy .Values.config) $owned)) | trim -}}
{{- end }}

{{/* Argument: the path of a table, the table. Helm's own toToml makes floats of all whole numbers. */}}
{{- define "tapewatch.toml" -}}
{{- $path := index . 0 -}}
{{- $table := index . 1 -}}
{{- range $key, $value := $table }}
{{- if not (kindIs "map" $value) }}
{{ include "tapewatch.tomlKey" $key }} = {{ include "tapewatch.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := $table }}
{{- if kindIs "map" $value }}
{{- $inner := printf "%s%s" $path (include "tapewatch.tomlKey" $key) }}

[{{ $inner }}]
{{- include "tapewatch.toml" (list (printf "%s." $inner) $value) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tapewatch.tomlKey" -}}
{{- ternary . (toRawJson .) (regexMatch "^[A-Za-z0-9_-]+$" .) -}}
{{- end }}

{{- define "tapewatch.tomlValue" -}}
{{- if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s = %s" (include "tapewatch.tomlKey" $key) (include "tapewatch.tomlValue" $value)) -}}
{{- end -}}
{ {{ join ", " $pairs }} }
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . }}{{ $items = append $items (include "tapewatch.tomlValue" .) }}{{ end -}}
[{{ join ", " $items }}]
{{- else if and (kindIs "float64" .) (eq . (float64 (int64 .))) -}}
{{ int64 . }}
{{- else -}}
{{ toRawJson . }}
{{- end -}}
{{- end }}
