//! The core layers.

mod activation;
mod dense;
mod identity;
mod input;

pub use activation::ActivationLayer;
pub use dense::Dense;
pub use identity::Identity;
pub use input::Input;
