{{/* Argument: the context, a workload, its data volume ("data" is a claim template of a StatefulSet). */}}
{{- define "tapewatch.pod" -}}
{{- $context := index . 0 -}}
{{- $workload := index . 1 -}}
{{- $values := $context.Values -}}
{{- $name := include "tapewatch.name" $context -}}
metadata:
  labels:
    {{- include "tapewatch.labels" (list $context $workload.name) | nindent 4 }}
  annotations:
    # A pod takes a changed file in by starting again.
    checksum/config: {{ include "tapewatch.config" $context | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "tapewatch.serviceAccount" $context }}
  automountServiceAccountToken: false
  # The variables of a service tapewatch-journal would read as keys of the configuration.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ ternary 60 45 $workload.stateful }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $workload.settings.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $workload.settings.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if gt (int $workload.replicas) 1 }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: {{ $values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "tapewatch.selector" (list $context $workload.name) | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: tapewatch
      {{- include "tapewatch.container" . | nindent 6 }}
  volumes:
    - name: config
      configMap: {name: {{ $name }}}
    - name: scratch
      emptyDir: {sizeLimit: {{ $values.scratch.sizeLimit }}}
    {{- if not $workload.claim }}
    - name: data
      emptyDir: {sizeLimit: {{ $values.scratch.sizeLimit }}}
    {{- end }}
    {{- if $workload.shares }}
    - name: history
      persistentVolumeClaim: {claimName: {{ $name }}-history}
    {{- end }}
    {{- with $values.rulesConfigMap }}
    - name: rules
      configMap: {name: {{ . }}}
    {{- end }}
    {{- with $values.kdb.usersSecret }}
    - name: kdb
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with $values.postgres.usersSecret }}
    - name: postgres
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with $values.tls.secret }}
    - name: tls
      # Readable for the pod's group alone.
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
{{- end }}

{{- define "tapewatch.container" -}}
{{- $context := index . 0 -}}
{{- $workload := index . 1 -}}
{{- $values := $context.Values -}}
{{- $image := $values.image -}}
{{- $ports := include "tapewatch.ports" $context | fromYaml -}}
image: {{ printf "%s:%s" $image.repository (default $context.Chart.AppVersion $image.tag) }}{{ with $image.digest }}@{{ . }}{{ end }}
imagePullPolicy: {{ $image.pullPolicy }}
args: [up, --config, /etc/tapewatch/tapewatch.toml, --role, {{ join "," $workload.roles | quote }}]
{{- if has "engine" $workload.roles }}
env:
  - name: POD_INDEX
    valueFrom: {fieldRef: {fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"}}
  - name: TAPEWATCH_ENGINE__SHARE
    value: $(POD_INDEX)/{{ $workload.replicas }}
{{- end }}
{{- with $values.environmentSecret }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
ports:
  {{- range $workload.serves }}
  - name: {{ . }}
    containerPort: {{ index $ports . }}
  {{- end }}
# The port answers from the first moment, so a long recovery is no reason to be killed; it is only not ready.
{{- range $probe, $check := dict
  "startupProbe" (dict "path" "/healthz" "period" 2 "failures" 30)
  "livenessProbe" (dict "path" "/healthz" "period" 10 "failures" 6)
  "readinessProbe" (dict "path" "/readyz" "period" 5 "failures" 2) }}
{{ $probe }}:
  httpGet:
    path: {{ $check.path }}
    port: {{ first $workload.serves }}
    {{- if $values.tls.secret }}
    scheme: HTTPS
    {{- end }}
  periodSeconds: {{ $check.period }}
  timeoutSeconds: 5
  failureThreshold: {{ $check.failures }}
{{- end }}
{{- if not $workload.stateful }}
# Requests come in until all have heard that the pod goes.
lifecycle: {preStop: {sleep: {seconds: 10}}}
{{- end }}
resources:
  {{- toYaml $workload.settings.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: config, mountPath: /etc/tapewatch, readOnly: true}
  - {name: data, mountPath: /var/lib/tapewatch}
  - {name: scratch, mountPath: /tmp}
  {{- if $workload.shares }}
  - {name: history, mountPath: /var/lib/tapewatch/history}
  {{- end }}
  {{- if $values.rulesConfigMap }}
  - {name: rules, mountPath: /etc/tapewatch-rules, readOnly: true}
  {{- end }}
  {{- if $values.kdb.usersSecret }}
  - {name: kdb, mountPath: /etc/tapewatch-kdb, readOnly: true}
  {{- end }}
  {{- if $values.postgres.usersSecret }}
  - {name: postgres, mountPath: /etc/tapewatch-postgres, readOnly: true}
  {{- end }}
  {{- if $values.tls.secret }}
  - {name: tls, mountPath: /etc/tapewatch-tls, readOnly: true}
  {{- end }}
{{- end }}

{{/* Argument: the context, size and class, an access mode. */}}
{{- define "tapewatch.claimSpec" -}}
{{- $context := index . 0 -}}
{{- $claim := index . 1 -}}
accessModes: [{{ default "ReadWriteOnce" $claim.accessMode }}]
{{- with default $context.Values.storageClass $claim.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ $claim.size }}
{{- end }}
