//go:build tools

// Package tools pins the store of a Kubernetes control plane.
package tools

import _ "go.etcd.io/etcd/server/v3"
