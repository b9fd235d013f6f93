//! manifold-driver-http
