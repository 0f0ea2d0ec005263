//! ONNX: a graph of operators as other runtimes read it.
//!
//! An [`OnnxGraph`] is built operator by operator, in any layout; `simplify` moves and cancels transposes and folds
//! constants, and `encode` writes it as protocol buffers.

#[cfg(feature = "onnx")]
mod encode;
#[cfg(feature = "onnx")]
mod fold;
mod graph;
#[cfg(feature = "onnx")]
mod simplify;

pub use graph::{Attribute, Constant, Dimension, Edge, Element, Numbers, OnnxGraph, OnnxNode, Port};
