//! The layers that make training harder, so that the model does better afterwards.

mod dropout;

pub use dropout::Dropout;
