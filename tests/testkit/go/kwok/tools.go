//go:build tools

// Package tools pins the program that plays the nodes and pods.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"
