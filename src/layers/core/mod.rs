//! The core layers.

mod activation;
mod dense;
mod einsum_dense;
mod embedding;
mod identity;
mod input;
mod lambda;
mod masking;
mod reversible_embedding;

pub use activation::ActivationLayer;
pub use dense::Dense;
pub(super) use dense::FrozenDense;
pub use einsum_dense::EinsumDense;
pub use embedding::Embedding;
pub use identity::Identity;
pub use input::Input;
pub use lambda::Lambda;
pub use masking::Masking;
pub use reversible_embedding::ReversibleEmbedding;
