//! `CTC`: a loss for sequences with unaligned labels.

use burn::tensor::module::ctc_loss;

use super::{Loss, Reduction, one_minus, ones_like, sparse};
use crate::error::{Error, Result};
use crate::memory;
use crate::ops::Value;
use crate::shape::{Shape, check_count};

/// The blank class in outputs, and the padding of targets.
const BLANK: usize = 0;

/// The number of arrays of the size of all paths held at once, in training: Burn's forward and backward sums, the
/// probabilities gathered for both, their 64-bit indices, and intermediate results.
const COPIES: usize = 8;

crate::describe! {
    /// Connectionist temporal classification (Graves et al. 2006): minus the log-probability that the outputs, without
    /// repeats and blanks, spell the labels.
    ///
    /// Outputs are logits of shape (batch, time, classes), targets integer labels of shape (batch, labels) padded with
    /// 0; class 0 is the blank, and so not a label. As in Keras the length of a row is its number of nonzero labels,
    /// counted from its start: a 0 between them is taken for a label with the blank's probability.
    ///
    /// An invalid class is refused in training; in a metric such a label has probability 0, and so the loss is
    /// infinite.
    pub struct CTC {
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "ctc".into(),
    }
}

impl Loss for CTC {
    fn heeds_mask(&self) -> bool {
        false
    }

    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let sizes = y_pred.sizes();
        let (&[samples, time, classes], &[_, labels]) = (&sizes[..], &y_true.sizes()[..]) else {
            return Err(Error::shape("outputs of shape (batch, time, classes)", format!("{sizes:?}")));
        };
        // At each time step, every label with a blank before and after it: probabilities and indices, forward and
        // backward.
        let paths = check_count(&[samples, time, labels.saturating_mul(2).saturating_add(1)])?;
        memory::check_room("the loss CTC", paths.saturating_mul(COPIES))?;
        let whole = y_true.clone().clamp(0.0, classes.saturating_sub(1) as f32).floor();
        // NaN is not a valid class.
        let unknown = one_minus(whole.equal(y_true.clone()));
        let known = y_true.clone().select_where(unknown.clone(), ones_like(&y_true)?);
        let unknown = unknown.sum_axis(1).clamp_max(1.0).reshape(&[samples])?;
        let lengths = one_minus(y_true.clone().equal_scalar(BLANK as f32)).sum_axis(1).reshape(&[samples])?;
        let times = Value::full(&[samples], time as f32, &y_true.device())?;
        // To Keras, a 0 between labels is a label with the blank's probability, and not a blank: it gets a separate
        // class.
        let log_probabilities = y_pred.log_softmax(2);
        let blank = log_probabilities.clone().narrow(2, BLANK, 1);
        let log_probabilities = Value::concat(vec![log_probabilities, blank], 2)?.permute(&[1, 0, 2]);
        let y_true = known + y_true.equal_scalar(BLANK as f32).mul_scalar(classes as f32);
        let losses = ctc_loss(
            log_probabilities.tensor::<3>()?,
            y_true.tensor::<2>()?.int(),
            times.tensor::<1>()?.int(),
            lengths.tensor::<1>()?.int(),
            BLANK,
        );
        // Minus the logarithm of 0 for invalid labels, which the backends index without a check.
        Ok(Value::from(losses) - one_minus(unknown).log())
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        if target.rank() == 2 && output.rank() == 3 {
            return Ok(());
        }
        let expected = "labels of shape (batch, labels) for outputs of shape (batch, time, classes)";
        Err(Error::data("targets y", expected, format!("shape {target} for outputs {output}")))
    }

    fn check_values(&self, targets: &[f32], classes: usize) -> Result<()> {
        sparse::check_labels(targets, classes, None)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::tests::rows;
    use super::*;
    use crate::backend::Backend;

    fn close(got: &[f32], wanted: &[f32]) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(0.1);
        assert!(got.len() == wanted.len() && got.iter().zip(wanted).all(near), "{got:?}");
    }

    /// The values are those of Keras 3.15.1; the second sample has the same label twice.
    #[test]
    fn losses_and_gradients_are_those_of_keras() {
        #[rustfmt::skip]
        let logits = vec![
            2.65, 0.6, 1.47, 3.36, 2.8, -1.47, 1.43, -0.23, -0.15, 0.62, 0.22, 2.18, 1.14, 0.18, 0.67, 0.5, 2.24,
            -0.31, 0.47, -1.28, -3.83, 0.98, 1.3, -1.11,
            3.4, -2.18, 0.07, -0.28, 2.3, 2.2, 0.23, 0.57, -1.33, -2.97, -0.52, 0.23, 1.85, 1.8, -0.58, -0.45, -1.57,
            -2.13, -2.56, 2.93, -0.76, -0.66, -1.88, 1.17,
            -2.42, -0.32, -1.34, 0.58, -0.77, -1.77, -0.04, 0.64, 0.1, 0.45, -0.95, -0.54, -1.01, -0.54, -1.22, -2.59,
            0.27, -0.6, -2.45, 0.69, -1.36, 0.08, 1.09, 0.19,
        ];
        let y_pred = Value::from_vec(logits, &[3, 6, 4], &Device::flex()).unwrap().require_grad();
        let y_true = rows(&[&[1.0, 2.0, 3.0], &[1.0, 1.0, 0.0], &[2.0, 0.0, 0.0]]);
        let losses = CTC::default().losses(y_true, y_pred.clone()).unwrap();
        close(&losses.to_vec().unwrap(), &[7.337_225, 8.630_928, 8.643_29]);
        let mut gradients = losses.mean().backward().unwrap();
        let gradient = y_pred.take_gradient(&mut gradients).unwrap().to_vec().unwrap();
        let first_and_last = [gradient[24], gradient[25], gradient[26], gradient[27], gradient[44], gradient[47]];
        close(
            &first_and_last,
            &[-0.018_374_383, -0.000_726_794_4, 0.011_205_075, 0.007_896_083, -0.074_991_256, 0.246_380_6],
        );
    }

    /// The value is that of Keras 3.15.1, whose own test has such a row.
    #[test]
    fn a_zero_between_labels_is_a_label() {
        let logits: Vec<f32> = (0..24).map(|i| ((i * 7 + 3) % 11) as f32 / 4.0 - 1.0).collect();
        let y_pred = Value::from_vec([logits.clone(), logits].concat(), &[2, 6, 4], &Device::flex()).unwrap();
        let y_true = rows(&[&[1.0, 2.0, 0.0, 2.0], &[1.0, 0.0, 0.0, 3.0]]);
        let losses = CTC::default().losses(y_true, y_pred).unwrap();
        close(&losses.to_vec().unwrap(), &[4.764_079, 5.060_005]);
    }

    #[test]
    fn invalid_labels_have_probability_zero() {
        let logits: Vec<f32> = (0..24).map(|i| ((i * 7 + 3) % 11) as f32 / 4.0 - 1.0).collect();
        let devices = ["flex", "ndarray"].map(|name| name.parse::<Backend>().and_then(|backend| backend.device()));
        for device in devices.into_iter().flatten() {
            for wrong in [-1.0, 4.0, 1e9, 0.5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                let y_pred = Value::from_vec([logits.clone(), logits.clone()].concat(), &[2, 6, 4], &device).unwrap();
                let labels = vec![1.0, wrong, 2.0, 3.0, 2.0, 0.0];
                let y_true = Value::from_vec(labels, &[2, 3], &device).unwrap();
                let losses = CTC::default().losses(y_true, y_pred).unwrap().to_vec().unwrap();
                assert!(losses[0] == f32::INFINITY && losses[1].is_finite(), "{wrong}: {losses:?}");
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn paths_that_exceed_memory_are_refused() {
        let device = Device::flex();
        let y_pred = Value::full(&[1, 1 << 18, 2], 0.0, &device).unwrap();
        let error = CTC::default().losses(Value::full(&[1, 1 << 20], 1.0, &device).unwrap(), y_pred).unwrap_err();
        assert!(matches!(&error, Error::Memory { .. }) && error.to_string().contains("the loss CTC"), "{error}");
    }

    #[test]
    fn targets_and_outputs_need_their_dimensions() {
        let loss = CTC::default();
        assert!(loss.check_shape(&Shape::batch_of(3), &Shape::batch_of((6, 4))).is_ok());
        assert!(loss.check_shape(&Shape::batch_of(()), &Shape::batch_of((6, 4))).is_err());
        assert!(loss.check_shape(&Shape::batch_of(3), &Shape::batch_of(4)).is_err());
    }
}
