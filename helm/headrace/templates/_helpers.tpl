{{/* Names are fixed, because compiled pipelines and manifests refer to them: one installation per namespace. */}}

{{/* The labels of an object. Argument: (list $ "part") */}}
{{- define "headrace.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
{{ include "headrace.selector" . }}
{{- end -}}

{{/* The labels that select pods of a part; immutable, so they stay few. */}}
{{- define "headrace.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/part-of: headrace
{{- end -}}

{{/* An image reference. Argument: one entry of images. */}}
{{- define "headrace.image" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}

{{- define "headrace.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Pod security `restricted`. Argument: the numeric user. */}}
{{- define "headrace.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* URL of the object store; empty means AWS. */}}
{{- define "headrace.s3.endpoint" -}}
{{- if .Values.objectStore.enabled -}}
http://headrace-store.{{ .Release.Namespace }}:8333
{{- else -}}
{{ .Values.objectStore.endpoint }}
{{- end -}}
{{- end -}}

{{- define "headrace.database.host" -}}
{{ if .Values.database.enabled }}headrace-database{{ else }}{{ .Values.database.host }}{{ end }}
{{- end -}}

{{/* How MLflow reaches its database. The driver is the one that the lock of the image names. Who asks is read by libpq:
in a URL, a password would have to be escaped, and would stand in the list of processes. */}}
{{- define "headrace.database.environment" -}}
- name: PGUSER
  valueFrom:
    secretKeyRef: {name: headrace-database, key: username}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: headrace-database, key: password}
- name: MLFLOW_BACKEND_STORE_URI
  value: postgresql+psycopg://{{ include "headrace.database.host" . }}:{{ .Values.database.port }}/{{ .Values.database.name }}
{{- end -}}

{{/* Hosts under which MLflow answers; it refuses others. */}}
{{- define "headrace.mlflow.hosts" -}}
{{- $name := "headrace-mlflow" -}}
{{- $long := printf "%s.%s" $name .Release.Namespace -}}
{{- $hosts := list "localhost" "localhost:*" "127.0.0.1:*" -}}
{{- range list $name $long (printf "%s.svc" $long) (printf "%s.svc.cluster.local" $long) -}}
{{- $hosts = concat $hosts (list . (printf "%s:*" .)) -}}
{{- end -}}
{{- with .Values.mlflow.ingress -}}{{- if .enabled -}}{{- $hosts = append $hosts .host -}}{{- end -}}{{- end -}}
{{- with .Values.mlflow.route -}}{{- if .enabled -}}{{- $hosts = append $hosts .host -}}{{- end -}}{{- end -}}
{{- concat $hosts .Values.mlflow.allowedHosts | join "," -}}
{{- end -}}

{{/* A key of a Secret that is generated once and then kept. Argument: (list $ "secret" "key" length) */}}
{{- define "headrace.generated" -}}
{{- $root := index . 0 -}}
{{- $found := lookup "v1" "Secret" $root.Release.Namespace (index . 1) -}}
{{- if and $found (hasKey ($found.data | default dict) (index . 2)) -}}
{{- index $found.data (index . 2) | b64dec -}}
{{- else -}}
{{- randAlphaNum (index . 3 | int) -}}
{{- end -}}
{{- end -}}

{{- define "headrace.keep" -}}
{{- if .Values.keep -}}
helm.sh/resource-policy: keep
{{- end }}
{{- end -}}

{{/* KFP's description of the object store. */}}
{{- define "headrace.providers" -}}
{{- $endpoint := include "headrace.s3.endpoint" . -}}
s3:
  default:
    {{- if $endpoint }}
    endpoint: {{ $endpoint | trimPrefix "https://" | trimPrefix "http://" }}
    {{- end }}
    region: {{ .Values.objectStore.region }}
    disableSSL: {{ hasPrefix "http://" $endpoint }}
    forcePathStyle: {{ ne $endpoint "" }}
    credentials:
      fromEnv: false
      secretRef:
        secretName: headrace-s3
        accessKeyKey: AWS_ACCESS_KEY_ID
        secretKeyKey: AWS_SECRET_ACCESS_KEY
{{- end -}}
