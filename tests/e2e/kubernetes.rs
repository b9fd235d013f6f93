//! The same workflow in every cluster: the real binary on two real API servers, looked at with `kubectl`.

mod cluster_tree;
mod rolling;
mod world;
