//! How much of a file is believed: the budgets for reading files of unknown origin.

/// Budgets for reading. A file that needs more than the defaults is refused with the name of the budget in
/// the message; a caller who trusts the file raises it.
///
/// ```
/// use brasa::formats::Limits;
/// let limits = Limits { weight_bytes: 16 << 30, file_bytes: 16 << 30, ..Limits::default() };
/// assert_eq!(limits.json_bytes, Limits::default().json_bytes);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Size of the file, and of the weights member of an archive, in bytes. 4 GiB unless raised.
    pub file_bytes: u64,
    /// Size of one JSON text (`config.json`, `model_config`, the header of a `.safetensors` file, …), in bytes. 16 MiB.
    pub json_bytes: u64,
    /// Number of values in one JSON text, an object counted as two: 200 000. A value takes up to a hundred times more
    /// memory than its text.
    pub values: usize,
    /// Number of layers of a model, those inside other layers included. 5000.
    pub layers: usize,
    /// Number of members of an archive. 10 000.
    pub members: usize,
    /// Number of groups and datasets of an HDF5 file that are listed, and of tensors in a `.safetensors` file. 50 000.
    pub objects: usize,
    /// Memory for all weights of one read and the optimizer's state with them, in bytes, as they are after the
    /// conversion to `float32`. 4 GiB.
    pub weight_bytes: u64,
    /// How many times larger than its stored bytes a file may become, all that is read of it together, beyond the first
    /// 16 MiB. 100.
    pub expansion: u64,
    /// Width times height of a picture that is decoded. 64 × 2²⁰.
    pub pixels: u64,
    /// Memory that the model may use when it computes, in bytes: weights, optimizer, activations and gradients
    /// together. `None`, unless set, is the limit of the process or what is [available](crate::memory).
    pub memory_bytes: Option<u64>,
}

/// 4 GiB: the largest classic networks with their optimizer (VGG19 with Adam: 1.7 GiB) fit twice, and the
/// file is held in memory while it is read.
pub(crate) const FILE_BYTES: u64 = 4 << 30;

/// 16 MiB: a layer's configuration takes 1 to 2 KiB, so this is some ten thousand layers.
pub(crate) const JSON_BYTES: u64 = 16 << 20;

/// A layer has 40 to 80 values, so this is a model of several thousand. Each takes up to 150 bytes of memory.
pub(crate) const VALUES: usize = 200_000;

/// What a layer, a weight or a model may be called, in bytes.
pub(crate) const NAME_BYTES: usize = 1024;

/// 64 megapixels: the largest sensors of cameras and phones.
pub(crate) const PIXELS: u64 = 64 << 20;

/// The deepest published networks have about a thousand layers; each is compared with those before it.
pub(crate) const LAYERS: usize = 5_000;

/// Nesting of JSON: the fixed limit of the JSON reader, which keeps its recursion within the stack. A layer
/// inside a wrapper inside a nested model is at depth 12. The reader keeps it by itself; a test holds it to that.
#[cfg(test)]
pub(crate) const JSON_DEPTH: usize = 128;

/// An archive of Keras has three members, and one for each asset of a text layer.
pub(crate) const MEMBERS: usize = 10_000;

/// A layer has up to ten groups and datasets, so this is five thousand layers.
pub(crate) const OBJECTS: usize = 50_000;

/// Nesting of HDF5 groups: `layers/bidirectional/forward_layer/cell/vars` has five, each nested model two more.
/// Hard links can form circles; this ends them.
pub(crate) const GROUP_DEPTH: usize = 32;

/// 4 GiB, as for the file: Keras stores weights uncompressed, so they are never larger than it.
pub(crate) const WEIGHT_BYTES: u64 = 4 << 30;

/// Trained weights barely compress; even JSON stays below 20. Deflate itself reaches 1032.
pub(crate) const EXPANSION: u64 = 100;

/// 16 MiB: below this, expansion does no harm, and freshly made optimizer slots (all zeros) do compress a lot.
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
    /// Whether `stored` bytes may honestly stand for `declared` ones.
    pub(crate) fn allows_expansion(&self, stored: u64, declared: u64) -> bool {
        declared <= EXPANSION_FREE_BYTES || declared <= stored.saturating_mul(self.expansion)
    }
}
