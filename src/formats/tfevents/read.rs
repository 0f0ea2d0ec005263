//! A reader for event files.

use std::path::Path;

use prost::Message;

use super::{DT_DOUBLE, DT_FLOAT, DT_STRING, Event, TensorProto, checksum};
use crate::error::{Error, Result};
use crate::formats::keras::read_limited;

/// An entry of an event file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// Its tag.
    pub tag: String,
    /// Its step.
    pub step: i64,
    /// The time of writing, in seconds since 1970.
    pub wall_time: f64,
    /// The TensorBoard plugin: `scalars`, `histograms`, `text`…
    pub plugin: String,
    /// Its value.
    pub value: Recorded,
}

/// The value of a [`Record`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Recorded {
    /// A number.
    Scalar(f32),
    /// The bins of a histogram: left edge, right edge, count.
    Histogram(Vec<[f64; 3]>),
    /// A text.
    Text(String),
}

/// Reads an event file written by [`EventFile`](super::EventFile). An incomplete last record, as left by a kill, is
/// ignored.
///
/// # Errors
/// [`Error::Io`]; [`Error::Broken`] for a record with a wrong checksum, or of another kind.
pub(crate) fn read_events(path: impl AsRef<Path>) -> Result<Vec<Record>> {
    let path = path.as_ref();
    let bytes = read_limited(path, u64::MAX - 1)?;
    let mut rest = bytes.as_slice();
    let mut records = Vec::new();
    for number in 1.. {
        let broken = |reason: &str| Error::broken(path.display().to_string(), format!("record {number}"), reason);
        let Some((header, after)) = rest.split_at_checked(12) else { break };
        let (length, check) = header.split_at(8);
        if checksum(length).to_le_bytes() != check {
            return Err(broken("the checksum of its length is wrong"));
        }
        let length = length.iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        let length = usize::try_from(length).map_err(|_| broken("it is too long"))?;
        let end = length.checked_add(4).ok_or_else(|| broken("it is too long"))?;
        let Some((data, after)) = after.split_at_checked(end) else { break };
        let (data, check) = data.split_at(length);
        if checksum(data).to_le_bytes() != check {
            return Err(broken("its checksum is wrong"));
        }
        rest = after;
        let event = Event::decode(data).map_err(|error| broken(&error.to_string()))?;
        for value in event.summary.into_iter().flat_map(|summary| summary.value) {
            let tensor = value.tensor.as_ref().and_then(recorded);
            records.push(Record {
                tag: value.tag,
                step: event.step,
                wall_time: event.wall_time,
                plugin: value.metadata.and_then(|data| data.plugin_data).unwrap_or_default().plugin_name,
                value: tensor.ok_or_else(|| broken("it holds another kind of value"))?,
            });
        }
    }
    Ok(records)
}

fn recorded(tensor: &TensorProto) -> Option<Recorded> {
    match tensor.dtype {
        DT_FLOAT => tensor.float_val.first().map(|value| Recorded::Scalar(*value)),
        DT_DOUBLE => {
            let numbers: Vec<f64> =
                tensor.tensor_content.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
            Some(Recorded::Histogram(numbers.as_chunks::<3>().0.to_vec()))
        }
        DT_STRING => {
            let text = tensor.string_val.first()?.clone();
            String::from_utf8(text).ok().map(Recorded::Text)
        }
        _ => None,
    }
}
