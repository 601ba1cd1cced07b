{{- define "scenewright.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Names leave room for suffixes such as -progress and -trial-s3. */}}
{{- define "scenewright.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "scenewright.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "scenewright.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Cluster-scoped names include the namespace: two releases of the same name must not share rights. */}}
{{- define "scenewright.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "scenewright.fullname" .) | trunc 100 | trimSuffix "-" -}}
{{- end -}}

{{/* Whether the cluster gives each Pod its user (OpenShift's security context constraints): then ours name none. */}}
{{- define "scenewright.givesUsers" -}}
{{- $known := .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- if or (eq (toString .Values.openshift) "true") (and (eq (toString .Values.openshift) "auto") $known) -}}
true
{{- end -}}
{{- end -}}

{{- define "scenewright.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: scenewright
{{ include "scenewright.selector" . }}
{{- end -}}

{{- define "scenewright.selector" -}}
app.kubernetes.io/name: {{ include "scenewright.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "scenewright.operatorSelector" -}}
{{ include "scenewright.selector" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "scenewright.trialSelector" -}}
{{ include "scenewright.selector" . }}
app.kubernetes.io/component: trial-storage
{{- end -}}

{{- define "scenewright.labSelector" -}}
{{ include "scenewright.selector" . }}
app.kubernetes.io/component: lab
{{- end -}}

{{/* Rights of the web page: it looks. What people do there, they do with rights of their own. */}}
{{- define "scenewright.labRules" -}}
- apiGroups: [scenewright.io]
  resources: [scenejobs, datasetjobs, tuningruns]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end -}}

{{- define "scenewright.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "scenewright.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Reference of an image: (dict "image" VALUES "tag" DEFAULT). */}}
{{- define "scenewright.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .tag .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* JSON list of addresses that stage Pods must not reach: link-local addresses, the API server and its Service. */}}
{{- define "scenewright.deniedIPv4" -}}
{{- $denied := concat (list "169.254.0.0/16") (without .Values.networkPolicy.apiServerCIDRs "0.0.0.0/0") }}
{{- with lookup "v1" "Service" "default" "kubernetes" }}
{{- if not (contains ":" .spec.clusterIP) }}{{ $denied = append $denied (printf "%s/32" .spec.clusterIP) }}{{ end }}
{{- end }}
{{- with lookup "v1" "Endpoints" "default" "kubernetes" }}
{{- range .subsets }}{{ range .addresses }}
{{- if not (contains ":" .ip) }}{{ $denied = append $denied (printf "%s/32" .ip) }}{{ end }}
{{- end }}{{ end }}
{{- end }}
{{- $ipv4 := list }}
{{- range uniq $denied }}{{ if not (contains ":" .) }}{{ $ipv4 = append $ipv4 . }}{{ end }}{{ end }}
{{- toJson $ipv4 }}
{{- end }}

{{- define "scenewright.leaseName" -}}
{{- default (printf "%s-operator" (include "scenewright.fullname" .)) .Values.operator.lease.name -}}
{{- end -}}

{{- define "scenewright.progressUrl" -}}
{{- if .Values.progress.url -}}
{{- .Values.progress.url -}}
{{- else -}}
{{- printf "http://%s-progress.%s.svc:%d" (include "scenewright.fullname" .) .Release.Namespace (int .Values.progress.port) -}}
{{- end -}}
{{- end -}}

{{/* Rights of the operator in a namespace: (dict "root" $). */}}
{{- define "scenewright.rules" -}}
# The objects themselves; deletion is for ttlSecondsAfterFinished, creation and patches are for the children of sweeps.
# The operator writes no other object's spec.
- apiGroups: [scenewright.io]
  resources: [scenejobs, datasetjobs, tuningruns]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [scenewright.io]
  resources: [scenejobs/status, datasetjobs/status, tuningruns/status]
  verbs: [patch]
{{- if .root.Values.rbac.ownerReferencesPermissionEnforcement }}
- apiGroups: [scenewright.io]
  resources: [scenejobs/finalizers, datasetjobs/finalizers, tuningruns/finalizers]
  verbs: [update]
{{- end }}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# The Job controller creates Pods. The operator patches their status only to release Pods on lost nodes.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
# Listing is to find out why a Job's Pods could not be created.
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
# To read the access modes of the model cache.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
{{- if .root.Values.kueue.enabled }}
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [get, list, watch, create, delete]
- apiGroups: [kueue.x-k8s.io]
  resources: [localqueues]
  verbs: [get]
{{- end }}
{{- end -}}
