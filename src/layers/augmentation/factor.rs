//! The magnitude of an augmentation: a number or a range.

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::{Argument, also_argument};
use crate::error::{Error, Result};
use crate::random::Random;

/// The magnitude of an augmentation: one number, whose meaning each layer defines, or a range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Factor {
    /// One number.
    One(f32),
    /// From one number to another, in either order.
    Range(f32, f32),
}

/// The limit of a range where Keras has none.
pub(super) const FARTHEST: f32 = 1000.0;

impl<'de> Deserialize<'de> for Factor {
    /// Parses a number or a pair. `null` is refused: the layers that accept it as 0 have an optional factor.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            One(f32),
            Range(f32, f32),
        }
        match Raw::deserialize(deserializer) {
            Ok(Raw::One(number)) => Ok(Self::One(number)),
            Ok(Raw::Range(from, to)) => Ok(Self::Range(from, to)),
            Err(_) => Err(serde::de::Error::custom("it is another value, expected a number or a pair of numbers")),
        }
    }
}

impl From<f32> for Factor {
    fn from(number: f32) -> Self {
        Self::One(number)
    }
}

impl From<(f32, f32)> for Factor {
    fn from((from, to): (f32, f32)) -> Self {
        Self::Range(from, to)
    }
}

impl From<[f32; 2]> for Factor {
    fn from([from, to]: [f32; 2]) -> Self {
        Self::Range(from, to)
    }
}

also_argument!(f32 => Factor, (f32, f32) => Factor, [f32; 2] => Factor);

impl Argument<Option<Factor>> for f32 {
    fn into_argument(self) -> Option<Factor> {
        Some(self.into())
    }
}

impl Argument<Option<Factor>> for (f32, f32) {
    fn into_argument(self) -> Option<Factor> {
        Some(self.into())
    }
}

impl Argument<Option<Factor>> for [f32; 2] {
    fn into_argument(self) -> Option<Factor> {
        Some(self.into())
    }
}

/// The range to draw from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub least: f32,
    pub most: f32,
}

impl Bounds {
    /// Draws a number from the range; an empty range yields its end.
    pub fn draw(self, random: &mut Random) -> f32 {
        random.uniform(self.least..self.most)
    }
}

impl Factor {
    /// Refuses numbers outside of `bounds`.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub(super) fn check(self, argument: &str, bounds: [f32; 2]) -> Result<()> {
        let within = |number: f32| (bounds[0]..=bounds[1]).contains(&number);
        let expected = format!("a number, or a pair of numbers, from {} to {}", bounds[0], bounds[1]);
        match self {
            Self::One(number) if !within(number) => Err(Error::argument(argument, expected, number)),
            Self::Range(from, to) if !within(from) || !within(to) => {
                Err(Error::argument(argument, expected, format!("({from}, {to})")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses, as Keras does, a number outside of `bounds` and a pair completely outside; a pair partly outside can
    /// extend to `ends`.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub(super) fn check_overlap(self, argument: &str, bounds: [f32; 2], ends: [f32; 2]) -> Result<()> {
        match self {
            Self::Range(from, to) if from <= bounds[1] && to >= bounds[0] => self.check(argument, ends),
            _ => self.check(argument, bounds),
        }
    }

    /// The range of a pair, or ± a number; clipped below at `least`.
    pub(super) fn around(self, least: f32) -> Bounds {
        match self {
            Self::One(number) => Bounds { least: (-number.abs()).max(least), most: number.abs() },
            Self::Range(from, to) => Bounds { least: from.min(to), most: from.max(to) },
        }
    }

    /// The range of a pair, or from 0 to a number.
    pub(super) fn up_to(self) -> Bounds {
        self.around(0.0)
    }

    /// Draws whether an event happens: its probability is first drawn from [`up_to`](Self::up_to).
    pub(super) fn happens(self, random: &mut Random) -> bool {
        let probability = self.up_to().draw(random);
        random.happens(probability)
    }
}

/// The range of images' values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "a pair of numbers")]
pub struct ValueRange(f32, f32);

impl ValueRange {
    /// The range of bytes.
    pub(super) const BYTES: Self = Self(0.0, 255.0);

    /// Refuses an empty range.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub(super) fn check(self) -> Result<()> {
        if self.width().is_finite() && self.0 != self.1 {
            return Ok(());
        }
        let expected = "two different numbers whose difference is finite in 32 bits";
        Err(Error::argument("value_range", expected, format!("({}, {})", self.0, self.1)))
    }

    /// The smaller number.
    pub(super) fn least(self) -> f32 {
        self.0.min(self.1)
    }

    /// The greater number.
    pub(super) fn most(self) -> f32 {
        self.0.max(self.1)
    }

    /// The width of the range.
    pub(super) fn width(self) -> f32 {
        self.most() - self.least()
    }

    /// The last of the two numbers as given, which is the greater one unless the range was given in reverse.
    pub(super) fn last(self) -> f32 {
        self.1
    }

    /// Maps a number of this range to 0 to 1.
    pub(super) fn to_one(self, number: f32) -> f32 {
        if (self.0, self.1) == (0.0, 1.0) { number } else { (number - self.least()) / self.width() }
    }

    /// Maps a number from 0 to 1 to this range.
    pub(super) fn of_one(self, number: f32) -> f32 {
        number * self.width() + self.least()
    }

    /// Maps a number of this range to 0 to 255.
    pub(super) fn to_byte(self, number: f32) -> f32 {
        if self == Self::BYTES { number } else { (number - self.least()) / self.width() * 255.0 }
    }

    /// Maps a number from 0 to 255 to this range.
    pub(super) fn of_byte(self, number: f32) -> f32 {
        if self == Self::BYTES { number } else { number / 255.0 * self.width() + self.least() }
    }

    /// Clips a number to the range.
    pub(super) fn clip(self, number: f32) -> f32 {
        // NaN is kept.
        if number.is_nan() { number } else { number.max(self.least()).min(self.most()) }
    }
}

impl From<(f32, f32)> for ValueRange {
    fn from((least, most): (f32, f32)) -> Self {
        Self(least, most)
    }
}

impl From<[f32; 2]> for ValueRange {
    fn from([least, most]: [f32; 2]) -> Self {
        Self(least, most)
    }
}

also_argument!((f32, f32) => ValueRange, [f32; 2] => ValueRange);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_symmetric_and_a_pair_is_a_range() {
        assert_eq!(Factor::One(-0.3).around(-1.0), Bounds { least: -0.3, most: 0.3 });
        assert_eq!(Factor::One(0.3).up_to(), Bounds { least: 0.0, most: 0.3 });
        assert_eq!(Factor::Range(0.4, 0.2).up_to(), Bounds { least: 0.2, most: 0.4 });
    }

    #[test]
    fn factors_out_of_range_are_refused_by_name() {
        for wrong in [Factor::One(1e30), Factor::Range(0.0, f32::NAN), Factor::Range(-2.0, 0.0)] {
            let error = wrong.check("factor", [-1.0, 1.0]).unwrap_err().to_string();
            assert!(error.contains("`factor`") && error.contains("from -1 to 1"), "{error}");
        }
        assert!(ValueRange(1.0, 1.0).check().is_err() && ValueRange(1.0, 0.0).check().is_ok());
        // The ends are finite, but their difference overflows.
        assert!(ValueRange(-3e38, 3e38).check().is_err() && ValueRange(-1e38, 1e38).check().is_ok());
    }

    #[test]
    fn a_pair_partly_outside_extends_to_the_ends() {
        let check = |factor: Factor| factor.check_overlap("factor", [0.0, 1.0], [0.0, 1000.0]);
        for right in [Factor::One(1.0), Factor::Range(0.2, 1.8), Factor::Range(0.0, 1000.0), Factor::Range(1.0, 2.0)] {
            check(right).unwrap();
        }
        for (wrong, expected) in [
            (Factor::One(1.2), "from 0 to 1,"),
            (Factor::Range(1.2, 1.8), "from 0 to 1,"),
            (Factor::Range(0.2, 1001.0), "from 0 to 1000,"),
            (Factor::Range(-0.2, 0.5), "from 0 to 1000,"),
            (Factor::Range(0.2, f32::INFINITY), "from 0 to 1000,"),
        ] {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_factor_is_a_number_or_a_pair() {
        let read = |json: serde_json::Value| serde_json::from_value::<Factor>(json);
        assert_eq!(read(json!(0.5)).unwrap(), Factor::One(0.5));
        assert_eq!(read(json!([0, 0.5])).unwrap(), Factor::Range(0.0, 0.5));
        assert!(read(json!(null)).unwrap_err().to_string().contains("a number or a pair"));
        assert!(read(json!([0.5])).is_err() && read(json!("a")).is_err() && read(json!([1, 2, 3])).is_err());
        assert_eq!(serde_json::to_value(Factor::Range(0.0, 0.5)).unwrap(), json!([0.0, 0.5]));
    }
}
