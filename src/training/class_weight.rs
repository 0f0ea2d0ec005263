//! Class weights, expanded to weights of samples, steps or pixels.

use std::collections::BTreeMap;

use super::batches::{HostBatch, HostWeights};
use super::fitted::{Fitted, FittedOutput};
use crate::error::{Error, Result};

/// The tolerance for the sum of a target row over the classes, which should be 1.
const TOLERANCE: f32 = 1e-3;

/// A weight for each given class; all others have 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClassWeight(BTreeMap<usize, f32>);

/// The encoding of a target.
#[derive(Clone, Debug, PartialEq)]
enum LabelEncoding {
    /// Class indices, one at each position (steps, or rows and columns; no positions for one per sample).
    Numbers { positions: Vec<usize> },
    /// A number for each class at each position.
    Rows { positions: Vec<usize>, classes: usize },
}

impl ClassWeight {
    pub fn new(weights: impl IntoIterator<Item = (usize, f32)>) -> Self {
        Self(weights.into_iter().collect())
    }

    /// Refuses weights that are not finite.
    pub fn check(&self) -> Result<()> {
        match self.0.iter().find(|(_, weight)| !weight.is_finite()) {
            None => Ok(()),
            Some((class, weight)) => {
                Err(Error::argument("class_weight", "finite numbers", format!("{weight} for class {class}")))
            }
        }
    }

    /// Refuses a model of several outputs, as Keras does.
    pub fn check_outputs(&self, fitted: &Fitted) -> Result<()> {
        match fitted.outputs.len() {
            1 => Ok(()),
            outputs => {
                let expected = "class weights for a model of one output alone";
                Err(Error::argument("class_weight", expected, format!("{outputs} outputs")))
            }
        }
    }

    /// Gives each label of a batch the weight of its class.
    pub fn weigh(&self, host: &mut HostBatch, fitted: &Fitted) -> Result<()> {
        self.check_outputs(fitted)?;
        let ([output], [y]) = (&fitted.outputs[..], &host.y[..]) else { return Ok(()) };
        if !host.weights.is_empty() {
            let received = "both, as the data has weights of its own";
            return Err(Error::argument("class_weight", "either class_weight or sample weights", received));
        }
        let of_class = |class: Option<usize>| class.and_then(|class| self.0.get(&class)).copied().unwrap_or(1.0);
        let weights = match labels(output) {
            LabelEncoding::Numbers { positions } => {
                // Keras rounds, and a negative number is not a class.
                let class = |label: &f32| {
                    let label = label.round_ties_even();
                    (label >= 0.0).then_some(label as usize)
                };
                HostWeights { numbers: y.iter().map(|label| of_class(class(label))).collect(), shape: positions }
            }
            LabelEncoding::Rows { positions, classes } => {
                let weight = |row: &[f32]| Ok(of_class(Some(largest(row)?)));
                let numbers = y.chunks(classes.max(1)).map(weight).collect::<Result<_>>()?;
                HostWeights { numbers, shape: positions }
            }
        };
        host.weights = vec![Some(weights)];
        Ok(())
    }
}

/// The encoding of the targets: rows over the classes if they have the output's rank and a last dimension above 1;
/// class indices otherwise.
fn labels(fitted: &FittedOutput) -> LabelEncoding {
    let (y, output) = (fitted.y(), fitted.output.sample());
    match y.as_slice() {
        [positions @ .., classes] if y.len() == output.len() && *classes > 1 => {
            LabelEncoding::Rows { positions: positions.to_vec(), classes: *classes }
        }
        [positions @ .., 1] => LabelEncoding::Numbers { positions: positions.to_vec() },
        positions => LabelEncoding::Numbers { positions: positions.to_vec() },
    }
}

/// The class of a row: the first of its largest values, as in `argmax`.
fn largest(row: &[f32]) -> Result<usize> {
    let sum: f32 = row.iter().sum();
    if row.iter().any(|share| *share < 0.0) || (sum - 1.0).abs() > TOLERANCE {
        let expected = "targets that name one class each (one-hot, or shares that sum to 1); for several labels at once \
                        give sample weights: Dataset::with_sample_weight, or `sample_weight` in an .npz";
        let shown: Vec<String> = row.iter().take(8).map(f32::to_string).collect();
        let more = if row.len() > 8 { ", …" } else { "" };
        return Err(Error::data("targets y, for class_weight", expected, format!("[{}{more}]", shown.join(", "))));
    }
    Ok((0..row.len()).rev().max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    /// The shape and weights of a batch's labels.
    fn weights(y: &[f32], target: &[usize], output: &[usize]) -> Result<(Vec<usize>, Vec<f32>)> {
        let samples = y.len() / target.iter().product::<usize>().max(1);
        let (target, output) = (Shape::batch_of(target), Shape::batch_of(output));
        let output = FittedOutput { field: Some(0), target, output };
        let fitted = Fitted::of(vec![(0, vec![1])], vec![output]);
        let (x, y) = (vec![Vec::new()], vec![y.to_vec()]);
        let mut host = HostBatch {
            indices: (0..samples).collect(),
            x,
            feeds: None,
            fed: Vec::new(),
            images: None,
            y,
            weights: Vec::new(),
        };
        ClassWeight::new([(1, 10.0), (2, 0.5)]).weigh(&mut host, &fitted)?;
        let weights = host.weights.remove(0).unwrap();
        Ok((weights.shape, weights.numbers))
    }

    #[test]
    fn each_label_has_the_weight_of_its_class() {
        assert_eq!(weights(&[0., 1., 2., 3.], &[], &[5]).unwrap(), (vec![], vec![1., 10., 0.5, 1.]));
        assert_eq!(weights(&[0., 1., 0.6], &[1], &[1]).unwrap(), (vec![], vec![1., 10., 10.]));
        let one_hot = [0., 1., 0., 0., 0., 1.];
        assert_eq!(weights(&one_hot, &[3], &[3]).unwrap(), (vec![], vec![10., 0.5]));
        // One per step, as an index or as a row over the classes.
        assert_eq!(weights(&[0., 1., 2., 1.], &[2], &[2, 3]).unwrap(), (vec![2], vec![1., 10., 0.5, 10.]));
        assert_eq!(weights(&[0., 1., 2., 1.], &[2, 1], &[2, 3]).unwrap(), (vec![2], vec![1., 10., 0.5, 10.]));
        assert_eq!(weights(&[0., 1., 1., 1.], &[2, 1], &[2, 1]).unwrap(), (vec![2], vec![1., 10., 10., 10.]));
        assert_eq!(weights(&one_hot, &[2, 3], &[2, 3]).unwrap(), (vec![2], vec![10., 0.5]));
        // One per pixel.
        assert_eq!(weights(&[0., 1., 1., 0.], &[2, 2, 1], &[2, 2, 1]).unwrap(), (vec![2, 2], vec![1., 10., 10., 1.]));
    }

    #[test]
    fn multiple_labels_are_refused() {
        for row in [[1., 1., 0.], [0., 0., 0.], [2., -1., 0.]] {
            let error = weights(&row, &[3], &[3]).unwrap_err().to_string();
            assert!(error.contains("with_sample_weight"), "{error}");
        }
        assert!(ClassWeight::new([(0, f32::NAN)]).check().unwrap_err().to_string().contains("class 0"));
    }
}
