//! The core layers.

mod activation;
mod dense;
mod embedding;
mod identity;
mod input;
mod masking;

pub use activation::ActivationLayer;
pub use dense::Dense;
pub use embedding::Embedding;
pub use identity::Identity;
pub use input::Input;
pub use masking::Masking;
