//! The core layers.

mod activation;
mod dense;
mod input;

pub use activation::ActivationLayer;
pub use dense::Dense;
pub use input::Input;
