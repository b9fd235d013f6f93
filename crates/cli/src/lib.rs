//! manifold-cli
