//! The driver for Kubernetes clusters (`behaviour.md` 22).
