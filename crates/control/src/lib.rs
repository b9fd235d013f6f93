//! manifold-control
