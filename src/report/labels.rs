//! Scores of a multi-label classifier, label by label.

use std::fmt;
use std::sync::Arc;

use super::classes::{harmonic_mean, score_table, share};
use crate::datasets::{Source, read_samples};
use crate::distributed::{Communicator, together};
use crate::error::Result;
use crate::model::Model;
use crate::shape::check_count;
use crate::training::{Meaning, Predict};

/// A label is predicted if its probability exceeds this: the threshold of Keras's metrics.
const THRESHOLD: f32 = 0.5;

/// True positives, false positives and false negatives of each label.
///
/// `Display` writes a table of the labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// The names of the labels.
    pub names: Vec<String>,
    /// Of each label: how often it was predicted correctly.
    pub true_positives: Vec<usize>,
    /// Of each label: how often it was predicted but absent.
    pub false_positives: Vec<usize>,
    /// Of each label: how often it was present but not predicted.
    pub false_negatives: Vec<usize>,
    /// Number of samples.
    pub samples: usize,
    /// Number of samples whose labels were all predicted exactly.
    pub exact: usize,
}

impl Labels {
    /// Predicts all samples and compares. `None` for a model whose outputs are not [labels](Meaning::Labels), and for
    /// targets that are not rows of 0 and 1.
    ///
    /// Labels without a name in `names` are named by their index.
    ///
    /// # Errors
    /// As for reading data and predicting.
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
    /// use brasa::report::Labels;
    /// let mut model = Sequential::new();
    /// model.add(ActivationLayer::new("sigmoid").input_shape(2))?;
    /// model.compile(Compile::new("sgd", "binary_crossentropy"))?;
    /// let data = Dataset::new(&ndarray::array![[2.0f32, -1.0], [1.0, 1.0]], &ndarray::array![[1u8, 0], [0, 1]])?;
    /// let alone = Labels::of(&model, &data, 1, &[])?;
    /// std::thread::scope(|scope| {
    ///     for rank in threads(2) {
    ///         let (model, data, alone) = (model.clone(), &data, &alone);
    ///         scope.spawn(move || assert_eq!(Labels::distributed(&model, data, 1, &[], &rank).unwrap(), *alone));
    ///     }
    /// });
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`of`](Self::of); [`Error::Rank`](crate::Error::Rank) if another rank fails.
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
        let Meaning::Labels { .. } = model.meaning() else { return Ok(None) };
        let output = model.output_shape()?.known_sample()?;
        let outputs = check_count(&output)?;
        let (targets, width) = (check_count(data.y_shape())?, check_count(data.x_shape())?);
        if targets != outputs {
            return Ok(None);
        }
        let name = |label: usize| names.get(label).cloned().unwrap_or_else(|| label.to_string());
        let zeros = || vec![0; outputs];
        let mut found = Self {
            names: (0..outputs).map(name).collect(),
            true_positives: zeros(),
            false_positives: zeros(),
            false_negatives: zeros(),
            samples: data.len(),
            exact: 0,
        };
        let batch_size = batch_size.max(1);
        let mut fits = true;
        'batches: for (turn, start) in (0..data.len()).step_by(batch_size).enumerate() {
            if peers.is_some_and(|peers| turn % peers.size() != peers.rank()) {
                continue;
            }
            let indices: Vec<usize> = (start..data.len().min(start.saturating_add(batch_size))).collect();
            check_count(&[indices.len(), width])?;
            let (samples, y) = read_samples(data, &indices)?;
            let predicted = model.predict_with(samples, Predict::new().batch_size(batch_size))?;
            for (target, row) in y.chunks(targets.max(1)).zip(predicted.rows()) {
                if target.iter().any(|value| *value != 0.0 && *value != 1.0) {
                    fits = false;
                    break 'batches;
                }
                found.count(target, &model.meaning().probabilities(&row.to_vec()).unwrap_or_default());
            }
        }
        match peers {
            Some(peers) => found.merged(fits, peers),
            None => Ok(fits.then_some(found)),
        }
    }

    /// The sums of what the ranks have counted.
    fn merged(mut self, fits: bool, peers: &dyn Communicator) -> Result<Option<Self>> {
        let number = |count: &usize| *count as f64;
        let lists = [&self.true_positives, &self.false_positives, &self.false_negatives];
        let own = lists.into_iter().flatten().map(number);
        let mut numbers: Vec<f64> = own.chain([number(&self.exact), f64::from(u8::from(!fits))]).collect();
        peers.all_reduce_f64(&mut numbers)?;
        if numbers.pop().is_some_and(|misfits| misfits > 0.0) {
            return Ok(None);
        }
        let lists = [&mut self.true_positives, &mut self.false_positives, &mut self.false_negatives];
        let counts = lists.into_iter().flatten().chain([&mut self.exact]);
        counts.zip(numbers).for_each(|(count, sum)| *count = sum as usize);
        Ok(Some(self))
    }

    fn count(&mut self, target: &[f32], probabilities: &[f32]) {
        let mut exact = true;
        for (label, (holds, probability)) in target.iter().zip(probabilities).enumerate() {
            let counts = match (*holds == 1.0, *probability > THRESHOLD) {
                (true, true) => &mut self.true_positives,
                (false, true) => &mut self.false_positives,
                (true, false) => &mut self.false_negatives,
                (false, false) => continue,
            };
            counts[label] += 1;
            exact &= *holds == 1.0 && *probability > THRESHOLD;
        }
        self.exact += usize::from(exact);
    }

    /// The number of samples with a label.
    pub fn support(&self, label: usize) -> usize {
        self.true_positives[label] + self.false_negatives[label]
    }

    /// Precision, recall and their harmonic mean F1 of a label; `None` where it was never predicted or never present.
    pub fn scores(&self, label: usize) -> [Option<f64>; 3] {
        let right = self.true_positives[label];
        let said = right + self.false_positives[label];
        let (precision, recall) = (share(right, said), share(right, self.support(label)));
        [precision, recall, harmonic_mean(precision, recall)]
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        score_table(f, "label", &self.names, |label| self.scores(label), |label| self.support(label))?;
        let percent = self.exact as f64 / self.samples.max(1) as f64 * 100.0;
        write!(f, "\n{} of {} samples have exactly the predicted labels ({percent:.2} %)", self.exact, self.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Dataset;
    use crate::prelude::*;

    #[test]
    fn each_label_is_counted_by_itself() {
        let mut model = Sequential::new();
        model.add(ActivationLayer::new("sigmoid").input_shape(3)).unwrap();
        model.compile(Compile::new("sgd", "binary_crossentropy")).unwrap();
        // A probability of 0.5 is not above the threshold.
        let x = ndarray::array![[2.0_f32, -1.0, 3.0], [1.0, 1.0, -3.0], [-2.0, 1.0, 0.0], [-1.0, -1.0, -1.0]];
        let y = ndarray::array![[1_u8, 0, 1], [1, 0, 0], [1, 1, 1], [0, 0, 0]];
        let data = Dataset::new(&x, y).unwrap();
        let labels = Labels::of(&model, &data, 3, &["a".into()]).unwrap().unwrap();
        assert_eq!(
            (&labels.names[..], labels.samples, labels.exact),
            (&["a".to_owned(), "1".into(), "2".into()][..], 4, 2)
        );
        assert_eq!(labels.true_positives, [2, 1, 1]);
        assert_eq!((labels.false_positives.clone(), labels.false_negatives.clone()), (vec![0, 1, 0], vec![1, 0, 1]));
        let [precision, recall, f1] = labels.scores(0);
        assert_eq!((precision, recall), (Some(1.0), Some(2.0 / 3.0)));
        assert!((f1.unwrap() - 0.8).abs() < 1e-12);
        let text = labels.to_string();
        assert!(text.contains("\na         1.0000  0.6667  0.8000        3"), "{text}");
        assert!(text.ends_with("2 of 4 samples have exactly the predicted labels (50.00 %)"), "{text}");
        // Values between 0 and 1 are not labels.
        let soft = Dataset::new(&x, ndarray::Array2::<f32>::from_elem((4, 3), 0.5)).unwrap();
        assert_eq!(Labels::of(&model, &soft, 3, &[]).unwrap(), None);
    }
}
