//! The same workflow in every cluster: the real binary on two real API servers, looked at with `kubectl`.

mod blue_green;
mod canary;
mod crash;
mod ownership;
mod rolling;
mod starts;
mod steps;
mod way_back;
mod world;
