//! Matrix products and einsum.

use super::argument::Described;
use super::rules::{broadcast, check_rank};
use super::{Exported, Function, FunctionResult, NUMPY, OperationEntry, total};
use crate::error::{Error, Result};
use crate::layers::{Edge, Exporting};
use crate::ops::{Value, einsum};
use crate::shape::{Shape, check_count};

pub(super) const ENTRIES: &[OperationEntry] = &[
    OperationEntry::new(NUMPY, "Matmul", |given| {
        given.expect_count(2)?;
        Ok(Box::new(Matmul))
    }),
    OperationEntry::new(NUMPY, "Einsum", einsum_of),
];

/// The matrix product over the last two axes, with the leading axes broadcast.
#[derive(Clone, Copy, Debug)]
struct Matmul;

/// The sizes of both values as matrices: a vector is a row on the left and a column on the right.
fn matrices<T: Copy>(a: &[T], b: &[T], one: T) -> (Vec<T>, Vec<T>) {
    let row = if a.len() == 1 { vec![one, a[0]] } else { a.to_vec() };
    let column = if b.len() == 1 { vec![b[0], one] } else { b.to_vec() };
    (row, column)
}

impl Function for Matmul {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [a, b] = inputs else { return Err(Error::shape("two values", inputs.len())) };
        if a.rank() == 0 || b.rank() == 0 {
            return Err(Error::shape("values of at least one axis", format!("{a} and {b}")));
        }
        let (left, right) = matrices(a.sizes(), b.sizes(), Some(1));
        let ([leading @ .., rows, inner], [others @ .., own, columns]) = (&left[..], &right[..]) else {
            return Err(Error::shape("two matrices", format!("{a} and {b}")));
        };
        if inner.zip(*own).is_some_and(|(inner, own)| inner != own) {
            return Err(Error::shape(
                format!("a second value of {} rows", inner.unwrap_or(0)),
                format!("{b} after {a}"),
            ));
        }
        let mut sizes = broadcast(&[Shape::new(leading), Shape::new(others)])?.sizes().to_vec();
        sizes.extend((a.rank() > 1).then_some(*rows));
        sizes.extend((b.rank() > 1).then_some(*columns));
        Ok(vec![Shape::new(sizes)])
    }

    fn scratch(&self, inputs: &[Shape], outputs: &[Shape]) -> usize {
        // Both can be broadcast along the leading axes.
        let whole = total(outputs);
        let grown = |input: &Shape| input.known_len().saturating_mul((whole / input.known_len().max(1)).max(1));
        inputs.iter().map(grown).fold(whole, usize::saturating_add)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        Ok(Some(vec![to.matmul(given.edges[0], given.edges[1])]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let [a, b] = <[Value; 2]>::try_from(inputs).map_err(|inputs| Error::shape("two values", inputs.len()))?;
        let (left, right) = matrices(&a.sizes(), &b.sizes(), 1);
        let (rows, inner) = (left[left.len() - 2], left[left.len() - 1]);
        let columns = right[right.len() - 1];
        if right.len() == 2 {
            // A single matrix on the right: a single product.
            let all = check_count(&left[..left.len() - 1])?;
            let product = a.reshape(&[all, inner])?.matmul(b.reshape(&right)?);
            return Ok(vec![product.reshape(&outputs[0])?]);
        }
        let leading = broadcast(&[Shape::known(&left[..left.len() - 2]), Shape::known(&right[..right.len() - 2])])?;
        let leading: Vec<usize> = leading.sizes().iter().map(|size| size.unwrap_or(0)).collect();
        let batches = check_count(&leading)?;
        let whole = |value: Value, own: Vec<usize>, [rows, columns]: [usize; 2]| {
            let sizes = [&leading[..], &[rows, columns]].concat();
            super::rules::spread(value.reshape(&own)?, &sizes)?.reshape(&[batches, rows, columns])
        };
        let product = whole(a, left, [rows, inner])?.matmul(whole(b, right, [inner, columns])?);
        Ok(vec![product.reshape(&outputs[0])?])
    }
}

/// An einsum with an explicit output, such as `bij,bjk->bik`.
#[derive(Clone, Debug)]
struct Einsum {
    inputs: Vec<Vec<char>>,
    output: Vec<char>,
}

/// The maximum number of distinct labels.
const MAX_NAMES: usize = 64;

fn einsum_of(described: &mut Described) -> FunctionResult {
    let given: String = described.require("subscripts")?;
    let given: String = given.chars().filter(|letter| *letter != ' ').collect();
    let names = |text: &str| -> Vec<char> { text.chars().collect() };
    let Some((inputs, output)) = given.split_once("->") else {
        return Err(described.unsupported("`subscripts` without `->`", "an equation such as `ab,bc->ac`"));
    };
    let inputs: Vec<Vec<char>> = inputs.split(',').map(names).collect();
    let output = names(output);
    described.expect_count(inputs.len())?;
    for group in inputs.iter().chain([&output]) {
        let is_plain = group.len() <= MAX_NAMES && group.iter().all(char::is_ascii_alphabetic);
        let is_twice = |(at, name): (usize, &char)| group[..at].contains(name);
        if !is_plain || group.iter().enumerate().any(is_twice) {
            let shown: String = group.iter().take(40).collect();
            let supported = "letters, each of them once in a value, and no `...`";
            return Err(described.unsupported(&format!("`{shown}` in `subscripts`"), supported));
        }
    }
    if let Some(name) = output.iter().find(|name| !inputs.iter().any(|input| input.contains(name))) {
        return Err(Error::argument("subscripts", "an output whose letters are in an input", name));
    }
    Ok(Box::new(Einsum { inputs, output }))
}

impl Einsum {
    /// The labels needed after the first `count` values are multiplied: those of later values and of the output.
    fn after(&self, count: usize) -> Vec<char> {
        if count == self.inputs.len() {
            return self.output.clone();
        }
        let later =
            |name: &char| self.output.contains(name) || self.inputs[count..].iter().any(|own| own.contains(name));
        let mut names: Vec<char> = Vec::new();
        for name in self.inputs[..count].iter().flatten().filter(|name| later(name)) {
            if !names.contains(name) {
                names.push(*name);
            }
        }
        names
    }

    /// The size of each label.
    fn sizes(&self, inputs: &[Shape]) -> Result<Vec<(char, Option<usize>)>> {
        let mut sizes: Vec<(char, Option<usize>)> = Vec::new();
        for (names, input) in self.inputs.iter().zip(inputs) {
            input.expect_rank(names.len())?;
            for (name, own) in names.iter().zip(input.sizes()) {
                match sizes.iter_mut().find(|(other, _)| other == name) {
                    None => sizes.push((*name, *own)),
                    Some((_, size)) => match (*size, *own) {
                        (Some(a), Some(b)) if a != b => {
                            return Err(Error::shape(format!("one size for `{name}`"), format!("{a} and {b}")));
                        }
                        (known, own) => *size = known.or(own),
                    },
                }
            }
        }
        Ok(sizes)
    }

    fn shape(names: &[char], sizes: &[(char, Option<usize>)]) -> Shape {
        let size = |name: &char| sizes.iter().find(|(own, _)| own == name).and_then(|(_, size)| *size);
        Shape::new(names.iter().map(size).collect::<Vec<_>>())
    }
}

impl Function for Einsum {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let sizes = self.sizes(inputs)?;
        let no_axis = || Error::unsupported("`Einsum` with a single number between its values", "values with axes");
        if inputs.iter().any(|input| input.rank() == 0) {
            return Err(no_axis());
        }
        for count in 2..=self.inputs.len() {
            let between = Self::shape(&self.after(count), &sizes);
            check_rank(between.rank())?;
            between.check_count()?;
            if between.rank() == 0 {
                return Err(no_axis());
            }
        }
        Ok(vec![Self::shape(&self.output, &sizes)])
    }

    fn scratch(&self, inputs: &[Shape], outputs: &[Shape]) -> usize {
        let Ok(sizes) = self.sizes(inputs) else { return usize::MAX };
        let between = (2..self.inputs.len()).map(|count| Self::shape(&self.after(count), &sizes).known_len());
        // Each product takes transposed copies, and is transposed itself.
        let all = between.fold(total(inputs).saturating_add(total(outputs)), usize::saturating_add);
        all.saturating_mul(2)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let text = |names: &Vec<char>| names.iter().collect::<String>();
        let inputs: Vec<String> = self.inputs.iter().map(text).collect();
        let equation = format!("{}->{}", inputs.join(","), text(&self.output));
        Ok(Some(vec![to.op("Einsum", given.edges, vec![("equation", equation.into())])]))
    }

    fn compute(&self, inputs: Vec<Value>, _: &[Vec<usize>]) -> Result<Vec<Value>> {
        let mut inputs = inputs.into_iter().enumerate();
        let Some((_, mut value)) = inputs.next() else { return Err(Error::shape("at least one value", "none")) };
        let mut names = self.inputs[0].clone();
        for (index, other) in inputs {
            let target = self.after(index + 1);
            // The product contracts labels of the first value only and of both; those of the second only are summed
            // before.
            let mut own = self.inputs[index].clone();
            let gone = |name: &char| !target.contains(name) && !names.contains(name);
            let (other, kept) = summed(other, &own, gone)?;
            own = kept;
            value = match own.is_empty() {
                true => {
                    let ones = vec![1; value.rank()];
                    let (value, kept) = summed(value * other.reshape(&ones)?, &names, |name| !target.contains(name))?;
                    in_order(value, &kept, &target)?
                }
                false => einsum(value, &names, other, &own, &target)?,
            };
            names = target;
        }
        if self.inputs.len() == 1 {
            let (sum, kept) = summed(value, &names, |name| !self.output.contains(name))?;
            value = in_order(sum, &kept, &self.output)?;
        }
        Ok(vec![value])
    }
}

/// A value summed over the axes of removed labels, and the remaining labels. A scalar has one axis of size 1.
fn summed(value: Value, names: &[char], gone: impl Fn(&char) -> bool) -> Result<(Value, Vec<char>)> {
    let sizes = value.sizes();
    let axes: Vec<usize> = (0..names.len()).filter(|axis| gone(&names[*axis])).collect();
    let kept: Vec<usize> = (0..names.len()).filter(|axis| !axes.contains(axis)).collect();
    let mut left: Vec<usize> = kept.iter().map(|axis| sizes[*axis]).collect();
    if left.is_empty() {
        left.push(1);
    }
    let sum = super::axes::sum(value, &axes).reshape(&left)?;
    Ok((sum, kept.into_iter().map(|axis| names[axis]).collect()))
}

fn in_order(value: Value, names: &[char], target: &[char]) -> Result<Value> {
    if names.is_empty() {
        return Ok(value);
    }
    let axis_of = |name: &char| names.iter().position(|own| own == name);
    let order = target.iter().map(axis_of).collect::<Option<Vec<usize>>>();
    let order = order.filter(|order| order.len() == names.len());
    Ok(value.permute(&order.ok_or_else(|| Error::shape("the same names", names.len()))?))
}
