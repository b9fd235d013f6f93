//! manifold-link
