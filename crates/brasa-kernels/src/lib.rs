//! The fast CPU forms of the hot operations and of their gradients, on plain slices.
//!
//! Values are `f32`, images channels-last, weights in Keras's layout. Nothing here knows of tensors or of Burn: callers
//! hand in slices and get slices written. The functions are safe for any arguments: they panic if a slice does not have
//! the length that the sizes say, so callers check what comes from outside first.
//!
//! | Module | Operations |
//! | --- | --- |
//! | [`conv2d`] | convolution with bias and activation, also one-dimensional, dilated, grouped; convolution and max pooling in one pass |
//! | [`depthwise`] | depthwise convolution |
//! | [`dense`] | fully connected layer |
//! | [`pool`], [`average_pool`] | maximum, average and global average pooling |
//! | [`activation`], [`softmax`] | elementwise activations; softmax, alone and with cross-entropy |
//! | [`batch_norm`], [`layer_norm`] | batch and layer normalization |
//! | [`attention`] | attention in heads |
//! | [`embedding`] | rows of a table |
//! | [`rnn`] | LSTM and GRU over whole sequences |
//! | [`optimizer`] | updates of weights by any formula, and those that need a norm |
//!
//! They stand on a few parts of their own: [`gemm`], the matrix product through tables of offsets that convolutions and
//! layers are made of, with its tiles in registers and [`panels`] of weights; [`window`], the geometry of sliding
//! windows; [`simd`], one source for every instruction set; `parallel`, how work is shared between the threads of the
//! current rayon pool; `scratch`, working memory that threads keep, and `huge_pages`, how long buffers are mapped; `math`,
//! elementary functions without branches. [`peak`] measures what the machine could do at best.
//!
//! The same call gives the same bits every time, for a given number of threads and instruction set. Unsafe code is in
//! four places: the tiles of [`gemm`] and those of [`depthwise`], behind functions that check every offset, the choice of
//! an instruction set in [`simd`], and the advice to the system in `huge_pages`.

/// The `opt-level` that this package was compiled with. At `0` every kernel takes many times as long.
pub const OPT_LEVEL: &str = env!("BRASA_OPT_LEVEL");

pub mod activation;
pub mod attention;
pub mod average_pool;
pub mod batch_norm;
pub mod conv2d;
pub mod dense;
pub mod depthwise;
pub mod embedding;
pub mod gemm;
pub mod huge_pages;
pub mod layer_norm;
mod math;
pub mod optimizer;
pub mod panels;
pub mod parallel;
pub mod peak;
pub mod pool;
pub mod rnn;
mod scratch;
pub mod simd;
pub mod softmax;
#[cfg(test)]
mod testing;
mod tiles;
pub mod window;
