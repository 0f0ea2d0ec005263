//! The page of a run: all results in one file.

use std::io::Write;
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{Chart, Line};
use super::classes::{Classes, MOST_COLUMNS};
use super::curves::{Curves, LEARNING_RATE};
use super::labels::Labels;
use super::numbers::Numbers;
use super::{Figure, machine, pixels, tidy};
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomically;
use crate::metrics::Score;
use crate::model::Model;
use crate::model::summary::{Row, Summary};
use crate::text::{printable_lines, with_commas};
use crate::training::progress::format_duration;
use crate::training::{History, Scores};

/// The most confusions listed if the matrix would be too large.
const MOST_CONFUSIONS: usize = 20;

/// The number of points of a learning rate schedule.
const SCHEDULE_POINTS: u64 = 200;

/// The page of a run, as one self-contained HTML file: with charts, images and styles, without scripts.
///
/// Parts that are not given are left out. See the [module](super) for an example.
#[derive(Clone, Debug)]
pub struct Report {
    title: String,
    curves: Curves,
    rates: Option<Chart>,
    /// The learning rate, if it was constant.
    rate: Option<f32>,
    optimizer: Option<String>,
    summary: Summary,
    kernels: Option<pixels::Kernels>,
    machine: Vec<(&'static str, String)>,
    samples_per_second: Option<f64>,
    seconds: Option<f64>,
    stopped: Option<String>,
    restored_epoch: Option<usize>,
    recipe: Option<String>,
    scores: Option<(String, Scores)>,
    classes: Option<(String, Classes)>,
    labels: Option<(String, Labels)>,
    numbers: Option<(String, Numbers)>,
    /// What the targets are called, where a table has named them.
    targets: Vec<String>,
    written: String,
}

impl Report {
    /// The page of a training: the curves of its history, the learning rate, the layers, the first kernels, the
    /// machine.
    ///
    /// # Errors
    /// [`Error::State`] for a model without an input shape, [`Error::Device`] if the device fails.
    pub fn new(model: &Model, history: &History) -> Result<Self> {
        let mut report = Self::of_curves(model, Curves::from_history(model.name(), history))?;
        report.samples_per_second = Some(history.samples_per_second).filter(|rate| *rate > 0.0);
        report.stopped = history.stopped.clone();
        report.restored_epoch = history.restored_epoch;
        Ok(report)
    }

    /// The same from [`Curves`], which can be read from a file.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_curves(model: &Model, curves: Curves) -> Result<Self> {
        let compiled = model.compiled.as_ref();
        let argument = compiled.map(|compiled| compiled.optimizer.learning_rate_argument());
        let steps = compiled.map_or(0, |compiled| compiled.state.iterations);
        let mut rates = curves.points(LEARNING_RATE);
        let mut chart = (rates.len() > 1).then(|| rates_over("epoch", rates.clone()));
        if let Some(argument) = argument.filter(|argument| chart.is_none() && argument.constant().is_none())
            && steps > 1
        {
            let every = (steps / SCHEDULE_POINTS).max(1) as usize;
            rates = (0..steps).step_by(every).map(|step| ((step + 1) as f64, f64::from(argument.at(step)))).collect();
            chart = Some(rates_over("step", rates.clone()));
        }
        let changes = rates.iter().any(|(_, rate)| Some(rate) != rates.first().map(|(_, first)| first));
        let rate = argument.and_then(|argument| argument.constant());
        Ok(Self {
            title: curves.name.clone(),
            rates: chart.filter(|_| changes),
            rate: rate.filter(|_| !changes),
            optimizer: compiled.map(|compiled| compiled.optimizer.class_name().to_owned()),
            curves,
            summary: model.summary(),
            kernels: pixels::kernels(model)?,
            machine: machine::facts(model),
            samples_per_second: None,
            seconds: None,
            stopped: None,
            restored_epoch: None,
            recipe: None,
            scores: None,
            classes: None,
            labels: None,
            numbers: None,
            targets: model.data_info().table.as_ref().map(|table| table.targets.clone()).unwrap_or_default(),
            written: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        })
    }

    /// The name of the run.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// The duration of training.
    #[must_use]
    pub fn seconds(mut self, seconds: f64) -> Self {
        self.seconds = Some(seconds);
        self
    }

    /// Training samples per second.
    #[must_use]
    pub fn samples_per_second(mut self, rate: f64) -> Self {
        self.samples_per_second = Some(rate);
        self
    }

    /// Why training ended before its last epoch.
    #[must_use]
    pub fn stopped(mut self, reason: impl Into<String>) -> Self {
        self.stopped = Some(reason.into());
        self
    }

    /// The epoch, from 0, whose weights were restored at the end.
    #[must_use]
    pub fn restored_epoch(mut self, epoch: usize) -> Self {
        self.restored_epoch = Some(epoch);
        self
    }

    /// The recipe, as TOML.
    #[must_use]
    pub fn recipe(mut self, toml: impl Into<String>) -> Self {
        self.recipe = Some(toml.into());
        self
    }

    /// The scores of an evaluation on named data, such as `test`.
    #[must_use]
    pub fn scores(mut self, data: impl Into<String>, scores: &Scores) -> Self {
        self.scores = Some((data.into(), scores.clone()));
        self
    }

    /// The classification report on named data, such as `test`.
    #[must_use]
    pub fn classes(mut self, data: impl Into<String>, classes: Classes) -> Self {
        self.classes = Some((data.into(), classes));
        self
    }

    /// How well each of several labels is found in data with a name, such as `test`.
    #[must_use]
    pub fn labels(mut self, data: impl Into<String>, labels: Labels) -> Self {
        self.labels = Some((data.into(), labels));
        self
    }

    /// How near the numbers of a regression come to those of data with a name, such as `test`.
    #[must_use]
    pub fn numbers(mut self, data: impl Into<String>, numbers: Numbers) -> Self {
        self.numbers = Some((data.into(), numbers));
        self
    }

    /// The page.
    ///
    /// # Errors
    /// [`Error::Io`] if a chart or an image cannot be drawn.
    pub fn to_html(&self) -> Result<String> {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="generator" content=(format!("Brasa {}", env!("CARGO_PKG_VERSION")));
                    title { (self.title) }
                    style { (PreEscaped(include_str!("style.css"))) }
                }
                body {
                    main {
                        h1 { (self.title) }
                        p.pale { (self.subtitle()) }
                        (self.tiles())
                        (self.charts()?)
                        @if let Some((data, classes)) = &self.classes {
                            (matrix(data, classes))
                            (score_table("Classes", "Class", data, &classes.names, |class| (classes.scores(class), classes.support(class))))
                            (mistakes(data, classes)?)
                        }
                        @if let Some((data, labels)) = &self.labels {
                            (score_table("Labels", "Label", data, &labels.names, |label| (labels.scores(label), labels.support(label))))
                        }
                        @if let Some((data, numbers)) = &self.numbers { (self.near(data, numbers)?) }
                        @if let Some(kernels) = &self.kernels { (kernels_of(kernels)?) }
                        (self.network())
                        @if let Some(recipe) = &self.recipe {
                            h2 { "Recipe" }
                            details { summary { "config.toml" } pre { (recipe) } }
                        }
                        h2 { "Machine and versions" }
                        dl.facts { @for (name, value) in &self.machine { dt { (name) } dd { (value) } } }
                    }
                }
            }
        };
        Ok(printable_lines(&page.into_string()))
    }

    /// Writes the page to a file, atomically.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let (path, page) = (path.as_ref(), self.to_html()?);
        write_atomically(path, |file| file.write_all(page.as_bytes()).map_err(Error::io("write", path)))
    }

    fn subtitle(&self) -> String {
        let mut parts = vec![self.written.clone()];
        parts.extend(self.optimizer.clone());
        parts.extend(self.rate.map(|rate| format!("learning rate {}", tidy(f64::from(rate)))));
        parts.extend(self.stopped.as_ref().map(|reason| format!("stopped: {reason}")));
        parts
            .extend(self.restored_epoch.map(|epoch| format!("the saved model has the weights of epoch {}", epoch + 1)));
        parts.join(" · ")
    }

    fn tiles(&self) -> Markup {
        let mut tiles: Vec<(String, String)> = Vec::new();
        if let Some((data, scores)) = &self.scores {
            let own = scores.metrics.iter().map(|(name, value)| (name.as_str(), value.clone()));
            let all = own.chain([("loss", scores.loss.into())]);
            let shown = |name: &str, value: Score| value.show(|value| score(name, value));
            tiles.extend(all.map(|(name, value)| (format!("{data} {name}"), shown(name, value))));
        }
        // With the weights of another epoch the model's scores are not those of the last one.
        let restored = self.restored_epoch;
        let epoch = restored.map_or_else(|| "last epoch".to_owned(), |epoch| format!("restored epoch {}", epoch + 1));
        for metric in self.curves.metrics() {
            let validation = format!("val_{metric}");
            let value = match restored {
                Some(epoch) => self.curves.at(&validation, epoch),
                None => self.curves.last(&validation),
            };
            tiles.extend(value.map(|value| (format!("validation {metric}, {epoch}"), score(metric, value))));
        }
        let epochs = self.curves.epochs.len();
        tiles.push(("epochs".into(), epochs.to_string()));
        if let Some(seconds) = self.seconds {
            tiles.push(("time".into(), format_duration(seconds)));
            if epochs > 0 {
                tiles.push(("time an epoch".into(), format_duration(seconds / epochs as f64)));
            }
        }
        let rate = self.samples_per_second.map(|rate| with_commas(rate.round() as usize));
        tiles.extend(rate.map(|rate| ("samples a second".into(), rate)));
        let params = (self.summary.trainable + self.summary.non_trainable).count;
        tiles.push(("parameters".into(), with_commas(params)));
        html! { dl.tiles { @for (name, value) in &tiles { div { dt { (name) } dd { (value) } } } } }
    }

    fn charts(&self) -> Result<Markup> {
        let line = |name: &str, label: &str, colour: usize| {
            let points = self.curves.points(name);
            (!points.is_empty()).then(|| Line { label: label.into(), points, colour, faint: false, dots: false })
        };
        let over_epochs = self.curves.metrics().into_iter().map(|metric| {
            let validation = line(&format!("val_{metric}"), "validation", 1);
            Chart::over_epochs(metric, line(metric, "training", 0).into_iter().chain(validation).collect())
        });
        let charts = over_epochs.chain(self.rates.clone()).filter(|chart| !chart.lines.is_empty());
        let drawn: Vec<String> = charts.map(|chart| Figure::charts(vec![chart]).inline_svg()).collect::<Result<_>>()?;
        Ok(html! {
            h2 { "Curves" }
            div.charts { @for svg in &drawn { figure style="margin:0" { (PreEscaped(svg)) } } }
        })
    }

    /// What was predicted beside what is true.
    fn near(&self, data: &str, numbers: &Numbers) -> Result<Markup> {
        let drawn = numbers.charts(&self.targets).into_iter().map(|chart| Figure::charts(vec![chart]).inline_svg());
        let drawn: Vec<String> = drawn.collect::<Result<_>>()?;
        let shown = numbers.pairs.first().map_or(0, Vec::len);
        let part = if shown < numbers.samples { format!("{} of ", with_commas(shown)) } else { String::new() };
        Ok(html! {
            h2 { "Predicted and true, " (data) " data" }
            p.pale { (part) (with_commas(numbers.samples)) " samples." }
            div.charts { @for svg in &drawn { figure style="margin:0" { (PreEscaped(svg)) } } }
        })
    }

    fn network(&self) -> Markup {
        let (trainable, rest) = (self.summary.trainable.count, self.summary.non_trainable.count);
        html! {
            h2 { "Network" }
            p.pale { (self.summary.name) }
            div.wide {
                table {
                    thead {
                        tr {
                            th.left { "Layer" } th.left { "Class" } th.left { "Output shape" } th { "Parameters" }
                            @if self.summary.connected { th.left { "Connected to" } }
                        }
                    }
                    tbody {
                        @for row in &self.summary.rows {
                            tr {
                                td.left style=(format!("padding-left:{}rem", 0.65 + 1.2 * row.level as f64)) { (row.name) }
                                td.left { (row.class_name) }
                                td.left { (row.shape()) }
                                td { (with_commas(row.params)) }
                                @if self.summary.connected { td.left { (connections(row)) } }
                            }
                        }
                    }
                }
            }
            p.pale {
                "Parameters: " (with_commas(trainable + rest)) " in all, " (with_commas(trainable)) " trainable, "
                (with_commas(rest)) " not."
            }
        }
    }
}

/// The inputs of a layer, as in a summary.
fn connections(row: &Row) -> String {
    row.connections.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn rates_over(x: &str, points: Vec<(f64, f64)>) -> Chart {
    let line = Line { label: "learning rate".into(), points, colour: 2, faint: false, dots: false };
    Chart { x: x.into(), ..Chart::over_epochs("learning rate", vec![line]) }
}

/// A score for people: accuracies in percent.
fn score(name: &str, value: f64) -> String {
    if name.contains("acc") { format!("{:.2} %", value * 100.0) } else { format!("{value:.4}") }
}

fn matrix(data: &str, classes: &Classes) -> Markup {
    if classes.names.len() > MOST_COLUMNS {
        let pairs = classes.confusions();
        return html! {
            h2 { "Most frequent confusions, " (data) " data" }
            div.wide {
                table {
                    thead { tr { th.left { "True" } th.left { "Predicted" } th { "Samples" } } }
                    tbody {
                        @for (count, class, guess) in pairs.iter().take(MOST_CONFUSIONS) {
                            tr {
                                td.left { (classes.names[*class]) }
                                td.left { (classes.names[*guess]) }
                                td { (with_commas(*count)) }
                            }
                        }
                    }
                }
            }
            @if pairs.is_empty() { p { "None." } }
        };
    }
    html! {
        h2 { "Confusion matrix, " (data) " data" }
        p.pale { "Rows: the true class; columns: the predicted one; " (with_commas(classes.samples())) " samples." }
        div.wide {
            table.matrix {
                thead { tr { td style="border:0" {} @for name in &classes.names { th scope="col" { (name) } } } }
                tbody {
                    @for (class, row) in classes.counts.iter().enumerate() {
                        tr {
                            th.left scope="row" { (classes.names[class]) }
                            @for (guess, count) in row.iter().enumerate() { (cell(classes, class, guess, *count)) }
                        }
                    }
                }
            }
        }
    }
}

/// A cell of the matrix, darker for a larger share of the true class.
fn cell(classes: &Classes, class: usize, guess: usize, count: usize) -> Markup {
    let share = count as f64 / classes.support(class).max(1) as f64;
    let kind = match () {
        () if count == 0 => "none",
        () if class == guess => "right",
        () => "wrong",
    };
    // Even a few mistakes must be visible.
    let shade = if class == guess { share * 0.75 } else { share.sqrt() * 0.75 };
    html! { td class=(kind) style=(format!("--share:{shade:.3}")) { (with_commas(count)) } }
}

/// Precision, recall and F1, a row for each name.
fn score_table(
    title: &str,
    of: &str,
    data: &str,
    names: &[String],
    scores: impl Fn(usize) -> ([Option<f64>; 3], usize),
) -> Markup {
    let shown = |score: Option<f64>| score.map_or_else(|| "–".to_owned(), |score| format!("{score:.4}"));
    html! {
        h2 { (title) ", " (data) " data" }
        div.wide {
            table {
                thead { tr { th.left { (of) } th { "Precision" } th { "Recall" } th { "F1" } th { "Support" } } }
                tbody {
                    @for (index, name) in names.iter().enumerate() {
                        @let (scores, support) = scores(index);
                        tr {
                            th.left scope="row" { (name) }
                            @for score in scores { td { (shown(score)) } }
                            td { (with_commas(support)) }
                        }
                    }
                }
            }
        }
    }
}

fn mistakes(data: &str, classes: &Classes) -> Result<Markup> {
    let sizes = pixels::image_sizes(&classes.input_shape);
    let image = |input: &[f32]| sizes.map(|sizes| pixels::data_uri(&pixels::input(input, sizes)?)).transpose();
    let images: Vec<Option<String>> =
        classes.mistakes.iter().map(|mistake| image(&mistake.input)).collect::<Result<_>>()?;
    let percent = |share: f32| format!("{:.1} %", share * 100.0);
    Ok(html! {
        h2 { "Worst mistakes, " (data) " data" }
        @if classes.mistakes.is_empty() { p { "None." } } @else {
            p.pale { "Where the true class got the least probability. The number is the sample's index in the data." }
        }
        ul.mistakes {
            @for (mistake, image) in classes.mistakes.iter().zip(&images) {
                @let (is, taken) = (&classes.names[mistake.class], &classes.names[mistake.predicted]);
                li {
                    @if let Some(uri) = image {
                        img src=(uri) alt=(format!("sample {}, {is}, taken for {taken}", mistake.index));
                    }
                    b { (is) } " taken for " b { (taken) } br;
                    @if let Some(words) = &mistake.words { span { (words) } br; }
                    span.pale { (percent(mistake.confidence)) " against " (percent(mistake.probability)) ", no. " (mistake.index) }
                }
            }
        }
    })
}

fn kernels_of(kernels: &pixels::Kernels) -> Result<Markup> {
    let uri = pixels::data_uri(&kernels.image)?;
    let which = if kernels.shown < kernels.count { format!("the first {} of ", kernels.shown) } else { String::new() };
    let caption = format!("{which}{} kernels of {}; {}", kernels.count, kernels.layer, kernels.channels);
    Ok(html! {
        h2 { "First kernels" }
        img.kernels src=(uri) alt=(caption);
        p.pale { (caption) "." }
    })
}
