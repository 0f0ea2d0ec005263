//! Predictions, written in the requested format.

use std::io::Write;
use std::path::{Path, PathBuf};

use brasa::text::{escaped_json, printable};
use brasa::training::{Answers, Meaning, TOP_CLASSES, nested_json, number_json};
use brasa::{Error, Model, Result};
use clap::ValueEnum;
use serde_json::{Value as Json, json};

use super::output;

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for people.
    Text,
    /// One JSON document, a list.
    Json,
    /// A JSON document a line.
    Jsonl,
    /// A table with a header.
    Csv,
}

impl Format {
    /// The format for a file name's extension.
    ///
    /// # Errors
    /// [`Error::Argument`] for an unknown extension.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("txt") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            Some("jsonl") => Ok(Self::Jsonl),
            Some("csv") => Ok(Self::Csv),
            _ => {
                let expected = "a file name that ends in `.csv`, `.json`, `.jsonl`, `.txt`, `.npy` or `.npz`";
                Err(Error::argument("--output", expected, format!("`{}`", path.display())))
            }
        }
    }
}

/// The prediction for one input.
pub struct Answer {
    /// The input's name.
    pub input: String,
    /// The target, if known: a class, or numbers.
    pub truth: Option<Vec<f32>>,
    /// The model's output, or why it failed.
    pub output: std::result::Result<Vec<f32>, String>,
}

/// Formatting of a model's outputs.
pub struct Shown {
    answers: Answers,
    /// How many classes are shown; none for the default.
    top: Option<usize>,
}

impl Shown {
    /// For a model with a single output.
    ///
    /// # Errors
    /// [`Error::State`] before its shape is known.
    pub fn new(model: &Model, top: Option<usize>) -> Result<Self> {
        Ok(Self { answers: Answers::of(model)?, top })
    }

    /// A class's label: its name, or its number if it has none.
    fn called(&self, class: usize) -> String {
        self.answers.name(class).map_or_else(|| class.to_string(), printable)
    }

    /// Whether each input has exactly one class, not several labels or numbers.
    fn has_one_class(&self) -> bool {
        matches!(self.answers.meaning, Meaning::Classes { .. } | Meaning::Binary { .. })
    }

    fn json(&self, answer: &Answer) -> Json {
        let mut json = match &answer.output {
            Err(error) => json!({ "input": answer.input, "error": error }),
            Ok(row) => self.answers.json(&answer.input, row, self.top.unwrap_or(TOP_CLASSES)),
        };
        if let Some(truth) = &answer.truth {
            json["true"] = match self.true_class(truth) {
                Some(class) => match self.answers.name(class) {
                    Some(name) => json!({ "class": class, "name": name }),
                    None => json!({ "class": class }),
                },
                None => truth.iter().map(|value| number_json(*value)).collect(),
            };
        }
        json
    }

    /// The true class of a target: a class index, or a one-hot row.
    fn true_class(&self, truth: &[f32]) -> Option<usize> {
        if !self.has_one_class() {
            return None;
        }
        match truth {
            [class] => (class.fract() == 0.0 && *class >= 0.0).then_some(*class as usize),
            row => row.iter().position(|value| *value == 1.0),
        }
    }

    fn text(&self, answer: &Answer) -> String {
        let input = printable(&answer.input);
        let prediction = match &answer.output {
            Err(error) => format!("error: {error}"),
            Ok(row) => match self.answers.classes(row, self.top.unwrap_or(TOP_CLASSES)) {
                Some(classes) => {
                    let class =
                        |(class, share): (usize, f32)| format!("{} ({:.2} %)", self.called(class), share * 100.0);
                    classes.into_iter().map(class).collect::<Vec<_>>().join(", ")
                }
                None if self.answers.shape.len() <= 1 => row.iter().map(f32::to_string).collect::<Vec<_>>().join(", "),
                None => nested_json(row, &self.answers.shape).to_string(),
            },
        };
        let truth = answer.truth.as_ref().map(|truth| match self.true_class(truth) {
            Some(class) => self.called(class),
            None => truth.iter().map(f32::to_string).collect::<Vec<_>>().join(", "),
        });
        truth.map_or_else(|| format!("{input}: {prediction}"), |truth| format!("{input}: {prediction} (true: {truth})"))
    }

    /// The header of a table.
    fn header(&self, with_truth: bool) -> Vec<String> {
        let mut header = vec!["input".to_owned()];
        if with_truth {
            header.push("true".to_owned());
        }
        if self.has_one_class() {
            for rank in 1..=self.ranks() {
                let end = if rank == 1 { String::new() } else { format!("_{rank}") };
                header.extend(["class", "name", "probability"].map(|name| format!("{name}{end}")));
            }
        } else {
            let count: usize = self.answers.shape.iter().product();
            header.extend((0..count).map(|index| match self.answers.meaning {
                Meaning::Numbers if count == 1 => "output".to_owned(),
                Meaning::Numbers => format!("output_{index}"),
                _ => self.called(index),
            }));
        }
        header.push("error".to_owned());
        header
    }

    /// The number of classes in a row of the table.
    fn ranks(&self) -> usize {
        let classes = self.answers.meaning.classes(self.answers.shape.iter().product()).unwrap_or(1);
        self.top.unwrap_or(1).min(classes)
    }

    fn record(&self, answer: &Answer, with_truth: bool) -> Vec<String> {
        let mut record = vec![answer.input.clone()];
        if with_truth {
            record.push(answer.truth.as_ref().map_or_else(String::new, |truth| match self.true_class(truth) {
                Some(class) => self.called(class),
                None => truth.iter().map(f32::to_string).collect::<Vec<_>>().join(" "),
            }));
        }
        let width = self.header(with_truth).len();
        match &answer.output {
            Err(error) => {
                record.resize(width - 1, String::new());
                record.push(error.clone());
                return record;
            }
            Ok(row) if self.has_one_class() => {
                for (class, probability) in self.answers.classes(row, self.ranks()).unwrap_or_default() {
                    let name = self.answers.name(class).unwrap_or_default().to_owned();
                    record.extend([class.to_string(), name, probability.to_string()]);
                }
            }
            Ok(row) => {
                let values = self.answers.meaning.probabilities(row).unwrap_or_else(|| row.clone());
                record.extend(values.iter().map(f32::to_string));
            }
        }
        record.push(String::new());
        record
    }
}

/// Writes answers as they arrive.
pub struct AnswerWriter<'a> {
    shown: &'a Shown,
    format: Format,
    /// The destination's name in messages.
    path: PathBuf,
    sink: &'a mut dyn Write,
    with_truth: bool,
    count: usize,
}

impl<'a> AnswerWriter<'a> {
    /// Starts writing to a sink.
    ///
    /// # Errors
    /// [`Error::Io`] if the sink fails.
    pub fn new(
        shown: &'a Shown,
        format: Format,
        with_truth: bool,
        path: &Path,
        sink: &'a mut dyn Write,
    ) -> Result<Self> {
        let mut writer = Self { shown, format, path: path.to_owned(), sink, with_truth, count: 0 };
        match format {
            Format::Csv => writer.put(&line_of(&shown.header(with_truth))?)?,
            Format::Json => writer.put("[")?,
            Format::Text | Format::Jsonl => {}
        }
        Ok(writer)
    }

    /// Whether it writes plain text.
    pub fn is_text(&self) -> bool {
        self.format == Format::Text
    }

    /// Writes an answer.
    ///
    /// # Errors
    /// [`Error::Io`] if the sink fails.
    pub fn write(&mut self, answer: &Answer) -> Result<()> {
        let text = match self.format {
            Format::Text => self.shown.text(answer) + "\n",
            Format::Jsonl => escaped_json(&self.shown.json(answer).to_string()) + "\n",
            Format::Json => {
                let before = if self.count == 0 { "" } else { "," };
                format!("{before}{}", escaped_json(&self.shown.json(answer).to_string()))
            }
            Format::Csv => line_of(&self.shown.record(answer, self.with_truth))?,
        };
        self.count += 1;
        self.put(&text)
    }

    /// Ends the document.
    ///
    /// # Errors
    /// [`Error::Io`] if the sink fails.
    pub fn finish(mut self) -> Result<()> {
        if self.format == Format::Json {
            self.put("]\n")?;
        }
        self.flush()
    }

    /// Flushes the sink.
    ///
    /// # Errors
    /// [`Error::Io`] if the sink fails.
    pub fn flush(&mut self) -> Result<()> {
        self.sink.flush().map_err(Error::io("write to", &self.path))
    }

    fn put(&mut self, text: &str) -> Result<()> {
        self.sink.write_all(text.as_bytes()).map_err(Error::io("write to", &self.path))
    }
}

/// A row of the table, without characters that could control a terminal.
fn line_of(fields: &[String]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fields = fields.iter().map(|field| printable(field));
    writer.write_record(fields).map_err(|error| Error::Syntax(error.to_string()))?;
    let bytes = writer.into_inner().map_err(|error| Error::Syntax(error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Standard output's name in messages.
pub fn stdout_name() -> &'static Path {
    Path::new(output::STDOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(meaning: Meaning, shape: &[usize], names: &[&str]) -> Shown {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Shown { answers: Answers { meaning, names, shape: shape.to_vec() }, top: None }
    }

    fn answer(row: &[f32]) -> Answer {
        Answer { input: "a".into(), truth: None, output: Ok(row.to_vec()) }
    }

    fn written(shown: &Shown, format: Format, answers: &[Answer]) -> String {
        let mut bytes = Vec::new();
        let with_truth = answers.iter().any(|answer| answer.truth.is_some());
        let mut writer = AnswerWriter::new(shown, format, with_truth, Path::new("x"), &mut bytes).unwrap();
        answers.iter().for_each(|answer| writer.write(answer).unwrap());
        writer.finish().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_likeliest_class_comes_first() {
        let classes = shown(Meaning::Classes { logits: false }, &[3], &[]);
        assert_eq!(classes.answers.classes(&[0.1, 0.7, 0.2], 2).unwrap(), [(1, 0.7), (2, 0.2)]);
        assert_eq!(classes.answers.classes(&[0.25, 0.5, 0.25], 9).unwrap(), [(1, 0.5), (0, 0.25), (2, 0.25)]);
        let binary = shown(Meaning::Binary { logits: false }, &[1], &[]);
        assert_eq!(binary.answers.classes(&[0.25], 2).unwrap(), [(0, 0.75), (1, 0.25)]);
        assert_eq!(shown(Meaning::Numbers, &[1], &[]).answers.classes(&[0.25], 2), None);
    }

    #[test]
    fn every_form_of_classes() {
        let shown = shown(Meaning::Classes { logits: false }, &[2], &["cat", "d,og"]);
        let answers = [
            answer(&[0.25, 0.75]),
            Answer { input: "b".into(), truth: Some(vec![0.0]), output: Err("it is broken".into()) },
        ];
        let json = r#"{"input":"a","classes":[{"class":1,"name":"d,og","probability":0.75},{"class":0,"name":"cat","probability":0.25}]}"#;
        let error = r#"{"input":"b","error":"it is broken","true":{"class":0,"name":"cat"}}"#;
        assert_eq!(written(&shown, Format::Json, &answers), format!("[{json},{error}]\n"));
        assert_eq!(written(&shown, Format::Jsonl, &answers), format!("{json}\n{error}\n"));
        let table = "input,true,class,name,probability,error\na,,1,\"d,og\",0.75,\nb,cat,,,,it is broken\n";
        assert_eq!(written(&shown, Format::Csv, &answers), table);
        assert_eq!(written(&shown, Format::Text, &answers[..1]), "a: d,og (75.00 %), cat (25.00 %)\n");
        assert_eq!(written(&shown, Format::Json, &[]), "[]\n");
    }

    #[test]
    fn numbers_and_labels() {
        let numbers = shown(Meaning::Numbers, &[2], &[]);
        assert_eq!(
            written(&numbers, Format::Jsonl, &[answer(&[0.1, 37.5])]),
            "{\"input\":\"a\",\"output\":[0.1,37.5]}\n"
        );
        assert_eq!(
            written(&numbers, Format::Csv, &[answer(&[0.1, 37.5])]),
            "input,output_0,output_1,error\na,0.1,37.5,\n"
        );
        let labels = shown(Meaning::Labels { logits: false }, &[2], &["red", "round"]);
        assert_eq!(written(&labels, Format::Csv, &[answer(&[0.5, 0.75])]), "input,red,round,error\na,0.5,0.75,\n");
        let image = shown(Meaning::Numbers, &[1, 2, 1], &[]);
        assert_eq!(
            written(&image, Format::Jsonl, &[answer(&[1.0, 2.0])]),
            "{\"input\":\"a\",\"output\":[[[1.0],[2.0]]]}\n"
        );
        assert_eq!(number_json(f32::NAN), Json::Null);
    }
}
