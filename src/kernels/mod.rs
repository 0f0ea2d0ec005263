//! The fast CPU forms of the hot operations and their gradients.
pub mod activation;
pub mod average_pool;
pub mod batch_norm;
pub mod conv2d;
pub mod dense;
pub mod depthwise;
pub mod gemm;
mod math;
pub mod optimizer;
pub mod panels;
mod parallel;
pub mod pool;
mod scratch;
pub mod simd;
pub mod softmax;
#[cfg(test)]
mod testing;
pub mod window;
