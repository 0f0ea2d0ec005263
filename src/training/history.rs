//! What `fit` has seen, epoch by epoch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Loss and metrics of each epoch, by Keras's names: `loss`, `accuracy`, `val_loss`…
///
/// ```
/// # use brasa::prelude::*;
/// # let mut model = Sequential::new();
/// # model.add(Dense::new(1).input_shape(2))?.compile(Compile::new("sgd", "mse"))?;
/// # let x = ndarray::Array::<f32, _>::zeros((4, 2));
/// # let data = Dataset::new(&x, vec![0.0f32; 4])?;
/// let history = model.fit(&data, Fit::new().epochs(3).verbose(Verbosity::Silent))?;
/// assert_eq!(history.get("loss").map(<[f64]>::len), Some(3));
/// assert_eq!(history.epochs_of("loss"), [0, 1, 2]);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The epochs, from 0.
    pub epoch: Vec<usize>,
    /// A list for each name, one number an epoch in which it was seen (validation may be every few epochs).
    pub history: BTreeMap<String, Vec<f64>>,
    /// The epochs of each of these numbers.
    #[serde(default)]
    pub(super) epochs: BTreeMap<String, Vec<usize>>,
    /// Samples trained on in a second, over all epochs, validation not counted.
    pub samples_per_second: f64,
    /// Why training ended before its last epoch: what a callback said; none if it went to the end.
    pub stopped: Option<String>,
    /// Whether a [`StopHandle`](super::StopHandle) has interrupted it.
    pub interrupted: bool,
}

impl History {
    /// The numbers of one name.
    pub fn get(&self, name: &str) -> Option<&[f64]> {
        self.history.get(name).map(Vec::as_slice)
    }

    /// The number of the last epoch.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(|values| values.last().copied())
    }

    /// The epochs, from 0, in which a name was seen: one for each of its numbers. There is none for numbers that were
    /// not added by [`push`](Self::push).
    pub fn epochs_of(&self, name: &str) -> &[usize] {
        self.epochs.get(name).map_or(&[], Vec::as_slice)
    }

    /// Adds an epoch, with the numbers that were seen in it.
    pub fn push(&mut self, epoch: usize, logs: &[(String, f64)]) {
        self.epoch.push(epoch);
        for (name, value) in logs {
            self.history.entry(name.clone()).or_default().push(*value);
            self.epochs.entry(name.clone()).or_default().push(epoch);
        }
    }
}
