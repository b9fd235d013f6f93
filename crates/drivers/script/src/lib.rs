//! manifold-driver-script
