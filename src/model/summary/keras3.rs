//! The style of Keras 3.

use std::fmt;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{ParamCount, Row, Summary, listed};
use crate::text::{printable, with_commas};

/// The alignment of a cell's text.
#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
    Center,
}

pub(super) fn write(summary: &Summary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let columns = Columns::of(summary);
    let header: Vec<String> = summary.header().into_iter().map(str::to_string).collect();

    writeln!(f, "Model: \"{}\"", printable(&summary.name))?;
    columns.write_border(["┏", "━", "┳", "┓"], f)?;
    columns.write_cells(&header, "┃", true, f)?;
    columns.write_border(["┡", "━", "╇", "┩"], f)?;
    for (i, row) in summary.shown_rows().enumerate() {
        if i > 0 {
            columns.write_border(["├", "─", "┼", "┤"], f)?;
        }
        columns.write_cells(&cells(row, summary), "│", false, f)?;
    }
    columns.write_border(["└", "─", "┴", "┘"], f)?;

    let total = summary.trainable + summary.non_trainable + summary.optimizer.unwrap_or_default();
    writeln!(f, " Total params: {}", with_size(total))?;
    writeln!(f, " Trainable params: {}", with_size(summary.trainable))?;
    write!(f, " Non-trainable params: {}", with_size(summary.non_trainable))?;
    if let Some(optimizer) = summary.optimizer {
        write!(f, "\n Optimizer params: {}", with_size(optimizer))?;
    }
    Ok(())
}

/// The columns of a table: the text width and alignment of each.
struct Columns(Vec<(usize, Align)>);

impl Columns {
    /// Keras's columns end at fixed fractions of the line, which leaves no room for the borders; their characters are
    /// then taken from the columns in turn, as evenly as integers allow, halves rounded to even.
    fn of(summary: &Summary) -> Self {
        let length = summary.line_length.unwrap_or(76);
        let mut ends: Vec<(f64, Align)> = if summary.connected {
            vec![(0.3, Align::Left), (0.56, Align::Left), (0.74, Align::Right), (1.0, Align::Left)]
        } else {
            vec![(0.45, Align::Left), (0.8, Align::Left), (1.0, Align::Right)]
        };
        if summary.show_trainable {
            ends.iter_mut().for_each(|(part, _)| *part *= 0.9);
            ends.push((1.0, Align::Center));
        }
        let mut excess = 3 * ends.len() + 1;
        let mut start = 0;
        let mut columns = Vec::with_capacity(ends.len());
        for (i, (part, align)) in ends.iter().enumerate() {
            let end = (part * length as f64) as usize;
            let cut = (excess as f64 / (ends.len() - i) as f64).round_ties_even() as usize;
            excess -= cut;
            columns.push(((end - start).saturating_sub(cut).max(1), *align));
            start = end;
        }
        Self(columns)
    }

    /// A border of left end, line, crossing and right end.
    fn write_border(&self, [left, line, cross, right]: [&str; 4], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(|(width, _)| line.repeat(width + 2)).collect();
        writeln!(f, "{left}{}{right}", lines.join(cross))
    }

    /// Writes a row, in as many lines as its longest cell needs; shorter cells are aligned to the top or bottom.
    fn write_cells(&self, cells: &[String], border: &str, below: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrapped: Vec<Vec<String>> =
            cells.iter().zip(&self.0).map(|(cell, (width, _))| wrap(cell, *width)).collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        for i in 0..height {
            for (lines, (width, align)) in wrapped.iter().zip(&self.0) {
                let above = if below { height - lines.len() } else { 0 };
                let text = i.checked_sub(above).and_then(|line| lines.get(line)).map_or("", String::as_str);
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
}

fn cells(row: &Row, summary: &Summary) -> Vec<String> {
    let prefix = if row.level == 0 { String::new() } else { format!("{}└ ", "   ".repeat(row.level)) };
    let params = if row.built { with_commas(row.params) } else { "0 (unbuilt)".into() };
    let mut cells = vec![format!("{prefix}{}", row.title()), row.shape(), params];
    if summary.connected {
        // The calls of a nested model's layers belong to that model.
        let known = !row.connections.is_empty() && row.level == 0;
        cells.push(if known { printable(&listed(&row.connections)) } else { "-".into() });
    }
    if summary.show_trainable {
        let mark = match (row.params, row.trainable) {
            (0, _) => "-",
            (_, true) => "Y",
            (_, false) => "N",
        };
        cells.push(mark.into());
    }
    cells
}

/// Wraps a text at blanks into lines of at most `width` columns; a longer word is truncated and ends with `…`.
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

/// The words of a text, each with its trailing blanks; the first also with its leading ones.
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
    // A character of two columns can leave one column empty.
    kept.extend((kept.width() + 1 < width).then_some(' '));
    kept.push('…');
    kept
}

/// A parameter count and its size: `832 (3.25 KB)`.
fn with_size(params: ParamCount) -> String {
    format!("{} ({})", with_commas(params.count), params.size("B"))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{first, model, nested, notebook, row, unbuilt};
    use super::super::{Connection, Style, Summary};
    use super::*;
    use crate::shape::Shape;

    /// Output of Keras 3.15 (JAX backend) under headings `#### title`.
    const STAGES: &str = include_str!("../../../tests/snapshots/keras3_stages.txt");
    const WIDTHS: &str = include_str!("../../../tests/snapshots/keras3_widths.txt");
    const GRAPHS: &str = include_str!("../../../tests/snapshots/keras3_graphs.txt");

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

    /// The short network of the snapshots with other widths.
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
        summary.trainable = ParamCount::float32(46_090);
        summary.non_trainable = ParamCount::float32(832);
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
        summary.optimizer = Some(ParamCount::float32(2 * 62_346 + 2));
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
        let summary = Summary::new("sequential_3", rows, ParamCount::float32(1_006_120), ParamCount::float32(8));
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
        with_optimizer.optimizer = Some(ParamCount::float32(92_182));
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

    /// A summary with connections, from lines `name class shapes params connections`; shapes are those of samples,
    /// `3,4;2,3,3` for two outputs.
    fn graph(name: &str, lines: &str) -> Summary {
        let rows: Vec<Row> = lines
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let sizes = |shape: &str| shape.split(',').map(|size| size.parse().unwrap()).collect::<Vec<usize>>();
                let connection = |text: &&str| {
                    let parts: Vec<&str> = text.split(['[', ']']).collect();
                    Connection {
                        layer: parts[0].into(),
                        call: parts[1].parse().unwrap(),
                        output: parts[3].parse().unwrap(),
                    }
                };
                Row {
                    output_shapes: words[2].split(';').map(|shape| Shape::batch_of(sizes(shape))).collect(),
                    connections: words[4..].iter().map(connection).collect(),
                    ..row(words[0], words[1], (), words[3].parse().unwrap())
                }
            })
            .collect();
        let mut summary = model(name, rows);
        summary.connected = true;
        summary
    }

    #[test]
    fn graphs_of_attention_operations_and_states() {
        let att = "q InputLayer 3,4 0
            v InputLayer 5,4 0
            att Attention 3,4 2 q[0][0] v[0][0]
            addatt AdditiveAttention 3,4 4 q[0][0] v[0][0]
            mha MultiHeadAttention 3,4;2,3,3 100 q[0][0] v[0][0]
            add Add 3,4 0 att[0][0] addatt[0][0] mha[0][0]";
        let ops = "a InputLayer 4,4 0
            subtract Subtract 4,4 0 a[0][0]
            multiply Multiply 4,4 0 subtract[0][0]
            add Add 4,4 0 multiply[0][0] a[0][0]
            true_divide TrueDivide 4,4 0 add[0][0] a[0][0]
            matmul Matmul 4,4 0 true_divide[0][0] a[0][0]
            get_item GetItem 4 0 matmul[0][0]
            relu Relu 4 0 get_item[0][0]
            concatenate Concatenate 8 0 relu[0][0] relu[0][0]
            reshape Reshape 2,4 0 concatenate[0][0]
            mean Mean 4 0 reshape[0][0]";
        let seq2seq = "enc_in InputLayer 3,2 0
            dec_in InputLayer 4,2 0
            enc LSTM 3;3;3 72 enc_in[0][0]
            dec LSTM 4,3;3;3 72 dec_in[0][0] enc[0][1] enc[0][2]
            out Dense 4,2 8 dec[0][0]";
        let rnn_att = "tok InputLayer 5 0
            emb Embedding 5,4 28 tok[0][0]
            mha MultiHeadAttention 5,4 118 emb[0][0] emb[0][0]
            gqa GroupedQueryAttention 5,4 116 mha[0][0] mha[0][0] mha[0][0]
            not_equal NotEqual 5 0 tok[0][0]
            bi Bidirectional 5,4 112 gqa[0][0] not_equal[0][0]
            td TimeDistributed 5,3 15 bi[0][0] not_equal[0][0]
            gru GRU 5,3 72 td[0][0] not_equal[0][0]
            stack RNN 5,3 111 gru[0][0] not_equal[0][0]
            srnn SimpleRNN 2 12 stack[0][0] not_equal[0][0]
            rs Reshape 1,2,1,1 0 srnn[0][0]
            clstm ConvLSTM2D 2,1,2 32 rs[0][0]
            rs2 Reshape 2,2 0 clstm[0][0]
            rnnc RNN 2 10 rs2[0][0]";
        for (name, lines, length) in
            [("att", att, 80), ("ops", ops, 80), ("seq2seq", seq2seq, 80), ("rnn_att", rnn_att, 120)]
        {
            assert_prints(GRAPHS, name, graph(name, lines).line_length(length).unwrap());
        }
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
        // As in a summary of Keras 3.15.1.
        assert_eq!(wrap("全結合層の一番目の層", 18), ["全結合層の一番目 …"]);
    }

    #[test]
    fn sizes_have_units() {
        let texts = [0, 3328, 4 << 30].map(|bytes| with_size(ParamCount { count: 1, bytes }));
        assert_eq!(texts, ["1 (0.00 B)", "1 (3.25 KB)", "1 (4.00 GB)"]);
    }
}
