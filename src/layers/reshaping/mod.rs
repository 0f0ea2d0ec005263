//! The layers that only change shapes.

mod flatten;
mod reshape;

pub use flatten::Flatten;
pub use reshape::Reshape;
