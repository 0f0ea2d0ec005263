//! The kernels of the crate above, with their tests and nothing else.

#[path = "../../src/kernels/mod.rs"]
pub mod kernels;
