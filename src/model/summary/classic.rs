//! The styles of TensorFlow 2.7 to 2.11, and of 2.12 to 2.15.

use std::fmt;

use super::{ParamCount, Row, Summary, listed};
use crate::text::{printable, with_commas};

/// Substrings after which a cell can be wrapped.
const BREAKS: [&str; 4] = ["),", "},", "],", "',"];

/// The differences between the versions.
pub(super) struct Version {
    /// The column ends as fractions of a line, in a table with connections.
    ends: [f64; 4],
    /// The minimal number of blanks between two columns.
    gap: usize,
    /// Whether the bars of a nested model take space from its first column, or shift its other columns.
    bars_take_room: bool,
    /// Whether the totals have sizes, and no commas.
    sizes: bool,
}

pub(super) const TENSORFLOW_2_7: Version =
    Version { ends: [0.33, 0.55, 0.67, 1.0], gap: 2, bars_take_room: false, sizes: false };

pub(super) const TENSORFLOW_2_12: Version =
    Version { ends: [0.3, 0.6, 0.7, 1.0], gap: 3, bars_take_room: true, sizes: true };

pub(super) fn write(summary: &Summary, version: &Version, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut length = summary.line_length.unwrap_or(if summary.connected { 98 } else { 65 });
    let parts: &[f64] = if summary.connected { &version.ends } else { &[0.45, 0.85, 1.0] };
    // The end of each column.
    let mut ends: Vec<usize> = parts.iter().map(|part| (length as f64 * part) as usize).collect();
    if summary.show_trainable {
        length += 11;
        ends.push(length);
    }
    let header = summary.header().into_iter().map(str::to_string).collect();

    writeln!(f, "Model: \"{}\"", printable(&summary.name))?;
    writeln!(f, "{}", "_".repeat(length))?;
    write_cells(header, &ends, 0, version, f)?;
    writeln!(f, "{}", "=".repeat(length))?;

    let rows: Vec<&Row> = summary.shown_rows().collect();
    for (i, row) in rows.iter().enumerate() {
        write_cells(cells(row, summary), &ends, row.level, version, f)?;
        let next = rows.get(i + 1).map_or(0, |next| next.level);
        if next > row.level {
            write_rule('¯', row.level + 1, length, f)?;
        } else if next < row.level {
            // The rule that closes a nested model replaces the empty line after its last layer and after itself.
            for level in (next..row.level).rev() {
                write_rule('¯', level, length, f)?;
            }
        } else {
            write_rule(' ', row.level, length, f)?;
        }
    }

    writeln!(f, "{}", "=".repeat(length))?;
    let total = |params: ParamCount| {
        if version.sizes { format!("{} ({})", params.count, params.size("Byte")) } else { with_commas(params.count) }
    };
    writeln!(f, "Total params: {}", total(summary.trainable + summary.non_trainable))?;
    writeln!(f, "Trainable params: {}", total(summary.trainable))?;
    writeln!(f, "Non-trainable params: {}", total(summary.non_trainable))?;
    write!(f, "{}", "_".repeat(length))
}

fn cells(row: &Row, summary: &Summary) -> Vec<String> {
    let params = if row.built { row.params.to_string() } else { "(unbuilt)".into() };
    let mut cells = vec![row.title(), shape(row), params];
    if summary.connected {
        // The calls of a nested model's layers belong to that model.
        let own = if row.level == 0 { &row.connections[..] } else { &[] };
        let quoted: Vec<String> = own.iter().map(|connection| quoted(&connection.to_string())).collect();
        cells.push(printable(&format!("[{}]", quoted.join(", "))));
    }
    if summary.show_trainable {
        cells.push(if row.trainable { "Y" } else { "N" }.into());
    }
    cells
}

/// The shapes of a layer's outputs in Python notation.
fn shape(row: &Row) -> String {
    if !row.same_shapes {
        return "multiple".into();
    }
    match (&row.output_shapes[..], &row.output_names[..]) {
        ([], _) => "?".into(),
        ([shape], _) if row.class_name == "InputLayer" => format!("[{shape}]"),
        ([shape], []) => shape.to_string(),
        (shapes, names) if names.len() == shapes.len() => {
            let named: Vec<String> =
                names.iter().zip(shapes).map(|(name, shape)| format!("{}: {shape}", quoted(name))).collect();
            printable(&format!("{{{}}}", named.join(", ")))
        }
        // Attention layers return a tuple with the scores; all others return lists.
        (shapes, _) if row.class_name.ends_with("Attention") => format!("({})", listed(shapes)),
        (shapes, _) => format!("[{}]", listed(shapes)),
    }
}

/// A text as Python prints it inside a list.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\");
    match (text.contains('\''), text.contains('"')) {
        (true, false) => format!("\"{text}\""),
        (true, true) => format!("'{}'", text.replace('\'', "\\'")),
        _ => format!("'{text}'"),
    }
}

/// A line of `fill` between the bars of a nested model.
fn write_rule(fill: char, level: usize, length: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let bars = "|".repeat(level);
    let fill = fill.to_string().repeat(length.saturating_sub(2 * level));
    writeln!(f, "{bars}{fill}{bars}")
}

/// Writes a row, in as many lines as its longest cell needs.
///
/// A cell is as wide as its column minus the gap after it, and the first begins with an extra blank: up to version
/// 2.11, where the gap is two, a first cell that fills its column shifts the others one character to the right.
fn write_cells(
    cells: Vec<String>,
    ends: &[usize],
    level: usize,
    version: &Version,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut left: Vec<Vec<char>> = cells.iter().map(|cell| cell.chars().collect()).collect();
    while left.iter().any(|cell| !cell.is_empty()) {
        let mut line = format!("{} ", "|".repeat(level));
        let mut start = 0;
        for (column, (cell, end)) in left.iter_mut().zip(ends).enumerate() {
            let is_last = column + 1 == ends.len();
            let mut room = if is_last { end - start } else { (end - start).saturating_sub(version.gap) };
            if column == 0 && version.bars_take_room {
                room = room.saturating_sub(level);
            }
            let width = room.max(1).min(cell.len());
            let mut piece: String = cell[..width].iter().collect();
            if let Some(end) = BREAKS.iter().filter_map(|text| Some(piece.find(text)? + text.len())).min() {
                piece.truncate(end);
            }
            cell.drain(..piece.chars().count());
            line.push_str(&piece);
            if !is_last {
                line.push_str("  ");
            }
            let bars = if is_last || !version.bars_take_room { level } else { 0 };
            let padding = end.saturating_sub(line.chars().count() + bars);
            line.push_str(&" ".repeat(padding));
            start = *end;
        }
        writeln!(f, "{line}{}", "|".repeat(level))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{first, model, nested, notebook, row, unbuilt};
    use super::super::{ParamCount, Row};

    #[test]
    fn the_notebooks_tables_character_for_character() {
        let expected = [
            (2, include_str!("../../../tests/snapshots/notebook_summary_1.txt")),
            (4, include_str!("../../../tests/snapshots/notebook_summary_2.txt")),
            (6, include_str!("../../../tests/snapshots/notebook_summary_3.txt")),
        ];
        for (layers, text) in expected {
            assert_eq!(format!("{}\n", first(layers, "sequential_1", ["_2", "_3", "_1"])), text);
        }
    }

    #[test]
    fn a_wider_line_and_the_trainable_column() {
        let mut summary = first(2, "m", ["", "", ""]).show_trainable(true).line_length(70).unwrap();
        summary.rows[0].trainable = false;
        summary.trainable = ParamCount::default();
        summary.non_trainable = ParamCount::float32(832);
        let expected = format!(
            "Model: \"m\"\n{line}\n{header}\n{rule}\n{conv}\n{blank}\n{pool}\n{blank}\n{rule}\n\
             Total params: 832\nTrainable params: 0\nNon-trainable params: 832\n{line}",
            line = "_".repeat(81),
            rule = "=".repeat(81),
            blank = " ".repeat(81),
            header = " Layer (type)                  Output Shape                Param #    Trainable  ",
            conv = " conv2d (Conv2D)               (None, 24, 24, 32)          832        N          ",
            pool = " max_pooling2d (MaxPooling2D)  (None, 12, 12, 32)          0          Y          ",
        );
        assert_eq!(summary.to_string(), expected);
    }

    #[test]
    fn an_expanded_nested_model_is_between_bars() {
        let mut summary = nested().expand_nested(true);
        summary.rows.insert(2, Row { level: 1, ..row("dense_4", "Dense", 4, 20) });
        let text = summary.to_string();
        let expected = [
            " my_model (Sequential)       (None, 4)                 20        ".to_string(),
            format!("|{}|", "¯".repeat(63)),
            "| dense_3 (Dense)           (None, 4)                 20        |".to_string(),
            format!("|{}|", " ".repeat(63)),
            "| dense_4 (Dense)           (None, 4)                 20        |".to_string(),
            "¯".repeat(65),
            " a_very_long_layer_name_that  (None, 1)                5         ".to_string(),
            " _wraps_the_column (Dense)                                       ".to_string(),
            " ".repeat(65),
            "=".repeat(65),
        ];
        let lines: Vec<&str> = text.lines().skip(4).take(expected.len()).collect();
        assert_eq!(lines, expected);
        assert!(!nested().to_string().contains("dense_3"));
    }

    #[test]
    fn two_nested_models_close_one_after_the_other() {
        let rows = vec![
            row("outer", "Sequential", 4, 20),
            Row { level: 1, ..row("inner", "Sequential", 4, 20) },
            Row { level: 2, ..row("dense", "Dense", 4, 20) },
        ];
        let text = model("m", rows).expand_nested(true).to_string();
        let expected = [
            format!("||{}||", "¯".repeat(61)),
            "|| dense (Dense)           (None, 4)                 20        ||".to_string(),
            format!("|{}|", "¯".repeat(63)),
            "¯".repeat(65),
            "=".repeat(65),
        ];
        let lines: Vec<&str> = text.lines().skip(7).take(expected.len()).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn unbuilt_layers_are_marked() {
        let text = model("m", vec![unbuilt("dense", "Dense")]).to_string();
        assert_eq!(text.lines().nth(4), Some(" dense (Dense)               ?                         (unbuilt) "));
        assert!(text.contains("Total params: 0\n"));
    }

    #[test]
    fn an_empty_model_has_a_head_and_totals() {
        let text = model("m", vec![]).to_string();
        assert_eq!(text.lines().count(), 9);
        assert_eq!(text.lines().nth(3), text.lines().nth(4));
    }

    #[test]
    fn a_cell_breaks_after_a_bracket_and_counts_characters() {
        let mut summary = notebook("m", ["", "_1", ""]);
        summary.rows = vec![row("é), x", "Ünï", 1, 7)];
        let text = summary.to_string();
        let lines: Vec<&str> = text.lines().skip(4).take(2).collect();
        assert_eq!(
            lines,
            [
                " é),                         (None, 1)                 7         ",
                "  x (Ünï)                                                        ",
            ]
        );
    }
}
