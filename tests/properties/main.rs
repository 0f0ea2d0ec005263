//! Properties that hold for random layers, shapes and arguments.
//!
//! The cases are the same in every run; `PROPTEST_CASES=1000 cargo test --test properties` tries that many random ones.

mod chains;
mod extremes;
mod geometry;
mod gradients;
mod plan;
mod support;
mod wrong_arguments;
