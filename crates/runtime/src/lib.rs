//! manifold-runtime
