//! manifold-secrets
