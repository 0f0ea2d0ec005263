//! The options of `load_weights`.

use crate::formats::Limits;

/// The arguments of [`Model::load_weights_with`](crate::Model::load_weights_with).
#[derive(Clone, Debug, Default)]
pub struct LoadWeights {
    pub(super) by_name: bool,
    pub(super) skip_mismatch: bool,
    pub(super) limits: Limits,
}

impl LoadWeights {
    /// Strict: the file contains exactly the model's weights, with their shapes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether layers are matched by name (default: as [`Model::load_weights`](crate::Model::load_weights) does).
    /// Layers that the file or the model does not have are then ignored.
    #[must_use]
    pub fn by_name(mut self, by_name: bool) -> Self {
        self.by_name = by_name;
        self
    }

    /// Whether layers that do not match, in the number of their weights or in a shape, are skipped (default: an error).
    #[must_use]
    pub fn skip_mismatch(mut self, skip_mismatch: bool) -> Self {
        self.skip_mismatch = skip_mismatch;
        self
    }

    /// Other limits for untrusted files.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(super) fn is_by_name(&self) -> bool {
        self.by_name
    }

    pub(super) fn skips_mismatch(&self) -> bool {
        self.skip_mismatch
    }

    /// Whether everything has to match; only then is the optimizer's state loaded.
    pub(super) fn is_strict(&self) -> bool {
        !(self.by_name || self.skip_mismatch)
    }
}
