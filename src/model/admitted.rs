//! The batch sizes that are known to fit in memory.

use std::sync::{Mutex, PoisonError};

use crate::memory;

/// The number of batch sizes that a model remembers.
const REMEMBERED: usize = 16;
/// Further values that are remembered at most.
const FEW_VALUES: usize = 1 << 16;

/// The purpose for which a batch is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdmittedUse {
    Outputs,
    /// The outputs, and their loss and metrics.
    Scores,
    Training,
}

/// A batch size that fits.
#[derive(Debug)]
struct Fitting {
    sizes: Vec<usize>,
    mode: AdmittedUse,
    /// Further values that fit beside it.
    extra: usize,
    /// The limit of the process then.
    limit: Option<u64>,
}

/// The batch sizes that are known to fit.
#[derive(Debug, Default)]
pub(super) struct Admitted(Mutex<Vec<Fitting>>);

impl Clone for Admitted {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Admitted {
    fn with<T>(&self, look: impl FnOnce(&mut Vec<Fitting>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a batch is known to fit together with `extra` further values. Many of these are never known: the memory
    /// that is available may have changed.
    pub fn has(&self, sizes: &[usize], mode: AdmittedUse, extra: usize) -> bool {
        // A batch fits if a larger one does.
        let covers = |own: &[usize]| match (own, sizes) {
            ([batch, own @ ..], [wanted, sizes @ ..]) => batch >= wanted && own == sizes,
            _ => own == sizes,
        };
        let limit = memory::limit();
        let fits = |own: &Fitting| {
            own.mode == mode && own.limit == limit && extra <= own.extra.min(FEW_VALUES) && covers(&own.sizes)
        };
        self.with(|known| known.iter().any(fits))
    }

    pub fn remember(&self, sizes: &[usize], mode: AdmittedUse, extra: usize) {
        if self.has(sizes, mode, extra) {
            return;
        }
        self.with(|known| {
            if known.len() >= REMEMBERED {
                known.remove(0);
            }
            known.push(Fitting { sizes: sizes.to_vec(), mode, extra, limit: memory::limit() });
        });
    }

    /// Forgets all, before a change of the layers, the optimizer or the limit.
    pub fn forget(&self) {
        self.with(Vec::clear);
    }
}
