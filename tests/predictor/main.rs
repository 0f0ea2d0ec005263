//! The frozen form of models.

mod agreement;
mod bits;
mod networks;
mod usage;
