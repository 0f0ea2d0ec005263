//! Predicted against true values of a regression.

use super::chart::{Chart, Line};
use crate::datasets::{Source, read_samples};
use crate::error::Result;
use crate::model::Model;
use crate::shape::check_count;
use crate::training::Predict;

/// Maximal number of outputs to chart; longer rows are not treated as separate numbers.
const MOST_OUTPUTS: usize = 4;

/// Maximal number of points to draw: more would overlap.
const MOST_POINTS: usize = 1000;

/// Predicted and true values of each output.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// Number of samples.
    pub samples: usize,
    /// For each output pairs of a true and a predicted value, of up to 1,000 evenly spaced samples.
    pub pairs: Vec<Vec<(f32, f32)>>,
}

impl Numbers {
    /// Predicts samples and compares. `None` for a classifier, for a model whose output is not a row of at most four
    /// numbers, and for targets of another shape.
    ///
    /// # Errors
    /// As for reading data and predicting.
    pub fn of<S: Source + ?Sized>(model: &Model, data: &S, batch_size: usize) -> Result<Option<Self>> {
        if model.is_classifier() || model.expect_single().is_err() {
            return Ok(None);
        }
        let output = model.output_shape()?.known_sample().unwrap_or_default();
        let &[outputs @ 1..=MOST_OUTPUTS] = output.as_slice() else { return Ok(None) };
        let (targets, width) = (check_count(data.y_shape())?, check_count(data.x_shape())?);
        if targets != outputs {
            return Ok(None);
        }
        let mut pairs = vec![Vec::new(); outputs];
        let chosen: Vec<usize> = (0..data.len()).step_by(data.len().div_ceil(MOST_POINTS).max(1)).collect();
        for indices in chosen.chunks(batch_size.max(1)) {
            check_count(&[indices.len(), width])?;
            let (samples, y) = read_samples(data, indices)?;
            let predicted = model.predict_with(samples, Predict::new().batch_size(batch_size.max(1)))?;
            for (target, row) in y.chunks(targets).zip(predicted.rows()) {
                for ((pairs, own), guess) in pairs.iter_mut().zip(target).zip(row) {
                    pairs.push((*own, *guess));
                }
            }
        }
        Ok(Some(Self { samples: data.len(), pairs }))
    }

    /// For each output predicted over true values, and residuals over predicted values.
    pub(super) fn charts(&self, names: &[String]) -> Vec<Chart> {
        let charts = self.pairs.iter().enumerate().flat_map(|(output, pairs)| {
            let name = match (names.get(output), self.pairs.len()) {
                (Some(name), _) => name.clone(),
                (None, 1) => "output".to_owned(),
                (None, _) => format!("output {output}"),
            };
            let pairs = pairs.iter().map(|(own, guess)| (f64::from(*own), f64::from(*guess)));
            let pairs: Vec<(f64, f64)> = pairs.filter(|(own, guess)| own.is_finite() && guess.is_finite()).collect();
            let ends = |values: &dyn Fn(&(f64, f64)) -> f64| {
                let values = || pairs.iter().map(values);
                (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
            };
            let (true_ends, guess_ends) = (ends(&|pair| pair.0), ends(&|pair| pair.1));
            let line =
                |label: &str, points, dots: bool| Line { label: label.into(), points, colour: 0, faint: !dots, dots };
            let equal = vec![(true_ends.0, true_ends.0), (true_ends.1, true_ends.1)];
            let zero = vec![(guess_ends.0, 0.0), (guess_ends.1, 0.0)];
            let residuals = pairs.iter().map(|(own, guess)| (*guess, own - guess)).collect();
            [
                Chart::over(
                    format!("predicted {name}"),
                    "true",
                    vec![line("predicted", pairs.clone(), true), line("ideal", equal, false)],
                ),
                Chart::over(
                    format!("residuals of {name}"),
                    "predicted",
                    vec![line("true − predicted", residuals, true), line("zero", zero, false)],
                ),
            ]
        });
        charts.filter(|chart| chart.lines.iter().any(|line| line.dots && !line.points.is_empty())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Dataset;
    use crate::prelude::*;

    #[test]
    fn pairs_true_and_predicted_values() {
        let mut model = Sequential::new();
        model.add(Rescaling::new(2.0).input_shape(1)).unwrap();
        model.compile(Compile::new("sgd", "mse")).unwrap();
        let x = ndarray::Array2::from_shape_fn((3000, 1), |(row, _)| row as f32);
        let y: Vec<f32> = (0..3000).map(|row| 2.0 * row as f32 + 1.0).collect();
        let numbers = Numbers::of(&model, &Dataset::new(x, y).unwrap(), 7).unwrap().unwrap();
        assert_eq!((numbers.samples, numbers.pairs.len(), numbers.pairs[0].len()), (3000, 1, 1000));
        assert_eq!((numbers.pairs[0][1], numbers.pairs[0][999]), ((7.0, 6.0), (5995.0, 5994.0)));
        let charts = numbers.charts(&["price".into()]);
        assert_eq!((charts[0].title.as_str(), charts[1].title.as_str()), ("predicted price", "residuals of price"));
        assert!(charts[1].lines[0].points.iter().all(|(_, missing)| *missing == 1.0));
        assert_eq!(charts[0].lines[1].points, [(1.0, 1.0), (5995.0, 5995.0)]);

        model.add(Dense::new(2).activation("softmax")).unwrap();
        model.compile(Compile::new("sgd", "categorical_crossentropy")).unwrap();
        let data = Dataset::new(ndarray::array![[1.0_f32]], ndarray::array![[1.0_f32, 0.0]]).unwrap();
        assert_eq!(Numbers::of(&model, &data, 7).unwrap(), None);
    }

    #[test]
    fn values_that_are_not_finite_are_not_drawn() {
        let numbers = Numbers { samples: 2, pairs: vec![vec![(1.0, f32::NAN), (f32::INFINITY, 1.0)]] };
        assert!(numbers.charts(&[]).is_empty());
    }
}
