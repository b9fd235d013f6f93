{{- define "name" -}}
cart
{{- end -}}
