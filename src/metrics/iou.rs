//! Intersection over union, for segmentation.

use super::SumMetric;
use super::summed::ratio;
use crate::config::Configure;
use crate::constraints::Axes;
use crate::error::{Error, Result};
use crate::losses::{one_minus, ones_like, same_shape, spread};
use crate::memory;
use crate::ops::Value;
use crate::shape::{Shape, check_count};

/// The table is square: with this many classes it has 64 MiB.
const MAX_CLASSES: usize = 4096;

/// Shared by the family.
struct Confusions {
    classes: usize,
    ignore_class: Option<isize>,
    sparse_y_true: bool,
    sparse_y_pred: bool,
    axis: isize,
    whole: bool,
}

impl Confusions {
    /// The confusion table: true classes by predicted ones.
    fn sums(&self, metric: &str, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value> {
        let classes_of = |value: Value, sparse: bool| {
            if sparse {
                return Ok(value);
            }
            let axis = Axes::One(self.axis).of_rank(value.rank())?[0];
            Ok(value.argmax(axis))
        };
        let mut y_true = classes_of(y_true, self.sparse_y_true)?;
        let mut y_pred = classes_of(y_pred, self.sparse_y_pred)?;
        if y_true.len() != y_pred.len() {
            let received = format!("{:?}", y_true.sizes());
            return Err(Error::data("targets y", format!("{} classes", y_pred.len()), received));
        }
        // One-hot targets and predictions, the broadcast weights, and their product.
        let tables = check_count(&[y_true.len(), self.classes])?.saturating_mul(5);
        memory::check_room(&format!("the metric {metric} of {} classes", self.classes), tables)?;
        let mut weights = match weights {
            Some(weights) => spread(weights.clone(), &y_true)?,
            None => ones_like(&y_true)?,
        };
        if self.whole {
            // Keras casts all three to integers.
            (y_true, y_pred, weights) = (truncated(y_true), truncated(y_pred), truncated(weights));
        }
        if let Some(ignored) = self.ignore_class {
            weights = weights * one_minus(y_true.clone().equal_scalar(ignored as f32));
        }
        // Classes are always integers.
        let (y_true, y_pred) = (truncated(y_true), truncated(y_pred));
        let count = y_true.len();
        let one_hot = |value: Value| value.reshape(&[count])?.one_hot(self.classes);
        let weights = weights.reshape(&[count, 1])?.expand(&[count, self.classes]);
        // Classes outside the table are all zeros, and so are ignored.
        Ok(one_hot(y_true)?.permute(&[1, 0]).matmul(one_hot(y_pred)? * weights))
    }

    /// The mean over some classes; those that never occur are ignored.
    fn mean(&self, table: &[f64], ids: impl Iterator<Item = usize>) -> Vec<f64> {
        let at = |row: usize, column: usize| table[row * self.classes + column];
        let (mut sum, mut count) = (0.0, 0.0);
        for id in ids {
            let union: f64 = (0..self.classes).map(|other| at(id, other) + at(other, id)).sum::<f64>() - at(id, id);
            if union > 1e-9 {
                sum += at(id, id) / (union + 1e-7);
                count += 1.0;
            }
        }
        vec![ratio(sum, count)]
    }
}

/// Truncates towards 0, like a cast to integers.
fn truncated(value: Value) -> Value {
    value.clone().abs().floor() * value.sign()
}

fn check_classes(classes: usize, ids: &[usize], dtype: &str) -> Result<()> {
    if classes == 0 {
        return Err(Error::argument("num_classes", "an integer above 0", 0));
    }
    if let Some(id) = ids.iter().find(|id| **id >= classes) {
        return Err(Error::argument("target_class_ids", format!("classes from 0 to {}", classes - 1), id));
    }
    if dtype.starts_with("int") || dtype == "float32" {
        return Ok(());
    }
    Err(Error::unsupported(format!("an intersection over union with dtype={dtype}"), "int32, float32"))
}

macro_rules! iou {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$required_doc:meta])* $required:ident : $type:ty),* },
        { $($(#[$optional_doc:meta])* $optional:ident : $optional_type:ty = $default:expr),* $(,)? },
        |$own:ident| $table:expr, $ids:expr
    ) => {
        crate::describe! {
            $(#[$doc])*
            pub struct $name {
                $($(#[$required_doc])* $required: $type,)*
                $($(#[$optional_doc])* $optional: $optional_type = $default,)*
                /// The metric's name.
                name: Option<String> = None,
                /// `int32`, which truncates weights to integers, as in Keras; or `float32`.
                dtype: String = "int32".into(),
            }
        }

        impl $name {
            fn table(&self) -> Confusions {
                let $own = self;
                Confusions { whole: self.dtype.starts_with("int"), ..$table }
            }

            fn ids(&self) -> Vec<usize> {
                let $own = self;
                $ids
            }
        }

        impl SumMetric for $name {
            fn sums(&self, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value> {
                self.prepare(y_pred).and_then(|y_pred| self.table().sums(Self::CLASS_NAME, y_true, y_pred, weights))
            }

            fn results(&self, sums: &[f64]) -> Vec<f64> {
                self.table().mean(sums, self.ids().into_iter())
            }

            fn can_have(&self, sums: usize) -> bool {
                sums == self.table().classes.pow(2)
            }

            fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
                let table = self.table();
                // If only one of them is one-hot, the positions are compared when they are known.
                if table.sparse_y_true == table.sparse_y_pred { same_shape(target, output) } else { Ok(()) }
            }

            fn check(&self) -> Result<()> {
                let classes = self.table().classes;
                // Checked before their list is created.
                if classes > MAX_CLASSES {
                    return Err(Error::argument("num_classes", format!("at most {MAX_CLASSES}"), classes));
                }
                check_classes(classes, &self.ids(), &self.dtype)
            }
        }
    };
}

/// The table of a metric whose fields have Keras's names.
macro_rules! table {
    ($own:ident, $sparse_y_true:expr) => {
        Confusions {
            classes: $own.num_classes,
            ignore_class: $own.ignore_class,
            sparse_y_true: $sparse_y_true,
            sparse_y_pred: $own.sparse_y_pred,
            axis: $own.axis,
            whole: true,
        }
    };
}

iou! {
    /// TP / (TP + FP + FN) of some classes, averaged. Targets and predictions are class indices unless the `sparse_`
    /// arguments are false; as in Keras, fractions are truncated (a probability of 0.9 is class 0).
    IoU {
        /// The number of classes.
        num_classes: usize,
        /// The classes to evaluate.
        target_class_ids: Vec<usize>
    }, {
        /// A class of the targets to ignore.
        ignore_class: Option<isize> = None,
        /// Whether targets are class indices rather than one score per class.
        sparse_y_true: bool = true,
        /// Whether predictions are class indices rather than one score per class.
        sparse_y_pred: bool = true,
        /// The axis of the classes.
        axis: isize = -1,
    }, |own| table!(own, own.sparse_y_true), own.target_class_ids.clone()
}

iou! {
    /// Like [`IoU`], over all classes.
    MeanIoU {
        /// The number of classes.
        num_classes: usize
    }, {
        /// A class of the targets to ignore.
        ignore_class: Option<isize> = None,
        /// Whether targets are class indices rather than one score per class.
        sparse_y_true: bool = true,
        /// Whether predictions are class indices rather than one score per class.
        sparse_y_pred: bool = true,
        /// The axis of the classes.
        axis: isize = -1,
    }, |own| table!(own, own.sparse_y_true), (0..own.num_classes).collect()
}

iou! {
    /// Like [`IoU`], for one-hot targets.
    OneHotIoU {
        /// The number of classes.
        num_classes: usize,
        /// The classes to evaluate.
        target_class_ids: Vec<usize>
    }, {
        /// A class of the targets to ignore.
        ignore_class: Option<isize> = None,
        /// Whether predictions are class indices rather than one score per class.
        sparse_y_pred: bool = false,
        /// The axis of the classes.
        axis: isize = -1,
    }, |own| table!(own, false), own.target_class_ids.clone()
}

iou! {
    /// Like [`MeanIoU`], for one-hot targets.
    OneHotMeanIoU {
        /// The number of classes.
        num_classes: usize
    }, {
        /// A class of the targets to ignore.
        ignore_class: Option<isize> = None,
        /// Whether predictions are class indices rather than one score per class.
        sparse_y_pred: bool = false,
        /// The axis of the classes.
        axis: isize = -1,
    }, |own| table!(own, false), (0..own.num_classes).collect()
}

iou! {
    /// Like [`IoU`], for two classes, with predictions thresholded.
    BinaryIoU {}, {
        /// The classes to evaluate.
        target_class_ids: Vec<usize> = vec![0, 1],
        /// The lower bound of predictions of class 1.
        threshold: f32 = 0.5,
    }, |own| {
        let _ = own;
        Confusions { classes: 2, ignore_class: None, sparse_y_true: true, sparse_y_pred: true, axis: -1, whole: true }
    }, own.target_class_ids.clone()
}

macro_rules! constructors {
    ($($name:ident($($argument:ident: $type:ty),*)),*) => {$(
        impl $name {
            /// With Keras's defaults.
            pub fn new($($argument: $type),*) -> Self {
                Self::required($($argument),*)
            }

            fn prepare(&self, y_pred: Value) -> Result<Value> {
                Ok(y_pred)
            }
        }
    )*};
}

constructors! {
    IoU(num_classes: usize, target_class_ids: Vec<usize>),
    MeanIoU(num_classes: usize),
    OneHotIoU(num_classes: usize, target_class_ids: Vec<usize>),
    OneHotMeanIoU(num_classes: usize)
}

impl BinaryIoU {
    fn prepare(&self, y_pred: Value) -> Result<Value> {
        // At least the threshold: not below it, and not NaN, which counts as class 0.
        let is_number = y_pred.clone().equal(y_pred.clone());
        Ok(one_minus((-y_pred).greater_scalar(-self.threshold)) * is_number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Metric, Summed};
    use super::*;
    use crate::losses::tests::rows;

    /// The values are those of Keras 3.15.1, which casts to integers.
    #[test]
    fn fractions_are_truncated() {
        let result = |metric: &mut dyn Metric, y_true: &[f32], y_pred: &[f32]| {
            metric.update(&rows(&[y_true]), &rows(&[y_pred]), None).unwrap();
            metric.result().unwrap().one().unwrap()
        };
        let (y_true, y_pred) = ([0.0, 1.0, 1.0, 0.0, 1.7], [0.2, 0.9, 1.0, 0.4, 1.2]);
        let near = |got: f64, wanted: f64| assert!((got - wanted).abs() < 1e-6, "{got}, not {wanted}");
        near(result(&mut Summed::new(MeanIoU::new(2)), &y_true, &y_pred), 0.666_666_7);
        near(result(&mut Summed::new(MeanIoU::new(2).dtype("float32".to_owned())), &y_true, &y_pred), 0.666_666_7);
        near(result(&mut Summed::new(IoU::new(2, vec![1])), &y_true, &y_pred), 0.666_666_6);
        near(result(&mut Summed::new(MeanIoU::new(3).ignore_class(1isize)), &y_true, &y_pred), 0.999_999_9);
        near(result(&mut Summed::new(MeanIoU::new(2)), &[-0.5, 1.0, 1.0, 0.0], &[-0.9, 0.9, 1.0, 0.4]), 0.583_333_4);
        near(result(&mut Summed::new(BinaryIoU::default()), &[0.9, 0.4, 1.0, 0.0], &[0.7, 0.2, 0.6, 0.8]), 0.333_333_3);
        near(result(&mut Summed::new(BinaryIoU::default()), &[0.0, 1.0], &[f32::NAN, 0.9]), 0.999_999_9);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn tables_that_exceed_memory_are_refused() {
        let pixels = Value::full(&[1, 1 << 22], 0.0, &burn::tensor::Device::flex()).unwrap();
        let error = Summed::new(MeanIoU::new(MAX_CLASSES)).update(&pixels, &pixels, None).unwrap_err();
        assert!(matches!(&error, Error::Memory { .. }) && error.to_string().contains("MeanIoU of 4096"), "{error}");
    }
}
