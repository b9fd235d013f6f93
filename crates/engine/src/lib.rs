//! manifold-engine
