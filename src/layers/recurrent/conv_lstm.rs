//! `ConvLSTM1D`, `ConvLSTM2D` and `ConvLSTM3D`: long short-term memory with convolutions for matrix products.

use super::shared::{check_states, lstm_states, mask_in_use, of_steps, sequence_and_states, split_states};
use super::steps::{After, InitialState, Way, each_step, graph_nodes};
use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::arguments::INITIAL_STATE;
use crate::layers::regularization::{check_rate, drop_out};
use crate::layers::{Arguments, BuiltIn, Call, Conv1D, Conv2D, Conv3D, Layer, WeightSpec};
use crate::ops::{self, Value};
use crate::regularizers::Regularizer;
use crate::shape::{DataFormat, Padding, Shape, Spatial};

/// Declares the layer for `$n` spatial dimensions, with the convolution `$conv`.
macro_rules! conv_lstm {
    ($(#[$doc:meta])* $name:ident, $n:literal, $conv:ident) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The number of output channels.
                filters: usize,
                /// The size of the kernel.
                kernel_size: Spatial<$n>,
                /// The strides of the input convolution; that of the state has strides of 1.
                strides: Spatial<$n> = Spatial([1; $n]),
                /// The padding of the input convolution, `valid` or `same`; that of the state is `same`.
                padding: Padding = Padding::Valid,
                /// The position of the channels in the input and output.
                data_format: DataFormat = DataFormat::ChannelsLast,
                /// The dilation of the input convolution; that of the state has a dilation of 1.
                dilation_rate: Spatial<$n> = Spatial([1; $n]),
                /// Applied to the output of a step.
                activation: Activation = Activation::Tanh,
                /// Applied to the gates.
                recurrent_activation: Activation = Activation::Sigmoid,
                /// Whether a bias is added.
                use_bias: bool = true,
                /// The initializer of the kernel.
                kernel_initializer: Initializer = Initializer::GlorotUniform { seed: None },
                /// The initializer of the recurrent kernel.
                recurrent_initializer: Initializer = Initializer::Orthogonal { gain: 1.0, seed: None },
                /// The initializer of the bias.
                bias_initializer: Initializer = Initializer::Zeros {},
                /// Whether the forget gate's bias starts at 1, so that little is forgotten at first.
                unit_forget_bias: bool = true,
                /// The penalty on the kernel.
                kernel_regularizer: Option<Regularizer> = None,
                /// The penalty on the recurrent kernel.
                recurrent_regularizer: Option<Regularizer> = None,
                /// The penalty on the bias.
                bias_regularizer: Option<Regularizer> = None,
                /// The penalty on the outputs.
                activity_regularizer: Option<Regularizer> = None,
                /// The constraint on the kernel.
                kernel_constraint: Option<Constraint> = None,
                /// The constraint on the recurrent kernel.
                recurrent_constraint: Option<Constraint> = None,
                /// The constraint on the bias.
                bias_constraint: Option<Constraint> = None,
                /// The fraction of the inputs to drop in training, the same at every step.
                dropout: f32 = 0.0,
                /// The fraction of the state to drop in training, the same at every step.
                recurrent_dropout: f32 = 0.0,
                /// The layer's seed, in place of the run's.
                seed: Option<u64> = None,
                /// Whether to return the outputs of all steps, not only the last one's.
                return_sequences: bool = false,
                /// Whether to return the final states too; refused in a Sequential, whose layers have one output.
                return_state: bool = false,
                /// Whether to process the sequence in reverse; the outputs are then reversed too.
                go_backwards: bool = false,
                /// Whether each batch begins with the final states of the previous one. The model's batch size is then
                /// fixed.
                stateful: bool = false,
                /// How Keras runs the loop; the results are the same, and the loop is always unrolled here.
                unroll: bool = false,
                /// Whether the output of a masked step is 0 rather than that of the previous step.
                zero_output_for_mask: bool = false,
            }
        }

        impl $name {
            /// `filters` output channels, with kernels of size `kernel_size`.
            pub fn new(filters: usize, kernel_size: impl Into<Spatial<$n>>) -> Self {
                Self::required(filters, kernel_size.into())
            }

            fn way(&self) -> Way {
                Way {
                    return_sequences: self.return_sequences,
                    return_state: self.return_state,
                    go_backwards: self.go_backwards,
                    zero_output_for_mask: self.zero_output_for_mask,
                }
            }

            /// The convolution of the inputs with the kernels of all gates, channels last.
            fn of_inputs(&self) -> $conv {
                $conv::new(self.filters.saturating_mul(4), self.kernel_size)
                    .strides(self.strides)
                    .padding(self.padding)
                    .dilation_rate(self.dilation_rate)
                    .use_bias(self.use_bias)
            }

            /// The convolution of the state.
            fn of_state(&self) -> $conv {
                $conv::new(self.filters.saturating_mul(4), self.kernel_size).padding(Padding::Same).use_bias(false)
            }

            /// The shapes of one step's inputs, channels last, and of the state in the layer's own format.
            fn shapes(&self, input: &Shape) -> Result<(Shape, Shape)> {
                input.expect_rank($n + 3)?;
                let mut step = input.sizes().to_vec();
                step.remove(1);
                let step = self.data_format.to_channels_last(&Shape::new(step));
                if step.sample().contains(&None) {
                    return Err(Error::shape("known sizes of space and channels", input));
                }
                self.padding.refuse_causal()?;
                let gates = self.of_inputs().output_shape(&step)?;
                let state = self.data_format.from_channels_last(&gates.with_last(Some(self.filters)));
                Ok((step, state))
            }

            /// Convolves `value` with the kernels of all gates: at once, or gate by gate if each has its own dropout.
            fn by_gates(
                &self,
                conv: &$conv,
                weights: &[Value],
                value: Value,
                drop: Option<&mut dyn FnMut(Value) -> Result<Value>>,
            ) -> Result<Value> {
                let Some(drop) = drop else { return conv.forward(value, &mut Call::inference(weights)) };
                let one = conv.clone().filters(self.filters);
                let gates = (0..4).map(|gate| {
                    let part = |weight: &Value| {
                        let last = weight.rank() - 1;
                        weight.clone().narrow(last, gate * self.filters, self.filters)
                    };
                    let weights: Vec<Value> = weights.iter().map(part).collect();
                    one.forward(drop(value.clone())?, &mut Call::inference(&weights))
                });
                let last = value.rank() - 1;
                Value::concat(gates.collect::<Result<_>>()?, last)
            }
        }

        impl Layer for $name {
            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                self.way().expect_one_output()?;
                Ok(self.output_shapes(std::slice::from_ref(input), &Arguments::new())?.remove(0))
            }

            fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
                if self.filters == 0 {
                    return Err(Error::argument("filters", "an integer above 0", self.filters));
                }
                check_rate("dropout", self.dropout)?;
                check_rate("recurrent_dropout", self.recurrent_dropout)?;
                for activation in [&self.activation, &self.recurrent_activation] {
                    activation.check()?;
                    if *activation == Activation::Glu {
                        let expected = "one that keeps the number of channels";
                        return Err(Error::argument("activation", expected, activation));
                    }
                }
                arguments.expect_only(&[INITIAL_STATE])?;
                let (input, given) = split_states(inputs, arguments)?;
                let (_, state) = self.shapes(input)?;
                let steps = input.sizes()[1];
                Way::check(steps, input)?;
                check_states(given, &[state.clone(), state.clone()])?;
                let output = match self.return_sequences {
                    true => {
                        let mut sizes = state.sizes().to_vec();
                        sizes.insert(1, steps);
                        Shape::new(sizes)
                    }
                    false => state.clone(),
                };
                let states = if self.return_state { 2 } else { 0 };
                Ok(std::iter::once(output).chain(std::iter::repeat_n(state, states)).collect())
            }

            fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
                let channels = self.shapes(input)?.0.last()?;
                let gates = self.filters.saturating_mul(4);
                let kernel = |name, channels, initializer: &Initializer| {
                    let sizes = [self.kernel_size.0.as_slice(), &[channels, gates]].concat();
                    WeightSpec::new(name, sizes, initializer.clone()).in_group("cell")
                };
                let mut specs = vec![
                    kernel("kernel", channels, &self.kernel_initializer)
                        .regularizer(&self.kernel_regularizer)
                        .constraint(&self.kernel_constraint),
                    kernel("recurrent_kernel", self.filters, &self.recurrent_initializer)
                        .regularizer(&self.recurrent_regularizer)
                        .constraint(&self.recurrent_constraint),
                ];
                if self.use_bias {
                    let ones = if self.unit_forget_bias { self.filters..self.filters.saturating_mul(2) } else { 0..0 };
                    let bias = WeightSpec::new("bias", [gates], self.bias_initializer.clone());
                    let bias = bias.regularizer(&self.bias_regularizer).constraint(&self.bias_constraint);
                    specs.push(bias.with_ones(ones).in_group("cell"));
                }
                Ok(specs)
            }

            fn supports_masking(&self) -> bool {
                true
            }

            fn takes_initial_state(&self) -> bool {
                true
            }

            fn is_stateful(&self) -> bool {
                self.stateful
            }

            fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
                let (step, state) = self.shapes(input)?;
                let (batch, steps) = (input.sizes()[0].unwrap_or(1), input.sizes()[1].unwrap_or(1));
                let all = step.with_batch(batch.saturating_mul(steps));
                let state = self.data_format.to_channels_last(&state).with_batch(batch);
                let gates = self.of_inputs().output_shape(&all)?.known_len();
                let states = state.known_len().saturating_mul(steps);
                // With dropout each gate has its own copy of the inputs or the state.
                let times = |rate: f32| if rate > 0.0 && training { 4 } else { 1 };
                let each = |conv: &$conv, input: &Shape| -> Result<usize> {
                    Ok(conv.scratch(input, training)?.saturating_add(conv.momentary(input, training)?))
                };
                // Plus a reversed copy.
                let inputs = all.known_len().saturating_mul(times(self.dropout) + 1);
                let over_inputs = each(&self.of_inputs(), &all)?.saturating_mul(times(self.dropout));
                let over_state = each(&self.of_state(), &state)?.saturating_mul(times(self.recurrent_dropout));
                let over_state = over_state.saturating_mul(if training { steps } else { 1 });
                let described = graph_nodes(steps, training).saturating_mul(times(self.recurrent_dropout));
                let parts = [gates.saturating_mul(3), states.saturating_mul(12), inputs, over_inputs, over_state, described];
                Ok(parts.into_iter().fold(0, usize::saturating_add))
            }

            fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
                Ok(self.forward_all(vec![input], call)?.remove(0))
            }

            fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
                let (input, given) = sequence_and_states(inputs, 2)?;
                let sizes = input.sizes();
                let (batch, steps, device) = (sizes[0], sizes[1], input.device());
                let outer = call.mask.take();
                let mask = mask_in_use(&outer, &given, call).map(|mask| of_steps(mask, &sizes[..2])).transpose()?;
                let weights = call.weights();
                let (of_inputs, of_state) = (self.of_inputs(), self.of_state());

                let all = input.reshape(&[&[batch * steps], &sizes[2..]].concat())?;
                let all = ops::to_channels_last(all, self.data_format);
                let by = if self.use_bias { vec![weights[0].clone(), weights[2].clone()] } else { vec![weights[0].clone()] };
                let in_steps = |value: Value| {
                    let sizes = value.sizes();
                    value.reshape(&[&[batch, steps], &sizes[1..]].concat())
                };
                let of_all = |value: Value| {
                    let sizes = value.sizes();
                    value.reshape(&[&[batch * steps], &sizes[2..]].concat())
                };
                let training = call.training_mode();
                let mut drop = |value: Value| {
                    let value = in_steps(value)?;
                    let mut noise = value.sizes();
                    noise[1] = 1;
                    of_all(drop_out(value, &noise, self.dropout, &mut call.rng(self.seed))?)
                };
                let dropped = training && self.dropout > 0.0;
                let gates = self.by_gates(&of_inputs, &by, all, if dropped { Some(&mut drop) } else { None })?;
                let gates = in_steps(gates)?;

                let mut state_sizes = gates.sizes();
                state_sizes.remove(1);
                let last = state_sizes.len() - 1;
                state_sizes[last] = self.filters;
                let zeros = Value::full(&state_sizes, 0.0, &device)?;
                let dropped = training && self.recurrent_dropout > 0.0;
                let kept = (0..if dropped { 4 } else { 0 }).map(|_| {
                    let ones = zeros.clone().add_scalar(1.0);
                    drop_out(ones, &state_sizes, self.recurrent_dropout, &mut call.rng(self.seed))
                });
                let kept: Vec<Value> = kept.collect::<Result<_>>()?;
                let in_format = |value: Value| ops::from_channels_last(value, self.data_format);
                let given = match given.is_empty() && self.stateful {
                    true => call.kept_states(&vec![in_format(zeros.clone()).sizes(); 2])?,
                    false => given,
                };
                let is_zero = given.is_empty();
                let states = match is_zero {
                    true => vec![zeros.clone(), zeros],
                    false => given.into_iter().map(|state| ops::to_channels_last(state, self.data_format)).collect(),
                };
                let inputs = each_step(gates);
                let by = [weights[1].clone()];
                let (output, states) = self.way().through(
                    steps,
                    mask.as_ref(),
                    InitialState { states, is_zero },
                    |index, before| {
                        let mut gate = 0;
                        let mut drop = |value: Value| {
                            gate += 1;
                            Ok(value * kept[gate - 1].clone())
                        };
                        let drop: Option<&mut dyn FnMut(Value) -> Result<Value>> =
                            if kept.is_empty() { None } else { Some(&mut drop) };
                        let gates = inputs(index)? + self.by_gates(&of_state, &by, before[0].clone(), drop)?;
                        let part = |gate: usize, activation: &Activation| {
                            activation.apply(gates.clone().narrow(last, gate * self.filters, self.filters))
                        };
                        let states = lstm_states(part, &before[1], &self.activation, &self.recurrent_activation)?;
                        Ok(After { output: None, states })
                    },
                )?;
                let output = match self.return_sequences {
                    true => in_steps(in_format(of_all(output)?))?,
                    false => in_format(output),
                };
                let states: Vec<Value> = states.into_iter().map(in_format).collect();
                if self.stateful {
                    call.keep_states(&states);
                }
                let outputs = self.way().with_states(output, states, outer, call);
                for output in &outputs {
                    call.add_activity_loss(&self.activity_regularizer, output)?;
                }
                Ok(outputs)
            }
        }
    };
}

conv_lstm! {
    /// Long short-term memory over sequences of lines (Shi et al. 2015): an [`LSTM`](super::LSTM) whose matrix products
    /// are convolutions.
    ///
    /// # Shapes
    /// `(batch, steps, cells, channels)` → `(batch, new_cells, filters)`, or `(batch, steps, new_cells, filters)` with
    /// `return_sequences`; with `return_state` also h and c after the last step. Weights: `kernel` (window, channels,
    /// 4 · filters), `recurrent_kernel` (window, filters, 4 · filters) and `bias` (4 · filters), in the order i, f, g, o.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(ConvLSTM1D::new(4, 3).input_shape((5, 10, 2)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 8, 4)");
    /// assert_eq!(model.count_params()?, 3 * 2 * 16 + 3 * 4 * 16 + 16);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ConvLSTM1D, 1, Conv1D
}

conv_lstm! {
    /// Long short-term memory over sequences of images (Shi et al. 2015): an [`LSTM`](super::LSTM) whose matrix
    /// products are convolutions.
    ///
    /// # Shapes
    /// `(batch, steps, rows, columns, channels)` → `(batch, new_rows, new_columns, filters)`, or with a dimension of
    /// steps after the batch's with `return_sequences`; with `return_state` also h and c after the last step. Weights:
    /// `kernel` (window, channels, 4 · filters), `recurrent_kernel` (window, filters, 4 · filters) and `bias`
    /// (4 · filters), in the order i, f, g, o.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(ConvLSTM2D::new(4, 3).padding(Padding::Same).return_sequences(true).input_shape((5, 10, 10, 2)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 5, 10, 10, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ConvLSTM2D, 2, Conv2D
}

conv_lstm! {
    /// Long short-term memory over sequences of volumes (Shi et al. 2015): an [`LSTM`](super::LSTM) whose matrix
    /// products are convolutions.
    ///
    /// # Shapes
    /// `(batch, steps, depth, rows, columns, channels)` → `(batch, new_depth, new_rows, new_columns, filters)`, or with
    /// a dimension of steps after the batch's with `return_sequences`; with `return_state` also h and c after the last
    /// step. Weights: `kernel` (window, channels, 4 · filters), `recurrent_kernel` (window, filters, 4 · filters) and
    /// `bias` (4 · filters), in the order i, f, g, o.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(ConvLSTM3D::new(4, 3).input_shape((5, 6, 6, 6, 1)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 4, 4, 4, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ConvLSTM3D, 3, Conv3D
}

impl BuiltIn for ConvLSTM1D {
    fn renew(config: &mut crate::config::Config, keras_2: bool) {
        super::renew_gates(config, keras_2);
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(2, 2), Shape::batch_of((3, 4, 2))),
            (Self::new(2, 3).data_format(DataFormat::ChannelsFirst).return_sequences(true), Shape::batch_of((2, 2, 5))),
            (Self::new(2, 2).dropout(0.3).recurrent_dropout(0.3).use_bias(false), Shape::batch_of((3, 4, 2))),
        ]
    }
}

impl BuiltIn for ConvLSTM2D {
    fn renew(config: &mut crate::config::Config, keras_2: bool) {
        super::renew_gates(config, keras_2);
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(2, 2).padding(Padding::Same).return_sequences(true), Shape::batch_of((2, 3, 4, 1))),
            (Self::new(1, 3).strides(2).recurrent_activation("hard_sigmoid"), Shape::batch_of((2, 5, 5, 2))),
            (Self::new(1, 2).dilation_rate(2).go_backwards(true).dropout(0.3), Shape::batch_of((2, 4, 4, 1))),
        ]
    }
}

impl BuiltIn for ConvLSTM3D {
    fn renew(config: &mut crate::config::Config, keras_2: bool) {
        super::renew_gates(config, keras_2);
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(1, 2).recurrent_dropout(0.3), Shape::batch_of((2, 3, 2, 3, 1)))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// The same values with the axes in the other order.
    #[test]
    fn channels_first_agrees_with_channels_last() {
        let ramp = |count: usize| (0..count).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
        let of = |sizes: &[usize]| Value::from_vec(ramp(sizes.iter().product()), sizes, &Device::flex()).unwrap();
        let weights = [of(&[2, 2, 3, 8]), of(&[2, 2, 2, 8]), of(&[8])];
        let layer = ConvLSTM2D::new(2, 2).return_sequences(true).return_state(true);
        let first = layer.clone().data_format(DataFormat::ChannelsFirst);
        let input = of(&[2, 3, 4, 5, 3]);
        let last = layer.forward_all(vec![input.clone()], &mut Call::inference(&weights)).unwrap();
        let input = input.permute(&[0, 1, 4, 2, 3]);
        let outputs = first.forward_all(vec![input], &mut Call::inference(&weights)).unwrap();
        assert_eq!(outputs[0].sizes(), [2, 3, 2, 3, 4]);
        for (output, last) in outputs.into_iter().zip(last) {
            let order: &[usize] = if last.rank() == 5 { &[0, 1, 4, 2, 3] } else { &[0, 3, 1, 2] };
            let (output, last) = (output.to_vec().unwrap(), last.permute(order).to_vec().unwrap());
            assert!(output.iter().zip(&last).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }

    #[test]
    fn unsupported_arguments_are_refused() {
        let film = Shape::batch_of((3, 4, 4, 1));
        let refused = |layer: ConvLSTM2D| layer.output_shape(&film).unwrap_err().to_string();
        assert!(refused(ConvLSTM2D::new(0, 2)).contains("filters"));
        assert!(refused(ConvLSTM2D::new(2, 5)).contains("rows"));
        assert!(refused(ConvLSTM2D::new(2, 2).padding(Padding::Causal)).contains("causal"));
        assert!(refused(ConvLSTM2D::new(2, 2).strides(2).dilation_rate(2)).contains("strides"));
        assert!(refused(ConvLSTM2D::new(2, 2).return_state(true)).contains("return_state"));
        assert!(refused(ConvLSTM2D::new(2, 2).activation("glu")).contains("channels"));
        let open = Shape::new([None, Some(3), None, Some(4), Some(1)]);
        assert!(ConvLSTM2D::new(2, 2).output_shape(&open).is_err());
    }
}
