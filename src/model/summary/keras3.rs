//! The style of Keras 3.

use std::fmt;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Params, Row, Summary};
use crate::text::{printable, with_commas};

/// Where the text of a cell stands.
#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
    Center,
}

const ALIGNMENTS: [Align; 4] = [Align::Left, Align::Left, Align::Right, Align::Center];

pub(super) fn write(summary: &Summary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let widths = text_widths(summary.line_length.unwrap_or(76), summary.show_trainable);
    let header: Vec<String> = summary.header().into_iter().map(str::to_string).collect();

    writeln!(f, "Model: \"{}\"", printable(&summary.name))?;
    write_border(["┏", "━", "┳", "┓"], &widths, f)?;
    write_cells(&header, "┃", &widths, f)?;
    write_border(["┡", "━", "╇", "┩"], &widths, f)?;
    for (i, row) in summary.shown_rows().enumerate() {
        if i > 0 {
            write_border(["├", "─", "┼", "┤"], &widths, f)?;
        }
        write_cells(&cells(row, summary.show_trainable), "│", &widths, f)?;
    }
    write_border(["└", "─", "┴", "┘"], &widths, f)?;

    let total = summary.trainable + summary.non_trainable + summary.optimizer.unwrap_or_default();
    writeln!(f, " Total params: {}", with_size(total))?;
    writeln!(f, " Trainable params: {}", with_size(summary.trainable))?;
    write!(f, " Non-trainable params: {}", with_size(summary.non_trainable))?;
    if let Some(optimizer) = summary.optimizer {
        write!(f, "\n Optimizer params: {}", with_size(optimizer))?;
    }
    Ok(())
}

/// Room for text in each column of a table of `length` characters.
///
/// Keras asks for columns that end at fixed parts of the line, which leaves no room for the borders; those
/// characters are then taken from the columns in turn, as even as whole numbers allow, halves rounded to even.
fn text_widths(length: usize, show_trainable: bool) -> Vec<usize> {
    let parts: &[f64] = if show_trainable { &[0.45 * 0.9, 0.8 * 0.9, 0.9, 1.0] } else { &[0.45, 0.8, 1.0] };
    let mut excess = 3 * parts.len() + 1;
    let mut start = 0;
    let mut widths = Vec::with_capacity(parts.len());
    for (i, part) in parts.iter().enumerate() {
        let end = (part * length as f64) as usize;
        let cut = (excess as f64 / (parts.len() - i) as f64).round_ties_even() as usize;
        excess -= cut;
        widths.push((end - start).saturating_sub(cut).max(1));
        start = end;
    }
    widths
}

fn cells(row: &Row, show_trainable: bool) -> Vec<String> {
    let prefix = if row.level == 0 { String::new() } else { format!("{}└ ", "   ".repeat(row.level)) };
    let params = if row.built { with_commas(row.params) } else { "0 (unbuilt)".into() };
    let mut cells = vec![format!("{prefix}{}", row.title()), row.shape(), params];
    if show_trainable {
        let mark = match (row.params, row.trainable) {
            (0, _) => "-",
            (_, true) => "Y",
            (_, false) => "N",
        };
        cells.push(mark.into());
    }
    cells
}

/// A border of left end, line, crossing and right end.
fn write_border([left, line, cross, right]: [&str; 4], widths: &[usize], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let lines: Vec<String> = widths.iter().map(|width| line.repeat(width + 2)).collect();
    writeln!(f, "{left}{}{right}", lines.join(cross))
}

/// Writes a row, in as many lines as its longest cell needs.
fn write_cells(cells: &[String], border: &str, widths: &[usize], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let wrapped: Vec<Vec<String>> = cells.iter().zip(widths).map(|(cell, width)| wrap(cell, *width)).collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    for i in 0..height {
        for ((lines, width), align) in wrapped.iter().zip(widths).zip(ALIGNMENTS) {
            let text = lines.get(i).map_or("", String::as_str);
            let space = width.saturating_sub(text.width());
            let before = match align {
                Align::Left => 0,
                Align::Right => space,
                Align::Center => space / 2,
            };
            write!(f, "{border} {}{text}{} ", " ".repeat(before), " ".repeat(space - before))?;
        }
        writeln!(f, "{border}")?;
    }
    Ok(())
}

/// Breaks a text at blanks into lines of at most `width` columns; a longer word is cut and ends with `…`.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words(text) {
        if !line.is_empty() && line.width() + word.trim_end().width() > width {
            lines.push(std::mem::take(&mut line));
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.iter().map(|line| cut(line.trim_end(), width)).collect()
}

/// The words of a text, each with the blanks behind it; the first also with those before it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let begin = rest.find(|c: char| !c.is_whitespace())?;
        let blank = rest[begin..].find(char::is_whitespace).map_or(rest.len(), |i| begin + i);
        let end = rest[blank..].find(|c: char| !c.is_whitespace()).map_or(rest.len(), |i| blank + i);
        let (word, left) = rest.split_at(end);
        rest = left;
        Some(word)
    })
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < width
    };
    let mut kept: String = text.chars().take_while(fits).collect();
    kept.push('…');
    kept
}

/// A number of parameters and its size: `832 (3.25 KB)`.
fn with_size(params: Params) -> String {
    let mut size = params.bytes as f64;
    let mut units = ["B", "KB", "MB", "GB", "TB", "PB"].iter();
    let mut unit = units.next().unwrap_or(&"B");
    while size >= 1024.0
        && let Some(larger) = units.next()
    {
        size /= 1024.0;
        unit = larger;
    }
    format!("{} ({size:.2} {unit})", with_commas(params.count))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{first, model, nested, notebook, row, unbuilt};
    use super::super::{Style, Summary};
    use super::*;

    /// Output of Keras 3.15 (JAX backend) under headings `#### title`.
    const STAGES: &str = include_str!("../../../tests/snapshots/keras3_stages.txt");
    const WIDTHS: &str = include_str!("../../../tests/snapshots/keras3_widths.txt");

    fn assert_prints(snapshots: &str, title: &str, summary: Summary) {
        let expected = snapshots
            .split("#### ")
            .find_map(|stage| stage.strip_prefix(title)?.strip_prefix('\n'))
            .unwrap_or_else(|| panic!("no snapshot `{title}`"));
        assert_eq!(format!("{}\n", summary.style(Style::Keras3)), expected, "{title}");
    }

    fn assert_stage(title: &str, summary: Summary) {
        assert_prints(STAGES, title, summary.line_length(80).unwrap());
    }

    fn assert_width(title: &str, width: usize, summary: Summary) {
        assert_prints(WIDTHS, title, summary.line_length(width).unwrap());
    }

    /// The short network of the snapshots of other widths.
    fn short() -> Summary {
        let mut summary = notebook("sequential", ["", "_1", ""]);
        summary.rows.drain(2..4);
        summary.rows[2] = row("flatten", "Flatten", 4608, 0);
        summary.rows[3] = row("dense", "Dense", 10, 46_090);
        model("sequential", summary.rows)
    }

    fn short_frozen() -> Summary {
        let mut summary = short().show_trainable(true);
        summary.rows[0].trainable = false;
        summary.trainable = Params::float32(46_090);
        summary.non_trainable = Params::float32(832);
        summary
    }

    #[test]
    fn every_stage_of_the_notebooks_network() {
        let titles = ["conv2d", "pool", "conv2d_1", "pool_1", "flatten", "dense"];
        for (i, title) in titles.into_iter().enumerate() {
            assert_stage(title, first(i + 1, "sequential", ["", "_1", ""]));
        }
        assert_prints(STAGES, "default width", notebook("sequential", ["", "_1", ""]));
    }

    #[test]
    fn the_optimizer_counts_once_it_has_state() {
        let mut summary = notebook("sequential", ["", "_1", ""]);
        summary.optimizer = Some(Params::float32(2 * 62_346 + 2));
        assert_stage("after fit", summary);
    }

    #[test]
    fn unbuilt_named_and_empty_models() {
        assert_stage("unbuilt", model("sequential_1", vec![unbuilt("dense_1", "Dense"), unbuilt("dense_2", "Dense")]));
        assert_stage("named", model("my_model", vec![row("dense_3", "Dense", 4, 20)]));
        assert_stage("empty", model("sequential_2", vec![]));
    }

    #[test]
    fn parameters_that_are_not_trainable() {
        let rows = vec![
            row("conv2d_2", "Conv2D", (8, 8, 4), 112),
            row("batch_normalization", "BatchNormalization", (8, 8, 4), 16),
            row("re_lu", "ReLU", (8, 8, 4), 0),
            row("global_average_pooling2d", "GlobalAveragePooling2D", 4, 0),
            row("dense_4", "Dense", 1000, 5_000),
            row("dense_5", "Dense", 1000, 1_001_000),
        ];
        let summary = Summary::new("sequential_3", rows, Params::float32(1_006_120), Params::float32(8));
        assert_stage("batch normalization", summary);
    }

    #[test]
    fn nested_models() {
        assert_stage("nested", nested());
        assert_stage("nested, expanded", nested().expand_nested(true));
    }

    #[test]
    fn recurrent_layers() {
        let rows = vec![
            row("embedding", "Embedding", (5, 4), 40),
            row("bidirectional", "Bidirectional", (5, 6), 192),
            row("gru", "GRU", 3, 99),
            row("dense_6", "Dense", 1, 4),
        ];
        assert_stage("recurrent", model("sequential_5", rows));
    }

    #[test]
    fn other_widths() {
        assert_width("88 columns", 88, short());
        assert_width("65 columns", 65, short());
        assert_width("60 columns", 60, short());
    }

    #[test]
    fn the_trainable_column() {
        assert_width("100 columns, trainable", 100, short().show_trainable(true));
        assert_width("frozen", 100, short_frozen());
        let mut with_optimizer = short_frozen();
        with_optimizer.optimizer = Some(Params::float32(92_182));
        assert_width("frozen, optimizer", 100, with_optimizer);
    }

    #[test]
    fn a_range_of_layers_keeps_the_totals() {
        assert_width("layer range", 70, short().layer_range("max_pooling2d", "flatten").unwrap());
    }

    #[test]
    fn long_names_and_large_numbers() {
        let name = "dense_with_underscores_and more words in_the name that is long";
        assert_width("long name", 70, model("my [bold] model", vec![row(name, "Dense", 3, 15)]));
        let rows = vec![
            row("conv2d_1", "Conv2D", (None, None, 2), 56),
            row("global_max_pooling2d", "GlobalMaxPooling2D", 2, 0),
            row("dense_1", "Dense", 4_115_226, 12_345_678),
        ];
        assert_width("large", 70, model("big", rows));
    }

    #[test]
    fn every_line_is_as_long_as_asked() {
        for (length, trainable) in [(40, false), (40, true), (77, false), (101, true), (200, true)] {
            let summary = nested().style(Style::Keras3).show_trainable(trainable).line_length(length).unwrap();
            for line in summary.to_string().lines().filter(|line| line.starts_with(['┏', '┃', '┡', '│', '├', '└']))
            {
                assert_eq!(line.chars().count(), length, "{line}");
            }
        }
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(wrap("全結合層全結合層 (Dense)", 9), ["全結合層…", "(Dense)"]);
        assert_eq!(wrap("全結合層全 x", 10), ["全結合層全", "x"]);
    }

    #[test]
    fn sizes_have_units() {
        let texts = [0, 3328, 4 << 30].map(|bytes| with_size(Params { count: 1, bytes }));
        assert_eq!(texts, ["1 (0.00 B)", "1 (3.25 KB)", "1 (4.00 GB)"]);
    }
}
