//! Operations that permute, reshape or repeat values.

use super::argument::{Described, Operand};
use super::axes::{axis_or, counted};
use super::rules::{axes, axis, check_rank, one, only, spread};
use super::{Exported, Function, FunctionResult, NUMPY, OperationEntry, total};
use crate::error::{Error, Result};
use crate::layers::{Edge, Exporting};
use crate::ops::Value;
use crate::shape::{Shape, check_count};

/// The maximum number of sizes or numbers in an argument.
const MAX_LISTED: usize = 1 << 16;

#[derive(Clone, Debug)]
enum Reshaping {
    /// Sizes, −1 for the inferred one.
    Reshape(Vec<isize>),
    Ravel,
    /// `None` reverses the axes.
    Transpose(Option<Vec<isize>>),
    Swapaxes(isize, isize),
    Moveaxis(Vec<isize>, Vec<isize>),
    ExpandDims(Vec<isize>),
    /// `None` for all axes of size 1.
    Squeeze(Option<Vec<isize>>),
    BroadcastTo(Vec<usize>),
    Flip(Option<Vec<isize>>),
    Roll {
        shift: Vec<isize>,
        axis: Option<Vec<isize>>,
    },
    Tile(Vec<usize>),
    Repeat {
        repeats: Vec<usize>,
        axis: Option<isize>,
    },
    Pad {
        widths: Vec<(usize, usize)>,
        mode: PadMode,
    },
}

/// How padding is filled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum PadMode {
    Constant(f32),
    /// Reflected, without repeating the edge.
    Reflect,
    /// Reflected, with the edge repeated.
    Symmetric,
}

fn made(described: &Described, what: Reshaping) -> FunctionResult {
    described.expect_count(1)?;
    Ok(Box::new(what))
}

pub(super) const ENTRIES: &[OperationEntry] = &[
    OperationEntry::new(NUMPY, "Reshape", |given| {
        let sizes: Vec<Option<isize>> = given.require("newshape")?;
        let sizes = sizes.into_iter().collect::<Option<Vec<isize>>>();
        let sizes = sizes.ok_or_else(|| given.unsupported("`None` in `newshape`", "sizes, one of them -1"))?;
        let open = sizes.iter().filter(|size| **size == -1).count();
        if open > 1 || sizes.iter().any(|size| *size < -1) {
            let expected = "sizes of at least 0, at most one of them -1";
            return Err(Error::argument("newshape", expected, format!("{sizes:?}")));
        }
        made(given, Reshaping::Reshape(sizes))
    }),
    OperationEntry::new(NUMPY, "Ravel", |given| made(given, Reshaping::Ravel)),
    OperationEntry::new(NUMPY, "Transpose", |given| {
        let axes = given.integers("axes")?;
        made(given, Reshaping::Transpose(axes))
    }),
    OperationEntry::new(NUMPY, "Swapaxes", |given| {
        let (one, other) = (given.require("axis1")?, given.require("axis2")?);
        made(given, Reshaping::Swapaxes(one, other))
    }),
    OperationEntry::new(NUMPY, "Moveaxis", |given| {
        let mut list = |key: &str| given.integers(key)?.ok_or_else(|| Error::argument(key, "axes", "none"));
        let (source, destination) = (list("source")?, list("destination")?);
        if source.len() != destination.len() {
            let expected = format!("{} axes, as many as `source`", source.len());
            return Err(Error::argument("destination", expected, destination.len()));
        }
        made(given, Reshaping::Moveaxis(source, destination))
    }),
    OperationEntry::new(NUMPY, "ExpandDims", |given| {
        let axes = given.integers("axis")?.ok_or_else(|| Error::argument("axis", "an axis", "none"))?;
        made(given, Reshaping::ExpandDims(axes))
    }),
    OperationEntry::new(NUMPY, "Squeeze", |given| {
        let axes = given.integers("axis")?;
        made(given, Reshaping::Squeeze(axes))
    }),
    OperationEntry::new(NUMPY, "BroadcastTo", |given| {
        let sizes = given.require("shape")?;
        made(given, Reshaping::BroadcastTo(sizes))
    }),
    OperationEntry::new(NUMPY, "Flip", |given| {
        let axes = given.integers("axis")?;
        made(given, Reshaping::Flip(axes))
    }),
    OperationEntry::new(NUMPY, "Roll", |given| {
        let shift = given.integers("shift")?.ok_or_else(|| Error::argument("shift", "a number", "none"))?;
        let axis = given.integers("axis")?;
        if axis.as_ref().map_or(shift.len() != 1, |axis| axis.len() != shift.len()) {
            return Err(Error::argument("shift", "one number for each axis", format!("{shift:?}")));
        }
        made(given, Reshaping::Roll { shift, axis })
    }),
    OperationEntry::new(NUMPY, "Tile", |given| {
        let repeats = counts(given, "repeats")?;
        made(given, Reshaping::Tile(repeats))
    }),
    OperationEntry::new(NUMPY, "Repeat", |given| {
        let (repeats, axis) = (counts(given, "repeats")?, given.take("axis")?);
        made(given, Reshaping::Repeat { repeats, axis })
    }),
    OperationEntry::new(NUMPY, "Pad", pad),
];

/// Repeat counts: one number or several.
fn counts(described: &mut Described, key: &str) -> Result<Vec<usize>> {
    let given = described.integers(key)?.unwrap_or_default();
    let counts = given.iter().map(|count| usize::try_from(*count).ok()).collect::<Option<Vec<usize>>>();
    counts
        .filter(|counts| (1..=MAX_LISTED).contains(&counts.len()))
        .ok_or_else(|| Error::argument(key, "whole numbers of at least 0", format!("{:?}", given.first())))
}

/// `1`, `[1, 2]` for all axes, or a pair per axis.
fn pad(described: &mut Described) -> FunctionResult {
    #[derive(serde::Deserialize)]
    #[serde(untagged, expecting = "a number, a pair of them, or a pair for each axis")]
    enum Widths {
        One(usize),
        Pair(Vec<usize>),
        Pairs(Vec<Vec<usize>>),
    }
    let pair = |pair: &[usize]| match *pair {
        [both] => Ok((both, both)),
        [before, after] => Ok((before, after)),
        _ => Err(Error::argument("pad_width", "pairs", format!("{} numbers", pair.len()))),
    };
    let widths = match described.require("pad_width")? {
        Widths::One(both) => vec![(both, both)],
        Widths::Pair(given) => vec![pair(&given)?],
        Widths::Pairs(given) => given.iter().map(|given| pair(given)).collect::<Result<_>>()?,
    };
    let constant = match described.operands.get(1) {
        None => None,
        Some(Operand::Constant(constant)) if constant.shape().rank() == 0 => constant.numbers().first().copied(),
        Some(_) => return Err(described.unsupported("other `constant_values` than one number", "one number")),
    };
    let mode = described.take::<String>("mode")?;
    let mode = match (mode.as_deref().unwrap_or("constant"), constant) {
        ("constant", fill) => PadMode::Constant(fill.unwrap_or(0.0)),
        (other, Some(_)) => {
            return Err(Error::argument("constant_values", "none with another mode than `constant`", other));
        }
        ("reflect", None) => PadMode::Reflect,
        ("symmetric", None) => PadMode::Symmetric,
        (other, None) => return Err(Error::unknown("mode", other, ["constant", "reflect", "symmetric"])),
    };
    // The value is now part of the function.
    described.operands.truncate(1);
    made(described, Reshaping::Pad { widths, mode })
}

fn times(size: Option<usize>, count: usize) -> Option<usize> {
    size.map(|size| size.saturating_mul(count))
}

/// The number of values, if all sizes are known.
fn known(shape: &Shape) -> Option<usize> {
    shape.sizes().iter().try_fold(1usize, |product, size| product.checked_mul((*size)?))
}

fn reshaped(input: &Shape, given: &[isize]) -> Result<Shape> {
    check_rank(given.len())?;
    let wrong = |length: usize| {
        Error::argument(
            "newshape",
            format!("sizes that multiply to the {length} values of {input}"),
            format!("{given:?}"),
        )
    };
    let known_part = given.iter().filter(|size| **size >= 0);
    let known_part = known_part.fold(1usize, |product, size| product.saturating_mul(size.unsigned_abs()));
    let open = match (known(input), given.contains(&-1)) {
        (None, _) => None,
        (Some(length), false) if known_part == length => None,
        (Some(length), true) if known_part > 0 && length % known_part == 0 => Some(length / known_part),
        (Some(length), _) => return Err(wrong(length)),
    };
    let sizes = given.iter().map(|size| if *size == -1 { open } else { Some(size.unsigned_abs()) });
    Ok(Shape::new(sizes.collect::<Vec<_>>()))
}

impl Reshaping {
    /// The input axis for each output axis.
    fn order(&self, rank: usize) -> Result<Vec<usize>> {
        match self {
            Self::Transpose(None) => Ok((0..rank).rev().collect()),
            Self::Transpose(Some(given)) => {
                if given.len() != rank {
                    return Err(Error::argument("axes", format!("each of {rank} axes once"), format!("{given:?}")));
                }
                axes("axes", given, rank)
            }
            Self::Swapaxes(one, other) => {
                let (one, other) = (axis("axis1", *one, rank)?, axis("axis2", *other, rank)?);
                let mut order: Vec<usize> = (0..rank).collect();
                order.swap(one, other);
                Ok(order)
            }
            Self::Moveaxis(source, destination) => {
                let source = axes("source", source, rank)?;
                let destination = axes("destination", destination, rank)?;
                let mut moved: Vec<(usize, usize)> = destination.into_iter().zip(source.iter().copied()).collect();
                moved.sort_unstable();
                let mut order: Vec<usize> = (0..rank).filter(|axis| !source.contains(axis)).collect();
                for (to, from) in moved {
                    order.insert(to, from);
                }
                Ok(order)
            }
            _ => Ok((0..rank).collect()),
        }
    }

    /// The positions of new axes in the output.
    fn inserted(given: &[isize], rank: usize) -> Result<Vec<usize>> {
        let rank = rank.saturating_add(given.len());
        check_rank(rank)?;
        axes("axis", given, rank)
    }

    /// The input's sizes and the repeat count of each axis, with leading axes of size 1 for the shorter of them.
    fn tiles(input: &Shape, repeats: &[usize]) -> Vec<(Option<usize>, usize)> {
        let rank = input.rank().max(repeats.len());
        let sizes = std::iter::repeat_n(Some(1), rank - input.rank()).chain(input.sizes().iter().copied());
        let repeats = std::iter::repeat_n(1, rank - repeats.len()).chain(repeats.iter().copied());
        sizes.zip(repeats).collect()
    }

    /// The padding before and after, for each axis.
    fn widths(widths: &[(usize, usize)], rank: usize) -> Result<Vec<(usize, usize)>> {
        match widths {
            [both] => Ok(vec![*both; rank]),
            widths if widths.len() == rank => Ok(widths.to_vec()),
            widths => Err(Error::argument("pad_width", format!("a pair for each of {rank} axes"), widths.len())),
        }
    }
}

/// The length of an axis whose elements are repeated.
fn repeated(size: Option<usize>, repeats: &[usize]) -> Result<Option<usize>> {
    match (repeats, size) {
        ([all], size) => Ok(times(size, *all)),
        (_, None) => Ok(None),
        (each, Some(size)) if each.len() == size => {
            Ok(Some(each.iter().fold(0, |sum: usize, count| sum.saturating_add(*count))))
        }
        (each, Some(size)) => Err(Error::argument("repeats", format!("one number, or {size} of them"), each.len())),
    }
}

/// The input indices of an axis with reflected padding.
fn mirrored(length: usize, before: usize, after: usize, mode: PadMode) -> Result<Vec<usize>> {
    let period = match mode {
        PadMode::Reflect => length.saturating_sub(1).saturating_mul(2),
        _ => length.saturating_mul(2),
    };
    let whole = check_count(&[length.saturating_add(before).saturating_add(after)])?;
    let position = |cell: usize| {
        if period == 0 {
            return 0;
        }
        // Counted from the first index, on a periodic path forth and back.
        let at = (cell + period - before % period) % period;
        match mode {
            PadMode::Reflect => at.min(period - at),
            _ => at.min(period - 1 - at),
        }
    };
    Ok((0..whole).map(position).collect())
}

impl Function for Reshaping {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let input = only(inputs)?;
        let rank = input.rank();
        let mut sizes = input.sizes().to_vec();
        let sizes = match self {
            Self::Reshape(given) => return Ok(vec![reshaped(input, given)?]),
            Self::Ravel => vec![known(input)],
            Self::Transpose(_) | Self::Swapaxes(..) | Self::Moveaxis(..) => {
                self.order(rank)?.into_iter().map(|axis| sizes[axis]).collect()
            }
            Self::ExpandDims(given) => {
                let new = Self::inserted(given, rank)?;
                let mut own = sizes.into_iter();
                (0..rank + new.len())
                    .map(|axis| if new.contains(&axis) { Some(1) } else { own.next().flatten() })
                    .collect()
            }
            Self::Squeeze(None) => sizes.into_iter().filter(|size| *size != Some(1)).collect(),
            Self::Squeeze(Some(given)) => {
                let dropped = axes("axis", given, rank)?;
                if let Some(axis) = dropped.iter().find(|axis| sizes[**axis].is_some_and(|size| size != 1)) {
                    return Err(Error::shape(format!("a size of 1 at axis {axis}"), input));
                }
                sizes
                    .into_iter()
                    .enumerate()
                    .filter(|(axis, _)| !dropped.contains(axis))
                    .map(|(_, size)| size)
                    .collect()
            }
            Self::BroadcastTo(given) => {
                check_rank(given.len())?;
                let target = Shape::known(given);
                let both = super::rules::broadcast(&[input.clone(), target.clone()])?;
                if both != target {
                    return Err(Error::shape(format!("a value that fits {target}"), input));
                }
                return Ok(vec![target]);
            }
            Self::Flip(given) => {
                axes("axis", given.as_deref().unwrap_or_default(), rank)?;
                sizes
            }
            Self::Roll { axis: given, .. } => {
                for one in given.iter().flatten() {
                    counted(*one, rank)?;
                }
                sizes
            }
            Self::Tile(repeats) => {
                check_rank(repeats.len())?;
                Self::tiles(input, repeats).into_iter().map(|(size, count)| times(size, count)).collect()
            }
            Self::Repeat { repeats, axis: None } => vec![repeated(known(input), repeats)?],
            Self::Repeat { repeats, axis: Some(given) } => {
                let axis = counted(*given, rank)?;
                sizes[axis] = repeated(sizes[axis], repeats)?;
                sizes
            }
            Self::Pad { widths, mode } => {
                for (size, (before, after)) in sizes.iter_mut().zip(Self::widths(widths, rank)?) {
                    let needs_values = !matches!(mode, PadMode::Constant(_));
                    if needs_values && *size == Some(0) && before.max(after) > 0 {
                        return Err(Error::shape("at least one value to repeat in the border", input));
                    }
                    *size = size.map(|size| size.saturating_add(before).saturating_add(after));
                }
                sizes
            }
        };
        Ok(vec![Shape::new(sizes)])
    }

    fn scratch(&self, inputs: &[Shape], outputs: &[Shape]) -> usize {
        // Index tensors have 64 and 32 bits; repeated values grow axis by axis.
        let several = match self {
            Self::Pad { .. } | Self::Roll { .. } => 4,
            Self::Repeat { .. } | Self::Tile(_) => 3,
            _ => 1,
        };
        total(outputs).max(total(inputs)).saturating_mul(several)
    }

    fn takes_nothing(&self) -> bool {
        matches!(self, Self::Pad { mode: PadMode::Constant(_), .. })
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let (mut x, shape, output) = (given.edges[0], &given.shapes[0], &given.outputs[0]);
        let rank = shape.rank();
        let sizes: Vec<i64> = output.sizes().iter().map(|size| size.map_or(-1, |size| size as i64)).collect();
        let ints = |axes: Vec<usize>| axes.into_iter().map(|axis| axis as i64).collect::<Vec<_>>();
        Ok(Some(vec![match self {
            Self::ExpandDims(own) => {
                let axes = to.ints(ints(Self::inserted(own, rank)?));
                to.op("Unsqueeze", &[x, axes], vec![])
            }
            Self::Squeeze(Some(own)) => {
                let axes = to.ints(ints(axes("axis", own, rank)?));
                to.op("Squeeze", &[x, axes], vec![])
            }
            Self::Reshape(own) => to.reshape(x, own.iter().map(|size| *size as i64).collect::<Vec<_>>()),
            Self::Ravel => to.reshape(x, [-1]),
            Self::Squeeze(None) if sizes.iter().filter(|size| **size < 0).count() <= 1 => to.reshape(x, sizes),
            Self::Transpose(_) | Self::Swapaxes(..) | Self::Moveaxis(..) => to.transpose(x, &self.order(rank)?),
            Self::BroadcastTo(own) => {
                let sizes = to.ints(ints(own.clone()));
                to.op("Expand", &[x, sizes], vec![])
            }
            Self::Flip(own) => {
                let axes = match own {
                    Some(own) => axes("axis", own, rank)?,
                    None => (0..rank).collect(),
                };
                axes.into_iter().fold(x, |x, axis| to.flip(x, axis))
            }
            Self::Roll { shift, axis: Some(own) } => {
                for (shift, axis) in shift.iter().zip(own) {
                    let axis = counted(*axis, rank)?;
                    let Some(length) = shape.sizes()[axis].filter(|length| *length > 0) else { return Ok(None) };
                    let start = (-shift).rem_euclid(length as isize).unsigned_abs();
                    if start > 0 {
                        let parts = [to.slice(x, axis, start, None), to.slice(x, axis, 0, Some(start))];
                        x = to.concat(&parts, axis);
                    }
                }
                x
            }
            Self::Tile(repeats) if repeats.len() <= rank => {
                let counts = std::iter::repeat_n(1, rank - repeats.len()).chain(repeats.iter().copied()).collect();
                let counts = to.ints(ints(counts));
                to.op("Tile", &[x, counts], vec![])
            }
            Self::Repeat { repeats, axis: Some(own) } => {
                let axis = counted(*own, rank)?;
                let Some(length) = shape.sizes()[axis] else { return Ok(None) };
                let count = |index: usize| repeats[if repeats.len() == 1 { 0 } else { index }];
                let indices = (0..length).flat_map(|index| std::iter::repeat_n(index as i64, count(index))).collect();
                to.gather(x, indices, axis)
            }
            Self::Pad { widths, mode } => {
                let widths = Self::widths(widths, rank)?;
                match mode {
                    PadMode::Constant(fill) => to.pad(x, (0, rank), &widths, *fill),
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        }]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let mut value = one(inputs)?;
        let (sizes, target) = (value.sizes(), &outputs[0]);
        let rank = sizes.len();
        let output = match self {
            Self::Reshape(_) | Self::Ravel | Self::ExpandDims(_) | Self::Squeeze(_) => value.reshape(target)?,
            Self::Transpose(_) | Self::Swapaxes(..) | Self::Moveaxis(..) => value.permute(&self.order(rank)?),
            Self::BroadcastTo(_) => spread(value, target)?,
            Self::Flip(given) => {
                let axes = match given {
                    Some(given) => axes("axis", given, rank)?,
                    None => (0..rank).collect(),
                };
                axes.into_iter().fold(value, Value::flip)
            }
            Self::Roll { shift, axis: None } => {
                let count = value.len();
                rolled(value.reshape(&[count])?, 0, shift[0])?.reshape(target)?
            }
            Self::Roll { shift, axis: Some(given) } => {
                for (shift, axis) in shift.iter().zip(given) {
                    value = rolled(value, counted(*axis, rank)?, *shift)?;
                }
                value
            }
            Self::Tile(repeats) => {
                let tiles = Self::tiles(&Shape::known(&sizes), repeats);
                let lifted: Vec<usize> = tiles.iter().map(|(size, _)| size.unwrap_or(0)).collect();
                let mut value = value.reshape(&lifted)?;
                for (axis, (_, count)) in tiles.iter().enumerate() {
                    value = tiled(value, axis, *count)?;
                }
                value
            }
            Self::Repeat { repeats, axis: given } => {
                let axis = match given {
                    Some(given) => counted(*given, rank)?,
                    None => {
                        let count = value.len();
                        value = value.reshape(&[count])?;
                        0
                    }
                };
                match &repeats[..] {
                    [count] => value.repeat(axis, *count)?,
                    each => {
                        let positions = each.iter().enumerate().flat_map(|(at, count)| std::iter::repeat_n(at, *count));
                        value.select(axis, &positions.collect::<Vec<_>>())?
                    }
                }
            }
            Self::Pad { widths, mode } => {
                for (axis, (before, after)) in Self::widths(widths, rank)?.into_iter().enumerate() {
                    value = match mode {
                        _ if before == 0 && after == 0 => value,
                        PadMode::Constant(fill) => value.pad(axis, before, after, *fill)?,
                        mode => value.select(axis, &mirrored(sizes[axis], before, after, *mode)?)?,
                    };
                }
                value
            }
        };
        Ok(vec![output])
    }
}

/// Rolls an axis.
fn rolled(value: Value, axis: usize, shift: isize) -> Result<Value> {
    let length = value.sizes()[axis];
    let Ok(signed) = isize::try_from(length) else { return Ok(value) };
    let start = if length == 0 { 0 } else { (-(shift % signed)).rem_euclid(signed).unsigned_abs() };
    if start == 0 {
        return Ok(value);
    }
    let parts = vec![value.clone().narrow(axis, start, length - start), value.narrow(axis, 0, start)];
    Value::concat(parts, axis)
}

/// Repeats a whole axis `count` times.
fn tiled(value: Value, axis: usize, count: usize) -> Result<Value> {
    if count == 1 {
        return Ok(value);
    }
    let mut sizes = value.sizes();
    let length = sizes[axis];
    let before = check_count(&sizes[..axis])?;
    let rest = check_count(&sizes[axis..])?;
    sizes[axis] = length.saturating_mul(count);
    check_count(&sizes)?;
    value.reshape(&[before, 1, rest])?.expand(&[before, count, rest]).reshape(&sizes)
}

/// [`axis_or`] with the default 0.
pub(super) fn axis_or_first(described: &mut Described) -> Result<isize> {
    axis_or(described, 0)
}
