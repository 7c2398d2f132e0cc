{{/*
Who runs where: the one table that pods, services, budgets and policies are made from. A YAML list; of each workload
  name      its component; the rest of its objects' names
  roles     what `--role` says
  serves    the roles whose ports it opens; probes ask the first
  stateful  a StatefulSet with a claim for the data directory, else a Deployment without
  claim     size and class of that claim, absent where what it keeps can be made again
  shares    whether it mounts the claim of the shared history
  settings  its part of the values
*/}}
{{- define "tapewatch.workloads" -}}
{{- $roles := .Values.roles -}}
{{- if eq .Values.topology "single" }}
- name: all
  roles: [all]
  serves: [gateway, journal, recent, engine, history]
  stateful: true
  replicas: 1
  claim: {{ toJson .Values.single.persistence }}
  settings: {{ toJson .Values.single }}
{{- else }}
- name: journal
  roles: [journal]
  serves: [journal]
  stateful: true
  replicas: 1
  claim: {{ toJson $roles.journal.persistence }}
  settings: {{ toJson $roles.journal }}
- name: engine
  roles: [engine]
  serves: [engine]
  stateful: true
  replicas: {{ $roles.engine.shares }}
  claim: {{ toJson $roles.engine.persistence }}
  settings: {{ toJson $roles.engine }}
- name: recent
  stateful: true
  replicas: {{ $roles.recent.replicas }}
  settings: {{ toJson $roles.recent }}
{{- if $roles.history.colocated }}
  roles: [recent, history]
  serves: [recent, history]
  claim: {{ toJson $roles.history.persistence }}
{{- else }}
  roles: [recent]
  serves: [recent]
  shares: true
- name: history
  roles: [history]
  serves: [history]
  stateful: false
  replicas: {{ $roles.history.replicas }}
  shares: true
  settings: {{ toJson $roles.history }}
{{- end }}
- name: gateway
  roles: [gateway]
  serves: [gateway]
  stateful: false
  replicas: {{ $roles.gateway.replicas }}
  settings: {{ toJson $roles.gateway }}
{{- end }}
{{- end }}

{{/* Argument: the context, a role, how many replicas. The addresses of the replicas, as a JSON list. */}}
{{- define "tapewatch.addresses" -}}
{{- $context := index . 0 -}}
{{- $service := printf "%s-%s" (include "tapewatch.name" $context) (index . 1) -}}
{{- $port := index (include "tapewatch.ports" $context | fromYaml) (index . 1) -}}
{{- $addresses := list -}}
{{- range until (int (index . 2)) -}}
{{- $addresses = append $addresses (printf "%s-%d.%s.%s.svc:%v" $service . $service $context.Release.Namespace $port) -}}
{{- end -}}
{{- toJson $addresses -}}
{{- end }}
