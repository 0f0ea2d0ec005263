//! The layers that merge several inputs into one output.

mod add;
mod average;
mod concatenate;
mod dot;
mod maximum;
mod minimum;
mod multiply;
mod subtract;

pub use add::Add;
pub use average::Average;
pub use concatenate::Concatenate;
pub use dot::Dot;
pub use maximum::Maximum;
pub use minimum::Minimum;
pub use multiply::Multiply;
pub use subtract::Subtract;

use super::{Call, Edge, Epilogue, Exporting, Freezing, Frozen, FrozenStep};
use crate::error::{Error, Result};
use crate::kernels::activation::Activation as Kernel;
use crate::kernels::merge::{self, Merge};
use crate::kernels::parallel;
use crate::ops::Value;
use crate::shape::Shape;

/// Values merged one after another into the first, then activated, as a step of a predictor. Inputs of fewer values are
/// repeated along the first axes of a sample.
#[derive(Debug)]
struct FrozenMerge {
    merge: Merge,
    /// By what the result is multiplied.
    factor: f32,
    epilogue: Epilogue,
    inputs: usize,
    len: usize,
    /// Values merged at once: a whole number of times those of an input that is repeated.
    block: usize,
}

/// Values merged at once, approximately: they stay in the first-level cache from one input to the next.
const BLOCK: usize = 1 << 12;

/// The step of a merging, unless an input would have to be repeated along other axes than the first.
pub(super) fn frozen_merge(freezing: &Freezing<'_>, merge: Merge, factor: f32) -> Option<Frozen> {
    let len: usize = freezing.output.iter().product();
    let [first, others @ ..] = freezing.inputs else { return None };
    let repeats = |input: &Vec<usize>| {
        // The sizes but for those of 1 that come first are the last ones of the output.
        let own: &[usize] = &input[input.iter().take_while(|size| **size == 1).count()..];
        freezing.output.ends_with(own)
    };
    if first != freezing.output || !others.iter().all(repeats) {
        return None;
    }
    // Each is repeated a whole number of times in the longest.
    let repeated = others.iter().map(|input| input.iter().product::<usize>()).filter(|own| *own < len);
    let longest = repeated.max().unwrap_or(1);
    let block = BLOCK.div_ceil(longest).checked_mul(longest)?;
    let inputs = freezing.inputs.len();
    Some(FrozenMerge { merge, factor, epilogue: Epilogue::NONE, inputs, len, block }.into())
}

impl FrozenMerge {
    /// The values of a sample from `from` on, a whole number of blocks; without a first input the output holds it.
    fn part(
        &self,
        (first, others): (Option<&[f32]>, &[&[f32]]),
        (sample, samples): (usize, usize),
        from: usize,
        output: &mut [f32],
    ) {
        for (number, output) in output.chunks_mut(self.block).enumerate() {
            let from = from + number * self.block;
            if let Some(first) = first {
                output.copy_from_slice(&first[sample * self.len + from..][..output.len()]);
            }
            for input in others {
                let one = input.len() / samples;
                let own = &input[sample * one..][..one];
                merge::merge(self.merge, if one == self.len { &own[from..][..output.len()] } else { own }, output);
            }
            if self.factor != 1.0 {
                merge::scale(&[self.factor; 16], &[0.0; 16], output);
            }
            self.epilogue.inside().apply(output);
        }
    }
}

impl FrozenStep for FrozenMerge {
    fn operations(&self) -> usize {
        let activated = if self.epilogue == Epilogue::NONE { 0 } else { 8 };
        self.len.saturating_mul(self.inputs.saturating_mul(4).saturating_add(activated))
    }

    fn in_place(&self) -> bool {
        true
    }

    fn commutes(&self) -> bool {
        self.inputs == 2 && self.merge != Merge::Subtract
    }

    fn is_sum(&self) -> bool {
        self.inputs == 2 && self.merge == Merge::Add && self.factor == 1.0 && self.epilogue == Epilogue::NONE
    }

    fn activate(&mut self, activation: Kernel) -> bool {
        self.epilogue.take(activation)
    }

    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]) {
        let inputs = match inputs {
            // In place, the first input is in the output.
            [first, others @ ..] if inputs.len() == self.inputs => (Some(*first), others),
            others => (None, others),
        };
        let operations = self.operations().saturating_mul(samples);
        let outputs = output.chunks_exact_mut(self.len.max(1)).enumerate();
        if threads <= 1 || parallel::threads_for(operations) <= 1 {
            return outputs.for_each(|(sample, output)| self.part(inputs, (sample, samples), 0, output));
        }
        let blocks = parallel::part_len_of(operations, samples * self.len.div_ceil(self.block), threads);
        let len = blocks.saturating_mul(self.block);
        let parts = outputs.flat_map(|(sample, output)| {
            output.chunks_mut(len).enumerate().map(move |(number, output)| ((sample, samples), number * len, output))
        });
        parallel::each(threads, parts.collect(), |(sample, from, output): (_, usize, &mut [f32])| {
            self.part(inputs, sample, from, output);
        });
    }
}

/// Refuses an empty list of inputs, with Keras's wording.
fn expect_several(inputs: &[Shape]) -> Result<&Shape> {
    inputs.first().ok_or_else(|| Error::shape("a list of at least 1 input", "none"))
}

/// The broadcast shape of inputs. Sizes of 1 are repeated; an input of lower rank is expanded after the batch
/// dimension.
pub(super) fn broadcast(inputs: &[Shape]) -> Result<Shape> {
    let first = expect_several(inputs)?;
    inputs[1..].iter().try_fold(first.clone(), |merged, input| {
        let (long, short) = if merged.rank() < input.rank() { (input, &merged) } else { (&merged, input) };
        let mut sizes = long.sizes().to_vec();
        let start = long.rank() - short.sample().len();
        for (size, other) in sizes[start..].iter_mut().zip(short.sample()) {
            *size = match (*size, *other) {
                (Some(a), Some(b)) if a == b => Some(a),
                (Some(1), other) => other,
                (size, Some(1)) => size,
                (Some(_), Some(_)) => {
                    return Err(Error::shape(format!("inputs that fit {merged}"), input));
                }
                _ => None,
            };
        }
        Ok(Shape::new(sizes))
    })
}

/// Broadcasts values to the same rank and the same sizes.
pub(super) fn aligned(inputs: Vec<Value>) -> Result<Vec<Value>> {
    let rank = inputs.iter().map(Value::rank).max().unwrap_or(0);
    let mut longer = Vec::with_capacity(inputs.len());
    for input in inputs {
        let mut sizes = input.sizes();
        let missing = rank - sizes.len();
        longer.push(if missing == 0 {
            input
        } else {
            sizes.splice(1..1, std::iter::repeat_n(1, missing));
            input.reshape(&sizes)?
        });
    }
    let mut sizes = vec![1; rank];
    for input in &longer {
        for (size, own) in sizes.iter_mut().zip(input.sizes()) {
            if *size == 1 {
                *size = own;
            }
        }
    }
    for input in &longer {
        if input.sizes().iter().zip(&sizes).any(|(own, size)| own != size && *own != 1) {
            return Err(Error::shape(format!("inputs that fit {sizes:?}"), format!("{:?}", input.sizes())));
        }
    }
    let expand = |input: Value| if input.sizes() == sizes { input } else { input.expand(&sizes) };
    Ok(longer.into_iter().map(expand).collect())
}

/// The union of the inputs' masks; `None` if an input has no mask, or one for other axes.
fn any_mask(call: &Call<'_>) -> Option<Value> {
    let mut masks = call.masks().iter();
    let first = masks.next()?.clone()?;
    masks.try_fold(first, |any, mask| {
        let mask = mask.clone().filter(|mask| mask.sizes() == any.sizes())?;
        Some(either(any, mask))
    })
}

/// The masks of inputs aligned by [`aligned`]: an input of lower rank loses its mask, as in Keras.
fn masks_of(inputs: &[Value], call: &Call<'_>) -> Vec<Option<Value>> {
    let rank = inputs.iter().map(Value::rank).max().unwrap_or(0);
    let masks = call.masks().iter().cloned().chain(std::iter::repeat(None));
    inputs.iter().zip(masks).map(|(input, mask)| mask.filter(|_| input.rank() == rank)).collect()
}

/// The union of two masks.
fn either(a: Value, b: Value) -> Value {
    let both = a.clone() * b.clone();
    a + b - both
}

/// A mask of steps, broadcast to the values of an input.
fn for_each_value(mask: &Value, input: &Value) -> Result<Value> {
    let (mut sizes, wanted) = (mask.sizes(), input.sizes());
    if sizes.len() < wanted.len() {
        sizes.push(1);
    }
    if sizes.len() != wanted.len() || sizes.iter().zip(&wanted).any(|(own, size)| own != size && *own != 1) {
        let expected = format!("a mask for all axes but the last of {wanted:?}");
        return Err(Error::shape(expected, format!("{:?}", mask.sizes())));
    }
    Ok(mask.clone().reshape(&sizes)?.expand(&wanted))
}

/// The values of `a` where the mask is 1, those of `b` where it is 0.
fn choose(mask: Value, a: Value, b: Value) -> Value {
    b.select_where(mask, a)
}

/// Reduces all inputs by a function of two. Masked steps are ignored.
fn extremes(inputs: Vec<Value>, call: &mut Call<'_>, of: impl Fn(Value, Value) -> Value) -> Result<Vec<Value>> {
    call.set_output_masks(vec![any_mask(call)]);
    let masks = masks_of(&inputs, call);
    let mut merged: Option<(Value, Option<Value>)> = None;
    for (input, mask) in aligned(inputs)?.into_iter().zip(masks) {
        let mask = mask.map(|mask| for_each_value(&mask, &input)).transpose()?;
        merged = Some(match merged {
            None => (input, mask),
            Some((so_far, counted)) => {
                let input = match &mask {
                    Some(mask) => choose(mask.clone(), input, so_far.clone()),
                    None => input,
                };
                let so_far = match &counted {
                    Some(counted) => choose(counted.clone(), so_far, input.clone()),
                    None => so_far,
                };
                let counted = counted.zip(mask).map(|(a, b)| either(a, b));
                (of(so_far, input), counted)
            }
        });
    }
    Ok(merged.into_iter().map(|(value, _)| value).collect())
}

/// The input shapes for the examples of element-wise merging layers.
fn example_shapes() -> Vec<Vec<Shape>> {
    vec![
        vec![Shape::batch_of((3, 4)), Shape::batch_of((3, 4))],
        vec![Shape::batch_of((3, 4)), Shape::batch_of(4)],
        vec![Shape::batch_of((3, 1)), Shape::batch_of((1, 4))],
    ]
}

/// The inputs with axes of size 1 behind the batch's where they have fewer than others, as ONNX values.
pub(super) fn onnx_aligned(to: &mut Exporting<'_>) -> Vec<Edge> {
    let ranks: Vec<usize> = to.shapes().iter().map(Shape::rank).collect();
    let rank = ranks.iter().copied().max().unwrap_or(0);
    let mut edges = to.inputs().to_vec();
    for (edge, own) in edges.iter_mut().zip(ranks) {
        for _ in own..rank {
            *edge = to.unsqueeze(*edge, 1);
        }
    }
    edges
}

/// A merging of two values at a time as ONNX operators, times a factor.
fn onnx_merge(to: &mut Exporting<'_>, operator: &'static str, factor: f32) -> Result<Vec<Edge>> {
    // The output's steps count where they count in any input, which is known if all have masks.
    let masks: Option<Vec<Edge>> = (0..to.inputs().len()).map(|input| to.mask(input)).collect();
    let ranks: Vec<usize> = to.shapes().iter().map(Shape::rank).collect();
    let mask = masks
        .filter(|_| ranks.iter().all(|rank| *rank == ranks[0]))
        .and_then(|masks| masks.into_iter().reduce(|a, b| to.op("Max", &[a, b], vec![])));
    to.set_masks(vec![mask]);
    let merged = onnx_aligned(to).into_iter().reduce(|a, b| to.op(operator, &[a, b], vec![]));
    let merged = merged.ok_or_else(|| Error::shape("a list of at least 1 input", "none"))?;
    Ok(vec![if factor == 1.0 { merged } else { to.mul_number(merged, factor) }])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn shapes_are_broadcast_as_in_keras() {
        let of = |shapes: &[&[usize]]| {
            let shapes: Vec<Shape> = shapes.iter().map(|sizes| Shape::batch_of(*sizes)).collect();
            broadcast(&shapes).map(|shape| shape.to_string())
        };
        assert_eq!(of(&[&[3, 4], &[4]]).unwrap(), "(None, 3, 4)");
        assert_eq!(of(&[&[4], &[3, 4]]).unwrap(), "(None, 3, 4)");
        assert_eq!(of(&[&[3, 1], &[1, 4]]).unwrap(), "(None, 3, 4)");
        assert_eq!(of(&[&[3]]).unwrap(), "(None, 3)");
        assert!(of(&[&[2], &[3]]).is_err());
        assert!(of(&[]).is_err());
        let unknown = Shape::new([None, None, Some(4)]);
        assert_eq!(broadcast(&[unknown, Shape::batch_of((3, 4))]).unwrap().to_string(), "(None, None, 4)");
    }

    /// The step for inputs of these sizes, the first that of the output.
    fn step(inputs: &[&[usize]], how: Merge, factor: f32) -> Box<dyn FrozenStep> {
        let inputs: Vec<Vec<usize>> = inputs.iter().map(|sizes| sizes.to_vec()).collect();
        let freezing = Freezing { inputs: &inputs, output: &inputs[0], weights: &[], padding: [(0, 0); 2] };
        match frozen_merge(&freezing, how, factor) {
            Some(Frozen::Step(step)) => step,
            other => panic!("not a step: {other:?}"),
        }
    }

    #[test]
    fn only_a_plain_sum_of_two_is_a_sum() {
        let two: [&[usize]; 2] = [&[4], &[4]];
        assert!(step(&two, Merge::Add, 1.0).is_sum() && step(&two, Merge::Add, 1.0).commutes());
        assert!(!step(&two, Merge::Add, 0.5).is_sum() && step(&two, Merge::Add, 0.5).commutes());
        assert!(!step(&two, Merge::Multiply, 1.0).is_sum() && step(&two, Merge::Multiply, 1.0).commutes());
        assert!(!step(&two, Merge::Subtract, 1.0).is_sum() && !step(&two, Merge::Subtract, 1.0).commutes());
        let three: [&[usize]; 3] = [&[4], &[4], &[4]];
        assert!(!step(&three, Merge::Add, 1.0).is_sum() && !step(&three, Merge::Add, 1.0).commutes());
    }

    #[test]
    fn values_merged_in_place_and_by_threads_have_the_same_bits() {
        // Enough for two threads, and few; the others are repeated.
        let large: [&[usize]; 3] = [&[50, 60, 48], &[1, 1, 48], &[60, 48]];
        let small: [&[usize]; 3] = [&[3, 5, 7], &[1], &[3, 5, 7]];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for (sizes, samples) in [(large, 1), (large, 3), (small, 1), (small, 4)] {
            let len: usize = sizes[0].iter().product();
            let values = |sizes: &[usize]| -> Vec<f32> {
                let count = samples * sizes.iter().product::<usize>();
                (0..count).map(|at| (at * 37 % 101) as f32 / 50.0 - 1.0).collect()
            };
            let inputs = sizes.map(values);
            let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            for how in [Merge::Add, Merge::Subtract, Merge::Multiply] {
                let mut step = step(&sizes, how, 0.75);
                assert!(step.activate(Kernel::Relu) && !step.activate(Kernel::Tanh));
                let merged = |at: usize| {
                    let others = inputs[1..].iter().map(|input| {
                        let one = input.len() / samples;
                        input[at / len * one + at % len % one]
                    });
                    let merged = others.fold(inputs[0][at], |y, x| match how {
                        Merge::Add => y + x,
                        Merge::Subtract => y - x,
                        Merge::Multiply => y * x,
                    });
                    (merged * 0.75).max(0.0)
                };
                let expected: Vec<f32> = (0..samples * len).map(merged).collect();
                for threads in [1, 2] {
                    let mut found = vec![7.5; samples * len];
                    pool.install(|| step.run(&slices, samples, threads, &mut found));
                    let mut in_place = inputs[0].clone();
                    pool.install(|| step.run(&slices[1..], samples, threads, &mut in_place));
                    let agree = found == expected && in_place == expected;
                    assert!(agree, "{how:?} of {sizes:?}, {samples} samples, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn lower_ranks_get_axes_after_the_batch() {
        let device = Device::flex();
        let long = Value::from_vec(vec![0.0; 12], &[2, 3, 2], &device).unwrap();
        let short = Value::from_vec(vec![1.0, 2.0, 3.0, 4.0], &[2, 2], &device).unwrap();
        let values = aligned(vec![long, short]).unwrap();
        assert_eq!(values[1].to_vec().unwrap(), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 3.0, 4.0]);
    }
}
