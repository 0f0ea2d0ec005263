//! The shape rules of NumPy and `keras.ops`: axes are aligned from the last, and the batch is like any other.

use crate::error::{Error, Result};
use crate::ops::{MAX_RANK, Value};
use crate::shape::Shape;

/// The broadcast shape of values.
pub(super) fn broadcast(shapes: &[Shape]) -> Result<Shape> {
    let rank = shapes.iter().map(Shape::rank).max().unwrap_or(0);
    let mut sizes: Vec<Option<usize>> = vec![Some(1); rank];
    for shape in shapes {
        for (size, own) in sizes[rank - shape.rank()..].iter_mut().zip(shape.sizes()) {
            *size = match (*size, *own) {
                (Some(1), other) | (other, Some(1)) => other,
                (None, other) | (other, None) => other,
                (Some(a), Some(b)) if a == b => Some(a),
                _ => {
                    let all: Vec<String> = shapes.iter().map(Shape::to_string).collect();
                    return Err(Error::shape("shapes of which each size is the same or 1", all.join(" and ")));
                }
            };
        }
    }
    Ok(Shape::new(sizes))
}

/// A value with leading axes of size 1, `rank` in all.
pub(super) fn lifted(value: Value, rank: usize) -> Result<Value> {
    let sizes = value.sizes();
    match rank.saturating_sub(sizes.len()) {
        0 => Ok(value),
        missing => value.reshape(&[vec![1; missing], sizes].concat()),
    }
}

/// A value broadcast to these sizes.
pub(super) fn spread(value: Value, sizes: &[usize]) -> Result<Value> {
    let value = lifted(value, sizes.len())?;
    let own = value.sizes();
    if own == sizes {
        return Ok(value);
    }
    if own.len() != sizes.len() || own.iter().zip(sizes).any(|(own, size)| own != size && *own != 1) {
        return Err(Error::shape(format!("a value that fits {sizes:?}"), format!("{own:?}")));
    }
    Ok(value.expand(sizes))
}

/// A resolved axis; negative ones count from the end.
pub(super) fn axis(argument: &str, axis: isize, rank: usize) -> Result<usize> {
    let counted = if axis < 0 { axis.checked_add_unsigned(rank) } else { Some(axis) };
    let found = counted.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank);
    found.ok_or_else(|| Error::argument(argument, format!("an axis of {rank} dimensions"), axis))
}

/// Resolved axes without duplicates.
pub(super) fn axes(argument: &str, given: &[isize], rank: usize) -> Result<Vec<usize>> {
    if given.len() > rank {
        return Err(Error::argument(argument, format!("at most {rank} axes"), given.len()));
    }
    let mut found = Vec::with_capacity(given.len());
    for one in given {
        let axis = axis(argument, *one, rank)?;
        if found.contains(&axis) {
            return Err(Error::argument(argument, "different axes", format!("{given:?}")));
        }
        found.push(axis);
    }
    Ok(found)
}

/// Refuses ranks higher than values can have.
pub(super) fn check_rank(rank: usize) -> Result<()> {
    if rank <= MAX_RANK {
        return Ok(());
    }
    Err(Error::shape(format!("at most {MAX_RANK} dimensions, the batch counted"), rank))
}

/// The shape of the only input.
pub(super) fn only(inputs: &[Shape]) -> Result<&Shape> {
    match inputs {
        [input] => Ok(input),
        _ => Err(Error::shape("one value", format!("{} of them", inputs.len()))),
    }
}

/// The only input.
pub(super) fn one(inputs: Vec<Value>) -> Result<Value> {
    let [input] = <[Value; 1]>::try_from(inputs)
        .map_err(|inputs| Error::shape("one value", format!("{} of them", inputs.len())))?;
    Ok(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_aligned_from_the_last_axis() {
        let of = |shapes: &[&[Option<usize>]]| {
            let shapes: Vec<Shape> = shapes.iter().map(|sizes| Shape::new(*sizes)).collect();
            broadcast(&shapes).map(|shape| shape.to_string())
        };
        assert_eq!(of(&[&[None, Some(3), Some(4)], &[Some(4)]]).unwrap(), "(None, 3, 4)");
        assert_eq!(of(&[&[None, Some(3), Some(4)], &[None, Some(4)]]).unwrap(), "(None, 3, 4)");
        assert_eq!(of(&[&[None, Some(1)], &[Some(1), None], &[]]).unwrap(), "(None, None)");
        assert_eq!(of(&[&[None, Some(4)], &[Some(5), Some(4)]]).unwrap(), "(5, 4)");
        assert!(of(&[&[None, Some(3)], &[None, Some(4)]]).is_err());
    }

    #[test]
    fn axes_are_counted_from_either_end() {
        assert_eq!((axis("axis", -1, 3).unwrap(), axis("axis", 2, 3).unwrap()), (2, 2));
        assert!(axis("axis", 3, 3).is_err() && axis("axis", -4, 3).is_err() && axis("axis", isize::MIN, 3).is_err());
        assert!(axes("axis", &[0, -3], 3).is_err());
        assert!(axes("axis", &[0; 9], 3).is_err());
    }
}
