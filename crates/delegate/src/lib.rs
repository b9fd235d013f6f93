//! manifold-delegate
