//! The recurrent layers, and wrappers along time.

mod bidirectional;
mod cell;
mod conv_lstm;
mod gru;
mod lstm;
mod rnn;
mod shared;
mod simple_rnn;
mod stacked_rnn_cells;
mod steps;
mod time_distributed;

pub use bidirectional::{Bidirectional, MergeMode};
pub use cell::RnnCell;
pub(super) use cell::refuse_call;
pub use conv_lstm::{ConvLSTM1D, ConvLSTM2D, ConvLSTM3D};
pub use gru::{GRU, GRUCell};
pub use lstm::{LSTM, LSTMCell};
pub use rnn::RNN;
pub use simple_rnn::{SimpleRNN, SimpleRNNCell};
pub use stacked_rnn_cells::StackedRNNCells;
pub use steps::Way;
pub use time_distributed::TimeDistributed;

/// Declares a recurrent layer with `$gates` gates and `$states` states, and its cell for one step: the arguments that
/// all of them share, and their own.
macro_rules! recurrent {
    (
        $(#[$doc:meta])* $name:ident, $cell:ident, $gates:literal, $states:literal,
        [$($(#[$own_doc:meta])* $own:ident : $own_type:ty = $own_default:expr,)*]
    ) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The number of output features.
                units: usize,
                /// Applied to the output of a step.
                activation: crate::Activation = crate::Activation::Tanh,
                $($(#[$own_doc])* $own: $own_type = $own_default,)*
                /// Whether a bias is added.
                use_bias: bool = true,
                /// The initializer of the kernel.
                kernel_initializer: crate::initializers::Initializer =
                    crate::initializers::Initializer::GlorotUniform { seed: None },
                /// The initializer of the recurrent kernel.
                recurrent_initializer: crate::initializers::Initializer =
                    crate::initializers::Initializer::Orthogonal { gain: 1.0, seed: None },
                /// The initializer of the bias.
                bias_initializer: crate::initializers::Initializer = crate::initializers::Initializer::Zeros {},
                /// The penalty on the kernel.
                kernel_regularizer: Option<crate::regularizers::Regularizer> = None,
                /// The penalty on the recurrent kernel.
                recurrent_regularizer: Option<crate::regularizers::Regularizer> = None,
                /// The penalty on the bias.
                bias_regularizer: Option<crate::regularizers::Regularizer> = None,
                /// The penalty on the outputs.
                activity_regularizer: Option<crate::regularizers::Regularizer> = None,
                /// The constraint on the kernel.
                kernel_constraint: Option<crate::constraints::Constraint> = None,
                /// The constraint on the recurrent kernel.
                recurrent_constraint: Option<crate::constraints::Constraint> = None,
                /// The constraint on the bias.
                bias_constraint: Option<crate::constraints::Constraint> = None,
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
            /// A layer with `units` outputs.
            pub fn new(units: usize) -> Self {
                Self::required(units)
            }

            fn shared(&self) -> super::shared::RecurrentArguments<'_> {
                super::shared::RecurrentArguments {
                    gates: $gates,
                    units: self.units,
                    use_bias: self.use_bias,
                    kernel: (&self.kernel_initializer, &self.kernel_regularizer, &self.kernel_constraint),
                    recurrent: (&self.recurrent_initializer, &self.recurrent_regularizer, &self.recurrent_constraint),
                    bias: (&self.bias_initializer, &self.bias_regularizer, &self.bias_constraint),
                    activity_regularizer: &self.activity_regularizer,
                    dropout: self.dropout,
                    recurrent_dropout: self.recurrent_dropout,
                    seed: self.seed,
                    way: super::Way {
                        return_sequences: self.return_sequences,
                        return_state: self.return_state,
                        go_backwards: self.go_backwards,
                        zero_output_for_mask: self.zero_output_for_mask,
                    },
                    stateful: self.stateful,
                }
            }
        }

        crate::describe! {
            #[doc = concat!("What [`", stringify!($name), "`] does in one step, as the cell of an [`RNN`](super::RNN).")]
            #[doc = ""]
            #[doc = "```"]
            #[doc = "use brasa::prelude::*;"]
            #[doc = "let mut model = Sequential::new();"]
            #[doc = concat!("model.add(RNN::new(", stringify!($cell), "::new(4)).input_shape((10, 8)))?;")]
            #[doc = "assert_eq!(model.output_shape()?.to_string(), \"(None, 4)\");"]
            #[doc = "# Ok::<(), brasa::Error>(())"]
            #[doc = "```"]
            pub layer struct $cell {
                /// The number of output features.
                units: usize,
                /// Applied to the output of a step.
                activation: crate::Activation = crate::Activation::Tanh,
                $($(#[$own_doc])* $own: $own_type = $own_default,)*
                /// Whether a bias is added.
                use_bias: bool = true,
                /// The initializer of the kernel.
                kernel_initializer: crate::initializers::Initializer =
                    crate::initializers::Initializer::GlorotUniform { seed: None },
                /// The initializer of the recurrent kernel.
                recurrent_initializer: crate::initializers::Initializer =
                    crate::initializers::Initializer::Orthogonal { gain: 1.0, seed: None },
                /// The initializer of the bias.
                bias_initializer: crate::initializers::Initializer = crate::initializers::Initializer::Zeros {},
                /// The penalty on the kernel.
                kernel_regularizer: Option<crate::regularizers::Regularizer> = None,
                /// The penalty on the recurrent kernel.
                recurrent_regularizer: Option<crate::regularizers::Regularizer> = None,
                /// The penalty on the bias.
                bias_regularizer: Option<crate::regularizers::Regularizer> = None,
                /// The constraint on the kernel.
                kernel_constraint: Option<crate::constraints::Constraint> = None,
                /// The constraint on the recurrent kernel.
                recurrent_constraint: Option<crate::constraints::Constraint> = None,
                /// The constraint on the bias.
                bias_constraint: Option<crate::constraints::Constraint> = None,
                /// The fraction of the inputs to drop in training, the same at every step.
                dropout: f32 = 0.0,
                /// The fraction of the state to drop in training, the same at every step.
                recurrent_dropout: f32 = 0.0,
                /// The layer's seed, in place of the run's.
                seed: Option<u64> = None,
            }
        }

        impl $cell {
            /// A cell with `units` outputs.
            pub fn new(units: usize) -> Self {
                Self::required(units)
            }

            /// The layer that computes all steps of this cell.
            fn whole(&self, way: super::Way) -> $name {
                let mut layer = $name::new(self.units);
                layer.common = self.common.clone();
                layer.units = self.units.clone();
                layer.activation = self.activation.clone();
                layer.use_bias = self.use_bias.clone();
                layer.kernel_initializer = self.kernel_initializer.clone();
                layer.recurrent_initializer = self.recurrent_initializer.clone();
                layer.bias_initializer = self.bias_initializer.clone();
                layer.kernel_regularizer = self.kernel_regularizer.clone();
                layer.recurrent_regularizer = self.recurrent_regularizer.clone();
                layer.bias_regularizer = self.bias_regularizer.clone();
                layer.kernel_constraint = self.kernel_constraint.clone();
                layer.recurrent_constraint = self.recurrent_constraint.clone();
                layer.bias_constraint = self.bias_constraint.clone();
                layer.dropout = self.dropout.clone();
                layer.recurrent_dropout = self.recurrent_dropout.clone();
                layer.seed = self.seed.clone();
                $(layer.$own = self.$own.clone();)*
                layer
                    .return_sequences(way.return_sequences)
                    .return_state(way.return_state)
                    .go_backwards(way.go_backwards)
                    .zero_output_for_mask(way.zero_output_for_mask)
            }
        }

        impl crate::layers::Layer for $cell {
            fn weights(
                &self,
                input: &crate::shape::Shape,
            ) -> crate::error::Result<Vec<crate::layers::WeightSpec>> {
                super::cell::weights_of_step(&self.whole(super::Way::default()), input)
            }

            fn as_cell(&self) -> Option<&dyn super::RnnCell> {
                Some(self)
            }
        }

        impl super::RnnCell for $cell {
            fn state_size(&self) -> Vec<usize> {
                vec![self.units; $states]
            }

            fn step(
                &self,
                input: crate::Value,
                states: Vec<crate::Value>,
                call: &mut crate::layers::Call<'_>,
            ) -> crate::error::Result<(crate::Value, Vec<crate::Value>)> {
                let layer = self.whole(super::Way { return_state: true, ..super::Way::default() });
                super::cell::single_step(&layer, input, states, call)
            }

            fn whole(&self, way: super::Way) -> Option<Box<dyn crate::layers::Layer>> {
                Some(Box::new(self.whole(way)))
            }
        }

        impl crate::layers::BuiltIn for $cell {
            fn renew(config: &mut crate::config::Config, keras_2: bool) {
                <$name as crate::layers::BuiltIn>::renew(config, keras_2);
            }
        }
    };
}
use recurrent;

/// Sets the gates' activation of files older than Keras 3, which do not contain it.
fn renew_gates(config: &mut crate::config::Config, keras_2: bool) {
    if keras_2 {
        config.entry("recurrent_activation").or_insert(serde_json::json!("hard_sigmoid"));
    }
}
