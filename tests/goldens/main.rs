//! Keras's numbers: every case in `fixtures/goldens` was computed by Keras 3.15.1, on JAX unless its script says
//! otherwise (`make_recurrent.py`: TensorFlow), with the scripts in that folder and in `fixtures/functional`.
//!
//! A module here is a group of cases. Skipped cases are listed in their group's table with the reason, and each group
//! asserts the number of cases run.

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
