//! Keras's numbers: every case in `fixtures/goldens` was computed by Keras 3.15.1 on JAX, with the script that
//! lies there.
//!
//! A module here is a group of cases. A case that is not run stands in its group's table with the reason, and each
//! group asserts how many there are.

mod activations;
mod graph;
mod initializers;
mod layers;
mod losses;
mod masks_and_weights;
mod metrics;
mod operations;
mod optimizers;
mod runs;
mod schedules;
mod support;
mod text;
mod weights;
