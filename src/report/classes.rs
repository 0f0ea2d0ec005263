//! Classification report: confusion matrix, scores by class, and the worst mistakes.

use std::fmt;
use std::sync::Arc;

use crate::datasets::{Samples, Source, TableInfo, read_samples};
use crate::distributed::{Communicator, in_order, together};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::shape::check_count;
use crate::text::{printable, with_commas};
use crate::training::{Meaning, Predict};

/// The most classes of a report.
const MOST_CLASSES: usize = 1000;

/// The most classes whose confusion matrix still fits on a screen.
pub(super) const MOST_COLUMNS: usize = 20;

/// The most columns of a class's name on a screen.
const WIDEST_NAME: usize = 40;

/// The number of mistakes kept.
const MOST_MISTAKES: usize = 24;

/// The confusion matrix of a classifier and its worst mistakes.
///
/// `Display` writes the matrix, unless there are too many classes for it, and a table of scores by class.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Classes {
    /// Rows are true classes, columns predicted ones.
    pub counts: Vec<Vec<usize>>,
    /// The names of the classes.
    pub names: Vec<String>,
    /// The samples whose true class got the lowest probability, the worst first.
    pub mistakes: Vec<Mistake>,
    /// The shape of an input.
    pub input_shape: Vec<usize>,
}

/// A misclassified sample.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Mistake {
    /// Its index in the data.
    pub index: usize,
    /// Its true class.
    pub class: usize,
    /// The predicted class.
    pub predicted: usize,
    /// The probability of the true class.
    pub probability: f32,
    /// The probability of the predicted class.
    pub confidence: f32,
    /// The input; nothing of a text.
    pub input: Vec<f32>,
    /// The input in words, if it is a text or a row of a table that the model knows.
    pub words: Option<String>,
}

/// A mistake as ranks exchange it: index, class, predicted class, the bits of its numbers, words.
type Sent = (usize, usize, usize, [u32; 2], Vec<u32>, Option<String>);

impl Mistake {
    fn sent(self) -> Sent {
        let bits = [self.probability, self.confidence].map(f32::to_bits);
        let input = self.input.into_iter().map(f32::to_bits).collect();
        (self.index, self.class, self.predicted, bits, input, self.words)
    }

    fn received((index, class, predicted, bits, input, words): Sent) -> Self {
        let [probability, confidence] = bits.map(f32::from_bits);
        let input = input.into_iter().map(f32::from_bits).collect();
        Self { index, class, predicted, probability, confidence, input, words }
    }
}

impl Classes {
    /// Predicts all samples and compares. `None` if the model is not a classifier: its targets are neither labels, nor
    /// one-hot rows, nor zeros and ones for a single output.
    ///
    /// Classes without a name in `names` are named by their index.
    ///
    /// # Errors
    /// Those of reading and predicting.
    pub fn of<S: Source + ?Sized>(
        model: &Model,
        data: &S,
        batch_size: usize,
        names: &[String],
    ) -> Result<Option<Self>> {
        Self::own(model, data, batch_size, names, None)
    }

    /// As [`of`](Self::of), together with other ranks, which predict the batches in turn: all get the same as one
    /// process. All pass the same arguments.
    ///
    /// ```
    /// use brasa::distributed::threads;
    /// use brasa::prelude::*;
    /// use brasa::report::Classes;
    /// let mut model = Sequential::new();
    /// model.add(ActivationLayer::new("softmax").input_shape(2))?;
    /// model.compile(Compile::new("sgd", "sparse_categorical_crossentropy"))?;
    /// let data = Dataset::new(&ndarray::array![[1.0f32, 0.0], [0.0, 1.0], [1.0, 0.0]], vec![0usize, 1, 1])?;
    /// let alone = Classes::of(&model, &data, 1, &[])?;
    /// std::thread::scope(|scope| {
    ///     for rank in threads(2) {
    ///         let (model, data, alone) = (model.clone(), &data, &alone);
    ///         scope.spawn(move || assert_eq!(Classes::distributed(&model, data, 1, &[], &rank).unwrap(), *alone));
    ///     }
    /// });
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`of`](Self::of); [`Error::Rank`] if another rank fails.
    pub fn distributed<S: Source + ?Sized>(
        model: &Model,
        data: &S,
        batch_size: usize,
        names: &[String],
        peers: &Arc<dyn Communicator>,
    ) -> Result<Option<Self>> {
        together(Some(peers.clone()), || Self::own(model, data, batch_size, names, Some(&**peers)))
    }

    fn own<S: Source + ?Sized>(
        model: &Model,
        data: &S,
        batch_size: usize,
        names: &[String],
        peers: Option<&dyn Communicator>,
    ) -> Result<Option<Self>> {
        if model.expect_single().is_err() {
            return Ok(None);
        }
        let output = model.output_shape()?.known_sample().unwrap_or_default();
        let &[outputs] = output.as_slice() else { return Ok(None) };
        let (targets, width) = (check_count(data.y_shape())?, check_count(data.x_shape())?);
        let classes = outputs.max(2);
        // The matrix grows with the square of the classes, and would not fit on a page.
        if classes > MOST_CLASSES || (targets != 1 && targets != outputs) {
            return Ok(None);
        }
        let meaning = model.meaning();
        if !model.is_classifier() {
            return Ok(None);
        }
        // The threshold of a single output between class 0 and class 1.
        let edge = if model.gives_logits() || model.has_hinge_loss() { 0.0 } else { 0.5 };
        let mut found = Self::new(classes, names);
        found.input_shape = data.x_shape().to_vec();
        let mut fits = true;
        'batches: for (turn, start) in (0..data.len()).step_by(batch_size.max(1)).enumerate() {
            if peers.is_some_and(|peers| turn % peers.size() != peers.rank()) {
                continue;
            }
            let indices: Vec<usize> = (start..data.len().min(start.saturating_add(batch_size.max(1)))).collect();
            check_count(&[indices.len(), width])?;
            let (samples, y) = read_samples(data, &indices)?;
            let predicted = model.predict_with(samples.clone(), Predict::new().batch_size(batch_size))?;
            for (position, (target, row)) in y.chunks(targets.max(1)).zip(predicted.rows()).enumerate() {
                let Some(class) = class_of(target, classes) else {
                    fits = false;
                    break 'batches;
                };
                let row = row.to_vec();
                let guess = match row.as_slice() {
                    [one] => usize::from(*one > edge),
                    row => (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a))).unwrap_or(0),
                };
                found.counts[class][guess] += 1;
                if guess != class {
                    let mut input = vec![0.0; width];
                    // Texts have no image.
                    if samples.gather(&[position], &mut input).is_err() {
                        input.clear();
                    }
                    let words = words(&samples, position, &input, model.data_info().table.as_ref());
                    found.keep(Mistake {
                        index: indices[position],
                        class,
                        predicted: guess,
                        probability: probability(&row, class, meaning),
                        confidence: probability(&row, guess, meaning),
                        input,
                        words,
                    });
                }
            }
        }
        match peers {
            Some(peers) => found.merged(fits, peers),
            None => Ok(fits.then_some(found)),
        }
    }

    /// The sums of what the ranks have counted, and the worst mistakes of all.
    fn merged(mut self, fits: bool, peers: &dyn Communicator) -> Result<Option<Self>> {
        let own = self.counts.iter().flatten().map(|count| *count as f64);
        let mut numbers: Vec<f64> = own.chain([f64::from(u8::from(!fits))]).collect();
        peers.all_reduce_f64(&mut numbers)?;
        if numbers.pop().is_some_and(|misfits| misfits > 0.0) {
            return Ok(None);
        }
        self.counts.iter_mut().flatten().zip(numbers).for_each(|(count, sum)| *count = sum as usize);
        let own: Vec<Sent> = std::mem::take(&mut self.mistakes).into_iter().map(Mistake::sent).collect();
        let own = serde_json::to_vec(&own).map_err(|error| Error::Syntax(error.to_string()))?;
        let mut all = Vec::new();
        in_order(peers, &own, |rank, bytes| {
            let sent: Vec<Sent> =
                serde_json::from_slice(bytes).map_err(|error| Error::rank(rank, error.to_string()))?;
            all.extend(sent.into_iter().map(Mistake::received));
            Ok(())
        })?;
        // Of equal ones the first samples are kept.
        all.sort_by_key(|mistake| mistake.index);
        all.into_iter().for_each(|mistake| self.keep(mistake));
        Ok(Some(self))
    }

    fn new(classes: usize, names: &[String]) -> Self {
        let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
        Self {
            counts: vec![vec![0; classes]; classes],
            names: (0..classes).map(name).collect(),
            mistakes: Vec::new(),
            input_shape: Vec::new(),
        }
    }

    /// Keeps a mistake if it is among the worst.
    fn keep(&mut self, mistake: Mistake) {
        let position = self.mistakes.partition_point(|other| other.probability.total_cmp(&mistake.probability).is_le());
        if position < MOST_MISTAKES {
            self.mistakes.insert(position, mistake);
            self.mistakes.truncate(MOST_MISTAKES);
        }
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.counts.iter().flatten().sum()
    }

    /// Number of samples of a class.
    pub fn support(&self, class: usize) -> usize {
        self.counts.get(class).map_or(0, |row| row.iter().sum())
    }

    /// Precision, recall and their harmonic mean F1 of a class; `None` if it was never predicted or has no samples.
    pub fn scores(&self, class: usize) -> [Option<f64>; 3] {
        let right = self.counts[class][class];
        let predicted: usize = self.counts.iter().map(|row| row[class]).sum();
        let (precision, recall) = (share(right, predicted), share(right, self.support(class)));
        [precision, recall, harmonic_mean(precision, recall)]
    }

    /// The pairs of confused classes, the most frequent first: count, true class, predicted class.
    pub fn confusions(&self) -> Vec<(usize, usize, usize)> {
        let cells = self.counts.iter().enumerate();
        let cells = cells.flat_map(|(class, row)| row.iter().enumerate().map(move |(guess, n)| (*n, class, guess)));
        let mut pairs: Vec<_> = cells.filter(|(count, class, guess)| class != guess && *count > 0).collect();
        pairs.sort_by_key(|(count, class, guess)| (std::cmp::Reverse(*count), *class, *guess));
        pairs
    }
}

/// How many characters of an input in words are kept.
const MOST_WORDS: usize = 300;

/// An input in words: a text as it is, a row of a table column by column.
fn words(samples: &Samples, position: usize, input: &[f32], table: Option<&TableInfo>) -> Option<String> {
    let text = if samples.is_text() {
        samples.gather_column(&[position]).ok()?.texts().ok()?.join(" ")
    } else {
        let table = table.filter(|table| table.window.is_none() && table.header && table.width() == input.len())?;
        let mut rest = input;
        let fields = table.columns.iter().map(|column| {
            let (own, behind) = rest.split_at(column.width());
            rest = behind;
            let value = match &column.categories {
                None => own.first().map_or_else(String::new, f32::to_string),
                Some(texts) => {
                    let found = own.iter().position(|value| *value == 1.0).and_then(|index| texts.get(index));
                    found.cloned().unwrap_or_default()
                }
            };
            format!("{}: {value}", column.name)
        });
        fields.collect::<Vec<_>>().join(", ")
    };
    let begun: String = text.chars().take(MOST_WORDS).collect();
    Some(if begun.len() < text.len() { begun + "…" } else { begun })
}

/// The part of what there is, if there is something.
pub(super) fn share(right: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| right as f64 / of as f64)
}

/// F1 of precision and recall.
pub(super) fn harmonic_mean(precision: Option<f64>, recall: Option<f64>) -> Option<f64> {
    precision.zip(recall).map(|(p, r)| if p + r > 0.0 { 2.0 * p * r / (p + r) } else { 0.0 })
}

/// The probability of a class. Outputs that are not probabilities, such as those for a hinge loss, are treated as
/// logits.
fn probability(row: &[f32], class: usize, meaning: Meaning) -> f32 {
    let meaning = match meaning {
        Meaning::Numbers if row.len() == 1 => Meaning::Binary { logits: true },
        Meaning::Numbers => Meaning::Classes { logits: true },
        meaning => meaning,
    };
    meaning.probabilities(row).and_then(|all| all.get(class).copied()).unwrap_or(0.0)
}

/// The class of a target, if it is a label or a one-hot row.
fn class_of(target: &[f32], classes: usize) -> Option<usize> {
    match target {
        [label] => (label.fract() == 0.0 && *label >= 0.0 && *label < classes as f32).then_some(*label as usize),
        row => {
            let one_hot = row.len() == classes && row.iter().all(|value| *value == 0.0 || *value == 1.0);
            let mut ones = (0..row.len()).filter(|index| row[*index] == 1.0);
            ones.next().filter(|_| one_hot && ones.next().is_none())
        }
    }
}

/// A name, cut to leave room for the columns beside it.
fn shortened(name: String) -> String {
    let width = |c: char| unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
    if name.chars().map(width).sum::<usize>() <= WIDEST_NAME {
        return name;
    }
    let mut room = WIDEST_NAME - 1;
    let fits = |c: &char| {
        let left = room.checked_sub(width(*c));
        room = left.unwrap_or(room);
        left.is_some()
    };
    name.chars().take_while(fits).chain(['…']).collect()
}

/// How many columns a name takes in a terminal.
fn columns_of(name: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(name)
}

/// Names as they stand in a table, and the columns that they take.
fn shown_names(names: &[String], title: &str) -> (Vec<String>, usize) {
    let names: Vec<String> = names.iter().map(|name| shortened(printable(name))).collect();
    let width = names.iter().map(|name| columns_of(name)).max().unwrap_or(0).max(title.len());
    (names, width)
}

/// A table of precision, recall and F1, a line for each name.
pub(super) fn score_table(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    names: &[String],
    scores: impl Fn(usize) -> [Option<f64>; 3],
    support: impl Fn(usize) -> usize,
) -> fmt::Result {
    let (names, width) = shown_names(names, title);
    let pad = |name: &str| " ".repeat(width - columns_of(name));
    write!(f, "{title}{}  precision  recall      F1  samples", pad(title))?;
    for (index, name) in names.iter().enumerate() {
        let [precision, recall, f1] =
            scores(index).map(|score| score.map_or_else(|| "-".into(), |score| format!("{score:.4}")));
        let samples = with_commas(support(index));
        write!(f, "\n{name}{}  {precision:>9}  {recall:>6}  {f1:>6}  {samples:>7}", pad(name))?;
    }
    Ok(())
}

/// The columns of a terminal in which lines are to fit.
const WIDEST_LINE: usize = 80;

/// How many of the most frequent confusions stand in the place of a matrix that does not fit.
const MOST_CONFUSIONS: usize = 10;

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes = self.names.len();
        let (names, width) = shown_names(&self.names, "class");
        let largest = self.counts.iter().flatten().max().copied().unwrap_or(0);
        let column = largest.to_string().len().max(classes.to_string().len()) + 1;
        if classes <= MOST_COLUMNS && width + classes * (column + 1) <= WIDEST_LINE {
            let pad = |name: &str| " ".repeat(width - columns_of(name));
            writeln!(f, "Confusion matrix (rows: true class, columns: predicted class)")?;
            write!(f, "{}", " ".repeat(width))?;
            (0..classes).try_for_each(|class| write!(f, " {class:>column$}"))?;
            for (name, row) in names.iter().zip(&self.counts) {
                write!(f, "\n{name}{}", pad(name))?;
                row.iter().try_for_each(|count| write!(f, " {count:>column$}"))?;
            }
            write!(f, "\n\n")?;
        } else {
            let confusions = self.confusions();
            if !confusions.is_empty() {
                writeln!(f, "Most frequent confusions (true class for predicted class)")?;
                for (count, class, guess) in confusions.into_iter().take(MOST_CONFUSIONS) {
                    writeln!(f, "{count:>column$}  {} for {}", names[class], names[guess])?;
                }
                writeln!(f)?;
            }
        }
        score_table(f, "class", &self.names, |class| self.scores(class), |class| self.support(class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shortened("a".repeat(40)), "a".repeat(40));
        assert_eq!(shortened("a".repeat(41)), "a".repeat(39) + "…");
        // Two columns each.
        assert_eq!(shortened("猫".repeat(21)), "猫".repeat(19) + "…");
        let text = Classes::new(2, &["b".repeat(900), "c".into()]).to_string();
        assert!(text.lines().all(|line| line.chars().count() < 90), "{text}");
    }

    #[test]
    fn a_matrix_that_does_not_fit_a_terminal_is_a_list() {
        let mut classes = Classes::new(18, &[]);
        classes.counts[3][5] = 12_345;
        classes.counts[4][4] = 7;
        let text = classes.to_string();
        assert!(text.contains("\n 12345  3 for 5\n\nclass"), "{text}");
        classes.counts[3][5] = 12;
        let text = classes.to_string();
        assert!(text.starts_with("Confusion matrix") && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn inputs_are_shown_in_words() {
        let texts = Samples::from(["one", "two"]);
        assert_eq!(words(&texts, 1, &[], None).unwrap(), "two");
        let long = words(&Samples::from(["é".repeat(400).as_str()]), 0, &[], None).unwrap();
        assert_eq!(long.chars().count(), 301);
        let table = serde_json::json!({ "header": true, "separator": ",", "columns": [
            { "name": "sex", "categories": ["f", "m"] }, { "name": "age" }] });
        let table: TableInfo = serde_json::from_value(table).unwrap();
        let row = Samples::from(vec![[0.0_f32, 1.0, 22.5]]);
        assert_eq!(words(&row, 0, &[0.0, 1.0, 22.5], Some(&table)).unwrap(), "sex: m, age: 22.5");
        assert_eq!(words(&row, 0, &[1.0], Some(&table)), None);
    }

    #[test]
    fn scores_of_a_small_matrix() {
        let mut classes = Classes::new(3, &["cat".into(), "dog".into()]);
        classes.counts = vec![vec![3, 1, 0], vec![2, 4, 0], vec![0, 0, 0]];
        // cat: 3 of 5 predictions are right, 3 of 4 cats are found; F1 = 2·0.6·0.75 / 1.35.
        assert_eq!(classes.scores(0), [Some(0.6), Some(0.75), Some(2.0 * 0.6 * 0.75 / 1.35)]);
        assert_eq!(classes.scores(2), [None, None, None]);
        assert_eq!((classes.samples(), classes.support(1)), (10, 6));
        assert_eq!(classes.confusions(), [(2, 1, 0), (1, 0, 1)]);
        let text = classes.to_string();
        assert!(text.contains("\ndog    2  4  0\n"), "{text}");
        assert!(text.contains("\ncat       0.6000  0.7500  0.6667        4\n"), "{text}");
        assert!(text.ends_with("\n2              -       -       -        0"), "{text}");
    }

    /// The shapes of a custom source.
    #[test]
    fn shapes_whose_product_overflows_are_refused() {
        #[derive(Debug)]
        struct CustomShapes(Vec<usize>, Vec<usize>);
        impl Source for CustomShapes {
            fn len(&self) -> usize {
                3
            }
            fn x_shape(&self) -> &[usize] {
                &self.0
            }
            fn y_shape(&self) -> &[usize] {
                &self.1
            }
            fn read(&self, _: &[usize], _: &mut [f32], _: &mut [f32]) -> Result<()> {
                Ok(())
            }
        }
        use crate::prelude::*;
        let mut model = Sequential::new();
        model.add(Dense::new(2).input_shape(4)).unwrap();
        model.compile(Compile::new("sgd", "categorical_crossentropy")).unwrap();
        // The wrapping products are 4, or 1.
        let wrapped = vec![1 << 63, 1 << 63, 4];
        let three = 3usize.pow(40);
        let inverse = (0..6).fold(1usize, |x, _| x.wrapping_mul(2usize.wrapping_sub(three.wrapping_mul(x))));
        assert_eq!(three.wrapping_mul(inverse), 1);
        for (x, y) in [(wrapped.clone(), vec![1]), (vec![4], wrapped), (vec![4], vec![three, inverse])] {
            assert_eq!(model.one_hot_classes(&y), (y == [1]).then_some(2), "{y:?}");
            let error = Classes::of(&model, &CustomShapes(x, y), 2, &[]).unwrap_err();
            assert!(matches!(error, crate::Error::Shape { .. }), "{error}");
        }
    }

    #[test]
    fn the_worst_mistakes_are_kept_in_order() {
        let mut classes = Classes::new(2, &[]);
        let mistake = |index: usize, probability: f32| Mistake {
            index,
            class: 0,
            predicted: 1,
            probability,
            confidence: 1.0 - probability,
            input: Vec::new(),
            words: None,
        };
        (0..100).for_each(|index| classes.keep(mistake(index, (index * 37 % 100) as f32 / 200.0)));
        let kept: Vec<f32> = classes.mistakes.iter().map(|mistake| mistake.probability).collect();
        assert_eq!(kept, (0..MOST_MISTAKES).map(|rank| rank as f32 / 200.0).collect::<Vec<_>>());
    }

    #[test]
    fn probabilities_from_either_kind_of_output() {
        assert_eq!(probability(&[0.25, 0.75], 1, Meaning::Classes { logits: false }), 0.75);
        assert!((probability(&[0.0, 3.0f32.ln()], 1, Meaning::Numbers) - 0.75).abs() < 1e-6);
        assert!((probability(&[-2.0], 1, Meaning::Numbers) - 0.119_203).abs() < 1e-5);
        // A logit can lie between 0 and 1, too.
        assert!((probability(&[0.8], 1, Meaning::Binary { logits: true }) - 0.689_974_5).abs() < 1e-5);
        assert!((probability(&[0.25, 0.75], 1, Meaning::Classes { logits: true }) - 0.622_459_3).abs() < 1e-5);
    }

    #[test]
    fn classes_of_targets() {
        assert_eq!(class_of(&[2.0], 3), Some(2));
        assert_eq!(class_of(&[3.0], 3), None);
        assert_eq!(class_of(&[0.5], 3), None);
        assert_eq!(class_of(&[-1.0], 3), None);
        assert_eq!(class_of(&[f32::NAN], 3), None);
        assert_eq!(class_of(&[0.0, 0.0, 1.0], 3), Some(2));
        assert_eq!(class_of(&[0.0, 1.0, 1.0], 3), None);
        assert_eq!(class_of(&[0.0, 0.0, 0.0], 3), None);
        assert_eq!(class_of(&[0.0, 1.0], 3), None);
    }
}
