//! The recurrent layers, and those that wrap others along time.

mod bidirectional;
mod gru;
mod lstm;
mod shared;
mod simple_rnn;
mod time_distributed;

pub use bidirectional::{Bidirectional, MergeMode};
pub use gru::GRU;
pub use lstm::LSTM;
pub use simple_rnn::SimpleRNN;
pub use time_distributed::TimeDistributed;

/// Declares a recurrent layer with `$gates` gates: the arguments that all of them have, and those of its own.
macro_rules! recurrent {
    ($(#[$doc:meta])* $name:ident, $gates:literal, [$($own:tt)*]) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// Number of features that come out.
                units: usize,
                /// Applied to what comes out of a step.
                activation: crate::Activation = crate::Activation::Tanh,
                $($own)*
                /// Whether a bias is added.
                use_bias: bool = true,
                /// How the kernel of the inputs starts.
                kernel_initializer: crate::initializers::Initializer =
                    crate::initializers::Initializer::GlorotUniform { seed: None },
                /// How the kernel of the state starts.
                recurrent_initializer: crate::initializers::Initializer =
                    crate::initializers::Initializer::Orthogonal { gain: 1.0, seed: None },
                /// How the bias starts.
                bias_initializer: crate::initializers::Initializer = crate::initializers::Initializer::Zeros {},
                /// The penalty on the kernel of the inputs.
                kernel_regularizer: Option<crate::regularizers::Regularizer> = None,
                /// The penalty on the kernel of the state.
                recurrent_regularizer: Option<crate::regularizers::Regularizer> = None,
                /// The penalty on the bias.
                bias_regularizer: Option<crate::regularizers::Regularizer> = None,
                /// The penalty on the outputs.
                activity_regularizer: Option<crate::regularizers::Regularizer> = None,
                /// The limit on the kernel of the inputs.
                kernel_constraint: Option<crate::constraints::Constraint> = None,
                /// The limit on the kernel of the state.
                recurrent_constraint: Option<crate::constraints::Constraint> = None,
                /// The limit on the bias.
                bias_constraint: Option<crate::constraints::Constraint> = None,
                /// The part of the inputs to leave out in training, the same at every step.
                dropout: f32 = 0.0,
                /// The part of the state to leave out in training, the same at every step.
                recurrent_dropout: f32 = 0.0,
                /// A seed of its own, in place of the run's.
                seed: Option<u64> = None,
                /// Whether the outputs of all steps come out, not only the last one's.
                return_sequences: bool = false,
                /// Whether the state comes out too; a Sequential model has one output, so that it cannot.
                return_state: bool = false,
                /// Whether the last step comes first; the outputs are then in this order too.
                go_backwards: bool = false,
                /// Whether a batch goes on from the state of the one before, which Brasa does not do.
                stateful: bool = false,
                /// How Keras runs the loop; the results are the same, and here it is always unrolled.
                unroll: bool = false,
                /// Whether the output of a step that a mask leaves out is 0, and not that of the step before.
                zero_output_for_mask: bool = false,
            }
        }

        impl $name {
            /// A layer with `units` outputs.
            pub fn new(units: usize) -> Self {
                Self::required(units)
            }

            fn shared(&self) -> super::shared::Shared<'_> {
                super::shared::Shared {
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
                    return_sequences: self.return_sequences,
                    return_state: self.return_state,
                    go_backwards: self.go_backwards,
                    stateful: self.stateful,
                    zero_output_for_mask: self.zero_output_for_mask,
                }
            }
        }
    };
}
use recurrent;
