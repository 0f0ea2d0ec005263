//! Facts about its training data that a model stores.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::TableInfo;
use crate::error::{Error, Result};

/// The range to which the darkest and the lightest pixel value are mapped.
///
/// ```
/// use brasa::datasets::PixelRange;
/// let range: PixelRange = "-1..1".parse()?;
/// assert_eq!([0, 51, 255].map(|byte| range.of_byte(byte)), [-1.0, -0.6, 1.0]);
/// assert!("0..256".parse::<PixelRange>().is_err());
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PixelRange {
    /// `0..1`: bytes divided by 255.
    #[default]
    #[serde(rename = "0..1")]
    ZeroToOne,
    /// `0..255`: bytes unchanged, as in Keras's `image_dataset_from_directory`.
    #[serde(rename = "0..255")]
    ZeroTo255,
    /// `-1..1`: bytes divided by 127.5, less 1.
    #[serde(rename = "-1..1")]
    MinusOneToOne,
}

impl PixelRange {
    const ALL: [Self; 3] = [Self::ZeroToOne, Self::ZeroTo255, Self::MinusOneToOne];

    /// Its name: `0..1`, `0..255` or `-1..1`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroToOne => "0..1",
            Self::ZeroTo255 => "0..255",
            Self::MinusOneToOne => "-1..1",
        }
    }

    /// The number for a byte of an image.
    pub fn of_byte(self, byte: u8) -> f32 {
        let byte = f32::from(byte);
        match self {
            Self::ZeroToOne => byte / 255.0,
            Self::ZeroTo255 => byte,
            Self::MinusOneToOne => byte / 127.5 - 1.0,
        }
    }

    /// The number for a relative brightness from 0 to 1.
    pub fn of_share(self, share: f32) -> f32 {
        match self {
            Self::ZeroToOne => share,
            Self::ZeroTo255 => share * 255.0,
            Self::MinusOneToOne => share * 2.0 - 1.0,
        }
    }

    /// The relative brightness of a number.
    pub fn share_of(self, number: f32) -> f32 {
        match self {
            Self::ZeroToOne => number,
            Self::ZeroTo255 => number / 255.0,
            Self::MinusOneToOne => (number + 1.0) / 2.0,
        }
    }
}

impl fmt::Display for PixelRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PixelRange {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|range| range.name() == name);
        known.ok_or_else(|| Error::unknown("range of pixels", name, Self::ALL.map(Self::name)))
    }
}

/// Facts about its data that a model stores: [`Model::data_info`](crate::Model::data_info).
///
/// It is saved in the model's file: as the member `brasa.json` of a `.keras` archive, which Keras ignores, the
/// attribute `brasa` of an `.h5` file, and the metadata entry `brasa` of a `.safetensors` file. Size and channels of
/// images are in the model's input shape.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DataInfo {
    /// The published data set that the model was trained on, such as `mnist`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The names of the classes, by class index; empty if they are not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// The range of the images that the model expects; `None` if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels: Option<PixelRange>,
    /// How the columns of a table become inputs, if the model was trained on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableInfo>,
    /// Unknown keys of the file, which are preserved.
    #[serde(flatten)]
    pub other: Map<String, Json>,
}

impl DataInfo {
    /// Whether it contains nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The JSON of a file; `None` if it contains nothing.
    pub(crate) fn to_json(&self) -> Option<Json> {
        (!self.is_empty()).then(|| serde_json::to_value(self).unwrap_or_default())
    }

    /// Parses the JSON of a file; `null` is empty.
    pub(crate) fn from_json(file: &str, at: &str, json: Json) -> Result<Self> {
        if json.is_null() {
            return Ok(Self::default());
        }
        let info: Self = serde_json::from_value(json).map_err(|error| Error::broken(file, at, error))?;
        if !info.class_names.is_empty() {
            check_class_names(&info.class_names).map_err(|error| Error::broken(file, at, error))?;
        }
        info.table.iter().try_for_each(|table| table.check(file, at))?;
        Ok(info)
    }
}

/// The longest class name, in characters.
const LONGEST_NAME: usize = 1000;

/// Checks class names: at least one, all distinct.
///
/// # Errors
/// [`Error::Argument`] for an empty list, an empty name, one of more than 1,000 characters, and a duplicate.
pub fn check_class_names(names: &[String]) -> Result<()> {
    if let Some(name) = names.iter().find(|name| name.chars().nth(LONGEST_NAME).is_some()) {
        let expected = format!("names of up to {LONGEST_NAME} characters");
        return Err(Error::argument("class_names", expected, format!("one of {}", name.chars().count())));
    }
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    let received = match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => format!("`{}` twice", pair[0]),
        None if sorted.first().is_none_or(|name| name.is_empty()) => "an empty name, or none".to_owned(),
        None => return Ok(()),
    };
    Err(Error::argument("class_names", "a distinct name for each class", received))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_kept() {
        let text = r#"{"class_names":["a","b"],"pixels":"0..255","vocabulary":["x"]}"#;
        let info = DataInfo::from_json("f", "brasa.json", serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!((info.class_names.len(), info.pixels), (2, Some(PixelRange::ZeroTo255)));
        assert_eq!(info.to_json().unwrap().to_string(), text);
        assert_eq!(DataInfo::default().to_json(), None);
        let broken = DataInfo::from_json("f", "brasa.json", serde_json::json!({ "class_names": 3 }));
        assert!(matches!(broken, Err(Error::Broken { .. })));
        let of = |json| DataInfo::from_json("f", "brasa.json", json);
        let categories = |count: usize| {
            let texts: Vec<String> = (0..count).map(|index| index.to_string()).collect();
            of(serde_json::json!({ "table": { "separator": ",", "columns": [{ "name": "a", "categories": texts }] } }))
        };
        assert!(categories(101).is_ok());
        for unfit in [
            categories(102),
            of(serde_json::json!({ "class_names": ["a", "a"] })),
            of(serde_json::json!({ "class_names": ["a", "é".repeat(1001)] })),
        ] {
            assert!(matches!(unfit, Err(Error::Broken { .. })), "{unfit:?}");
        }
        assert!(of(serde_json::json!({ "class_names": ["a", "é".repeat(1000)] })).is_ok());
    }

    #[test]
    fn shares_and_bytes_agree_in_every_range() {
        for range in PixelRange::ALL {
            assert_eq!(range.name().parse::<PixelRange>().unwrap(), range);
            for byte in 0..=255 {
                let (exact, number) = (range.of_byte(byte), range.of_share(f32::from(byte) / 255.0));
                assert!(
                    (exact - number).abs() <= 1e-4 && (range.share_of(exact) * 255.0 - f32::from(byte)).abs() < 1e-3
                );
            }
        }
    }

    #[test]
    fn class_names_are_distinct() {
        let names =
            |names: &[&str]| check_class_names(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert!(names(&["a", "b"]).is_ok());
        assert!(names(&["a", "b", "a"]).unwrap_err().to_string().contains("`a` twice"));
        assert!(names(&[]).is_err() && names(&["", "a"]).is_err());
    }
}
