//! From the samples of shards to batches.

use std::sync::{Arc, OnceLock};

use rayon::prelude::*;
use serde_json::Value as Json;

use super::sample::{Content, Raw};
use crate::datasets::folders::EXTENSIONS;
use crate::datasets::npy::read_npy;
use crate::datasets::{Dataset, ReadImage, Samples};
use crate::error::{Error, Result};
use crate::formats::Limits;
use crate::formats::keras::parse_json;

/// The members that are targets unless others are named, the first first.
const TARGETS: [&str; 2] = ["cls", "y.npy"];

/// Names of members that hold the number or the name of a class.
const CLASSES: [&str; 6] = ["cls", "cls2", "class", "index", "inx", "id"];

/// The most dimensions of a list of lists in JSON.
const MOST_DIMENSIONS: usize = 8;

/// How samples become numbers and texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Decoder {
    /// The members that are inputs and targets, by the rest of their names; with a colon and a key, a value in JSON.
    pub inputs: Vec<String>,
    pub targets: Vec<String>,
    pub class_names: Vec<String>,
    pub images: Option<ReadImage>,
    /// The names and shapes of the first sample.
    pub layout: OnceLock<String>,
}

/// Splits `json:label` into the member and the key.
fn member_of(name: &str) -> (&str, Option<&str>) {
    name.split_once(':').map_or((name, None), |(member, key)| (member, Some(key)))
}

/// The format of a member: the last part of its name.
fn format_of(member: &str) -> &str {
    member.rsplit('.').next().unwrap_or(member)
}

fn is_input(member: &str) -> bool {
    let format = format_of(member);
    EXTENSIONS.contains(&format) || ["npy", "txt", "text"].contains(&format)
}

impl Decoder {
    /// Whether a member is read.
    pub fn wants(&self, member: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|name| member_of(name).0 == member);
        let is_target = is_in(&self.targets) || (self.targets.is_empty() && TARGETS.contains(&member));
        is_target || is_in(&self.inputs) || (self.inputs.is_empty() && is_input(member))
    }

    /// Whether a sample has members that are read as images.
    #[cfg(feature = "recipes")]
    pub fn has_images(&self, sample: &Raw) -> bool {
        let Content::Members(_, members) = &sample.content else { return false };
        members.iter().any(|(name, _)| EXTENSIONS.contains(&format_of(name)))
    }

    /// The samples as a batch. All samples that are decoded have the shapes of the first.
    pub fn batch(&self, samples: &[Raw]) -> Result<Dataset> {
        let decoded: Vec<Result<Dataset>> = samples.par_iter().map(|raw| self.sample(raw)).collect();
        let mut rows = Vec::with_capacity(samples.len());
        let mut last = None;
        for (raw, data) in samples.iter().zip(decoded) {
            let data = data?;
            // The rows of a file have one shape.
            let is_row = matches!(raw.content, Content::Row(..));
            if is_row && last.replace(&raw.file).is_some_and(|last| Arc::ptr_eq(last, &raw.file)) {
                rows.push(data);
                continue;
            }
            let own = data.layout();
            let first = self.layout.get_or_init(|| own.clone());
            if own != *first {
                return Err(Error::data(raw.name(), format!("{first}, as the first sample has"), own));
            }
            rows.push(data);
        }
        Dataset::joined(&rows)
    }

    fn sample(&self, raw: &Raw) -> Result<Dataset> {
        let (key, members) = match &raw.content {
            Content::Row(_, data) => return Ok(data.clone()),
            Content::Members(key, members) => (key, members),
        };
        let listed = || members.iter().map(|(name, _)| format!("`.{name}`")).collect::<Vec<_>>().join(", ");
        let broken = |reason: String| Error::broken(&*raw.file, format!("sample `{key}`"), reason);
        let has = |name: &str| members.iter().any(|(own, _)| own == name);
        let targets = match &self.targets[..] {
            [] => {
                let Some(target) = TARGETS.into_iter().find(|name| has(name)) else {
                    let expected =
                        "expected a member `.cls` or `.y.npy`, or the name of another one that is the target";
                    return Err(broken(format!("{expected}; it has {}", listed())));
                };
                vec![target]
            }
            names => names.iter().map(String::as_str).collect(),
        };
        let inputs = match &self.inputs[..] {
            [] => {
                let others = members.iter().map(|(name, _)| name.as_str());
                let others: Vec<&str> = others.filter(|name| is_input(name) && !targets.contains(name)).collect();
                if others.len() != 1 {
                    let expected = "expected one member to be the input (an image, `.npy` or `.txt`), or the names of \
                                    the inputs";
                    return Err(broken(format!("{expected}; it has {}", listed())));
                }
                others
            }
            names => names.iter().map(String::as_str).collect(),
        };
        let read = |name: &&str, is_target: bool| {
            let (member, path) = member_of(name);
            let Some((_, bytes)) = members.iter().find(|(own, _)| own == member) else {
                return Err(broken(format!("expected a member `.{member}`; it has {}", listed())));
            };
            let place = format!("member `{key}.{member}`");
            let value =
                Member { decoder: self, file: &raw.file, place: &place, bytes }.value(member, path, is_target)?;
            Ok((None, value))
        };
        let x = inputs.iter().map(|name| read(name, false)).collect::<Result<Vec<_>>>()?;
        let y = targets.iter().map(|name| read(name, true)).collect::<Result<Vec<_>>>()?;
        Dataset::of_fields(x, y)
    }
}

/// A member of an archive.
struct Member<'a> {
    decoder: &'a Decoder,
    file: &'a str,
    place: &'a str,
    bytes: &'a [u8],
}

impl Member<'_> {
    fn broken(&self, reason: impl std::fmt::Display) -> Error {
        Error::broken(self.file, self.place, reason)
    }

    /// Its value, as one sample.
    fn value(&self, member: &str, key: Option<&str>, is_target: bool) -> Result<Samples> {
        let format = format_of(member);
        let name = || format!("{}: {}", self.file, self.place);
        if key.is_some() && !["json", "jsn"].contains(&format) {
            let supported = "keys of members in JSON, such as `json:label`";
            return Err(Error::unsupported(format!("a key in {} of `{}`", self.place, self.file), supported));
        }
        match format {
            "npy" => Ok(read_npy(&mut &*self.bytes, self.bytes.len() as u64, &name())?.into_one()),
            "json" | "jsn" => self.json(key),
            "txt" | "text" if !is_target => Samples::texts([1], vec![self.text()?.to_owned()]),
            "txt" | "text" => self.class(self.text()?),
            format if CLASSES.contains(&format) => self.class(self.text()?),
            format if EXTENSIONS.contains(&format) => {
                let Some(read) = &self.decoder.images else {
                    let expected = "how images are read (`Shards::images`), as there are some in the archive";
                    return Err(Error::argument("images", expected, "nothing"));
                };
                let (height, width, channels) = read.shape();
                Samples::new([1, height, width, channels], read.bytes(name(), self.bytes)?)
            }
            _ => {
                let supported = "images, `.npy`, `.txt`, `.json`, `.cls`";
                Err(Error::unsupported(format!("{} of `{}`", self.place, self.file), supported))
            }
        }
    }

    fn text(&self) -> Result<&str> {
        std::str::from_utf8(self.bytes).map_err(|error| self.broken(error))
    }

    /// The number of a class, by its number or its name; without classes a number.
    fn class(&self, text: &str) -> Result<Samples> {
        let (text, names) = (text.trim(), &self.decoder.class_names);
        let number = text.parse::<i64>().ok();
        if names.is_empty() {
            let real = text.parse::<f32>().ok().filter(|number| number.is_finite());
            return match (number, real) {
                (Some(number), _) => Samples::new([1], vec![number]),
                (None, Some(number)) => Samples::new([1], vec![number]),
                _ => Err(self.broken(format!(
                    "expected a number, or names of the classes (`class_names`), received {:?}",
                    crate::error::begun(text, 40)
                ))),
            };
        }
        let by_name = names.iter().position(|name| name == text).map(|index| index as i64);
        let by_number = number.filter(|number| usize::try_from(*number).is_ok_and(|number| number < names.len()));
        match by_name.or(by_number) {
            Some(class) => Samples::new([1], vec![class]),
            None => Err(self.broken(Error::unknown("class", text, names))),
        }
    }

    /// A number, a name of a class, or a list of numbers in JSON, or the value of a key.
    fn json(&self, key: Option<&str>) -> Result<Samples> {
        let limits = Limits::default();
        if self.bytes.len() as u64 > limits.json_bytes {
            let reason = format!("expected up to {} bytes, received {}", limits.json_bytes, self.bytes.len());
            return Err(self.broken(reason));
        }
        let parsed = parse_json(self.file, self.place, self.bytes, &limits)?;
        let value = match (&parsed, key) {
            (Json::Object(map), Some(key)) => match map.get(key) {
                Some(value) => value,
                None => return Err(self.broken(Error::unknown("key", key, map.keys()))),
            },
            (_, Some(key)) => return Err(self.broken(format!("expected an object with the key `{key}`"))),
            (Json::Object(_), None) => {
                return Err(self.broken("expected a number or a list, or the name of a key, as in `json:label`"));
            }
            (value, None) => value,
        };
        if let Json::String(text) = value {
            return self.class(text);
        }
        let (mut shape, mut numbers) = (vec![1], Vec::new());
        let mut first = value;
        while let Json::Array(list) = first {
            shape.push(list.len());
            match list.first() {
                Some(item) if shape.len() <= MOST_DIMENSIONS => first = item,
                _ => return Err(self.broken(format!("expected lists of numbers, up to {MOST_DIMENSIONS} deep"))),
            }
        }
        self.numbers(value, &shape[1..], &mut numbers)?;
        // Whole numbers stay exact on their way to layers.
        let whole: Option<Vec<i64>> = numbers.iter().map(|number| number.as_i64()).collect();
        match whole {
            Some(whole) => Samples::new(shape, whole),
            None => Samples::new(
                shape,
                numbers.iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect::<Vec<f64>>(),
            ),
        }
    }

    /// Appends the numbers of lists of this shape.
    fn numbers<'j>(&self, value: &'j Json, shape: &[usize], numbers: &mut Vec<&'j serde_json::Number>) -> Result<()> {
        match (value, shape) {
            (Json::Number(number), []) => {
                numbers.push(number);
                Ok(())
            }
            (Json::Array(list), [size, inner @ ..]) if list.len() == *size => {
                list.iter().try_for_each(|item| self.numbers(item, inner, numbers))
            }
            _ => Err(self.broken("expected numbers, in lists of equal lengths")),
        }
    }
}
