//! `brasa predict`: predictions for images, tables, arrays or texts.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use brasa::datasets::{
    Csv, IntoSamples, NpyWriter, Npz, PixelRange, Samples, load_npy, load_texts, save_npy, save_npz,
};
use brasa::distributed::{Communicator, Turns, together};
use brasa::formats::atomic::write_atomically;
use brasa::layers::Layer;
use brasa::text::unique_names;
use brasa::training::progress::Progress;
use brasa::training::{Meaning, Predict as Arguments, Verbosity};
use brasa::{Error, Model, Result};
use clap::{Args, ValueHint};
use ndarray::ArrayD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answers::{Answer, AnswerWriter, Format, Shown, stdout_name};
use super::compute::Compute;
use super::help::{DATA, examples};
use super::inputs::{InputReader, NamedInput, NamedText, STDIN, rows};
use super::model_file::{DataOverrides, model_file};
use super::ranks::{Peers, Ranks, is_first};
use super::{needs_weights, output};

/// Predict with a model: images, tables, arrays or texts.
///
/// Images are resized to the model's input shape and brought to the range of numbers that it takes. A table is read as
/// the one that the model was trained on. The output is shown as what it is: classes with their probabilities,
/// labels, or numbers. An input that cannot be read is reported in its place, and the rest goes on.
///
/// A model trained on MNIST expects light digits on a dark ground; --invert turns dark ones on a light ground into that.
#[derive(Args, Debug)]
#[command(after_help = examples!(
    "brasa predict model.keras seven.png"
    "brasa predict runs/images-… 'photos/*.jpg' --top 1"
    "brasa predict model.keras new.csv --format jsonl"
    "brasa predict model.keras --input x.npy --output y.npy"
))]
pub struct Predict {
    /// The model (.keras, .h5 or .safetensors), or the directory of a run.
    #[arg(value_name = "MODEL|RUN", value_hint = ValueHint::AnyPath)]
    model: PathBuf,

    /// Images (PNG, JPEG, BMP, GIF or WebP), folders of them, quoted patterns such as 'photos/*.jpg', tables (.csv,
    /// .tsv), arrays (.npy, .npz), or - for standard input.
    #[arg(value_name = "INPUT", required_unless_present = "input", conflicts_with = "input", value_hint = ValueHint::AnyPath)]
    inputs: Vec<PathBuf>,

    /// An array of inputs (.npy, any numeric type), taken as it is; the first axis counts the samples. A model of
    /// several inputs takes an .npz with an array NAME or x/NAME for each.
    #[arg(long, value_name = "X.NPY|X.NPZ", requires = "output", value_hint = ValueHint::FilePath)]
    input: Option<PathBuf>,

    /// Where to write the outputs: .csv, .json, .jsonl or .txt; .npy for the numbers as they are (float32), and .npz for
    /// those of several outputs, by their names.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Of a model of texts: the column of a table, or the key of JSON lines, that holds the texts (default: text).
    #[arg(long, value_name = "NAME", conflicts_with = "input", help_heading = DATA)]
    column: Option<String>,

    /// How the outputs are written: text, json, jsonl or csv (default: text, or what the ending of --output says).
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<Format>,

    /// How many classes to show, the likeliest first (default: 3; in a table 1).
    #[arg(long, value_name = "N")]
    top: Option<NonZeroUsize>,

    #[command(flatten)]
    known: DataOverrides,

    /// Of a table without a known one: whether the first line names the columns (default: that is recognised).
    #[arg(long, value_name = "true|false", help_heading = DATA)]
    header: Option<bool>,

    /// Swap light and dark of images.
    #[arg(long, conflicts_with = "input", help_heading = DATA)]
    invert: bool,

    /// Number of samples at once (default: 128, or what stateful layers need).
    #[arg(long, value_name = "N")]
    batch_size: Option<NonZeroUsize>,

    #[command(flatten)]
    ranks: Ranks,

    #[command(flatten)]
    compute: Compute,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// The counts of inputs written and of failures among them.
#[derive(Default)]
struct PredictionCounts {
    inputs: usize,
    wrong: usize,
}

impl Predict {
    pub fn run(self, quiet: bool) -> Result<ExitCode> {
        super::interrupt::end_quietly()?;
        let peers = self.ranks.join()?;
        together(peers.clone(), || self.predicted(&peers, quiet))
    }

    fn predicted(mut self, peers: &Peers, quiet: bool) -> Result<ExitCode> {
        if peers.as_ref().is_some_and(|peers| peers.size() > 1) && self.inputs.iter().any(|input| is_stdin(input)) {
            let expected = "files, as one process alone has a standard input (or no --distributed)";
            return Err(Error::argument("INPUT", expected, "standard input (`-`)"));
        }
        self.model = model_file(&self.model)?;
        needs_weights(&self.model)?;
        let format = self.output_format()?;
        let device = self.ranks.device(&self.compute)?;
        let mut model = Model::load_on(&self.model, &device)?;
        self.known.put_into(&mut model)?;
        self.check_shown(&model, format)?;
        let only = match (&self.input, &self.inputs[..]) {
            (Some(input), _) => Some(input.clone()),
            (None, [input]) => Some(input.clone()),
            _ => None,
        };
        let single = model.input_keys().len() == 1 && model.output_keys().len() == 1;
        match (only, &self.output, format) {
            (Some(input), Some(output), None) if is_npz(&input) || (is_npz(output) && is_npy(&input)) => {
                self.check_read(false, false, false)?;
                self.arrays(&model, &input, output, peers).map(|()| ExitCode::SUCCESS)
            }
            (Some(input), Some(output), None) if is_npy(&input) => {
                self.check_read(false, false, false)?;
                self.array(&model, &input, output, (peers, quiet)).map(|()| ExitCode::SUCCESS)
            }
            _ if !single => {
                let names = (model.input_keys().join(", "), model.output_keys().join(", "));
                let what = format!("a model of the inputs {} and the outputs {} here", names.0, names.1);
                Err(Error::unsupported(what, "--input X.npz and --output Y.npz, with an array for each"))
            }
            (_, _, format) => self.each(&model, format, (peers, quiet)),
        }
    }

    /// Refuses options about what is shown where nothing of it is.
    fn check_shown(&self, model: &Model, format: Option<Format>) -> Result<()> {
        let numbers = format.is_none() || model.meaning() == Meaning::Numbers;
        let received = if format.is_none() { "an array of all numbers" } else { "a model of numbers" };
        match () {
            () if numbers && self.top.is_some() => Err(Error::argument("--top", "classes to show", received)),
            () if numbers && self.known.class_names.is_some() => {
                Err(Error::argument("--class-names", "classes to show", received))
            }
            () if format == Some(Format::Csv)
                && matches!(model.meaning(), Meaning::Labels { .. })
                && self.top.is_some() =>
            {
                Err(Error::argument("--top", "one class of several, for a table", "a model of several labels"))
            }
            () => Ok(()),
        }
    }

    /// Refuses options for a kind of input that is absent.
    fn check_read(&self, images: bool, tables: bool, texts: bool) -> Result<()> {
        let refused = |argument: &str, expected: &str| Err(Error::argument(argument, expected, "none"));
        match () {
            () if self.known.pixels.is_some() && !images => refused("--pixels", "images among the inputs"),
            () if self.invert && !images => refused("--invert", "images among the inputs"),
            () if self.header.is_some() && !tables => refused("--header", "a table among the inputs"),
            () if self.column.is_some() && !texts => {
                Err(Error::argument("--column", "a model of texts", "one of numbers"))
            }
            () => Ok(()),
        }
    }

    /// The output format; `None` for arrays.
    fn output_format(&self) -> Result<Option<Format>> {
        if self.output.as_deref().is_some_and(|output| is_npy(output) || is_npz(output)) {
            return match self.format {
                Some(_) => Err(Error::argument("--format", "nothing, as the output is an array", "a format")),
                None => Ok(None),
            };
        }
        let by_ending = self.output.as_deref().map(Format::of).transpose()?;
        match (by_ending, self.format) {
            (Some(ending), Some(given)) if ending != given => {
                let expected = "the format that the ending of --output stands for";
                Err(Error::argument("--format", expected, format!("{given:?}").to_lowercase()))
            }
            (Some(ending), _) => Ok(Some(ending)),
            (None, Some(given)) => Ok(Some(given)),
            (None, None) => Ok(Some(if self.json { Format::Json } else { Format::Text })),
        }
    }

    /// Predicts the inputs batch by batch and writes the outputs as they are computed.
    fn each(&self, model: &Model, format: Option<Format>, (peers, quiet): (&Peers, bool)) -> Result<ExitCode> {
        let shown = Shown::new(model, self.top.map(NonZeroUsize::get))?;
        let csv = self.header.into_iter().fold(Csv::new(), Csv::header);
        let arguments = self.input.as_ref().map_or(&self.inputs[..], std::slice::from_ref);
        let mut inputs = match model.takes_texts() == [true] {
            true => self.texts(arguments),
            false => InputReader::find(arguments, model, self.invert, &csv)?,
        };
        output::notes(&inputs.notes);
        let wrong = inputs.has_wrong;
        self.check_read(inputs.has_images || wrong, inputs.has_tables || wrong, inputs.are_texts())?;
        let range_given = model.data_info().pixels.is_some();
        if inputs.has_images && !range_given && model.pixel_range() != PixelRange::ZeroToOne && !quiet {
            let range = model.pixel_range();
            output::note(&format!(
                "images are read as {range}, as the model begins with a layer that takes bytes; --pixels overrides it"
            ));
        }
        if !is_first(peers) {
            // The first process writes.
            self.batches(model, &mut inputs, (peers, quiet), |_, _| Ok(()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let process = (peers, quiet);
        let written = match (&self.output, format) {
            (Some(path), None) => return self.to_array(model, &mut inputs, path, process).map(|()| ExitCode::SUCCESS),
            (Some(path), Some(format)) => write_atomically(path, |file| {
                let mut file = std::io::BufWriter::new(file);
                self.answers(model, &mut inputs, AnswerWriter::new(&shown, format, false, path, &mut file)?, process)
            })?,
            (None, format) => {
                let format = format.unwrap_or(Format::Text);
                let mut stdout = std::io::stdout().lock();
                self.answers(
                    model,
                    &mut inputs,
                    AnswerWriter::new(&shown, format, false, stdout_name(), &mut stdout)?,
                    process,
                )?
            }
        };
        if let Some(path) = &self.output {
            if self.json {
                let path = path.display().to_string();
                let report = json!({ "output": path, "inputs": written.inputs, "errors": written.wrong });
                output::json(&report)?;
            } else {
                output::line(format!("{}: {} inputs", output::shown(path), written.inputs))?;
            }
        }
        if written.wrong == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        // Each error was already reported in its place.
        if written.inputs > 1 {
            let (wrong, inputs) = (written.wrong, written.inputs);
            output::note(&format!("{wrong} of {inputs} inputs could not be read"));
        }
        Ok(ExitCode::FAILURE)
    }

    fn answers(
        &self,
        model: &Model,
        inputs: &mut InputReader,
        mut writer: AnswerWriter<'_>,
        process: (&Peers, bool),
    ) -> Result<PredictionCounts> {
        let text_to_terminal = self.output.is_none() && writer.is_text();
        let mut written = PredictionCounts::default();
        self.batches(model, inputs, process, |name, outputs| {
            written.inputs += 1;
            let output = match outputs {
                Ok(row) => Ok(row),
                Err(error) => {
                    written.wrong += 1;
                    if text_to_terminal {
                        writer.flush()?;
                        output::error(&error);
                        return Ok(());
                    }
                    Err(error.to_string())
                }
            };
            writer.write(&Answer { input: name, truth: None, output })
        })?;
        writer.finish()?;
        Ok(written)
    }

    /// Writes all outputs as one array; any failed input is an error.
    fn to_array(&self, model: &Model, inputs: &mut InputReader, path: &Path, process: (&Peers, bool)) -> Result<()> {
        let mut values = Vec::new();
        let mut count = 0;
        self.batches(model, inputs, process, |_, outputs| {
            count += 1;
            values.extend(outputs?);
            Ok(())
        })?;
        let shape = [&[count], model.output_shape()?.known_sample()?.as_slice()].concat();
        if is_npz(path) {
            let array = ndarray::ArrayD::from_shape_vec(shape.clone(), values);
            let array = array.map_err(|error| Error::shape(format!("{shape:?}"), error))?;
            let names = model.output_keys();
            save_npz(path, names.iter().map(String::as_str).zip([&array]))?;
        } else {
            save_npy(path, &shape, &values)?;
        }
        if self.json {
            return output::json(&json!({ "output": path.display().to_string(), "shape": shape }));
        }
        output::line(format!("{}: shape {shape:?}", output::shown(path)))
    }

    /// The texts that the arguments name.
    fn texts(&self, arguments: &[PathBuf]) -> InputReader {
        let mut texts = Vec::new();
        for path in arguments {
            match load_texts(path, self.column.as_deref()) {
                Ok(found) => texts.extend(found.into_iter().map(|text| (text.place, Ok(text.text)))),
                Err(error) => texts.push((path.display().to_string(), Err(error))),
            }
        }
        InputReader::of_texts(texts)
    }

    /// Passes the outputs for each input, in order, to `each`. Several processes compute the batches in turn.
    fn batches(
        &self,
        model: &Model,
        inputs: &mut InputReader,
        (peers, quiet): (&Peers, bool),
        mut each: impl FnMut(String, Result<Vec<f32>>) -> Result<()>,
    ) -> Result<()> {
        let batch_size = super::batch_size(self.batch_size, model);
        let mut progress = Progress::new(match inputs.count {
            Some(count) if is_first(peers) && !quiet && self.output.is_some() && count > batch_size => Verbosity::Auto,
            _ => Verbosity::Silent,
        });
        progress.begin(inputs.count.map(|count| count.div_ceil(batch_size)));
        let looks_light = quiet || !inputs.has_images;
        let mut turns = peers.as_deref().map(Turns::new);
        let mut texts = inputs.are_texts().then(|| inputs.take_texts().into_iter());
        let mut show = |outputs: Vec<Outputs>| {
            outputs.into_iter().try_for_each(|(name, note, output)| {
                note.iter().for_each(|note| output::note(note));
                each(name, output)
            })
        };
        for step in 1.. {
            let is_own = turns.as_ref().is_none_or(Turns::is_own);
            let batch: Batch = match &mut texts {
                Some(texts) => Batch::Texts(texts.by_ref().take(batch_size).collect()),
                None => Batch::Numbers(inputs.batch(batch_size, !is_own)),
            };
            if batch.is_empty() {
                break;
            }
            match &mut turns {
                None => show(self.outputs(model, batch, batch_size, looks_light)?)?,
                Some(turns) => {
                    if is_own {
                        let outputs = self.outputs(model, batch, batch_size, looks_light)?;
                        let sent: Vec<Predicted> = outputs.into_iter().map(Predicted::of).collect();
                        turns.put(&serde_json::to_vec(&sent).map_err(|error| Error::Syntax(error.to_string()))?);
                    }
                    turns.next(|bytes| show(Predicted::received(bytes)?))?;
                }
            }
            progress.step(step, &[]);
        }
        if let Some(turns) = &mut turns {
            turns.finish(|bytes| show(Predicted::received(bytes)?))?;
        }
        progress.end::<f64>(&[]);
        Ok(())
    }

    /// For each input of a batch its name, a note about it, and the outputs or why there are none.
    fn outputs(&self, model: &Model, batch: Batch, batch_size: usize, looks_light: bool) -> Result<Vec<Outputs>> {
        let predict = |x: Samples| model.predict_with(x, Arguments::new().batch_size(batch_size));
        let (inputs, outputs): (Vec<Read>, _) = match batch {
            Batch::Texts(texts) => {
                let good: Vec<String> = texts.iter().filter_map(|(_, text)| text.as_ref().ok().cloned()).collect();
                let outputs = if good.is_empty() { None } else { Some(predict(good.into_samples()?)?) };
                (texts.into_iter().map(|(name, text)| (name, None, text.map(drop))).collect(), outputs)
            }
            Batch::Numbers(inputs) => {
                let note = |input: &NamedInput| match &input.values {
                    Ok(values) if !looks_light => self.check_light(model, &input.name, values),
                    _ => None,
                };
                let notes: Vec<Option<String>> = inputs.iter().map(note).collect();
                let good: Vec<&Vec<f32>> = inputs.iter().filter_map(|input| input.values.as_ref().ok()).collect();
                let outputs = if good.is_empty() {
                    None
                } else {
                    let sizes = model.input_shape()?.known_sample();
                    let sizes = sizes.map_err(|_| Error::shape("a known input shape", "an open one"))?;
                    let numbers: Vec<f32> = good.iter().copied().flatten().copied().collect();
                    Some(predict(Samples::new([&[good.len()], sizes.as_slice()].concat(), numbers)?)?)
                };
                let named = inputs.into_iter().zip(notes);
                (named.map(|(input, note)| (input.name, note, input.values.map(drop))).collect(), outputs)
            }
        };
        let outputs = outputs.map_or_else(Vec::new, |outputs| outputs.into_raw_vec_and_offset().0);
        let count = inputs.iter().filter(|(.., input)| input.is_ok()).count();
        let mut rows = outputs.chunks(outputs.len().checked_div(count).unwrap_or(0).max(1));
        let row = |(name, note, input): Read| (name, note, input.map(|()| rows.next().unwrap_or_default().to_vec()));
        Ok(inputs.into_iter().map(row).collect())
    }

    /// A note for an image that looks inverted for a model trained on MNIST.
    fn check_light(&self, model: &Model, name: &str, values: &[f32]) -> Option<String> {
        let grey = model.input_shape().is_ok_and(|shape| matches!(shape.sample(), [_, _] | [_, _, Some(1)]));
        let info = model.data_info();
        let may_be_digits = info.dataset.as_deref().is_some_and(|name| name.contains("mnist")) || info.is_empty();
        let range = model.pixel_range();
        let mean = values.iter().map(|value| range.share_of(*value)).sum::<f32>() / values.len().max(1) as f32;
        (grey && may_be_digits && !self.invert && mean > 0.5).then(|| {
            format!(
                "`{}` is mostly light; a model trained on MNIST expects light digits on a dark ground (--invert)",
                brasa::text::printable(name)
            )
        })
    }

    fn array(&self, model: &Model, input: &Path, output: &Path, (peers, quiet): (&Peers, bool)) -> Result<()> {
        let verbosity = if quiet { Verbosity::Silent } else { Verbosity::Auto };
        let arguments = Arguments::new().batch_size(super::batch_size(self.batch_size, model)).verbose(verbosity);
        let arguments = peers.iter().fold(arguments, |arguments, peers| arguments.distributed(peers.clone()));
        let x = rows(input)?;
        if !is_first(peers) {
            return model.predict_each(&*x, arguments, |_, _| Ok(())).map(|_| ());
        }
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

    /// Predicts with several inputs and outputs, by name; a single input can have any name.
    fn arrays(&self, model: &Model, input: &Path, output: &Path, peers: &Peers) -> Result<()> {
        let names = model.input_keys();
        let x = match &names[..] {
            [_] if !is_npz(input) => vec![load_npy(input)?],
            names => {
                let mut file = Npz::open(input)?;
                let only = (names.len() == 1 && file.names().len() == 1).then(|| file.names()[0].clone());
                let arrays = names.iter().map(|name| {
                    // The names in training data, which also has targets.
                    let mut keys = vec![format!("x/{name}")];
                    if names.len() == 1 {
                        keys.push("x".to_owned());
                    }
                    let found = keys.into_iter().find(|key| file.names().contains(key));
                    file.read(only.as_ref().or(found.as_ref()).unwrap_or(name))
                });
                arrays.collect::<Result<Vec<_>>>()?
            }
        };
        let batch_size = super::batch_size(self.batch_size, model);
        let outputs = match peers {
            Some(peers) => all_together(model, &x, batch_size, &**peers)?,
            None => model.predict_all_with(&x, batch_size)?,
        };
        if !is_first(peers) {
            return Ok(());
        }
        let names = unique_names(model.output_keys());
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
}

/// Inputs that are predicted together.
enum Batch {
    Texts(Vec<NamedText>),
    Numbers(Vec<NamedInput>),
}

impl Batch {
    fn is_empty(&self) -> bool {
        match self {
            Self::Texts(texts) => texts.is_empty(),
            Self::Numbers(inputs) => inputs.is_empty(),
        }
    }
}

/// An input's name, a note about it, and whether it could be read.
type Read = (String, Option<String>, Result<()>);

/// The same, with its outputs.
type Outputs = (String, Option<String>, Result<Vec<f32>>);

/// The same as processes exchange it, with the bits of the numbers.
#[derive(Serialize, Deserialize)]
struct Predicted {
    input: String,
    note: Option<String>,
    output: std::result::Result<Vec<u32>, String>,
}

impl Predicted {
    fn of((input, note, output): Outputs) -> Self {
        let output = output.map(|row| row.into_iter().map(f32::to_bits).collect());
        Self { input, note, output: output.map_err(|error| error.to_string()) }
    }

    fn received(bytes: &[u8]) -> Result<Vec<Outputs>> {
        let sent: Vec<Self> = serde_json::from_slice(bytes).map_err(|error| Error::Syntax(error.to_string()))?;
        let outputs = |Self { input, note, output }: Self| {
            let row = output.map(|bits| bits.into_iter().map(f32::from_bits).collect());
            (input, note, row.map_err(Error::Syntax))
        };
        Ok(sent.into_iter().map(outputs).collect())
    }
}

/// All outputs for all inputs; the processes compute the batches in turn, and the first has the outputs of all.
fn all_together(model: &Model, x: &[Samples], batch_size: usize, peers: &dyn Communicator) -> Result<Vec<ArrayD<f32>>> {
    if model.is_stateful() {
        return Err(Error::unsupported("distributed prediction of stateful layers", "layers without `stateful`"));
    }
    let count = x.first().map_or(0, Samples::len);
    // All are refused as in one process.
    if let Some(other) = x.iter().find(|samples| samples.len() != count) {
        return Err(Error::data("the inputs", format!("{count} samples in each"), other.len()));
    }
    if count == 0 {
        return model.predict_all_with(x, batch_size);
    }
    let mut turns = Turns::new(peers);
    let mut parts: Vec<Vec<ArrayD<f32>>> = Vec::new();
    let mut receive = |bytes: &[u8]| {
        if peers.rank() > 0 {
            return Ok(());
        }
        let sent: Vec<(Vec<usize>, Vec<u32>)> =
            serde_json::from_slice(bytes).map_err(|error| Error::Syntax(error.to_string()))?;
        let arrays = sent.into_iter().map(|(shape, bits)| {
            let numbers = bits.into_iter().map(f32::from_bits).collect();
            ArrayD::from_shape_vec(shape.clone(), numbers).map_err(|error| Error::shape(format!("{shape:?}"), error))
        });
        parts.push(arrays.collect::<Result<_>>()?);
        Ok(())
    };
    for start in (0..count).step_by(batch_size) {
        if turns.is_own() {
            let batch = x.iter().map(|samples| samples.slice(start..count.min(start.saturating_add(batch_size))));
            let outputs = model.predict_all_with(&batch.collect::<Result<Vec<_>>>()?, batch_size)?;
            let bits = |output: &ArrayD<f32>| output.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
            let sent: Vec<_> = outputs.iter().map(|output| (output.shape(), bits(output))).collect();
            turns.put(&serde_json::to_vec(&sent).map_err(|error| Error::Syntax(error.to_string()))?);
        }
        turns.next(&mut receive)?;
    }
    turns.finish(&mut receive)?;
    let outputs = parts.first().map_or(0, Vec::len);
    let joined = (0..outputs).map(|index| {
        let views: Vec<_> = parts.iter().filter_map(|part| part.get(index)).map(|array| array.view()).collect();
        let joined = ndarray::concatenate(ndarray::Axis(0), &views);
        joined.map_err(|error| Error::data("the outputs", "the same sizes in every batch, as in the first", error))
    });
    joined.collect()
}

/// Whether the argument stands for standard input.
fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN)
}

fn is_npz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"))
}

fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
}
