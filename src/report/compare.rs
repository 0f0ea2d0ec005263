//! Several runs in the same charts.

use std::collections::BTreeSet;

use super::chart::{Chart, Line};
use super::{Curves, Figure, terminal, tidy};
use crate::error::{Error, Result};

/// Charts of these metrics, one below the other, with a line for each run and, if it was validated, a stronger line for
/// its validation.
///
/// # Errors
/// [`Error::UnknownName`] for a metric that no run has.
pub fn compare(runs: &[Curves], metrics: &[&str]) -> Result<Figure> {
    Ok(Figure::charts(charts(runs, metrics)?))
}

/// The same for a terminal of `width` characters, followed by a table of the last and the best numbers.
///
/// # Errors
/// As [`compare`].
pub fn compare_in_terminal(runs: &[Curves], metrics: &[&str], width: usize, colours: bool) -> Result<String> {
    let mut text = String::new();
    for chart in charts(runs, metrics)? {
        text += &terminal::draw(&chart, width, colours);
        text += &table(&chart);
        text.push('\n');
    }
    Ok(text)
}

fn charts(runs: &[Curves], metrics: &[&str]) -> Result<Vec<Chart>> {
    // A column can be empty.
    let has = |run: &Curves, name: &str| !run.points(name).is_empty();
    let names = runs.iter().flat_map(|run| run.values.keys().filter(|name| has(run, name)));
    let known: BTreeSet<&str> = names.map(String::as_str).collect();
    let chart = |metric: &&str| {
        let validation = format!("val_{metric}");
        if !known.contains(metric) && !known.contains(validation.as_str()) {
            return Err(Error::unknown("metric", *metric, &known));
        }
        let mut lines = Vec::new();
        for (colour, run) in runs.iter().enumerate() {
            let validates = has(run, &validation);
            for (name, faint) in [(*metric, validates), (validation.as_str(), false)] {
                if has(run, name) {
                    let label = if runs.len() == 1 { name.to_owned() } else { format!("{} {name}", run.name) };
                    // For a single run, colours distinguish training and validation.
                    let (colour, faint) =
                        if runs.len() == 1 { (usize::from(name.starts_with("val_")), false) } else { (colour, faint) };
                    lines.push(Line { label, points: run.points(name), colour, faint, dots: false });
                }
            }
        }
        Ok(Chart::over_epochs(*metric, lines))
    };
    metrics.iter().map(chart).collect()
}

/// The last number of each line, and its smallest and largest with their epochs.
fn table(chart: &Chart) -> String {
    let mut rows = vec![["", "epochs", "last", "smallest", "largest"].map(str::to_owned)];
    for line in &chart.lines {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let with_epoch = |point: Option<&(f64, f64)>| {
            point.map_or_else(|| "-".into(), |(epoch, value)| format!("{} (epoch {epoch})", tidy(*value)))
        };
        let last = line.points.last().map_or_else(|| "-".into(), |(_, value)| tidy(*value));
        let (smallest, largest) = (line.points.iter().min_by(by_value), line.points.iter().max_by(by_value));
        rows.push([line.label.clone(), line.points.len().to_string(), last, with_epoch(smallest), with_epoch(largest)]);
    }
    let width = |column: usize| rows.iter().map(|row| console::measure_text_width(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - console::measure_text_width(cell));
            text += &if index == 0 { format!("{cell}{pad}") } else { format!("  {pad}{cell}") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, values: &[(&str, &[f64])]) -> Curves {
        let values = values.iter().map(|(name, numbers)| {
            ((*name).to_owned(), numbers.iter().map(|number| Some(*number)).collect::<Vec<_>>())
        });
        Curves { name: name.into(), epochs: (0..3).collect(), values: values.collect() }
    }

    fn runs() -> Vec<Curves> {
        vec![
            run("small", &[("loss", &[3.0, 2.0, 2.5]), ("val_loss", &[3.5, 2.5, 2.25])]),
            run("large", &[("loss", &[1.0, 0.5, 0.25]), ("accuracy", &[0.5, 0.6, 0.7])]),
        ]
    }

    #[test]
    fn each_run_has_its_lines_and_its_rows() {
        let chart = &charts(&runs(), &["loss"]).unwrap()[0];
        let labels: Vec<(&str, bool)> = chart.lines.iter().map(|line| (line.label.as_str(), line.faint)).collect();
        assert_eq!(labels, [("small loss", true), ("small val_loss", false), ("large loss", false)]);
        let text = compare_in_terminal(&runs(), &["loss"], 80, false).unwrap();
        let row = "\nsmall val_loss       3  2.25  2.25 (epoch 3)  3.5 (epoch 1)\n";
        assert!(text.contains(row), "{text}");
        let svg = compare(&runs(), &["loss", "accuracy"]).unwrap().svg().unwrap();
        assert!(svg.contains("large accuracy") && svg.contains("small val_loss"), "{svg}");
        assert!(svg.contains("currentColor") && !svg.contains("#010203"));
    }

    #[test]
    fn a_metric_that_no_run_has_is_refused() {
        let error = compare(&runs(), &["acuracy"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `accuracy`?") && error.contains("val_loss"), "{error}");
    }

    #[test]
    fn a_png_can_be_decoded() {
        let figure = compare(&runs(), &["loss"]).unwrap();
        let png = figure.png().unwrap();
        let read = ::image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!(read.dimensions(), (figure.size().0 * 2, figure.size().1 * 2));
        let colours: BTreeSet<[u8; 3]> = read.pixels().map(|pixel| pixel.0).collect();
        assert!(colours.contains(&[255; 3]) && colours.contains(&[59, 130, 196]), "a line on white");
        assert!(colours.contains(&[208, 112, 4]), "and the other run's");
    }
}
