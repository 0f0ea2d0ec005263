//! From a table's records to numbers: analyses each column, then converts it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::first_line::is_gap;
use super::opened::Opened;
use super::{
    ColumnInfo, Csv, Dataset, Fill, MOST_CATEGORIES, MOST_CLASSES, Missing, Samples, Table, TableInfo, rows_of,
};
use crate::datasets::{shuffle::shuffle, split_index};
use crate::error::{Error, Result};

/// Reads a table: one pass to analyse its columns, unless they are known, and one for the numbers.
pub(super) fn read(csv: &Csv, path: &Path) -> Result<Table> {
    let least = if csv.targets_too { 1 } else { 2 };
    let mut opened = Opened::open(csv, path, least)?;
    let chosen = Chosen::new(csv, &opened)?;
    opened.check_readable(&[&chosen.inputs[..], &chosen.targets].concat())?;
    opened.want(&chosen.used());
    let mut notes: Vec<String> = opened.note.clone().into_iter().collect();
    let (columns, classes) = match &csv.info {
        Some(info) => (info.columns.clone(), csv.class_names.clone()),
        None => {
            let seen = look(csv, &mut opened, &chosen)?;
            notes.extend(seen.note(&opened, &chosen));
            let found = (seen.columns(csv, &opened, &chosen)?, seen.classes(csv, &opened, &chosen)?);
            opened = Opened::open(csv, path, least)?;
            opened.want(&chosen.used());
            found
        }
    };
    let mut info = TableInfo {
        columns,
        targets: chosen.target_names(&opened),
        header: opened.header,
        separator: opened.separator,
        window: csv.info.as_ref().and_then(|info| info.window),
    };
    let mut read = TableNumbers::default();
    while opened.next()? {
        let inputs = info.columns.iter().zip(&chosen.inputs);
        inputs.into_iter().try_for_each(|(column, index)| input(column, *index, &opened, &mut read.x))?;
        for index in &chosen.targets {
            read.y.push(target(csv, &classes, *index, &opened)?);
        }
        read.lines.push(opened.line());
    }
    if let Some(seed) = csv.shuffled {
        read.shuffle(seed, info.width(), chosen.targets.len());
    }
    if csv.info.is_none() {
        read.fill(csv, &mut info)?;
    }
    let (count, width) = (read.lines.len(), info.width());
    let y = match chosen.targets.len() {
        1 => Samples::from(read.y),
        targets => rows_of(targets, count, read.y)?,
    };
    let texts = info.columns.iter().filter_map(|column| Some((&column.name, column.categories.as_ref()?.len())));
    let texts: Vec<String> = texts.map(|(name, count)| format!("`{name}` ({count})")).collect();
    if !texts.is_empty() && csv.info.is_none() {
        notes.push(format!("columns of texts become an input for each of their texts: {}", texts.join(", ")));
    }
    let data = Dataset::new(rows_of(width, count, read.x)?, y)?;
    Ok(Table { data, info, class_names: classes, notes, lines: read.lines })
}

/// The input and target columns.
pub(super) struct Chosen {
    pub inputs: Vec<usize>,
    pub targets: Vec<usize>,
}

impl Chosen {
    fn new(csv: &Csv, opened: &Opened) -> Result<Self> {
        let given = csv.header.is_some();
        let indices =
            |names: &[String]| names.iter().map(|name| opened.column(name, given)).collect::<Result<Vec<usize>>>();
        let known = csv.info.as_ref().map(|info| &info.targets).filter(|_| csv.targets.is_empty());
        let targets = match &known.unwrap_or(&csv.targets)[..] {
            [] => vec![opened.columns - 1],
            names => indices(names)?,
        };
        if let Some(info) = &csv.info {
            let inputs = if info.header {
                indices(&info.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>())?
            } else {
                (0..opened.columns).filter(|column| csv.targets_too || !targets.contains(column)).collect()
            };
            if inputs.len() != info.columns.len() {
                let expected = format!("{} columns of inputs, as the model was trained on", info.columns.len());
                return Err(Error::data("a table", expected, inputs.len()));
            }
            return Ok(Self { inputs, targets });
        }
        let excluded = indices(&csv.exclude)?;
        for name in csv.missing_of.keys() {
            opened.column(name, given)?;
        }
        let inputs: Vec<usize> = match &csv.columns[..] {
            [] => (0..opened.columns).filter(|column| csv.targets_too || !targets.contains(column)).collect(),
            names => indices(names)?,
        };
        let inputs: Vec<usize> = inputs.into_iter().filter(|column| !excluded.contains(column)).collect();
        let twice = |columns: &[usize]| columns.iter().collect::<BTreeSet<_>>().len() < columns.len();
        let also = targets.iter().find(|column| !csv.targets_too && inputs.contains(column));
        let refused = match also {
            Some(column) => Some(format!("`{}`, which is the target", opened.names[*column])),
            None if inputs.is_empty() => Some("none that is left".to_owned()),
            None if twice(&inputs) || twice(&targets) => Some("one of them twice".to_owned()),
            None => None,
        };
        match refused {
            Some(received) => Err(Error::argument("columns", "columns to be inputs, each once", received)),
            None => Ok(Self { inputs, targets }),
        }
    }

    /// All columns that are read.
    fn used(&self) -> BTreeSet<usize> {
        self.inputs.iter().chain(&self.targets).copied().collect()
    }

    fn target_names(&self, opened: &Opened) -> Vec<String> {
        self.targets.iter().filter_map(|column| opened.names.get(*column).cloned()).collect()
    }
}

/// The contents of a column.
#[derive(Default)]
struct Seen {
    numbers: usize,
    /// Its distinct texts with their counts, up to a limit.
    texts: BTreeMap<String, usize>,
    too_many: bool,
    /// The first text, and the first gap: row, line and field.
    first_text: Option<CellPlace>,
    first_gap: Option<CellPlace>,
    not_finite: Option<CellPlace>,
}

#[derive(Clone)]
struct CellPlace {
    row: u64,
    line: u64,
    field: String,
    /// Whether this line can still be a header: the caller has not decided.
    may_be_a_header: bool,
}

struct AllSeen {
    /// By the column's index in the table; excluded columns stay empty.
    columns: Vec<Seen>,
    rows: u64,
}

/// Scans all fields of the columns in use.
fn look(csv: &Csv, opened: &mut Opened, chosen: &Chosen) -> Result<AllSeen> {
    let mut columns: Vec<Seen> = (0..opened.columns).map(|_| Seen::default()).collect();
    let used = chosen.used();
    let mut rows = 0;
    while opened.next()? {
        for column in &used {
            let (field, seen) = (&opened.record[*column], &mut columns[*column]);
            let place = || CellPlace {
                row: rows,
                line: opened.exact_line(),
                field: field.to_owned(),
                may_be_a_header: opened.may_be_a_header(),
            };
            match field.parse::<f32>() {
                Ok(number) if number.is_finite() => seen.numbers += 1,
                _ if is_gap(field) => {
                    seen.first_gap.get_or_insert_with(place);
                }
                Ok(_) => {
                    seen.not_finite.get_or_insert_with(place);
                }
                Err(_) => {
                    seen.first_text.get_or_insert_with(place);
                    let most = if chosen.targets.contains(column) { MOST_CLASSES } else { MOST_CATEGORIES };
                    let room = seen.texts.len() < most;
                    match seen.texts.get_mut(field) {
                        Some(count) => *count += 1,
                        None if room => drop(seen.texts.insert(field.to_owned(), 1)),
                        None => seen.too_many = true,
                    }
                }
            }
        }
        rows += 1;
    }
    let seen = AllSeen { columns, rows };
    let faults = used
        .iter()
        .filter_map(|column| seen.fault(csv, *column, opened, chosen).map(|(place, why)| (place, *column, why)));
    match faults.min_by_key(|(place, column, _)| (place.row, *column)) {
        Some((place, column, reason)) => {
            let hint = "; `header = true` says that this line names the columns";
            let reason = if place.may_be_a_header { format!("{reason}{hint}") } else { reason };
            Err(opened.fault_at(place.line, column, reason))
        }
        None => Ok(seen),
    }
}

impl AllSeen {
    /// The reason why a column cannot be read, with the place of the first offending field.
    fn fault(&self, csv: &Csv, column: usize, opened: &Opened, chosen: &Chosen) -> Option<(CellPlace, String)> {
        let seen = &self.columns[column];
        let is_target = chosen.targets.contains(&column);
        let name = opened.names.get(column).map_or("", String::as_str);
        let rule = if is_target { Missing::Refuse } else { csv.rule(name) };
        let texts = seen.first_text.as_ref().map(|place| {
            let reason = match () {
                () if is_date(&place.field) => format!(
                    "expected numbers or categories, received the date {:?}; leave the column out (`exclude`), or \
                     write year, month and day as numbers",
                    place.field
                ),
                () if is_target && !csv.class_names.is_empty() => return None,
                // A column of texts, none of them meant as a number.
                () if seen.numbers == 0 && !looks_like_a_number(&place.field) => {
                    return match () {
                        () if is_target && chosen.targets.len() > 1 => {
                            Some((place.clone(), format!("expected a number, as of several targets, received {:?}", place.field)))
                        }
                        () if seen.too_many => {
                            let most = if is_target { MOST_CLASSES } else { MOST_CATEGORIES };
                            let reason = format!("expected a column of up to {most} texts, received more; `exclude` leaves it out");
                            Some((place.clone(), reason))
                        }
                        () if place.may_be_a_header && self.rows > 2 && seen.texts.get(&place.field) == Some(&1) && !is_target => {
                            let reason = format!("expected a text that other rows have, or a header, received {:?}; `header = false` makes this line a sample", place.field);
                            Some((place.clone(), reason))
                        }
                        () => None,
                    };
                }
                () => {
                    let hint = if seen.texts.len() > 1 { "; `exclude` leaves the column out" } else { "" };
                    format!("{}{hint}", unfit(&place.field))
                }
            };
            Some((place.clone(), reason))
        });
        let not_finite = seen.not_finite.as_ref().map(|place| (place.clone(), unfit(&place.field)));
        let gap = seen.first_gap.as_ref().filter(|_| rule == Missing::Refuse).map(|place| {
            let hint = if is_target || place.may_be_a_header { "" } else { "; `missing` says what stands in for gaps" };
            (place.clone(), format!("{}{hint}", unfit(&place.field)))
        });
        let of_row = |fault: &(CellPlace, String)| fault.0.row;
        [texts.flatten(), not_finite, gap].into_iter().flatten().min_by_key(of_row)
    }

    /// A note where the first line was taken for a header though no row has a number.
    fn note(&self, opened: &Opened, chosen: &Chosen) -> Option<String> {
        let used = chosen.inputs.iter().chain(&chosen.targets);
        let only_texts = used.into_iter().all(|column| self.columns[*column].numbers == 0);
        (only_texts && opened.header && opened.recognised && opened.note.is_none() && self.rows > 0).then(|| {
            "the first line was taken for the names of the columns; `header = false` makes it a sample".to_owned()
        })
    }

    /// How the columns become inputs; replacements of gaps in numbers are computed later.
    fn columns(&self, csv: &Csv, opened: &Opened, chosen: &Chosen) -> Result<Vec<ColumnInfo>> {
        let column = |index: &usize| {
            let seen = &self.columns[*index];
            let name = opened.names.get(*index).cloned().unwrap_or_default();
            let rule = csv.rule(&name);
            let gaps = seen.first_gap.as_ref();
            let refused = |gap: &CellPlace, rules: &str, holds: &str| {
                let reason = format!("expected a rule for gaps in {holds}, `missing` {rules}, received another");
                opened.fault_at(gap.line, *index, reason)
            };
            if seen.texts.is_empty() {
                let fill = match (gaps, rule) {
                    (Some(gap), Missing::Category) => return Err(refused(gap, "mean or most_frequent", "numbers")),
                    (Some(gap), _) if seen.numbers == 0 => {
                        return Err(opened.fault_at(
                            gap.line,
                            *index,
                            "expected a value in any row, received gaps alone",
                        ));
                    }
                    // Marks the gaps until it is known. Without a gap here, the next table can have one.
                    (_, Missing::Mean | Missing::MostFrequent) if seen.numbers > 0 => Some(Fill::Number(f32::NAN)),
                    _ => None,
                };
                return Ok(ColumnInfo { name, categories: None, fill });
            }
            let mut categories: Vec<String> = seen.texts.keys().cloned().collect();
            let fill = match (gaps, rule) {
                (_, Missing::Refuse) | (None, Missing::Mean | Missing::Category) => None,
                (Some(gap), Missing::Mean) => return Err(refused(gap, "most_frequent or category", "texts")),
                (_, Missing::MostFrequent) => {
                    let most = seen.texts.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0)));
                    most.map(|(text, _)| Fill::Text(text.clone()))
                }
                (Some(_), Missing::Category) => {
                    categories.insert(0, String::new());
                    Some(Fill::Text(String::new()))
                }
            };
            Ok(ColumnInfo { name, categories: Some(categories), fill })
        };
        chosen.inputs.iter().map(column).collect()
    }

    /// The classes of a categorical target, if it is one.
    fn classes(&self, csv: &Csv, opened: &Opened, chosen: &Chosen) -> Result<Vec<String>> {
        let [target] = chosen.targets[..] else { return Ok(Vec::new()) };
        let seen = &self.columns[target];
        if csv.class_names.is_empty() {
            return Ok(seen.texts.keys().cloned().collect());
        }
        match seen.texts.keys().find(|text| !csv.class_names.contains(text)) {
            Some(text) => {
                let error = Error::unknown("class", text, &csv.class_names);
                match seen.first_text.as_ref().filter(|place| place.field == *text) {
                    Some(place) => Err(opened.fault_at(place.line, target, error)),
                    None => Err(error),
                }
            }
            None => Ok(csv.class_names.clone()),
        }
    }
}

/// The numbers of a table, row by row.
#[derive(Default)]
struct TableNumbers {
    /// A gap is NaN here; of a column of texts, the first of its inputs is.
    x: Vec<f32>,
    y: Vec<f32>,
    lines: Vec<u64>,
}

impl TableNumbers {
    /// Shuffles the rows.
    fn shuffle(&mut self, seed: u64, width: usize, targets: usize) {
        let mut order: Vec<usize> = (0..self.lines.len()).collect();
        shuffle(&mut order, seed);
        let rows = |values: &[f32], width: usize| {
            order.iter().flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect()
        };
        (self.x, self.y) = (rows(&self.x, width), rows(&self.y, targets));
        self.lines = order.iter().map(|row| self.lines[*row]).collect();
    }

    /// Computes the replacements of gaps in numbers and inserts them.
    fn fill(&mut self, csv: &Csv, info: &mut TableInfo) -> Result<()> {
        let (width, count) = (info.width(), self.lines.len());
        let counted = if csv.held_back > 0.0 && count > 1 { split_index(count, csv.held_back)? } else { count };
        let mut at = 0;
        for column in &mut info.columns {
            if let Some(Fill::Number(fill)) = &mut column.fill {
                let values = self.x.iter().skip(at).step_by(width);
                let known: Vec<f32> = values.take(counted).copied().filter(|value| !value.is_nan()).collect();
                if known.is_empty() {
                    let received = format!("gaps alone in column `{}`", column.name);
                    return Err(Error::data("the rows to train on", "a number in each column", received));
                }
                *fill = match csv.rule(&column.name) {
                    Missing::MostFrequent => most_frequent(known),
                    _ => (known.iter().map(|value| f64::from(*value)).sum::<f64>() / known.len() as f64) as f32,
                };
                let fill = *fill;
                self.x
                    .iter_mut()
                    .skip(at)
                    .step_by(width)
                    .filter(|value| value.is_nan())
                    .for_each(|value| *value = fill);
            }
            at += column.width();
        }
        Ok(())
    }
}

/// The most frequent number; of equally frequent ones the least.
fn most_frequent(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    let groups = values.chunk_by(|a, b| a == b);
    // `max_by_key` returns the last maximum, hence the reversed order.
    let most = groups.rev().max_by_key(|group| group.len());
    most.and_then(|group| group.first().copied()).unwrap_or(0.0)
}

/// Appends the inputs of a field of the record. A gap in numbers becomes NaN until its replacement is known; in a table
/// that is read like another one it is filled at once.
pub(super) fn input(column: &ColumnInfo, index: usize, opened: &Opened, x: &mut Vec<f32>) -> Result<()> {
    let field = &opened.record[index];
    let gap = is_gap(field);
    match &column.categories {
        None => {
            let value = match (field.parse::<f32>(), &column.fill) {
                (Ok(value), _) if value.is_finite() => value,
                (_, Some(Fill::Number(fill))) if gap => *fill,
                _ => return Err(opened.fault(index, unfit(field))),
            };
            x.push(value);
        }
        Some(categories) => {
            let text = match &column.fill {
                Some(Fill::Text(fill)) if gap => fill.as_str(),
                _ => field,
            };
            if gap && column.fill.is_none() && !categories.iter().any(|category| category == text) {
                let known = categories.join(", ");
                let reason =
                    format!("expected a text ({known}), received a gap; there was none in what was trained on");
                return Err(opened.fault(index, reason));
            }
            let Some(found) = categories.iter().position(|category| category == text) else {
                return Err(opened.fault(index, Error::unknown("text", text, categories)));
            };
            x.extend((0..categories.len()).map(|category| f32::from(u8::from(category == found))));
        }
    }
    Ok(())
}

/// The target of the record in one column: a number, or the number of the class that it names.
fn target(csv: &Csv, classes: &[String], index: usize, opened: &Opened) -> Result<f32> {
    let field = &opened.record[index];
    if let Some(class) = classes.iter().position(|name| name == field) {
        return Ok(class as f32);
    }
    if classes.is_empty() {
        let number = field.parse::<f32>().ok().filter(|number| number.is_finite());
        return number.ok_or_else(|| opened.fault(index, unfit(field)));
    }
    let number = || class_of_number(field, classes).filter(|_| !csv.class_names.is_empty());
    let class = number().ok_or_else(|| opened.fault(index, Error::unknown("class", field, classes)))?;
    Ok(class as f32)
}

/// The class that a number stands for: the class whose name has that value, where the names are numbers, else the class
/// with that index.
pub(crate) fn class_of_number(field: &str, classes: &[String]) -> Option<usize> {
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let wanted = number(field)?;
    if classes.iter().any(|name| number(name).is_some()) {
        return classes.iter().position(|name| number(name) == Some(wanted));
    }
    let fits = wanted.fract() == 0.0 && wanted >= 0.0 && wanted < classes.len() as f64;
    fits.then_some(wanted as usize)
}

/// The reason for rejecting a field where a number is expected.
fn unfit(field: &str) -> String {
    let expected = if field.parse::<f32>().is_ok() { "a finite number (float32)" } else { "a number" };
    format!("expected {expected}, received {field:?}")
}

/// Whether a text is a number in another notation: `1,5`, `$3`, `12 %`.
pub(super) fn looks_like_a_number(text: &str) -> bool {
    let has_digit = text.contains(|c: char| c.is_ascii_digit());
    has_digit && text.chars().all(|c| c.is_ascii_digit() || " .,'%$€£+".contains(c))
}

/// Whether a text begins like a date: three numbers separated by `-`, `/` or `.`, or two by `:`.
pub(super) fn is_date(text: &str) -> bool {
    let day = text.split([' ', 'T']).next().unwrap_or_default();
    let of = |separator: char, least: usize| {
        let parts: Vec<&str> = day.split(separator).collect();
        let digits = |part: &&str| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        parts.len() >= least && parts.len() <= 3 && parts.iter().all(digits)
    };
    of('-', 3) || of('/', 3) || of('.', 3) || of(':', 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_localized_numbers_are_not_categories() {
        for date in ["2020-01-31", "31/1/2020", "31.01.20", "2020-01-31 12:00:00", "2020-01-31T12:00", "12:30", "1:2:3"]
        {
            assert!(is_date(date), "{date}");
        }
        for other in ["10-20", "a-b-c", "1/2", "male", "12345-1-1", "3.5"] {
            assert!(!is_date(other), "{other}");
        }
        for number in ["1,5", "$3", "12 %", "1.234,50", "€ 3"] {
            assert!(looks_like_a_number(number), "{number}");
        }
        for other in ["10-20", "3rd", "A", "<5"] {
            assert!(!looks_like_a_number(other), "{other}");
        }
    }

    #[test]
    fn numbers_stand_for_classes_by_their_value_or_their_index() {
        let class = |field: &str, names: [&str; 3]| class_of_number(field, &names.map(str::to_owned));
        for (field, found) in [("4.0", Some(1)), ("1", None), ("5", Some(2)), ("3.5", None), ("nan", None)] {
            assert_eq!(class(field, ["3", "4", "5"]), found, "{field}");
        }
        for (field, found) in [("2", Some(2)), ("2.0", Some(2)), ("3", None), ("0.5", None), ("-1", None)] {
            assert_eq!(class(field, ["a", "b", "c"]), found, "{field}");
        }
        assert_eq!((class("1", ["none", "4", "5"]), class("inf", ["a", "b", "c"])), (None, None));
    }

    #[test]
    fn the_least_of_equally_frequent_numbers_is_taken() {
        assert_eq!(most_frequent(vec![3.0, 1.0, 2.0, 3.0, 1.0]), 1.0);
        assert_eq!(most_frequent(vec![3.0, 1.0, 3.0]), 3.0);
    }
}
