//! The epochs after which validation runs.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use crate::error::{Error, Result};

/// The epochs after which validation runs: Keras's `validation_freq`.
///
/// ```
/// use brasa::training::ValidationFreq;
/// let (every_third, some) = (ValidationFreq::from(3), ValidationFreq::from([1, 2, 10]));
/// assert!(every_third.is_due(2) && !every_third.is_due(3), "after the third epoch, which is number 2 from 0");
/// assert!(some.is_due(0) && some.is_due(9) && !some.is_due(2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum ValidationFreq {
    /// After every given number of epochs.
    Every(usize),
    /// After these epochs, counted from 1.
    Epochs(Vec<usize>),
}

/// The valid values, in words.
const EXPECTED: &str = "an integer above 0, or a list of epochs, counted from 1";

impl ValidationFreq {
    /// Whether to validate after an epoch, counted from 0.
    pub fn is_due(&self, epoch: usize) -> bool {
        match self {
            Self::Every(epochs) => epoch.wrapping_add(1).is_multiple_of(*epochs),
            Self::Epochs(epochs) => epochs.contains(&epoch.wrapping_add(1)),
        }
    }

    /// Refuses an epoch 0, and an interval of 0 epochs.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Every(0) => Err(wrong(0)),
            Self::Epochs(epochs) if epochs.contains(&0) => Err(wrong(format!("{epochs:?}"))),
            _ => Ok(()),
        }
    }
}

fn wrong(received: impl Display) -> Error {
    Error::argument("validation_freq", EXPECTED, received)
}

impl Default for ValidationFreq {
    /// After each epoch.
    fn default() -> Self {
        Self::Every(1)
    }
}

impl From<usize> for ValidationFreq {
    fn from(epochs: usize) -> Self {
        Self::Every(epochs)
    }
}

impl From<Vec<usize>> for ValidationFreq {
    fn from(epochs: Vec<usize>) -> Self {
        Self::Epochs(epochs)
    }
}

impl<const N: usize> From<[usize; N]> for ValidationFreq {
    fn from(epochs: [usize; N]) -> Self {
        Self::Epochs(epochs.into())
    }
}

impl<'de> Deserialize<'de> for ValidationFreq {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Json::deserialize(deserializer)?;
        let number = |value: &Json| value.as_u64().and_then(|epochs| usize::try_from(epochs).ok());
        let read = match &value {
            Json::Array(list) => list.iter().map(number).collect::<Option<_>>().map(Self::Epochs),
            value => number(value).map(Self::Every),
        };
        read.ok_or_else(|| serde::de::Error::custom(format!("invalid value, expected {EXPECTED}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_epochs_are_those_of_keras() {
        let due = |freq: ValidationFreq| (0..6).filter(|epoch| freq.is_due(*epoch)).collect::<Vec<_>>();
        assert_eq!(due(ValidationFreq::default()), [0, 1, 2, 3, 4, 5]);
        assert_eq!(due(2.into()), [1, 3, 5]);
        assert_eq!(due([1, 2, 5, 70].into()), [0, 1, 4]);
        assert_eq!(due(Vec::new().into()), [] as [usize; 0]);
    }

    #[test]
    fn it_is_read_from_a_number_or_a_list() {
        for (value, freq) in [(json!(3), ValidationFreq::from(3)), (json!([4, 1]), [4, 1].into())] {
            assert_eq!(ValidationFreq::deserialize(&value).unwrap(), freq);
            assert_eq!(serde_json::to_value(&freq).unwrap(), value);
        }
        for value in [json!("each"), json!([1.5]), json!(-1), json!(null), json!([[1]])] {
            let error = ValidationFreq::deserialize(&value).unwrap_err();
            assert!(error.to_string().contains("a list of epochs"), "{value}: {error}");
        }
        assert!(ValidationFreq::from(0).check().is_err() && ValidationFreq::from([1, 0]).check().is_err());
        assert!(ValidationFreq::from([2, 1, 2]).check().is_ok());
    }
}
