//! What a program that builds and trains models needs: `use brasa::prelude::*;`.

pub use crate::activations::Activation;
pub use crate::backend::Backend;
pub use crate::constraints::Constraint;
pub use crate::datasets::{self, Dataset, Samples, Source};
pub use crate::initializers::Initializer;
pub use crate::layers::{
    ActivationLayer, AveragePooling2D, Conv2D, Dense, Dropout, Flatten, GlobalAveragePooling2D, Input, LayerArguments,
    MaxPooling2D, Reshape,
};
pub use crate::losses::{
    self, BinaryCrossentropy, CategoricalCrossentropy, Huber, MeanAbsoluteError, MeanSquaredError,
    SparseCategoricalCrossentropy,
};
pub use crate::metrics::{
    self, AUC, BinaryAccuracy, CategoricalAccuracy, F1Score, Precision, Recall, RootMeanSquaredError,
    SparseCategoricalAccuracy, TopKCategoricalAccuracy,
};
pub use crate::model::Sequential;
pub use crate::optimizers::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, Muon, Nadam, OptimizerArguments, RMSprop, SGD,
};
pub use crate::regularizers::Regularizer;
pub use crate::schedules::{
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay, PolynomialDecay,
};
pub use crate::shape::{DataFormat, Padding};
pub use crate::training::{Compile, Evaluate, Fit, Predict, Verbosity};
pub use ndarray;
