//! The batch sizes that are known to fit in memory.

use std::sync::{Mutex, PoisonError};

/// The number of batch sizes that a model remembers.
const REMEMBERED: usize = 16;

/// The purpose for which a batch is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdmittedUse {
    Outputs,
    /// The outputs, and their loss and metrics.
    Scores,
    Training,
}

/// The batch sizes that are known to fit.
#[derive(Debug, Default)]
pub(super) struct Admitted(Mutex<Vec<(Vec<usize>, AdmittedUse)>>);

impl Clone for Admitted {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Admitted {
    fn with<T>(&self, look: impl FnOnce(&mut Vec<(Vec<usize>, AdmittedUse)>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn has(&self, sizes: &[usize], mode: AdmittedUse) -> bool {
        // A batch fits if a larger one does.
        let covers = |own: &[usize]| match (own, sizes) {
            ([batch, own @ ..], [wanted, sizes @ ..]) => batch >= wanted && own == sizes,
            _ => own == sizes,
        };
        self.with(|known| known.iter().any(|(own, known)| covers(own) && *known == mode))
    }

    pub fn remember(&self, sizes: &[usize], mode: AdmittedUse) {
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

    /// Forgets all, before a change of the layers, the optimizer or the limit.
    pub fn forget(&self) {
        self.with(Vec::clear);
    }
}
