//! `brasa predict`: what a model makes of pictures or arrays.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use brasa::datasets::{NpyFile, NpyWriter, Npz, Rows, Samples, load_image, load_npy, load_texts, save_npy, save_npz};
use brasa::formats::atomic::write_atomically;
use brasa::ndarray::ArrayD;
use brasa::recipe::picture_shape;
use brasa::training::{Predict as Arguments, Verbosity};
use brasa::{Error, Model, Result};
use clap::Args;
use serde_json::json;

use super::compute::Compute;
use super::{needs_weights, output};

/// Predict the classes of pictures, or the outputs for an array.
///
/// Pictures are resized to the model's input shape, their values brought to 0..1. A model trained on MNIST expects
/// light digits on a dark ground; --invert turns dark ones on a light ground into that.
#[derive(Args, Debug)]
pub struct Predict {
    /// The model (.keras, .h5 or .safetensors).
    model: PathBuf,

    /// Pictures: PNG, JPEG, BMP, GIF or WebP. For a model of texts: files of one text each (.txt), tables (.csv),
    /// JSON lines (.jsonl), or - for a text on each line of the standard input.
    #[arg(value_name = "INPUT", required_unless_present = "input", conflicts_with = "input")]
    inputs: Vec<PathBuf>,

    /// An array of inputs (.npy, any numeric type), taken as it is; the first axis counts the samples. A model of
    /// several inputs takes an .npz with an array NAME or x/NAME for each.
    #[arg(long, value_name = "X.NPY|X.NPZ", requires = "output")]
    input: Option<PathBuf>,

    /// Where to write the outputs (.npy, float32; .npz for several, by their names).
    #[arg(long, value_name = "Y.NPY|Y.NPZ", requires = "input")]
    output: Option<PathBuf>,

    /// The column of a table, or the key of JSON lines, that holds the texts (default: text).
    #[arg(long, value_name = "NAME", conflicts_with = "input")]
    column: Option<String>,

    /// How many classes to show for a picture, the likeliest first.
    #[arg(long, value_name = "N", default_value = "3")]
    top: NonZeroUsize,

    /// Swap light and dark.
    #[arg(long, conflicts_with = "input")]
    invert: bool,

    /// Number of samples at once.
    #[arg(long, value_name = "N", default_value = "128")]
    batch_size: NonZeroUsize,

    #[command(flatten)]
    compute: Compute,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Predict {
    pub fn run(self, quiet: bool) -> Result<()> {
        needs_weights(&self.model)?;
        let device = self.compute.device()?;
        let model = Model::load_on(&self.model, &device)?;
        match (&self.input, &self.output) {
            (Some(input), Some(output)) if is_npz(input) || is_npz(output) => self.arrays(&model, input, output),
            (Some(input), Some(output)) => self.array(&model, input, output, quiet),
            _ if model.takes_texts() == [true] => self.texts(&model),
            _ => self.pictures(&model, quiet),
        }
    }

    fn array(&self, model: &Model, input: &Path, output: &Path, quiet: bool) -> Result<()> {
        let verbosity = if quiet { Verbosity::Silent } else { Verbosity::Auto };
        let arguments = Arguments::new().batch_size(self.batch_size.get()).verbose(verbosity);
        let x = rows(input)?;
        let shape = write_atomically(output, |file| {
            let (mut sink, mut writer) = (Some(file), None);
            let shape = model.predict_each(&*x, arguments, |shape, values| {
                if let Some(sink) = sink.take() {
                    writer = Some(NpyWriter::new(sink, output, shape)?);
                }
                writer.as_mut().map_or(Ok(()), |writer| writer.write(values))
            })?;
            writer.map_or(Ok(()), NpyWriter::finish).map(|()| shape)
        })?;
        if self.json {
            let (input, output) = (input.display().to_string(), output.display().to_string());
            return output::json(&json!({ "input": input, "output": output, "shape": shape }));
        }
        output::line(format!("{}: shape {shape:?}", output::shown(output)))
    }

    /// Several inputs and outputs, by their names; an input that is the only one may have any.
    fn arrays(&self, model: &Model, input: &Path, output: &Path) -> Result<()> {
        let names = model.input_keys();
        let x = match &names[..] {
            [_] if !is_npz(input) => vec![load_npy(input)?],
            names => {
                let mut file = Npz::open(input)?;
                let only = (names.len() == 1 && file.names().len() == 1).then(|| file.names()[0].clone());
                let arrays = names.iter().map(|name| {
                    // Those of data to train on, which has targets too.
                    let mut forms = vec![format!("x/{name}")];
                    if names.len() == 1 {
                        forms.push("x".to_owned());
                    }
                    let found = forms.into_iter().find(|form| file.names().contains(form));
                    file.read(only.as_ref().or(found.as_ref()).unwrap_or(name))
                });
                arrays.collect::<Result<Vec<_>>>()?
            }
        };
        let outputs = model.predict_all_with(&x, self.batch_size.get())?;
        let names = numbered(model.output_keys());
        let shapes: Vec<Vec<usize>> = outputs.iter().map(|output| output.shape().to_vec()).collect();
        match &outputs[..] {
            [only] if !is_npz(output) => {
                save_npy(output, only.shape(), &only.iter().copied().collect::<Vec<_>>())?;
            }
            _ if !is_npz(output) => {
                let expected = format!("a file name that ends in `.npz`, for {} outputs", outputs.len());
                return Err(Error::argument("--output", expected, format!("`{}`", output.display())));
            }
            outputs => save_npz(output, names.iter().map(String::as_str).zip(outputs))?,
        }
        if self.json {
            let outputs: serde_json::Map<String, serde_json::Value> =
                names.iter().cloned().zip(shapes.iter().map(|shape| json!(shape))).collect();
            let (input, output) = (input.display().to_string(), output.display().to_string());
            return output::json(&json!({ "input": input, "output": output, "shapes": outputs }));
        }
        names
            .iter()
            .zip(&shapes)
            .try_for_each(|(name, shape)| output::line(format!("{}: {name}, shape {shape:?}", output::shown(output))))
    }

    fn texts(&self, model: &Model) -> Result<()> {
        let mut texts = Vec::new();
        for path in &self.inputs {
            texts.extend(load_texts(path, self.column.as_deref())?);
        }
        let (places, texts): (Vec<_>, Vec<_>) = texts.into_iter().map(|text| (text.place, text.text)).unzip();
        let y = model.predict_with(texts, Arguments::new().batch_size(self.batch_size.get()))?;
        self.classes(model, &places, &y)
    }

    fn pictures(&self, model: &Model, quiet: bool) -> Result<()> {
        let shape = picture_shape(model.input_shape().ok())?;
        let (height, width, channels) = shape;
        let mut values = Vec::new();
        for path in &self.inputs {
            let mut picture = load_image(path, shape)?;
            if self.invert {
                picture.iter_mut().for_each(|value| *value = 1.0 - *value);
            }
            let mean = picture.iter().sum::<f32>() / picture.len() as f32;
            if channels == 1 && mean > 0.5 && !quiet {
                let path = output::shown(path);
                output::note(&format!(
                    "`{path}` is mostly light; a model trained on MNIST expects light digits on a dark ground (--invert)"
                ));
            }
            values.extend(picture);
        }
        let x = Samples::new([self.inputs.len(), height, width, channels], values)?;
        let y = model.predict_with(x, Arguments::new().batch_size(self.batch_size.get()))?;
        let places: Vec<String> = self.inputs.iter().map(|path| path.display().to_string()).collect();
        self.classes(model, &places, &y)
    }

    /// The likeliest classes of each input.
    fn classes(&self, model: &Model, places: &[String], y: &ArrayD<f32>) -> Result<()> {
        if y.ndim() != 2 {
            let what = format!("classes from outputs of shape {}", model.output_shape()?);
            return Err(Error::unsupported(what, "one output for each class, or --input and --output"));
        }
        let rows: Vec<Vec<(usize, f32)>> = y.rows().into_iter().map(|row| top(&row.to_vec(), self.top.get())).collect();
        if self.json {
            let predictions = places.iter().zip(&rows).map(|(place, row)| {
                let class = |(class, probability): &(usize, f32)| json!({"class": class, "probability": probability});
                json!({"input": place, "classes": row.iter().map(class).collect::<Vec<_>>()})
            });
            return output::json(&predictions.collect());
        }
        places.iter().zip(&rows).try_for_each(|(place, row)| {
            let classes = row.iter().map(|(class, probability)| format!("{class} ({:.2} %)", probability * 100.0));
            output::line(format!("{}: {}", output::shown(Path::new(place)), classes.collect::<Vec<_>>().join(", ")))
        })
    }
}

/// Outputs of one name are numbered.
fn numbered(names: Vec<String>) -> Vec<String> {
    let mut taken = HashSet::with_capacity(names.len());
    // The next number of each name: counting from 1 again would be quadratic where many outputs share one.
    let mut next: HashMap<String, usize> = HashMap::new();
    let free = |base: String| {
        if taken.insert(base.clone()) {
            return base;
        }
        let count = next.entry(base.clone()).or_insert(1);
        loop {
            let name = format!("{base}_{count}");
            *count += 1;
            if taken.insert(name.clone()) {
                return name;
            }
        }
    };
    names.into_iter().map(free).collect()
}

fn is_npz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"))
}

/// The inputs of a file, of which no more than a batch is in memory. In Fortran's order, in which a sample is scattered over
/// the file, it has to be the whole.
fn rows(path: &Path) -> Result<Box<dyn Rows>> {
    match NpyFile::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(Error::Unsupported { .. }) => Ok(Box::new(load_npy(path)?)),
        Err(error) => Err(error),
    }
}

/// The likeliest classes with their probabilities; of equal ones the lower first.
///
/// Outputs that are no probabilities are taken for logits: a single one through a sigmoid, several through a softmax.
fn top(outputs: &[f32], count: usize) -> Vec<(usize, f32)> {
    let are_shares = outputs.iter().all(|value| (0.0..=1.0).contains(value));
    let probabilities = match outputs {
        [one] => {
            let one = if are_shares { *one } else { 1.0 / (1.0 + (-one).exp()) };
            vec![1.0 - one, one]
        }
        _ if are_shares && (outputs.iter().sum::<f32>() - 1.0).abs() < 1e-3 => outputs.to_vec(),
        _ => {
            let largest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f32> = outputs.iter().map(|value| (value - largest).exp()).collect();
            let sum: f32 = powers.iter().sum();
            powers.into_iter().map(|power| power / sum).collect()
        }
    };
    let mut classes: Vec<(usize, f32)> = probabilities.into_iter().enumerate().collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    classes.truncate(count);
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_of_one_name_are_numbered() {
        let names = |names: &[&str]| numbered(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(names(&["a", "b", "a", "a"]), ["a", "b", "a_1", "a_2"]);
        assert_eq!(names(&["a", "a_1", "a", "a_1"]), ["a", "a_1", "a_2", "a_1_1"]);
        let many = numbered(vec!["out".to_owned(); 100_000]);
        assert_eq!(many.last().unwrap(), "out_99999");
    }

    #[test]
    fn the_likeliest_come_first() {
        assert_eq!(top(&[0.1, 0.7, 0.2], 2), [(1, 0.7), (2, 0.2)]);
        assert_eq!(top(&[0.5, 0.5], 9), [(0, 0.5), (1, 0.5)]);
        assert_eq!(top(&[0.25], 2), [(0, 0.75), (1, 0.25)]);
    }

    #[test]
    fn logits_become_probabilities() {
        let odds = top(&[3.0_f32.ln() + 500.0, 500.0], 2);
        assert!((odds[0].1 - 0.75).abs() < 1e-4 && (odds[1].1 - 0.25).abs() < 1e-4, "{odds:?}");
        let odds = top(&[-(3.0_f32.ln())], 1);
        assert!(odds[0].0 == 0 && (odds[0].1 - 0.75).abs() < 1e-6, "{odds:?}");
    }
}
