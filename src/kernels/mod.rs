//! The fast CPU forms of the hot operations and their gradients.
pub mod activation;
pub mod conv2d;
pub mod dense;
pub mod gemm;
mod math;
pub mod panels;
mod parallel;
pub mod pool;
mod scratch;
pub mod simd;
#[cfg(test)]
mod testing;
pub mod window;
