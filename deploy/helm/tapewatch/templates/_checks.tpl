{{/* Values that contradict each other, each refused with a sentence that says what to set instead. */}}
{{- define "tapewatch.checks" -}}
{{- $values := .Values -}}
{{- $history := $values.roles.history -}}
{{- if eq $values.topology "roles" -}}
{{- if and $history.colocated (gt (int $values.roles.recent.replicas) 1) -}}
{{- fail (printf "roles.recent.replicas is %d, but roles.history.colocated puts the history into the one pod of recent; set roles.history.colocated to false, with a storage class for ReadWriteMany" (int $values.roles.recent.replicas)) -}}
{{- end -}}
{{- if and $history.colocated (gt (int $history.replicas) 1) -}}
{{- fail (printf "roles.history.replicas is %d, but roles.history.colocated puts the history into the one pod of recent; set roles.history.colocated to false, with a storage class for ReadWriteMany" (int $history.replicas)) -}}
{{- end -}}
{{- if and (not $history.colocated) (ne $history.persistence.accessMode "ReadWriteMany") -}}
{{- fail (printf "roles.history.colocated is false, so the pods of recent and history share a volume, but roles.history.persistence.accessMode is %s; set it to ReadWriteMany with a storage class that has it, or roles.history.colocated to true" $history.persistence.accessMode) -}}
{{- end -}}
{{- end -}}
{{- if and $values.tls.requireClientCertificate (not $values.tls.secret) -}}
{{- fail "tls.requireClientCertificate is true, but tls.secret names no Secret with tls.crt, tls.key and ca.crt; set it" -}}
{{- end -}}
{{- $exposed := "" -}}
{{- if ne $values.gateway.service.type "ClusterIP" -}}{{- $exposed = printf "gateway.service.type is %s" $values.gateway.service.type -}}{{- end -}}
{{- if $values.gateway.ingress.enabled -}}
{{- $exposed = "gateway.ingress.enabled is true" -}}
{{- if not $values.gateway.ingress.host -}}
{{- fail "gateway.ingress.enabled is true, but gateway.ingress.host is empty; set the host name of the page" -}}
{{- end -}}
{{- if $values.tls.requireClientCertificate -}}
{{- fail "gateway.ingress.enabled and tls.requireClientCertificate are both true, but an ingress shows no client certificate; disable one of them, or use gateway.service.type LoadBalancer" -}}
{{- end -}}
{{- end -}}
{{- $allow := $values.networkPolicy.allow -}}
{{- if and $exposed $values.networkPolicy.enabled (not $allow.gateway) -}}
{{- fail (printf "%s, but the network policy lets nobody from outside reach the gateway; say who may in networkPolicy.allow.gateway" $exposed) -}}
{{- end -}}
{{- if and (not $values.networkPolicy.enabled) (or $allow.gateway $allow.journal $allow.recent $allow.engine $allow.history $values.networkPolicy.monitoring $values.networkPolicy.egress) -}}
{{- fail "networkPolicy.enabled is false, but networkPolicy says who may reach what; enable it, or empty allow, monitoring and egress" -}}
{{- end -}}
{{- if and (not $values.serviceAccount.create) (not $values.serviceAccount.name) -}}
{{- fail "serviceAccount.create is false, but serviceAccount.name is empty; name the account that is there" -}}
{{- end -}}
{{- include "tapewatch.ownedKeys" . -}}
{{- end }}

{{- define "tapewatch.ownedKeys" -}}
{{- $config := .Values.config -}}
{{- range list "data" "listen" "journal.listen" "recent.listen" "engine.listen" "engine.share" "history.listen" "peers" "tls" -}}
{{- $parts := splitList "." . -}}
{{- $table := $config -}}
{{- if gt (len $parts) 1 }}{{ $table = default dict (get $config (first $parts)) }}{{ end -}}
{{- if hasKey $table (last $parts) -}}
{{- fail (printf "config.%s is set, but the chart sets it for each pod; remove it from config" .) -}}
{{- end -}}
{{- end -}}
{{- if hasKey $config "kdb" -}}
{{- if .Values.kdb.usersSecret -}}
{{- fail "config.kdb and kdb.usersSecret are both set, but users come from one file; remove config.kdb" -}}
{{- end -}}
{{- fail "config.kdb is set, but its file is in no pod; remove it, and name a Secret with the key users in kdb.usersSecret" -}}
{{- end -}}
{{- if hasKey $config "postgres" -}}
{{- if .Values.postgres.usersSecret -}}
{{- fail "config.postgres and postgres.usersSecret are both set, but users come from one file; remove config.postgres" -}}
{{- end -}}
{{- fail "config.postgres is set, but its file is in no pod; remove it, and name a Secret with the key users in postgres.usersSecret" -}}
{{- end -}}
{{- if and .Values.rulesConfigMap (dig "rules" "dir" "" $config) -}}
{{- fail "config.rules.dir and rulesConfigMap are both set, but rules come from one folder; remove one of them" -}}
{{- end -}}
{{- end }}
