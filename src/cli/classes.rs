//! How well a classifier tells its classes apart.

use std::fmt;

use brasa::datasets::{Samples, Source};
use brasa::training::Predict;
use brasa::{Result, Sequential};

use super::output::thousands;

/// The most classes whose confusion matrix still fits on a screen.
const MOST_COLUMNS: usize = 20;

/// How often each class was taken for each: rows are what is true, columns what was predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    counts: Vec<Vec<usize>>,
    names: Vec<String>,
}

impl Confusion {
    /// Predicts all samples and compares. `None` if the model is no classifier: its targets are neither labels, nor
    /// one-hot rows, nor zeros and ones for a single output.
    ///
    /// # Errors
    /// Those of reading and predicting.
    pub fn of(
        model: &Sequential,
        data: &dyn Source,
        batch_size: usize,
        class_names: &[String],
    ) -> Result<Option<Self>> {
        let output = model.output_shape()?.known_sample().unwrap_or_default();
        let (&[outputs], targets) = (output.as_slice(), data.y_shape().iter().product::<usize>()) else {
            return Ok(None);
        };
        let classes = outputs.max(2);
        let mut confusion = Self::new(classes, class_names);
        let width = data.x_shape().iter().product::<usize>();
        for start in (0..data.len()).step_by(batch_size) {
            let indices: Vec<usize> = (start..data.len().min(start + batch_size)).collect();
            let (mut x, mut y) = (vec![0.0; indices.len() * width], vec![0.0; indices.len() * targets]);
            data.read(&indices, &mut x, &mut y)?;
            let x = Samples::new([&[indices.len()], data.x_shape()].concat(), x)?;
            let predicted = model.predict_with(x, Predict::new().batch_size(batch_size))?;
            for (target, row) in y.chunks(targets.max(1)).zip(predicted.rows()) {
                let Some(class) = class_of(target, classes) else { return Ok(None) };
                let guess = match row.as_slice() {
                    Some([one]) => usize::from(*one > 0.5),
                    _ => (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a))).unwrap_or(0),
                };
                confusion.counts[class][guess] += 1;
            }
        }
        Ok(Some(confusion))
    }

    fn new(classes: usize, names: &[String]) -> Self {
        let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
        Self { counts: vec![vec![0; classes]; classes], names: (0..classes).map(name).collect() }
    }

    /// Precision, recall and their harmonic mean F1 of a class; `None` where nothing was predicted or nothing is true.
    fn scores(&self, class: usize) -> [Option<f64>; 3] {
        let right = self.counts[class][class];
        let share = |of: usize| (of > 0).then(|| right as f64 / of as f64);
        let predicted: usize = self.counts.iter().map(|row| row[class]).sum();
        let (precision, recall) = (share(predicted), share(self.counts[class].iter().sum()));
        let f1 = precision.zip(recall).map(|(p, r)| if p + r > 0.0 { 2.0 * p * r / (p + r) } else { 0.0 });
        [precision, recall, f1]
    }
}

/// The class that a target names, if it names one.
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

impl fmt::Display for Confusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes = self.names.len();
        let names = self.names.iter().map(|name| unicode_width::UnicodeWidthStr::width(name.as_str()));
        let width = names.max().unwrap_or(0).max("class".len());
        let pad = |name: &str| " ".repeat(width - unicode_width::UnicodeWidthStr::width(name));
        if classes <= MOST_COLUMNS {
            let largest = self.counts.iter().flatten().max().copied().unwrap_or(0);
            let column = largest.to_string().len().max(classes.to_string().len()) + 1;
            writeln!(f, "Confusion matrix (rows: true class, columns: predicted class)")?;
            write!(f, "{}", " ".repeat(width))?;
            (0..classes).try_for_each(|class| write!(f, " {class:>column$}"))?;
            for (name, row) in self.names.iter().zip(&self.counts) {
                write!(f, "\n{name}{}", pad(name))?;
                row.iter().try_for_each(|count| write!(f, " {count:>column$}"))?;
            }
            write!(f, "\n\n")?;
        }
        write!(f, "class{}  precision  recall      F1  samples", pad("class"))?;
        for (class, name) in self.names.iter().enumerate() {
            let [precision, recall, f1] =
                self.scores(class).map(|score| score.map_or_else(|| "-".into(), |score| format!("{score:.4}")));
            let samples = thousands(self.counts[class].iter().sum());
            write!(f, "\n{name}{}  {precision:>9}  {recall:>6}  {f1:>6}  {samples:>7}", pad(name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_a_small_matrix() {
        let mut confusion = Confusion::new(3, &["cat".into(), "dog".into()]);
        confusion.counts = vec![vec![3, 1, 0], vec![2, 4, 0], vec![0, 0, 0]];
        // cat: 3 of 5 predictions are right, 3 of 4 cats are found; F1 = 2·0.6·0.75 / 1.35.
        assert_eq!(confusion.scores(0), [Some(0.6), Some(0.75), Some(2.0 * 0.6 * 0.75 / 1.35)]);
        assert_eq!(confusion.scores(2), [None, None, None]);
        let text = confusion.to_string();
        assert!(text.contains("\ndog    2  4  0\n"), "{text}");
        assert!(text.contains("\ncat       0.6000  0.7500  0.6667        4\n"), "{text}");
        assert!(text.ends_with("\n2              -       -       -        0"), "{text}");
    }

    #[test]
    fn targets_name_classes() {
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
