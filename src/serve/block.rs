//! The values of one input of a request, while they are parsed and as the model takes them.

use crate::datasets::{Cells, Column, ReadImage};
use crate::error::Result;

use super::budget::RequestLimits;
use super::fault::{Fault, FaultResult};
use super::signature::{Port, ValueKind};

/// The most dimensions of what comes in a request, the samples' counted.
pub(super) const MOST_RANK: usize = 8;

/// Values, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    Float(Vec<f32>),
    Whole(Vec<i64>),
    Text(Vec<String>),
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Self::Float(values) => values.len(),
            Self::Whole(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }
}

/// The samples of one input, in the shape that the model takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub rows: usize,
    pub sample: Vec<usize>,
    pub values: Values,
}

impl Block {
    /// Values of a shape, samples first, for an input.
    ///
    /// # Errors
    /// A shape or a count that does not fit the input.
    pub fn new(port: &Port, shape: &[usize], values: Values) -> FaultResult<Self> {
        let wrong = |received: String| {
            let what = format!("input `{}`", port.name);
            Err(Fault::expected(what, format!("shape {}", port.shape_text()), received))
        };
        let Some((&rows, sample)) = shape.split_first() else { return wrong("a single value".into()) };
        let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        if count != Some(values.len()) {
            return wrong(format!("shape {shape:?} and {} values", values.len()));
        }
        let Some(sample) = port.accepted(sample) else { return wrong(shape_text(shape)) };
        Ok(Self { rows, sample, values })
    }

    /// Whether both can be concatenated.
    pub fn goes_with(&self, other: &Self) -> bool {
        self.sample == other.sample && std::mem::discriminant(&self.values) == std::mem::discriminant(&other.values)
    }

    /// Appends another block, which it [`goes_with`](Self::goes_with).
    pub fn append(&mut self, other: &mut Self) {
        match (&mut self.values, &mut other.values) {
            (Values::Float(own), Values::Float(more)) => own.append(more),
            (Values::Whole(own), Values::Whole(more)) => own.append(more),
            (Values::Text(own), Values::Text(more)) => own.append(more),
            _ => return,
        }
        self.rows += other.rows;
    }

    /// A range of the samples.
    pub fn part(&self, start: usize, rows: usize) -> Self {
        let width: usize = self.sample.iter().product();
        let range = start * width..(start + rows) * width;
        let values = match &self.values {
            Values::Float(values) => Values::Float(values[range].to_vec()),
            Values::Whole(values) => Values::Whole(values[range].to_vec()),
            Values::Text(values) => Values::Text(values[range].to_vec()),
        };
        Self { rows, sample: self.sample.clone(), values }
    }

    /// As [`Predictor::run_columns`](crate::model::Predictor::run_columns) takes it.
    pub fn into_column(self) -> Result<Column> {
        let shape = [&[self.rows], self.sample.as_slice()].concat();
        let cells = match self.values {
            Values::Float(values) => Cells::Float(values),
            Values::Whole(values) => Cells::Int(values),
            Values::Text(values) => Cells::Text(values),
        };
        Column::new(shape, cells)
    }

    /// Zeros or empty texts.
    pub fn blank(port: &Port, rows: usize) -> Option<Self> {
        let sample = port.sample.iter().copied().collect::<Option<Vec<_>>>()?;
        let count = sample.iter().try_fold(rows, |count, size| count.checked_mul(*size))?;
        crate::memory::check_room("a warm-up", count).ok()?;
        let values = match port.kind {
            ValueKind::Float => Values::Float(vec![0.0; count]),
            ValueKind::Whole => Values::Whole(vec![0; count]),
            ValueKind::Text => Values::Text(vec![String::new(); count]),
        };
        Some(Self { rows, sample, values })
    }
}

/// Sizes as a shape is written.
pub(super) fn shape_text(sizes: &[usize]) -> String {
    crate::shape::Shape::known(sizes).to_string()
}

/// Builder of a [`Block`] from nested lists: the values parsed so far, and the sizes known so far.
#[derive(Debug)]
pub(super) struct BlockBuilder<'a> {
    pub port: &'a Port,
    /// The sizes by depth, known once the first list of a depth has ended.
    dims: Vec<Option<usize>>,
    /// The depth of the values.
    depth: Option<usize>,
    values: Values,
    /// Whether images came: they are values of all deeper dimensions.
    images: bool,
    /// The most values at depth 0.
    most: usize,
    allowed: &'a RequestLimits,
}

impl<'a> BlockBuilder<'a> {
    pub fn new(port: &'a Port, allowed: &'a RequestLimits) -> Self {
        let values = match port.kind {
            ValueKind::Float => Values::Float(Vec::new()),
            ValueKind::Whole => Values::Whole(Vec::new()),
            ValueKind::Text => Values::Text(Vec::new()),
        };
        Self { port, dims: Vec::new(), depth: None, values, images: false, most: allowed.rows, allowed }
    }

    /// For what may be the values of a single sample: depth 0 then has as many as the first dimension of it.
    #[must_use]
    pub fn or_sample(mut self) -> Self {
        if let Some(first) = self.port.sample.first() {
            self.most = first.map_or(usize::MAX, |size| size.max(self.most));
        }
        self
    }

    fn what(&self) -> String {
        format!("input `{}`", self.port.name)
    }

    /// The message for a value of another kind.
    fn unlike(&self, received: impl std::fmt::Display) -> String {
        let expected = match self.port.kind {
            ValueKind::Float => "numbers",
            ValueKind::Whole => "whole numbers",
            ValueKind::Text => "texts",
        };
        let received = crate::error::begun(received, 60);
        format!("{}: expected {expected} of shape {}, received {received}", self.what(), self.port.shape_text())
    }

    /// Checks the depth of a value: all values are at the same one.
    fn at(&mut self, depth: usize) -> Result<(), String> {
        match self.depth {
            None => self.depth = Some(depth),
            Some(known) if known == depth => {}
            Some(known) => {
                let message = format!("expected values at depth {known}, received one at depth {depth}");
                return Err(format!("{}: {message}", self.what()));
            }
        }
        match self.dims.iter().skip(depth).flatten().next() {
            // A list as deep has ended, and was empty.
            Some(_) => Err(format!("{}: expected lists of one length at each depth, received others", self.what())),
            None => Ok(()),
        }
    }

    /// Checks the start of a list.
    pub fn list(&self, depth: usize) -> Result<(), String> {
        if depth >= MOST_RANK {
            return Err(format!("{}: expected up to {MOST_RANK} dimensions, received more", self.what()));
        }
        match self.depth.filter(|known| depth >= *known) {
            Some(known) => Err(format!("{}: expected values at depth {known}, received a list", self.what())),
            None => Ok(()),
        }
    }

    /// Checks the length of a list that is still being read.
    pub fn grows(&self, depth: usize, count: usize) -> Result<(), String> {
        if depth == 0 && count > self.most {
            return Err(format!("{}: expected up to {} samples, received more", self.what(), self.most));
        }
        match self.dims.get(depth).copied().flatten() {
            Some(known) if count > known => Err(self.uneven(depth, known, "more")),
            _ => Ok(()),
        }
    }

    fn uneven(&self, depth: usize, known: usize, received: impl std::fmt::Display) -> String {
        let what = self.what();
        format!("{what}: expected lists of {known} at depth {depth}, as the first, received one of {received}")
    }

    /// Records the length of a list.
    pub fn ended(&mut self, depth: usize, count: usize) -> Result<(), String> {
        if self.dims.len() <= depth {
            self.dims.resize(depth + 1, None);
        }
        match self.dims[depth] {
            Some(known) if known != count => Err(self.uneven(depth, known, count)),
            _ => {
                self.dims[depth] = Some(count);
                Ok(())
            }
        }
    }

    pub fn number(&mut self, depth: usize, number: f64) -> Result<(), String> {
        self.at(depth)?;
        match &mut self.values {
            Values::Float(values) if !self.images => {
                let value = number as f32;
                if !value.is_finite() {
                    let what = self.what();
                    return Err(format!("{what}: expected finite numbers of 32 bits, received {number:e}"));
                }
                values.push(value);
                Ok(())
            }
            Values::Whole(values) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
                values.push(number as i64);
                Ok(())
            }
            _ => Err(self.unlike(number)),
        }
    }

    pub fn whole(&mut self, depth: usize, number: i64) -> Result<(), String> {
        match &mut self.values {
            Values::Whole(values) => {
                values.push(number);
                self.at(depth)
            }
            _ => self.number(depth, number as f64),
        }
    }

    pub fn text(&mut self, depth: usize, text: &str) -> Result<(), String> {
        self.at(depth)?;
        match &mut self.values {
            Values::Text(values) => {
                values.push(text.to_owned());
                Ok(())
            }
            _ => Err(self.unlike(format!("the text {text:?}"))),
        }
    }

    /// The bytes of an image or of a text.
    pub fn bytes(&mut self, depth: usize, bytes: Vec<u8>) -> Result<(), String> {
        let what = self.what();
        match (&mut self.values, &self.port.image) {
            (Values::Text(_), _) => {
                let text = String::from_utf8(bytes)
                    .map_err(|_| format!("{what}: expected a text in UTF-8, received other bytes"))?;
                self.text(depth, &text)
            }
            (Values::Float(values), Some(reader)) if depth <= 1 && (self.images || values.is_empty()) => {
                self.allowed.goes_on()?;
                // A string that is not an image is refused when it is decoded.
                self.allowed.take_pixels(ReadImage::pixels_of(&bytes).unwrap_or(0))?;
                let width: usize = self.port.sample.iter().flatten().product();
                self.allowed.share.take(width * size_of::<f32>()).map_err(|_| "not enough memory".to_owned())?;
                let pixels = reader.bytes("an image", &bytes).map_err(|error| format!("{what}: {error}"))?;
                values.extend(pixels);
                self.images = true;
                self.at(depth)
            }
            _ => Err(self.unlike("bytes of an image")),
        }
    }

    pub fn other(&self, received: impl std::fmt::Display) -> String {
        self.unlike(received)
    }

    /// Records the number of samples, where they were added one by one.
    pub fn rows(&mut self, count: usize) -> Result<(), String> {
        self.ended(0, count)
    }

    /// The collected values as a block.
    pub fn block(self) -> FaultResult<Block> {
        let known = self.dims.iter().map_while(|size| *size);
        let mut shape: Vec<usize> = known.collect();
        if shape.first() == Some(&0) {
            return Err(Fault::expected(self.what(), format!("1 to {} samples", self.allowed.rows), 0));
        }
        if self.images {
            shape.truncate(1);
            shape.extend(self.port.sample.iter().flatten());
        }
        Block::new(self.port, &shape, self.values)
    }

    /// As [`block`](Self::block), for values that may be those of a single sample, without the dimension of samples.
    pub fn block_or_sample(mut self) -> FaultResult<Block> {
        let known: Vec<usize> = self.dims.iter().map_while(|size| *size).collect();
        let is_single = match known.split_first() {
            _ if self.images => known.is_empty(),
            None => true,
            Some((_, sample)) => self.port.accepted(sample).is_none() && self.port.accepted(&known).is_some(),
        };
        if is_single {
            self.dims.insert(0, Some(1));
        }
        self.block()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::budget::Budget;
    use super::*;

    #[test]
    fn images_are_not_decoded_for_nobody() {
        let port = Port {
            name: "x".into(),
            kind: ValueKind::Float,
            sample: vec![Some(1), Some(1), Some(1)],
            image: Some(ReadImage::new((1, 1, 1))),
        };
        let dot = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0\0\0\0\0\x04\0\0\0\
            \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x33\x33\x33\0";
        let allowed =
            |time: u64| RequestLimits::new(9, Budget::new(1 << 20).share(), Instant::now(), Duration::from_secs(time));
        let one = allowed(3600);
        let mut taken = BlockBuilder::new(&port, &one);
        taken.bytes(1, dot.to_vec()).unwrap();
        drop(one.asker());
        assert!(taken.bytes(1, dot.to_vec()).unwrap_err().contains("the client has disconnected"));
        let late = allowed(0);
        assert!(BlockBuilder::new(&port, &late).bytes(1, dot.to_vec()).is_err());
    }
}
