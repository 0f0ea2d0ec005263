//! The batch sizes for which a model has found room in memory.

use std::sync::{Mutex, PoisonError};

/// How many batch sizes a model remembers that it has found room for.
const REMEMBERED: usize = 16;

/// What a batch is computed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Outputs,
    /// The outputs, and loss and metrics of them.
    Scores,
    Training,
}

/// The batch sizes for which a model has found room.
#[derive(Debug, Default)]
pub(super) struct Admitted(Mutex<Vec<(Vec<usize>, Use)>>);

impl Clone for Admitted {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Admitted {
    fn with<T>(&self, look: impl FnOnce(&mut Vec<(Vec<usize>, Use)>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn has(&self, sizes: &[usize], mode: Use) -> bool {
        // A smaller batch fits where a larger one did.
        let covers = |own: &[usize]| match (own, sizes) {
            ([batch, own @ ..], [wanted, sizes @ ..]) => batch >= wanted && own == sizes,
            _ => own == sizes,
        };
        self.with(|known| known.iter().any(|(own, known)| covers(own) && *known == mode))
    }

    pub fn remember(&self, sizes: &[usize], mode: Use) {
        if self.has(sizes, mode) {
            return;
        }
        self.with(|known| {
            if known.len() >= REMEMBERED {
                known.remove(0);
            }
            known.push((sizes.to_vec(), mode));
        });
    }

    /// Forgets all, as the layers, the optimizer or the limit are about to change.
    pub fn forget(&self) {
        self.with(Vec::clear);
    }
}
