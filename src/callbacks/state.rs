//! The state of a callback in a checkpoint, exact to the bit.

use std::collections::BTreeMap;

use ndarray::ArrayD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::config::{Config, from_json, to_json};
use crate::error::{Error, Result};

/// The state of a callback: values by name, and arrays such as the best weights.
///
/// ```
/// use brasa::callbacks::CallbackState;
/// let mut state = CallbackState::default();
/// state.put("wait", &3usize)?;
/// state.put_number("best", Some(0.1 + 0.2));
/// assert_eq!(state.take::<usize>("wait")?, Some(3));
/// assert_eq!(state.take_number("best")?, Some(0.1 + 0.2));
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallbackState {
    /// Plain values; for numbers that must be restored exactly, use [`put_number`](Self::put_number).
    pub values: Config,
    /// Arrays by name.
    pub arrays: BTreeMap<String, Vec<ArrayD<f32>>>,
}

impl CallbackState {
    /// Stores a value.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) if it cannot be written as JSON.
    pub fn put<T: Serialize>(&mut self, name: &str, value: &T) -> Result<()> {
        self.values.insert(name.to_owned(), to_json(name, value)?);
        Ok(())
    }

    /// Removes and returns a stored value; `None` if there is no such value.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if it is of another kind.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        match self.values.remove(name) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => from_json(name, value).map(Some),
        }
    }

    /// Removes and returns a stored count; 0 if there is no such value.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if it is not a whole number, or larger than 2⁵³.
    pub(crate) fn take_count(&mut self, name: &str) -> Result<usize> {
        Ok(self.take_count_if_any(name)?.unwrap_or(0))
    }

    /// As [`take_count`](Self::take_count), and `None` if there is no such value.
    ///
    /// # Errors
    /// As [`take_count`](Self::take_count).
    pub(crate) fn take_count_if_any(&mut self, name: &str) -> Result<Option<usize>> {
        match self.take::<usize>(name)? {
            Some(count) if count as u64 > 1 << 53 => {
                Err(Error::argument(name, "a count that a run can come to", count))
            }
            count => Ok(count),
        }
    }

    /// Stores a number exactly, including infinities and NaN.
    pub fn put_number(&mut self, name: &str, number: Option<f64>) {
        self.values.insert(name.to_owned(), number.map_or(Json::Null, exact));
    }

    /// Removes and returns a stored number.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if the value is not a number.
    pub fn take_number(&mut self, name: &str) -> Result<Option<f64>> {
        self.values.remove(name).filter(|value| !value.is_null()).map(|value| number(name, &value)).transpose()
    }
}

/// A number as a string that parses to the same bits (JSON's own numbers cannot be infinite and are not always read
/// exactly).
pub(crate) fn exact(number: f64) -> Json {
    format!("{number:?}").into()
}

/// Parses the number in such a string.
pub(crate) fn number(name: &str, value: &Json) -> Result<f64> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Error::argument(name, "a number in a text", value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_a_round_trip_bit_for_bit() {
        for value in [0.1, 1.0 / 3.0, -0.0, f64::MIN_POSITIVE / 3.0, f64::MAX, f64::INFINITY, 5e-324] {
            let text = serde_json::to_string(&exact(value)).unwrap();
            let back = number("x", &serde_json::from_str(&text).unwrap()).unwrap();
            assert_eq!(back.to_bits(), value.to_bits(), "{text}");
        }
        assert!(number("x", &exact(f64::NAN)).unwrap().is_nan());
    }

    /// The number after a checkpoint's count must be representable, too.
    #[test]
    fn impossible_counts_are_refused() {
        use super::super::{Callback, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau};
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let callbacks: Vec<(Box<dyn Callback>, &[&str])> = vec![
            (Box::new(EarlyStopping::default()), &["wait", "stopped_epoch", "best_epoch"]),
            (Box::new(ReduceLROnPlateau::default()), &["wait", "cooldown"]),
            (Box::new(ModelCheckpoint::new(path("m.keras")).save_freq(2usize)), &["batches_seen", "last_batch"]),
            #[cfg(feature = "tensorboard")]
            (Box::new(super::super::TensorBoard::new(path("logs"))), &["batches"]),
        ];
        for (mut callback, counts) in callbacks {
            assert!(callback.restore(callback.state().unwrap()).is_ok());
            for count in counts {
                for forged in [u64::MAX, (1 << 53) + 1] {
                    let mut state = callback.state().unwrap();
                    state.put(count, &forged).unwrap();
                    let error = callback.restore(state).unwrap_err().to_string();
                    assert!(error.contains(count), "{}: {error}", callback.name());
                }
            }
        }
    }
}
