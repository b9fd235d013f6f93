//! manifold-plan
