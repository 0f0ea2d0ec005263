//! The result of a metric.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of a metric: one number or, for several classes or thresholds, a list.
///
/// In JSON it is a number or a list. `Display` shows four decimals.
///
/// ```
/// use brasa::metrics::Score;
/// let (loss, precision) = (Score::from(0.25), Score::from(vec![0.5, 1.0]));
/// assert_eq!((loss.one(), precision.one()), (Some(0.25), None));
/// assert_eq!((loss.as_slice(), precision.as_slice()), (&[0.25][..], &[0.5, 1.0][..]));
/// assert_eq!(precision.to_string(), "[0.5000, 1.0000]");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Score {
    /// A single number.
    One(f64),
    /// A number per class or threshold.
    Several(Vec<f64>),
}

impl Score {
    /// The number, if it is a single one.
    pub fn one(&self) -> Option<f64> {
        match self {
            Self::One(number) => Some(*number),
            Self::Several(_) => None,
        }
    }

    /// All numbers.
    pub fn as_slice(&self) -> &[f64] {
        match self {
            Self::One(number) => std::slice::from_ref(number),
            Self::Several(numbers) => numbers,
        }
    }

    /// The mean of all numbers, as shown for a list in Keras's progress bar.
    pub fn mean(&self) -> f64 {
        let numbers = self.as_slice();
        numbers.iter().sum::<f64>() / numbers.len() as f64
    }

    /// The text with each number formatted by `show`; a list in brackets.
    pub fn show(&self, show: impl Fn(f64) -> String) -> String {
        match self {
            Self::One(number) => show(*number),
            Self::Several(numbers) => {
                format!("[{}]", numbers.iter().map(|number| show(*number)).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show(|number| format!("{number:.4}")))
    }
}

impl From<f64> for Score {
    fn from(number: f64) -> Self {
        Self::One(number)
    }
}

impl From<Vec<f64>> for Score {
    fn from(numbers: Vec<f64>) -> Self {
        Self::Several(numbers)
    }
}

/// Equal to a number if it is a single equal one.
impl PartialEq<f64> for Score {
    fn eq(&self, other: &f64) -> bool {
        self.one() == Some(*other)
    }
}
