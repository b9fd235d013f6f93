//! manifold-api
