//! Integer labels: their checks, and their conversion to one-hot targets.

use crate::error::{Error, Result};
use crate::ops::Value;
use crate::shape::Shape;

/// Refuses targets that are not one label per position of the output, without its classes.
pub(crate) fn check_shape(target: &Shape, output: &Shape) -> Result<()> {
    let one_fewer = Shape::new(&output.sizes()[..output.rank().saturating_sub(1)]);
    let fits = target.rank() == output.rank() && target.sample().last() == Some(&Some(1))
        || target.rank() + 1 == output.rank();
    let sizes = target.sample().iter().zip(one_fewer.sample());
    if fits && sizes.into_iter().all(|(a, b)| a.is_none() || b.is_none() || a == b) {
        return Ok(());
    }
    let hint = if target == output { " (for one-hot targets use categorical_crossentropy)" } else { "" };
    Err(Error::data("targets y", format!("integer labels of shape {one_fewer}{hint}"), format!("shape {target}")))
}

/// Refuses labels that are neither integers below `classes` nor the ignored one.
pub(super) fn check_labels(targets: &[f32], classes: usize, ignored: Option<isize>) -> Result<()> {
    let valid = |label: f32| {
        label.fract() == 0.0 && (label >= 0.0 && label < classes as f32 || ignored.is_some_and(|i| label == i as f32))
    };
    match targets.iter().find(|label| !valid(**label)) {
        None => Ok(()),
        Some(label) => {
            let last = classes.saturating_sub(1);
            Err(Error::data(
                "labels y",
                format!("whole numbers from 0 to {last}, the model's {classes} classes"),
                label,
            ))
        }
    }
}

/// Labels with the class axis restored, of size 1.
pub(crate) fn as_column(labels: Value, y_pred: &Value, axis: usize) -> Result<Value> {
    let mut column = y_pred.sizes();
    column[axis] = 1;
    if column.iter().product::<usize>() != labels.len() {
        let received = format!("{:?}", labels.sizes());
        return Err(Error::data("labels y", format!("{} integers", column.iter().product::<usize>()), received));
    }
    labels.reshape(&column)
}

/// One-hot labels in the shape of the predictions; a label outside the classes becomes zeros.
pub(crate) fn one_hot_like(labels: Value, y_pred: &Value, axis: usize) -> Result<Value> {
    let sizes = y_pred.sizes();
    let labels = as_column(labels, y_pred, axis)?;
    let mut row = vec![1; sizes.len()];
    row[axis] = sizes[axis];
    let classes = (0..sizes[axis]).map(|class| class as f32).collect();
    let classes = Value::from_vec(classes, &row, &y_pred.device())?.expand(&sizes);
    Ok(labels.expand(&sizes).equal(classes))
}
