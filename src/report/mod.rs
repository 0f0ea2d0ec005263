//! Charts and reports: the page of a run, comparisons of runs, drawings of networks.
//!
//! Everything is drawn by a plotting library, as SVG for dark and light backgrounds or as PNG, and the output refers to
//! nothing outside itself.
//!
//! ```
//! use brasa::prelude::*;
//! use brasa::report::{Report, plot_model};
//!
//! # fn main() -> brasa::Result<()> {
//! let mut model = Sequential::new();
//! model.add(Dense::new(1).input_shape(2))?.compile(Compile::new("sgd", "mse"))?;
//! let data = Dataset::new(&ndarray::Array::<f32, _>::zeros((4, 2)), vec![0.0f32; 4])?;
//! let history = model.fit(&data, Fit::new().epochs(2).verbose(Verbosity::Silent))?;
//!
//! let page = Report::new(&model, &history)?.title("zeros").to_html()?;
//! assert!(page.starts_with("<!DOCTYPE html>"));
//! let network = plot_model(&model).svg()?;
//! assert!(network.contains("(None, 1)"));
//! # Ok(())
//! # }
//! ```

mod chart;
mod classes;
mod compare;
mod curves;
mod figure;
mod labels;
mod layout;
mod machine;
mod network;
mod numbers;
mod page;
mod pixels;
mod style;
mod terminal;

pub use classes::{Classes, Mistake};
pub use compare::{compare, compare_in_terminal};
pub use curves::Curves;
pub use figure::Figure;
pub use labels::Labels;
pub use numbers::Numbers;
pub use page::Report;

use crate::error::Error;
use crate::model::Model;
use crate::model::summary::Summary;
use crate::training::LearningRates;

/// Draws a model's layers as boxes, the nested ones too: name, class, output shape and parameters. Branches are drawn
/// side by side, with arrows from each layer to those that use its output.
///
/// ```
/// use brasa::prelude::*;
/// use brasa::report::plot_model;
/// let mut model = Sequential::new();
/// model.add(Dense::new(10).activation("softmax").input_shape(784))?;
/// let svg = plot_model(&model).svg()?;
/// assert!(svg.contains("(None, 784)") && svg.contains("7,850 parameters"));
/// # Ok::<(), brasa::Error>(())
/// ```
pub fn plot_model(model: &Model) -> Figure {
    plot_summary(&model.summary().expand_nested(true))
}

/// Draws the layers that a summary shows; with [`show_trainable`](Summary::show_trainable) frozen layers are marked.
pub fn plot_summary(summary: &Summary) -> Figure {
    Figure::network(network::Network::of(summary))
}

/// A learning rate range test as a chart: the loss over the rates, and the proposed rates.
pub fn plot_learning_rates(rates: &LearningRates) -> Figure {
    Figure::charts(vec![chart::Chart::of_learning_rates(rates)])
}

/// A learning rate range test for a terminal of `width` characters.
pub fn learning_rates_in_terminal(rates: &LearningRates, width: usize, colours: bool) -> String {
    terminal::draw(&chart::Chart::of_learning_rates(rates).without_faint(), width, colours)
}

/// Throughput over batch sizes, a line for each measurement.
///
/// ```
/// let rates = vec![(32, 14_000.0), (128, 17_000.0), (512, 17_500.0)];
/// let svg = brasa::report::plot_throughput("samples a second", &[("train".into(), rates)]).svg()?;
/// assert!(svg.contains("batch size"));
/// # Ok::<(), brasa::Error>(())
/// ```
pub fn plot_throughput(title: &str, measured: &[(String, Vec<(usize, f64)>)]) -> Figure {
    Figure::charts(vec![chart::Chart::of_throughput(title, measured)])
}

/// An error of the drawing library.
fn cannot_draw(error: impl std::fmt::Display) -> Error {
    Error::io("draw", "a chart or diagram")(std::io::Error::other(error.to_string()))
}

/// A short number: four significant digits, without trailing zeros.
fn tidy(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{value:.2e}").replace(".00e", "e").replace("0e", "e");
    }
    let digits = (3 - size.log10().floor() as i64).clamp(0, 7) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::tidy;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 1.0, 0.5, 0.12345, 12.345, 1234.56, 123_456.0, 0.001, 0.000_1, 2.5e-7, 1e6, -0.25];
        let expected =
            ["0", "1", "0.5", "0.1235", "12.35", "1235", "123456", "0.001", "0.0001", "2.5e-7", "1e6", "-0.25"];
        assert_eq!(texts.map(tidy), expected);
    }
}
