//! The frozen form of models.

mod agreement;
mod bits;
mod networks;
mod padding;
mod residual;
mod transformers;
mod usage;
