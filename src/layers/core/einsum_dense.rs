//! `EinsumDense`: a dense layer whose product is an einsum.

use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer, WeightSpec};
use crate::ops::{self, Value};
use crate::regularizers::Regularizer;
use crate::shape::Shape;

crate::describe! {
    /// `activation(einsum(equation, x, kernel) + bias)`: dimensions shared by inputs and kernel but not the outputs are
    /// summed over.
    ///
    /// `abc,cd->abd` is `Dense` on inputs of three dimensions. `...` stands for dimensions that are unchanged.
    ///
    /// # Shapes
    /// As in the equation; weights `kernel`, and `bias` over the dimensions `bias_axes`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// let layer = EinsumDense::new("abc,cde->abde", [None, Some(4), Some(8)]).bias_axes("de");
    /// model.add(layer.input_shape((10, 16)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 10, 4, 8)");
    /// assert_eq!(model.count_params()?, 16 * 4 * 8 + 4 * 8);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct EinsumDense {
        /// `inputs,kernel->outputs`, a letter for each dimension.
        equation: String,
        /// The sizes of an output, without the batch's and those of `...`; `None` where they are the inputs'.
        output_shape: Vec<Option<usize>>,
        /// Applied to the outputs.
        activation: Activation = Activation::Linear,
        /// The dimensions of the outputs that have a bias; by default none.
        bias_axes: Option<String> = None,
        /// The initializer of the kernel.
        kernel_initializer: Initializer = Initializer::GlorotUniform { seed: None },
        /// The initializer of the bias.
        bias_initializer: Initializer = Initializer::Zeros {},
        /// The penalty on the kernel.
        kernel_regularizer: Option<Regularizer> = None,
        /// The penalty on the bias.
        bias_regularizer: Option<Regularizer> = None,
        /// The penalty on the outputs.
        activity_regularizer: Option<Regularizer> = None,
        /// The constraint on the kernel.
        kernel_constraint: Option<Constraint> = None,
        /// The constraint on the bias.
        bias_constraint: Option<Constraint> = None,
    }
}

/// An equation resolved for inputs of a known rank, with all sizes.
struct Resolved {
    input: Vec<char>,
    kernel: Vec<char>,
    output: Vec<char>,
    kernel_sizes: Vec<usize>,
    /// Fan-in and fan-out: the products of the kernel's sizes over dimensions of the inputs, and of the outputs.
    fans: [usize; 2],
    /// The sizes of the bias, over trailing dimensions of the outputs, if there is one.
    bias_sizes: Option<Vec<usize>>,
    output_shape: Shape,
}

impl EinsumDense {
    /// The einsum `equation`, with outputs of the sizes `output_shape`.
    pub fn new(equation: impl Into<String>, output_shape: impl Into<Vec<Option<usize>>>) -> Self {
        Self::required(equation.into(), output_shape.into())
    }

    fn wrong(&self, expected: impl Into<String>) -> Error {
        Error::argument("equation", expected, format!("`{}`", self.equation))
    }

    /// The labels of inputs, kernel and outputs, with labels for the dimensions of `...` in inputs of `rank`
    /// dimensions; and the number of those dimensions, and whether they come first.
    fn names(&self, rank: usize) -> Result<([Vec<char>; 3], usize, bool)> {
        let form = "`inputs,kernel->outputs` of letters, `...` at the same end of inputs and outputs";
        let (operands, output) = self.equation.split_once("->").ok_or_else(|| self.wrong(form))?;
        let (input, kernel) = operands.split_once(',').ok_or_else(|| self.wrong(form))?;
        let parts = [input, output].map(|part| (part.strip_prefix("..."), part.strip_suffix("..."), part));
        let (letters, open, first) = match parts {
            [(Some(input), ..), (Some(output), ..)] => ([input, kernel, output], true, true),
            [(None, Some(input), _), (None, Some(output), _)] => ([input, kernel, output], true, false),
            [(.., input), (.., output)] => ([input, kernel, output], false, false),
        };
        for names in letters {
            let once = names.chars().enumerate().all(|(i, name)| !names.chars().skip(i + 1).any(|other| other == name));
            if names.is_empty() || !once || !names.chars().all(|name| name.is_ascii_alphabetic()) {
                return Err(self.wrong(form));
            }
        }
        let elided = rank.checked_sub(letters[0].len()).filter(|elided| open || *elided == 0);
        let elided = elided.ok_or_else(|| {
            Error::shape(format!("ndim={} for `{}`", letters[0].len(), self.equation), format!("ndim={rank}"))
        })?;
        // Digits cannot clash with the equation's letters.
        let rest: Vec<char> = ('0'..='9').take(elided).collect();
        if rest.len() < elided {
            return Err(Error::shape("fewer dimensions", format!("ndim={rank}")));
        }
        let [input, kernel, output] = letters.map(|names| names.chars().collect::<Vec<_>>());
        let with_rest =
            |names: Vec<char>| if first { [rest.clone(), names].concat() } else { [names, rest.clone()].concat() };
        Ok(([with_rest(input), kernel, with_rest(output)], elided, first))
    }

    fn resolve(&self, shape: &Shape) -> Result<Resolved> {
        let ([input, kernel, output], elided, first) = self.names(shape.rank())?;
        if output.first() != input.first() || kernel.contains(&input[0]) {
            return Err(self.wrong("an equation whose first dimension is the batch's, in inputs and outputs only"));
        }
        let size_in_input = |name: &char| input.iter().position(|n| n == name).map(|axis| shape.sizes()[axis]);
        // The given output sizes, with the batch and the dimensions of `...` inserted.
        let mut given = vec![shape.sizes()[0]];
        if first && elided > 0 {
            given.extend_from_slice(&shape.sizes()[1..elided]);
        }
        given.extend_from_slice(&self.output_shape);
        if !first {
            given.extend_from_slice(&shape.sizes()[shape.rank() - elided..]);
        }
        if given.len() != output.len() {
            let count = output.len() - (given.len() - self.output_shape.len()).min(output.len());
            return Err(Error::argument("output_shape", format!("{count} sizes"), format!("{:?}", self.output_shape)));
        }
        let mut sizes = Vec::with_capacity(output.len());
        for (name, given) in output.iter().zip(given) {
            let own = size_in_input(name);
            if own.is_none() && !kernel.contains(name) {
                return Err(self.wrong(format!("`{name}` in the inputs or the kernel")));
            }
            if let (Some(Some(own)), Some(given)) = (own, given)
                && own != given
            {
                let expected = format!("{own} for `{name}`, as in the inputs");
                return Err(Error::argument("output_shape", expected, format!("{:?}", self.output_shape)));
            }
            sizes.push(given.or(own.flatten()));
        }
        let mut fans = [1usize; 2];
        let mut kernel_sizes = Vec::with_capacity(kernel.len());
        for name in &kernel {
            let output_axis = output.iter().position(|n| n == name);
            let size = match output_axis {
                Some(axis) => sizes[axis],
                None => size_in_input(name).ok_or_else(|| self.wrong(format!("`{name}` in the inputs or outputs")))?,
            };
            let size = size.filter(|size| *size > 0);
            let size = size.ok_or_else(|| Error::shape(format!("a known size of `{name}` above 0"), shape))?;
            let fan = &mut fans[usize::from(output_axis.is_some())];
            *fan = fan.saturating_mul(size);
            kernel_sizes.push(size);
        }
        let bias_sizes = match &self.bias_axes {
            None => None,
            Some(axes) => Some(self.bias_sizes(axes, &output, &sizes)?),
        };
        Ok(Resolved { input, kernel, output, kernel_sizes, fans, bias_sizes, output_shape: Shape::new(sizes) })
    }

    /// The sizes of the bias, from its first dimension on: 1 for dimensions without a bias.
    fn bias_sizes(&self, axes: &str, output: &[char], sizes: &[Option<usize>]) -> Result<Vec<usize>> {
        let wrong = || Error::argument("bias_axes", "letters of the outputs, not the batch's", format!("`{axes}`"));
        if axes.is_empty() || axes.chars().any(|name| !output[1..].contains(&name)) {
            return Err(wrong());
        }
        let first = output.iter().position(|name| axes.contains(*name)).ok_or_else(wrong)?;
        let size = |(name, size): (&char, &Option<usize>)| {
            if !axes.contains(*name) {
                return Ok(1);
            }
            size.ok_or_else(|| Error::shape(format!("a known size of `{name}`"), format!("{sizes:?}")))
        };
        output[first..].iter().zip(&sizes[first..]).map(size).collect()
    }
}

impl Layer for EinsumDense {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.activation.output_shape(&self.resolve(input)?.output_shape)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let resolved = self.resolve(input)?;
        let kernel = WeightSpec::new("kernel", resolved.kernel_sizes, self.kernel_initializer.clone())
            .regularizer(&self.kernel_regularizer)
            .constraint(&self.kernel_constraint)
            .with_fans(resolved.fans);
        let bias = resolved.bias_sizes.map(|sizes| {
            WeightSpec::new("bias", sizes, self.bias_initializer.clone())
                .regularizer(&self.bias_regularizer)
                .constraint(&self.bias_constraint)
        });
        Ok(std::iter::once(kernel).chain(bias).collect())
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        let resolved = self.resolve(input)?;
        let kernel = resolved.kernel_sizes.iter().fold(1, |product: usize, size| product.saturating_mul(*size));
        // Both factors and the product, transposed.
        Ok(input.known_len().saturating_add(kernel).saturating_add(resolved.output_shape.known_len()))
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let resolved = self.resolve(to.shape())?;
        // Dimensions without a name have digits, which are no names in ONNX.
        let mut free = ('a'..='z').chain('A'..='Z').filter(|name| {
            ![&resolved.input, &resolved.kernel, &resolved.output].into_iter().any(|names| names.contains(name))
        });
        let mut letters = std::collections::HashMap::new();
        for digit in resolved.input.iter().filter(|name| name.is_ascii_digit()) {
            let letter = free.next().ok_or_else(|| self.wrong("fewer dimensions"))?;
            letters.insert(*digit, letter);
        }
        let text = |names: &[char]| names.iter().map(|name| letters.get(name).unwrap_or(name)).collect::<String>();
        let [input, kernel, output] = [&resolved.input, &resolved.kernel, &resolved.output].map(|names| text(names));
        let equation = format!("{input},{kernel}->{output}");
        let kernel = to.weight(0)?;
        let kernel = to.constant("kernel", kernel);
        let mut product = to.op("Einsum", &[to.input(), kernel], vec![("equation", equation.into())]);
        if let Some(bias) = to.weight_if(self.bias_axes.is_some(), 1)? {
            let bias = to.constant("bias", bias);
            product = to.add(product, bias);
        }
        to.activated(&self.activation, product)
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let resolved = self.resolve(&Shape::known(&input.sizes()))?;
        let mut output = ops::einsum(input, &resolved.input, call.weight(0), &resolved.kernel, &resolved.output)?;
        if self.bias_axes.is_some() {
            let bias = call.weight(1);
            let sizes = output.sizes();
            let mut row = bias.sizes();
            row.splice(0..0, std::iter::repeat_n(1, sizes.len() - row.len()));
            output = output + bias.reshape(&row)?.expand(&sizes);
        }
        let output = call.activate(&self.activation, output)?;
        call.add_activity_loss(&self.activity_regularizer, &output)?;
        Ok(output)
    }

    fn final_activation(&self) -> Option<&Activation> {
        self.activity_regularizer.is_none().then_some(&self.activation)
    }
}

impl BuiltIn for EinsumDense {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new("ab,bc->ac", [Some(3)]).bias_axes("c"), Shape::batch_of(4)),
            (Self::new("...x,xy->...y", [Some(3)]).activation("relu").bias_axes("y"), Shape::batch_of((2, 3, 4))),
            (Self::new("abc,cde->abde", [None, Some(2), Some(3)]).bias_axes("e"), Shape::batch_of((2, 4))),
            (Self::new("abc,bd->adc", [Some(3), None]).bias_axes("d"), Shape::batch_of((2, 4))),
            (Self::new("ab...,bc->ac...", [Some(3)]).bias_axes("c"), Shape::batch_of((2, 4))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(equation: &str, output: &[Option<usize>], axes: Option<&str>) -> String {
        let layer = EinsumDense::new(equation, output).bias_axes(axes.map(str::to_owned));
        Layer::output_shape(&layer, &Shape::batch_of((2, 4))).unwrap_err().to_string()
    }

    #[test]
    fn invalid_equations_are_refused() {
        for equation in ["abc", "abc,cd", "abc->abd", "aac,cd->aad", "abc,c d->abd", "abc,cd->", "...abc,cd->abd"] {
            assert!(refused(equation, &[None, Some(3)], None).contains("equation"), "{equation}");
        }
        assert!(refused("abc,cd->abx", &[None, Some(3)], None).contains("`x`"));
        assert!(refused("abc,cz->abc", &[None, None], None).contains("`z`"));
        assert!(refused("abc,ad->abd", &[None, Some(3)], None).contains("batch"));
        assert!(refused("abcd,de->abce", &[None, None, Some(3)], None).contains("ndim=4"));
        assert!(refused("abc,cd->abd", &[Some(3)], None).contains("output_shape"));
        assert!(refused("abc,cd->abd", &[Some(3), Some(3)], None).contains("as in the inputs"));
        assert!(refused("abc,cd->abd", &[None, None], None).contains("`d`"));
        assert!(refused("abc,cd->abd", &[None, Some(3)], Some("c")).contains("bias_axes"));
    }
}
