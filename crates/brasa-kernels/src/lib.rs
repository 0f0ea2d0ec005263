//! The fast CPU forms of the hot operations and of their gradients, on plain slices.
//!
//! Values are `f32`, images channels-last, weights in Keras's layout. Nothing here depends on tensors or on Burn:
//! callers pass slices, and results are written to slices. The functions are safe for any arguments: they panic if a
//! slice's length does not match the sizes, so callers check external input first.
//!
//! | Module | Operations |
//! | --- | --- |
//! | [`conv2d`] | convolution with bias and activation, also in 1-D, dilated, grouped; fused with max pooling |
//! | [`depthwise`], [`separable`] | depthwise convolution, alone and before a pointwise one |
//! | [`dense`] | fully connected layer |
//! | [`pool`], [`average_pool`] | maximum, average and global average pooling |
//! | [`activation`], [`softmax`] | elementwise activations; softmax, alone and with cross-entropy |
//! | [`batch_norm`], [`layer_norm`] | batch, layer and RMS normalization |
//! | [`attention`] | multi-head attention |
//! | [`embedding`] | lookup of table rows |
//! | [`rnn`] | LSTM and GRU over whole sequences |
//! | [`merge`] | elementwise sums and products |
//! | [`random`] | dropout and normal noise |
//! | [`optimizer`] | updates of weights by any formula, and those that need a norm |
//!
//! Shared parts: [`gemm`], the matrix product through tables of offsets behind convolutions and layers, with its
//! microkernels and packed [`panels`] of weights; [`window`], the geometry of sliding windows; [`simd`], one source for
//! every instruction set with runtime dispatch; `parallel`, which shares work between threads, and `team`, threads that
//! stay awake between calls; `scratch`, the workspace that threads keep; `cache`, the size of the second-level cache,
//! by which blocks are cut; `huge_pages`, the mapping of long buffers, and [`aligned`], those that begin at a cache
//! line; `math`, elementary functions without branches. [`peak`] measures the machine's peak rate.
//!
//! For prediction with fixed weights there are prepared forms ([`dense::Packed`], [`conv2d::PreparedConv`],
//! [`depthwise::PreparedDepthwise`], [`separable::PreparedSeparable`], [`batch_norm::PreparedNormalization`],
//! [`attention::PreparedMultiHead`], [`rnn::PreparedLstm`], [`rnn::PreparedGru`]): weights are packed and tables made
//! once. On a single thread they allocate nothing once the thread's workspace exists (64 MiB are kept), and the result
//! of a row, an image or a sequence has the same bits in any batch, on any number of threads.
//!
//! The same call gives the same bits every time, for a given number of threads and instruction set. Unsafe code is in
//! six places: the microkernels of [`gemm`] and of [`depthwise`], behind functions that check every offset, the columns
//! of a result that threads share ([`gemm::Columns`]), the runtime dispatch in [`simd`], the advice to the system in
//! `huge_pages`, and the borrowed work of `team`.

/// The `opt-level` of this package's build. At `0` every kernel takes many times as long.
pub const OPT_LEVEL: &str = env!("BRASA_OPT_LEVEL");

pub mod activation;
pub mod aligned;
pub mod attention;
pub mod average_pool;
pub mod batch_norm;
mod cache;
pub mod conv2d;
pub mod dense;
pub mod depthwise;
pub mod embedding;
pub mod gemm;
pub mod huge_pages;
pub mod layer_norm;
mod math;
pub mod merge;
pub mod optimizer;
pub mod panels;
pub mod parallel;
pub mod peak;
pub mod pool;
pub mod random;
pub mod rnn;
mod scratch;
pub mod separable;
pub mod simd;
pub mod softmax;
mod team;
#[cfg(test)]
mod testing;
mod tiles;
pub mod window;
