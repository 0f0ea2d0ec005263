//! The weights of a layer in other layouts: cuDNN's recurrent layers and Keras 1.

use crate::error::Result;
use crate::formats::Array;
use crate::layers::WeightSpec;

/// How one weight of a layer is made from those in a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Unchanged; the index in the file.
    Same(usize),
    /// With its axes permuted, then reshaped to these sizes.
    Permuted(usize, Vec<usize>, Vec<usize>),
    /// Several concatenated along the last axis.
    Joined(Vec<usize>),
    /// A matrix of gates, each stored in another memory order: with `turned` transposed, else read column by column.
    Gates { from: usize, gates: usize, turned: bool },
    /// The sum of the two biases of each gate.
    Summed(usize),
    /// Reshaped.
    Reshaped(usize, Vec<usize>),
}

/// How the weights of a layer are made from those in the file.
pub(super) struct Arranged {
    pub pieces: Vec<Piece>,
    /// The resulting shapes.
    pub shapes: Vec<Vec<usize>>,
}

/// Properties of the file and the layer that determine the layout.
#[derive(Clone, Copy)]
pub(super) struct WeightArrangement {
    /// Whether Keras 1 wrote the file.
    pub keras_1: bool,
    /// Whether the layer's data format is channels first.
    pub channels_first: bool,
}

impl Arranged {
    /// From the shapes `found` in the file, for the weights `specs` in the file's order.
    pub fn new(specs: &[&WeightSpec], found: &[Vec<usize>], layout: WeightArrangement) -> Self {
        let mut pieces = Vec::new();
        let (mut spec, mut from) = (0, 0);
        while spec < specs.len() {
            let rest = &specs[spec..];
            let there = found.get(from..).unwrap_or_default();
            let recurrent = RecurrentWeights::of(rest);
            let (made, specs_taken, taken) = match recurrent {
                Some(own) if layout.keras_1 && own.is_by_gate(there) => own.joined(from),
                Some(own) if own.is_cudnn(there) => own.cudnn(from),
                _ => (vec![convolution(rest[0], there.first(), from, layout)], 1, 1),
            };
            pieces.extend(made);
            spec += specs_taken;
            from += taken;
        }
        // Leftover weights are passed on, so that the comparison reports them.
        pieces.extend((from..found.len()).map(Piece::Same));
        pieces.retain(|piece| piece.sources().iter().all(|source| *source < found.len()));
        let shapes = pieces.iter().map(|piece| piece.shape(found)).collect();
        Self { pieces, shapes }
    }

    /// Makes the weights from those in the file.
    pub fn make(&self, found: Vec<Array>) -> Result<Vec<Array>> {
        let shapes: Vec<Vec<usize>> = found.iter().map(|array| array.shape().to_vec()).collect();
        let mut found: Vec<Option<Array>> = found.into_iter().map(Some).collect();
        let mut take =
            |index: usize| found.get_mut(index).and_then(Option::take).map(Array::into_f32).unwrap_or_default();
        let pieces = self.pieces.iter().zip(&self.shapes);
        pieces
            .map(|(piece, shape)| {
                let values = match piece {
                    Piece::Same(from) | Piece::Reshaped(from, _) => take(*from),
                    Piece::Permuted(from, axes, _) => permuted(&take(*from), &shapes[*from], axes),
                    Piece::Joined(from) => {
                        let parts: Vec<_> = from.iter().map(|from| (take(*from), last(&shapes[*from]))).collect();
                        joined(&parts)
                    }
                    Piece::Gates { from, gates, turned } => of_gates(&take(*from), &shapes[*from], *gates, *turned),
                    Piece::Summed(from) => {
                        let both = take(*from);
                        let (inputs, states) = both.split_at(both.len() / 2);
                        inputs.iter().zip(states).map(|(a, b)| a + b).collect()
                    }
                };
                Array::new(shape.clone(), values)
            })
            .collect()
    }
}

impl Piece {
    fn sources(&self) -> &[usize] {
        match self {
            Self::Joined(from) => from,
            Self::Same(from)
            | Self::Permuted(from, ..)
            | Self::Gates { from, .. }
            | Self::Summed(from)
            | Self::Reshaped(from, _) => std::slice::from_ref(from),
        }
    }

    /// The resulting shape.
    fn shape(&self, found: &[Vec<usize>]) -> Vec<usize> {
        match self {
            Self::Same(from) | Self::Gates { from, .. } => found[*from].clone(),
            Self::Permuted(.., sizes) | Self::Reshaped(_, sizes) => sizes.clone(),
            Self::Joined(from) => {
                let mut sizes = found[from[0]].clone();
                if let Some(size) = sizes.last_mut() {
                    *size = from.iter().map(|from| last(&found[*from])).sum();
                }
                sizes
            }
            Self::Summed(from) => vec![found[*from].iter().product::<usize>() / 2],
        }
    }
}

/// The kernel, recurrent kernel and bias of a recurrent layer.
struct RecurrentWeights<'a> {
    inputs: usize,
    units: usize,
    gates: usize,
    bias: Option<&'a WeightSpec>,
}

impl<'a> RecurrentWeights<'a> {
    /// The next weights, if they are those of an `LSTM` or a `GRU`.
    fn of(specs: &[&'a WeightSpec]) -> Option<Self> {
        let [kernel, recurrent, rest @ ..] = specs else { return None };
        let ([inputs, _], [units, columns]) = (&kernel.sizes[..], &recurrent.sizes[..]) else { return None };
        let fits = kernel.name == "kernel" && recurrent.name == "recurrent_kernel" && *units > 0;
        let gates = [3, 4].into_iter().find(|gates| units.checked_mul(*gates) == Some(*columns)).filter(|_| fits)?;
        let bias = rest.first().copied().filter(|bias| bias.name == "bias" && bias.group == kernel.group);
        Some(Self { inputs: *inputs, units: *units, gates, bias })
    }

    /// Whether the file has separate kernels, recurrent kernels and biases per gate.
    fn is_by_gate(&self, found: &[Vec<usize>]) -> bool {
        let (inputs, units) = (self.inputs, self.units);
        found.get(..3 * self.gates).is_some_and(|found| {
            found.chunks(3).all(|gate| gate == [vec![inputs, units], vec![units, units], vec![units]])
        })
    }

    /// Keras 1's weights, gate by gate: z, r, h of a `GRU`; i, c, f, o of an `LSTM`, where the current order is i, f,
    /// c, o.
    fn joined(&self, from: usize) -> (Vec<Piece>, usize, usize) {
        let order: &[usize] = if self.gates == 4 { &[0, 2, 1, 3] } else { &[0, 1, 2] };
        let of = |part: usize| Piece::Joined(order.iter().map(|gate| from + 3 * gate + part).collect());
        let parts = if self.bias.is_some() { 3 } else { 2 };
        ((0..parts).map(of).collect(), parts, 3 * self.gates)
    }

    /// Whether the file has the bias of `CuDNNLSTM` or `CuDNNGRU`, twice as long as usual.
    fn is_cudnn(&self, found: &[Vec<usize>]) -> bool {
        let columns = self.units * self.gates;
        let takes_two = match (self.gates, self.bias) {
            (4, Some(_)) => true,
            // The other GRU has one bias, and applies the reset gate before the product.
            (_, Some(bias)) => bias.sizes == [2, columns],
            _ => false,
        };
        let own = [vec![self.inputs, columns], vec![self.units, columns], vec![2 * columns]];
        takes_two && found.get(..3) == Some(&own[..])
    }

    fn cudnn(&self, from: usize) -> (Vec<Piece>, usize, usize) {
        let gates = self.gates;
        let bias = match gates {
            4 => Piece::Summed(from + 2),
            _ => Piece::Reshaped(from + 2, vec![2, self.units * gates]),
        };
        let kernel = Piece::Gates { from, gates, turned: false };
        (vec![kernel, Piece::Gates { from: from + 1, gates, turned: true }, bias], 3, 3)
    }
}

/// The kernel of a convolution of Keras 1, if the weight is one; else the weight unchanged.
fn convolution(spec: &WeightSpec, found: Option<&Vec<usize>>, from: usize, layout: WeightArrangement) -> Piece {
    let (Some(found), "kernel", true) = (found, spec.name.as_str(), layout.keras_1) else { return Piece::Same(from) };
    match (&spec.sizes[..], &found[..]) {
        // A 1D convolution was stored as a 2D one with a size of 1.
        ([length, _, filters], [a, 1, _, b]) if a == length && b == filters => {
            Piece::Reshaped(from, vec![found[0], found[2], found[3]])
        }
        ([length, _, filters], [a, _, b, 1]) if a == filters && b == length => {
            Piece::Permuted(from, vec![2, 1, 0, 3], vec![found[2], found[1], found[0]])
        }
        ([_, _, _, _] | [_, _, _, _, _], found) if layout.channels_first && found.len() == spec.sizes.len() => {
            // (filters, channels, …space) in the file, (…space, channels, filters) now.
            let axes: Vec<usize> = (2..found.len()).chain([1, 0]).collect();
            let sizes = axes.iter().map(|axis| found[*axis]).collect();
            Piece::Permuted(from, axes, sizes)
        }
        _ => Piece::Same(from),
    }
}

fn last(sizes: &[usize]) -> usize {
    sizes.last().copied().unwrap_or(1)
}

/// Permutes axes: axis `i` of the result is axis `axes[i]` of the values.
fn permuted(values: &[f32], sizes: &[usize], axes: &[usize]) -> Vec<f32> {
    let stride = |axis: usize| sizes[axis + 1..].iter().product::<usize>();
    let mut offsets = vec![0];
    for axis in axes {
        let step = stride(*axis);
        offsets = offsets.into_iter().flat_map(|offset| (0..sizes[*axis]).map(move |i| offset + i * step)).collect();
    }
    offsets.into_iter().map(|offset| values[offset]).collect()
}

/// Concatenates rows; each part comes with the length of its rows.
fn joined(parts: &[(Vec<f32>, usize)]) -> Vec<f32> {
    let rows = parts.first().map_or(0, |(values, width)| values.len().checked_div(*width).unwrap_or(0));
    let mut all = Vec::with_capacity(parts.iter().map(|(values, _)| values.len()).sum());
    for row in 0..rows {
        for (values, width) in parts {
            all.extend_from_slice(&values[row * width..(row + 1) * width]);
        }
    }
    all
}

/// Converts the columns of each gate to the current layout: transposed, or, for cuDNN's input kernels, read column by
/// column.
fn of_gates(values: &[f32], sizes: &[usize], gates: usize, turned: bool) -> Vec<f32> {
    let (rows, columns) = (sizes[0], sizes[1]);
    let units = columns / gates;
    let mut all = vec![0.0; values.len()];
    for (row, gate, unit) in
        (0..rows).flat_map(|row| (0..gates).flat_map(move |g| (0..units).map(move |u| (row, g, u))))
    {
        let number = unit * rows + row;
        let (from_row, from_unit) = if turned { (unit, row) } else { (number / units, number % units) };
        all[row * columns + gate * units + unit] = values[from_row * columns + gate * units + from_unit];
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initializers::Initializer;

    fn spec(name: &str, sizes: &[usize]) -> WeightSpec {
        WeightSpec::new(name, sizes, Initializer::Zeros {})
    }

    fn array(sizes: &[usize]) -> Array {
        let count: usize = sizes.iter().product();
        Array::new(sizes, (0..count).map(|i| i as f32).collect::<Vec<_>>()).unwrap()
    }

    fn made(specs: &[WeightSpec], found: &[&[usize]], layout: WeightArrangement) -> Vec<Array> {
        let specs: Vec<&WeightSpec> = specs.iter().collect();
        let shapes: Vec<Vec<usize>> = found.iter().map(|sizes| sizes.to_vec()).collect();
        let arranged = Arranged::new(&specs, &shapes, layout);
        let made = arranged.make(found.iter().map(|sizes| array(sizes)).collect()).unwrap();
        assert_eq!(made.iter().map(|array| array.shape().to_vec()).collect::<Vec<_>>(), arranged.shapes);
        made
    }

    const KERAS_2: WeightArrangement = WeightArrangement { keras_1: false, channels_first: false };
    const KERAS_1: WeightArrangement = WeightArrangement { keras_1: true, channels_first: false };

    /// The expected numbers are from `_convert_rnn_weights` of tf_keras 2.21.
    #[test]
    fn the_weights_of_cudnn_layers_are_converted() {
        let lstm = [spec("kernel", &[2, 4]), spec("recurrent_kernel", &[1, 4]), spec("bias", &[4])];
        let weights = made(&lstm, &[&[2, 4], &[1, 4], &[8]], KERAS_2);
        assert_eq!(weights[0].clone().into_f32(), [0., 1., 2., 3., 4., 5., 6., 7.]);
        assert_eq!(weights[2].clone().into_f32(), [4., 6., 8., 10.]);
        let gru = [spec("kernel", &[2, 9]), spec("recurrent_kernel", &[3, 9]), spec("bias", &[2, 9])];
        let weights = made(&gru, &[&[2, 9], &[3, 9], &[18]], KERAS_2);
        let kernel = [[0., 2., 10., 3., 5., 13., 6., 8., 16.], [1., 9., 11., 4., 12., 14., 7., 15., 17.]].concat();
        assert_eq!(weights[0].clone().into_f32(), kernel);
        assert_eq!(weights[1].clone().into_f32()[..9], [0., 9., 18., 3., 12., 21., 6., 15., 24.]);
        assert_eq!(weights[2].shape(), [2, 9]);
        // A GRU that applies the reset gate before the product has no use for two biases.
        let before = [spec("kernel", &[2, 9]), spec("recurrent_kernel", &[3, 9]), spec("bias", &[9])];
        assert_eq!(made(&before, &[&[2, 9], &[3, 9], &[18]], KERAS_2)[2].shape(), [18]);
    }

    #[test]
    fn the_gates_of_keras_1_are_joined() {
        let lstm = [spec("kernel", &[2, 4]), spec("recurrent_kernel", &[1, 4]), spec("bias", &[4])];
        let by_gate: Vec<&[usize]> = [&[2, 1][..], &[1, 1], &[1]].repeat(4);
        let shapes: Vec<Vec<usize>> = by_gate.iter().map(|sizes| sizes.to_vec()).collect();
        let arranged = Arranged::new(&lstm.iter().collect::<Vec<_>>(), &shapes, KERAS_1);
        let numbered = (0..12).map(|i| {
            let count: usize = by_gate[i].iter().product();
            Array::new(by_gate[i], vec![i as f32; count]).unwrap()
        });
        let weights = arranged.make(numbered.collect()).unwrap();
        // i, c, f, o in the file; i, f, c, o now.
        assert_eq!(weights[0].clone().into_f32(), [0., 6., 3., 9., 0., 6., 3., 9.]);
        assert_eq!(weights[2].clone().into_f32(), [2., 8., 5., 11.]);
        // The joined form of Keras 1 is the current one.
        assert_eq!(made(&lstm, &[&[2, 4], &[1, 4], &[4]], KERAS_1)[2].shape(), [4]);
    }

    #[test]
    fn the_convolutions_of_keras_1_are_transposed() {
        let kernel = [spec("kernel", &[3, 2, 4])];
        assert_eq!(made(&kernel, &[&[3, 1, 2, 4]], KERAS_1)[0].clone().into_f32(), array(&[24]).into_f32());
        let older = made(&kernel, &[&[4, 2, 3, 1]], KERAS_1);
        assert_eq!(older[0].clone().into_f32()[..5], [0., 6., 12., 18., 3.]);
        let first = WeightArrangement { channels_first: true, ..KERAS_1 };
        let turned = made(&[spec("kernel", &[1, 2, 3, 4])], &[&[4, 3, 1, 2]], first);
        assert_eq!(turned[0].shape(), [1, 2, 3, 4]);
        assert_eq!(turned[0].clone().into_f32()[..5], [0., 6., 12., 18., 2.]);
        assert_eq!(made(&[spec("kernel", &[1, 2, 3, 4])], &[&[1, 2, 3, 4]], KERAS_1)[0].shape(), [1, 2, 3, 4]);
    }

    #[test]
    fn unmatched_weights_are_kept_for_the_comparison() {
        let lstm = [spec("kernel", &[2, 4]), spec("recurrent_kernel", &[1, 4]), spec("bias", &[4])];
        assert_eq!(made(&lstm, &[&[2, 4]], KERAS_1).len(), 1);
        assert_eq!(made(&lstm, &[&[2, 4], &[1, 4], &[4], &[7]], KERAS_2).len(), 4);
    }
}
