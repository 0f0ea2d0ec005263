//! Event files for TensorBoard: scalars, histograms and texts by tag and step.
//!
//! A file is a sequence of records, each with its length and two checksums (TensorFlow's `record_writer.h`); a record
//! is a protocol buffer (`event.proto`, `summary.proto`, `tensor.proto`), of which only the fields in use are declared.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::error::{Error, Result};

/// A reader for tests: otherwise TensorBoard reads these files.
#[cfg(test)]
pub(crate) mod read;

/// The version in the first record of a file.
const VERSION: &str = "brain.Event:2";

/// The number of bins of a histogram, as in TensorFlow.
const BINS: usize = 30;

/// TensorFlow's tensor types.
const DT_FLOAT: i32 = 1;
const DT_DOUBLE: i32 = 2;
const DT_STRING: i32 = 7;

/// TensorBoard's data classes.
const SCALAR: i32 = 1;
const TENSOR: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(message, optional, tag = "8")]
    tensor: Option<TensorProto>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<SummaryMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryMetadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
    #[prost(int32, tag = "4")]
    data_class: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    tensor_shape: Option<TensorShape>,
    #[prost(bytes = "vec", tag = "4")]
    tensor_content: Vec<u8>,
    #[prost(float, repeated, tag = "5")]
    float_val: Vec<f32>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    string_val: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShape {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

/// An event file that is being written.
///
/// ```
/// use brasa::formats::tfevents::EventFile;
/// # let folder = tempfile::tempdir().unwrap();
/// let mut file = EventFile::create(folder.path().join("train"))?;
/// file.scalar("epoch_loss", 0, 0.5)?;
/// file.flush()?;
/// assert!(file.path().to_string_lossy().contains("events.out.tfevents"));
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventFile {
    /// Creates a new file in a folder, which is created if missing; TensorBoard recognises the file by its name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let seconds = now() as u64;
        for count in 0_u32.. {
            // TensorBoard reads the files of a folder in alphabetical order.
            let name = format!("events.out.tfevents.{seconds:010}.brasa.{}.{count}.v2", std::process::id());
            let path = folder.join(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut own = Self { path, file: BufWriter::new(file) };
                    own.write(&Event { wall_time: now(), file_version: Some(VERSION.into()), ..Event::default() })?;
                    return Ok(own);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", path)(error)),
            }
        }
        Err(Error::io("create", folder)(ErrorKind::AlreadyExists.into()))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a scalar.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        let tensor = TensorProto { dtype: DT_FLOAT, float_val: vec![value as f32], ..shaped(&[]) };
        self.tensor(tag, step, "scalars", SCALAR, tensor)
    }

    /// Writes the distribution of numbers; infinities and NaN are excluded.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn histogram(&mut self, tag: &str, step: u64, values: &[f32]) -> Result<()> {
        let bins = bins(values);
        let content = bins.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
        let tensor = TensorProto { dtype: DT_DOUBLE, tensor_content: content, ..shaped(&[bins.len(), 3]) };
        self.tensor(tag, step, "histograms", TENSOR, tensor)
    }

    /// Writes a text, which TensorBoard shows as Markdown.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn text(&mut self, tag: &str, step: u64, text: &str) -> Result<()> {
        self.tensor(tag, step, "text", TENSOR, strings(text))
    }

    /// Writes a model's Keras configuration as JSON, which TensorBoard draws as a graph.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keras_model(&mut self, tag: &str, step: u64, json: &str) -> Result<()> {
        self.tensor(tag, step, "graph_keras_model", TENSOR, strings(json))
    }

    fn tensor(&mut self, tag: &str, step: u64, plugin: &str, data_class: i32, tensor: TensorProto) -> Result<()> {
        // TensorFlow writes version 0 of the content as an empty message.
        let plugin_data = PluginData { plugin_name: plugin.into(), content: Vec::new() };
        let metadata = SummaryMetadata { plugin_data: Some(plugin_data), data_class };
        let value = SummaryValue { tag: tag.into(), tensor: Some(tensor), metadata: Some(metadata) };
        let summary = Some(Summary { value: vec![value] });
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.write(&Event { wall_time: now(), step, summary, ..Event::default() })
    }

    fn write(&mut self, event: &Event) -> Result<()> {
        let data = event.encode_to_vec();
        let length = (data.len() as u64).to_le_bytes();
        let parts: [&[u8]; 4] = [&length, &checksum(&length).to_le_bytes(), &data, &checksum(&data).to_le_bytes()];
        self.file.write_all(&parts.concat()).map_err(Error::io("write", &self.path))
    }

    /// Flushes the records to the system, so that TensorBoard can see them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::io("write", &self.path))
    }
}

/// A tensor of this shape, without content.
fn shaped(sizes: &[usize]) -> TensorProto {
    let dim = sizes.iter().map(|size| Dim { size: *size as i64 }).collect();
    TensorProto { tensor_shape: Some(TensorShape { dim }), ..TensorProto::default() }
}

fn strings(text: &str) -> TensorProto {
    TensorProto { dtype: DT_STRING, string_val: vec![text.as_bytes().to_vec()], ..shaped(&[]) }
}

/// Equal bins from the least to the largest number; identical numbers get a bin of width 1 around them.
fn bins(values: &[f32]) -> Vec<[f64; 3]> {
    let finite = || values.iter().filter(|value| value.is_finite()).map(|value| f64::from(*value));
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
    if low > high {
        return Vec::new();
    }
    if low == high {
        return vec![[low - 0.5, low + 0.5, finite().count() as f64]];
    }
    let width = (high - low) / BINS as f64;
    let mut counts = [0_u64; BINS];
    finite().for_each(|value| counts[(((value - low) / width) as usize).min(BINS - 1)] += 1);
    let edge = |bin: usize| if bin == BINS { high } else { low + bin as f64 * width };
    counts.iter().enumerate().map(|(bin, count)| [edge(bin), edge(bin + 1), *count as f64]).collect()
}

/// The masked CRC-32C of TensorFlow's records.
fn checksum(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::read::{Recorded, read_events};
    use super::*;

    #[test]
    fn writing_and_reading_round_trips() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path().join("a/b")).unwrap();
        file.scalar("loss", 7, 0.25).unwrap();
        file.histogram("w", 1, &[0.0, 1.0, 2.0, f32::NAN, 3.0]).unwrap();
        file.text("note", 0, "# ä").unwrap();
        file.keras_model("keras", 0, "{}").unwrap();
        file.flush().unwrap();
        let records = read_events(file.path()).unwrap();
        let said: Vec<_> =
            records.iter().map(|record| (record.tag.as_str(), record.step, record.plugin.as_str())).collect();
        let expected =
            [("loss", 7, "scalars"), ("w", 1, "histograms"), ("note", 0, "text"), ("keras", 0, "graph_keras_model")];
        assert_eq!(said, expected);
        assert_eq!(records[0].value, Recorded::Scalar(0.25));
        assert_eq!(records[2].value, Recorded::Text("# ä".into()));
        let Recorded::Histogram(bins) = &records[1].value else { panic!("{records:?}") };
        assert_eq!((bins.len(), bins[0], bins[29]), (30, [0.0, 0.1, 1.0], [2.9000000000000004, 3.0, 1.0]));
        assert_eq!(bins.iter().map(|bin| bin[2]).sum::<f64>(), 4.0);
        assert!(records[0].wall_time > 1.7e9);
    }

    #[test]
    fn the_bytes_are_those_of_tensorflow() {
        // RFC 3720's value for 32 zeros, rotated and shifted.
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path()).unwrap();
        file.flush().unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        // wall_time: field 1 of 8 bytes; file_version: field 3, 13 characters.
        assert_eq!(
            (bytes[..8].to_vec(), bytes[12], bytes[21..23].to_vec()),
            (24u64.to_le_bytes().to_vec(), 0x09, vec![0x1a, 13])
        );
        assert_eq!(&bytes[23..36], VERSION.as_bytes());
        let name = file.path().file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("events.out.tfevents."), "{name}");
    }

    #[test]
    fn damage_is_an_error_and_truncation_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path()).unwrap();
        file.scalar("a", 0, 1.0).unwrap();
        file.scalar("b", 1, 2.0).unwrap();
        file.flush().unwrap();
        let path = file.path().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(read_events(&path).unwrap().len(), 1);
        for at in [0, 9, 20, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(read_events(&path), Err(Error::Broken { .. })), "{at}");
        }
    }

    #[test]
    fn histograms_of_few_numbers() {
        assert_eq!(bins(&[]), Vec::<[f64; 3]>::new());
        assert_eq!(bins(&[f32::INFINITY]), Vec::<[f64; 3]>::new());
        assert_eq!(bins(&[2.0, 2.0]), [[1.5, 2.5, 2.0]]);
    }
}
