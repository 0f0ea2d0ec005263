//! The layers that prepare data.

mod rescaling;

pub use rescaling::{Numbers, Rescaling};
