//! Keras's numbers: every case in `fixtures/goldens` was computed by Keras 3.15.1 on JAX.
//!
//! A module here is a group of cases. A case that is not run stands in its group's table with the reason, and each group
//! asserts how many there are. The groups `layers` and `misc` (whole training runs) are not here yet.

mod activations;
mod initializers;
mod losses;
mod metrics;
mod optimizers;
mod schedules;
mod support;
mod weights;
