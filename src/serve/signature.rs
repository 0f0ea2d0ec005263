//! A model's inputs and outputs, as requests name them.

use serde_json::{Value as Json, json};

use crate::datasets::{ReadImage, TableInfo};
use crate::error::{Error, Result};
use crate::formats::Limits;
use crate::layers::Layer;
use crate::model::Model;
use crate::shape::Shape;
use crate::text::unique_names;
use crate::training::{Answers, Meaning};

/// The values of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// Floats of 32 bits.
    Float,
    /// Whole numbers of 64 bits.
    Whole,
    /// Texts.
    Text,
}

impl ValueKind {
    /// Its name in the Open Inference Protocol.
    pub fn datatype(self) -> &'static str {
        match self {
            Self::Float => "FP32",
            Self::Whole => "INT64",
            Self::Text => "BYTES",
        }
    }

    /// Its name in TensorFlow.
    pub fn tensorflow(self) -> &'static str {
        match self {
            Self::Float => "DT_FLOAT",
            Self::Whole => "DT_INT64",
            Self::Text => "DT_STRING",
        }
    }
}

/// An input or an output.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub name: String,
    pub kind: ValueKind,
    /// The sizes of one sample.
    pub sample: Vec<Option<usize>>,
    /// How images become samples, where they can.
    pub image: Option<ReadImage>,
}

impl Port {
    /// The shape of a batch, −1 where a size is not known.
    pub fn shape_json(&self) -> Json {
        let sizes = std::iter::once(None).chain(self.sample.iter().copied());
        sizes.map(|size| size.map_or(json!(-1), |size| json!(size))).collect()
    }

    /// The shape of a batch in words.
    pub fn shape_text(&self) -> String {
        Shape::new([&[None], self.sample.as_slice()].concat()).to_string()
    }

    /// The sizes of a sample as the model takes it, for sizes as they came: the same, or without sizes of 1 at the end.
    pub fn accepted(&self, sample: &[usize]) -> Option<Vec<usize>> {
        let fits = |sizes: &[usize]| {
            sizes.len() == self.sample.len()
                && sizes.iter().zip(&self.sample).all(|(size, known)| known.is_none_or(|known| known == *size))
        };
        let padded: Vec<usize> =
            sample.iter().copied().chain(std::iter::repeat(1)).take(self.sample.len().max(sample.len())).collect();
        let ends_in_ones = self.sample.iter().skip(sample.len()).all(|size| *size == Some(1));
        // Nothing can be computed for sizes of 0, and some layers would make much of them.
        (fits(&padded) && ends_in_ones && !padded.contains(&0)).then_some(padded)
    }
}

/// The kind of input, which decides how the page asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Image,
    Table,
    Text,
    Numbers,
}

/// A model's inputs and outputs, and what it knows of its data.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub table: Option<TableInfo>,
    /// How its answers are shown, if it has one output.
    pub answers: Option<Answers>,
    pub subject: Subject,
    /// Whether the answer for a sample does not depend on the others in a batch: not so where texts become as long as the
    /// longest of them.
    pub can_batch: bool,
    /// The bytes of the longest name of a class.
    pub name_bytes: usize,
    /// The description for `/models`.
    pub about: Json,
}

/// The most pixels of an image in a request: 16 megapixels.
pub(super) const MOST_PIXELS: u64 = 16 << 20;

impl Signature {
    /// That of a model.
    ///
    /// # Errors
    /// [`Error::State`] for a model without an input shape; [`Error::Unsupported`] for one that has layers with states
    /// of their own, as its answers would depend on the requests before.
    pub fn of(model: &Model) -> Result<Self> {
        if model.is_stateful() {
            let what = "serving a model with stateful layers, whose answers depend on what it was asked before";
            return Err(Error::unsupported(what, "models without them"));
        }
        model.input_shape()?;
        let names = model.input_keys();
        let shapes = model.shapes().unwrap_or_default();
        let inputs: Vec<Shape> = shapes.iter().take(names.len()).cloned().collect();
        let outputs = model.output_shapes_for(&inputs)?;
        let has_known_sizes = model.fed_samples(&inputs)?.is_some();
        let info = model.data_info();
        let single = names.len() == 1;
        let port = |(index, (name, shape)): (usize, (String, &Shape))| {
            let kind = match model.input_dtypes().get(index).copied().flatten() {
                Some("string") => ValueKind::Text,
                Some(dtype) if dtype.starts_with("int") || dtype.starts_with("uint") => ValueKind::Whole,
                _ => ValueKind::Float,
            };
            let sides = match (kind, shape.sample()) {
                (ValueKind::Float, [Some(height), Some(width), Some(channels @ (1 | 3))]) => {
                    Some((*height, *width, *channels))
                }
                (ValueKind::Float, [Some(height), Some(width)]) if info.table.is_none() => Some((*height, *width, 1)),
                _ => None,
            };
            let limits = Limits { pixels: MOST_PIXELS, ..Limits::default() };
            let image = sides.map(|sides| {
                let range = if single { model.pixel_range() } else { info.pixels.unwrap_or_default() };
                ReadImage::new(sides).pixels(range).limits(&limits)
            });
            Port { name, kind, sample: shape.sample().to_vec(), image }
        };
        let inputs: Vec<Port> = names.into_iter().zip(&inputs).enumerate().map(port).collect();
        let output = |(name, shape): (String, &Shape)| {
            let sample = shape.sample().to_vec();
            Port { name, kind: ValueKind::Float, sample, image: None }
        };
        let outputs: Vec<Port> = unique_names(model.output_keys()).into_iter().zip(&outputs).map(output).collect();
        let subject = match &inputs[..] {
            [input] if input.kind == ValueKind::Text => Subject::Text,
            [input] if info.table.is_some() && matches!(input.sample.len(), 1 | 2) => Subject::Table,
            [Port { image: Some(_), sample, .. }] => match sample[..] {
                [Some(height), Some(width), _] if height > 3 && width > 3 => Subject::Image,
                // Rows of numbers have such a shape too: an image is one of equal sides.
                [Some(height), Some(width)] if height == width && height > 7 => Subject::Image,
                _ => Subject::Numbers,
            },
            _ => Subject::Numbers,
        };
        let answers = Answers::of(model).ok();
        let meaning = match model.meaning() {
            Meaning::Classes { .. } => "classes",
            Meaning::Binary { .. } => "binary",
            Meaning::Labels { .. } => "labels",
            _ => "numbers",
        };
        let columns: Option<Vec<Json>> = info.table.as_ref().map(|table| {
            let column = |column: &crate::datasets::ColumnInfo| {
                json!({ "name": column.name, "categories": column.categories, "fill": column.fill })
            };
            table.columns.iter().map(column).collect()
        });
        let ports = |ports: &[Port]| -> Json {
            let port = |port: &Port| json!({ "name": port.name, "datatype": port.kind.datatype(), "shape": port.shape_json(), "pictures": port.image.is_some() });
            ports.iter().map(port).collect()
        };
        let about = json!({
            "subject": match subject {
                Subject::Image => "picture",
                Subject::Table => "table",
                Subject::Text => "text",
                Subject::Numbers => "numbers",
            },
            "inputs": ports(&inputs),
            "outputs": ports(&outputs),
            "meaning": meaning,
            "class_names": info.class_names,
            "dataset": info.dataset,
            "pixels": (subject == Subject::Image).then(|| model.pixel_range().name()),
            "columns": columns,
            "steps": info.table.as_ref().and_then(|table| table.window).map(|window| window.span()),
            "parameters": model.count_params()?,
            "summary": model.summary().to_string(),
        });
        let can_batch = has_known_sizes || inputs.iter().all(|input| input.kind != ValueKind::Text);
        let name_bytes = info.class_names.iter().map(String::len).max().unwrap_or(0);
        Ok(Self { inputs, outputs, table: info.table.clone(), answers, subject, can_batch, name_bytes, about })
    }

    /// The input of this name.
    pub fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|input| input.name == name)
    }

    /// The names of ports, for messages.
    pub fn names(ports: &[Port]) -> String {
        let names: Vec<String> = ports.iter().map(|port| format!("`{}`", port.name)).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_at_the_end_may_be_left_out() {
        let port = |sample: &[Option<usize>]| Port {
            name: "x".into(),
            kind: ValueKind::Float,
            sample: sample.to_vec(),
            image: None,
        };
        let image = port(&[Some(28), Some(28), Some(1)]);
        assert_eq!(image.accepted(&[28, 28]), Some(vec![28, 28, 1]));
        assert_eq!(image.accepted(&[28, 28, 1]), Some(vec![28, 28, 1]));
        assert_eq!((image.accepted(&[28]), image.accepted(&[28, 28, 1, 1])), (None, None));
        assert_eq!(port(&[Some(1)]).accepted(&[]), Some(vec![1]));
        assert_eq!(port(&[None]).accepted(&[7]), Some(vec![7]));
        assert_eq!(port(&[None]).accepted(&[]), None);
        assert_eq!(port(&[]).accepted(&[]), Some(vec![]));
        assert_eq!(port(&[None, Some(3)]).accepted(&[0, 3]), None);
    }
}
