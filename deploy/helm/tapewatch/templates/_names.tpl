{{/* Names, labels and ports. */}}

{{/* Short enough for what StatefulSets append to it. */}}
{{- define "tapewatch.name" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Argument: the context and a component, or "" for what belongs to all. */}}
{{- define "tapewatch.selector" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ $context.Chart.Name }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "tapewatch.labels" -}}
{{- $context := index . 0 -}}
{{ include "tapewatch.selector" . }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version }}
{{- end }}

{{/* The port of each role; gateway is page and API. */}}
{{- define "tapewatch.ports" -}}
gateway: 9090
journal: 5011
recent: 5012
engine: 5013
history: 5015
{{- end }}

{{- define "tapewatch.serviceAccount" -}}
{{ default (include "tapewatch.name" .) .Values.serviceAccount.name }}
{{- end }}
