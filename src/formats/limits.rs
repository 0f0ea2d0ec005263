//! Limits for reading untrusted files.

/// Limits for reading. A file that exceeds a default is rejected with the name of the limit in the message; a caller
/// who trusts the file raises it.
///
/// ```
/// use brasa::formats::Limits;
/// let limits = Limits { weight_bytes: 16 << 30, file_bytes: 16 << 30, ..Limits::default() };
/// assert_eq!(limits.json_bytes, Limits::default().json_bytes);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Size of the file, and of the weights member of an archive, in bytes. Default: 4 GiB.
    pub file_bytes: u64,
    /// Size of one JSON text (`config.json`, `model_config`, the header of a `.safetensors` file, …), in bytes.
    /// Default: 16 MiB.
    pub json_bytes: u64,
    /// Number of values in one JSON text, an object counted as two. A value takes up to a hundred times more memory
    /// than its text. Default: 200,000.
    pub values: usize,
    /// Number of layers of a model, including nested ones. Default: 5,000.
    pub layers: usize,
    /// Number of members of an archive. Default: 10,000.
    pub members: usize,
    /// Number of groups and datasets of an HDF5 file that are listed, and of tensors in a `.safetensors` file. Default:
    /// 50,000.
    pub objects: usize,
    /// Memory of all weights of one read together with the optimizer's state, in bytes, after conversion to `float32`.
    /// Default: 4 GiB.
    pub weight_bytes: u64,
    /// The factor by which a file's contents can expand in total, beyond the first 16 MiB. Default: 100.
    pub expansion: u64,
    /// Width times height of a decoded image. Default: 64 × 2²⁰.
    pub pixels: u64,
    /// Memory that the model can use when it computes, in bytes: weights, optimizer, activations and gradients
    /// together. `None`, the default, means the limit of the process or the [available](crate::memory) memory.
    pub memory_bytes: Option<u64>,
}

/// 4 GiB: the largest classic networks with their optimizer (VGG19 with Adam: 1.7 GiB) fit twice, and the
/// file is held in memory while it is read.
pub(crate) const FILE_BYTES: u64 = 4 << 30;

/// 16 MiB: a layer's configuration takes 1 to 2 KiB, so this is some ten thousand layers.
pub(crate) const JSON_BYTES: u64 = 16 << 20;

/// A layer has 40 to 80 values, so this is a model of several thousand. Each takes up to 150 bytes of memory.
pub(crate) const VALUES: usize = 200_000;

/// The longest name of a layer, weight or model, in bytes.
pub(crate) const NAME_BYTES: usize = 1024;

/// 64 megapixels: the largest sensors of cameras and phones.
pub(crate) const PIXELS: u64 = 64 << 20;

/// The deepest published networks have about a thousand layers; each layer is compared with its predecessors.
pub(crate) const LAYERS: usize = 5_000;

/// Nesting of JSON: the fixed limit of the JSON reader, which bounds its recursion. A layer inside a wrapper inside a
/// nested model is at depth 12. A test checks that the reader enforces it.
#[cfg(test)]
pub(crate) const JSON_DEPTH: usize = 127;

/// A Keras archive has three members, and one for each asset of a text layer.
pub(crate) const MEMBERS: usize = 10_000;

/// A layer has up to ten groups and datasets, so this is five thousand layers.
pub(crate) const OBJECTS: usize = 50_000;

/// Nesting of HDF5 groups: `layers/bidirectional/forward_layer/cell/vars` has five levels, each nested model adds two.
/// Hard links can form cycles; this limit breaks them.
pub(crate) const GROUP_DEPTH: usize = 32;

/// 4 GiB, as for the file: Keras stores weights uncompressed, so they are never larger than the file.
pub(crate) const WEIGHT_BYTES: u64 = 4 << 30;

/// Trained weights barely compress; even JSON stays below 20. Deflate itself reaches 1032.
pub(crate) const EXPANSION: u64 = 100;

/// 16 MiB: below this, expansion is harmless, and new optimizer slots (all zeros) compress very well.
pub(crate) const EXPANSION_FREE_BYTES: u64 = 16 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: FILE_BYTES,
            json_bytes: JSON_BYTES,
            values: VALUES,
            layers: LAYERS,
            members: MEMBERS,
            objects: OBJECTS,
            weight_bytes: WEIGHT_BYTES,
            expansion: EXPANSION,
            pixels: PIXELS,
            memory_bytes: None,
        }
    }
}

impl Limits {
    /// Whether expanding `stored` bytes to `declared` bytes is plausible.
    pub(crate) fn allows_expansion(&self, stored: u64, declared: u64) -> bool {
        declared <= EXPANSION_FREE_BYTES || declared <= stored.saturating_mul(self.expansion)
    }
}
