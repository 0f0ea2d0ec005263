//! The numbers of a training run, epoch by epoch.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value as Json, json};

use crate::metrics::Score;

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
    /// A list for each name, one number for each epoch that has it (validation need not run in every epoch).
    pub history: BTreeMap<String, Vec<f64>>,
    /// The same for metrics with a number per class or threshold: a list of them for each epoch.
    #[serde(default)]
    pub lists: BTreeMap<String, Vec<Vec<f64>>>,
    /// The epochs of each of these numbers, in order.
    #[serde(default, deserialize_with = "in_order")]
    pub(crate) epochs: BTreeMap<String, Vec<usize>>,
    /// Training samples per second over all epochs, without validation.
    pub samples_per_second: f64,
    /// Why training ended before its last epoch, as given by a callback; `None` if it was completed.
    pub stopped: Option<String>,
    /// Whether a [`StopHandle`](super::StopHandle) has interrupted it.
    pub interrupted: bool,
    /// The epoch, from 0, whose weights were restored at the end, if any: the best epoch.
    #[serde(default)]
    pub restored_epoch: Option<usize>,
}

impl History {
    /// The numbers of a name; `None` for a metric with several numbers per epoch, see [`get_lists`](Self::get_lists).
    pub fn get(&self, name: &str) -> Option<&[f64]> {
        self.history.get(name).map(Vec::as_slice)
    }

    /// The lists of a metric with a number per class or threshold, one for each epoch.
    pub fn get_lists(&self, name: &str) -> Option<&[Vec<f64>]> {
        self.lists.get(name).map(Vec::as_slice)
    }

    /// The number or numbers of a name in an epoch, counted from 0.
    pub fn at(&self, name: &str, epoch: usize) -> Option<Score> {
        let epochs = self.epochs_of(name);
        // If an epoch occurs twice, the last.
        let index = epochs.partition_point(|own| *own <= epoch).checked_sub(1)?;
        if epochs[index] != epoch {
            return None;
        }
        let number = self.get(name).and_then(|numbers| numbers.get(index)).copied().map(Score::One);
        number.or_else(|| self.get_lists(name).and_then(|lists| lists.get(index)).cloned().map(Score::Several))
    }

    /// All names with their values, epoch by epoch, as Keras's `history.history`: numbers, or lists of them.
    pub fn to_json(&self) -> Json {
        let numbers = self.history.iter().map(|(name, numbers)| (name.clone(), json!(numbers)));
        let lists = self.lists.iter().map(|(name, lists)| (name.clone(), json!(lists)));
        Json::Object(numbers.chain(lists).collect())
    }

    /// The last number of a name.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(|values| values.last().copied())
    }

    /// The epochs, from 0, of each of a name's numbers. Empty for numbers that were not added by [`push`](Self::push).
    pub fn epochs_of(&self, name: &str) -> &[usize] {
        self.epochs.get(name).map_or(&[], Vec::as_slice)
    }

    /// Adds an epoch with its numbers. One that is lower than the last is inserted in order.
    pub fn push<S: Into<Score> + Clone>(&mut self, epoch: usize, logs: &[(String, S)]) {
        insert(&mut self.epoch, epoch);
        for (name, value) in logs {
            let index = insert(self.epochs.entry(name.clone()).or_default(), epoch);
            match value.clone().into() {
                Score::One(number) => put(self.history.entry(name.clone()).or_default(), index, number),
                Score::Several(numbers) => put(self.lists.entry(name.clone()).or_default(), index, numbers),
            }
        }
    }
}

/// Inserts an epoch in order, usually at the end, and returns its index.
fn insert(epochs: &mut Vec<usize>, epoch: usize) -> usize {
    let index = epochs.partition_point(|own| *own <= epoch);
    epochs.insert(index, epoch);
    index
}

fn put<T>(values: &mut Vec<T>, index: usize, value: T) {
    values.insert(index.min(values.len()), value);
}

/// Epochs must be sorted for the binary search.
fn in_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<usize>>, D::Error> {
    let epochs = BTreeMap::<String, Vec<usize>>::deserialize(deserializer)?;
    match epochs.values().all(|epochs| epochs.is_sorted()) {
        true => Ok(epochs),
        false => Err(serde::de::Error::custom("the epochs of a history are not in order")),
    }
}

/// Whether `numbers` values read from a file justify a table of `cells` entries. A metric of several numbers has an
/// entry for each of them in every epoch, even if validation runs only every few epochs; but the numbers of a single
/// epoch must not make a huge table.
pub(crate) fn table_fits(numbers: usize, cells: usize) -> bool {
    const SMALL: usize = 1 << 20;
    cells <= numbers.saturating_mul(16).max(SMALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_found_in_any_order_of_insertion() {
        let mut history = History::default();
        for (epoch, loss) in [(0, 1.0), (5, 2.0), (3, 3.0), (3, 4.0), (9, 5.0)] {
            history.push(epoch, &[("loss".to_owned(), loss)]);
        }
        assert_eq!(
            (history.epochs_of("loss"), history.get("loss")),
            (&[0, 3, 3, 5, 9][..], Some(&[1.0, 3.0, 4.0, 2.0, 5.0][..]))
        );
        let at = |epoch| history.at("loss", epoch);
        assert_eq!([at(0), at(3), at(5), at(9)], [1.0, 4.0, 2.0, 5.0].map(|loss| Some(Score::One(loss))));
        assert_eq!([at(1), at(4), at(10)], [None, None, None]);
        let mut json_form = serde_json::to_value(&history).unwrap();
        assert_eq!(serde_json::from_value::<History>(json_form.clone()).unwrap(), history);
        json_form["epochs"]["loss"] = json!([5, 0, 3, 3, 9]);
        assert!(serde_json::from_value::<History>(json_form).unwrap_err().to_string().contains("not in order"));
    }
}
