//! manifold-driver-ssh
