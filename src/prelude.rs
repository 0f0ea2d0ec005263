//! What a program that builds and trains models needs: `use brasa::prelude::*;`.

pub use crate::activations::Activation;
pub use crate::backend::Backend;
#[cfg(feature = "csv")]
pub use crate::callbacks::CSVLogger;
#[cfg(feature = "tensorboard")]
pub use crate::callbacks::TensorBoard;
pub use crate::callbacks::{
    self, Callback, EarlyStopping, LearningRateScheduler, ModelCheckpoint, ReduceLROnPlateau, TerminateOnNaN,
};
pub use crate::constraints::Constraint;
pub use crate::datasets::{self, Dataset, Samples, Source};
pub use crate::initializers::Initializer;
pub use crate::layers::{
    self, ActivationLayer, ActivityRegularization, AdaptiveAveragePooling1D, AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D, AdaptiveMaxPooling1D, AdaptiveMaxPooling2D, AdaptiveMaxPooling3D, Add, AdditiveAttention,
    AlphaDropout, Attention, AugMix, AutoContrast, Average, AveragePooling1D, AveragePooling2D, AveragePooling3D,
    BatchNormalization, Bidirectional, CategoryEncoding, CenterCrop, Concatenate, Conv1D, Conv1DTranspose, Conv2D,
    Conv2DTranspose, Conv3D, Conv3DTranspose, ConvLSTM1D, ConvLSTM2D, ConvLSTM3D, Cropping1D, Cropping2D, Cropping3D,
    CustomScaleLayer, Dense, DepthwiseConv1D, DepthwiseConv2D, Discretization, Dot, Dropout, ELU, EinsumDense,
    Embedding, Equalization, Flatten, GRU, GRUCell, GaussianDropout, GaussianNoise, GlobalAveragePooling1D,
    GlobalAveragePooling2D, GlobalAveragePooling3D, GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D,
    GroupNormalization, GroupQueryAttention, HashedCrossing, Hashing, Identity, Input, IntegerLookup, LSTM, LSTMCell,
    Lambda, LayerArguments, LayerNormalization, LayerScale, LeakyReLU, Masking, MaxPooling1D, MaxPooling2D,
    MaxPooling3D, Maximum, MelSpectrogram, Minimum, MultiHeadAttention, Multiply, Normalization, PReLU, Permute,
    Pipeline, RMSNormalization, RNN, RandAugment, RandomBrightness, RandomColorDegeneration, RandomColorJitter,
    RandomContrast, RandomCrop, RandomElasticTransform, RandomErasing, RandomFlip, RandomGaussianBlur, RandomGrayscale,
    RandomHue, RandomInvert, RandomPerspective, RandomPosterization, RandomRotation, RandomSaturation, RandomSharpness,
    RandomShear, RandomTranslation, RandomZoom, ReLU, RepeatVector, Rescaling, Reshape, Resizing, ReversibleEmbedding,
    STFTSpectrogram, SeparableConv1D, SeparableConv2D, SimpleRNN, SimpleRNNCell, Softmax, Solarization,
    SpatialDropout1D, SpatialDropout2D, SpatialDropout3D, SpectralNormalization, StackedRNNCells, StochasticDepth,
    StringLookup, Subtract, TextVectorization, TimeDistributed, UnitNormalization, UpSampling1D, UpSampling2D,
    UpSampling3D, ZeroPadding1D, ZeroPadding2D, ZeroPadding3D,
};
pub use crate::losses::{
    self, BinaryCrossentropy, CategoricalCrossentropy, Huber, MeanAbsoluteError, MeanSquaredError,
    SparseCategoricalCrossentropy,
};
pub use crate::metrics::{
    self, AUC, BinaryAccuracy, CategoricalAccuracy, F1Score, Precision, Recall, RootMeanSquaredError,
    SparseCategoricalAccuracy, TopKCategoricalAccuracy,
};
pub use crate::model::{CallLayer, Model, Sequential, SharedLayer, Symbol};
pub use crate::optimizers::{
    self, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, Muon, Nadam, OptimizerArguments,
    RMSprop, SGD,
};
pub use crate::regularizers::Regularizer;
pub use crate::schedules::{
    self, CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay, PolynomialDecay,
};
pub use crate::shape::{DataFormat, Padding};
pub use crate::training::{Compile, Evaluate, Fit, Predict, Verbosity};
pub use ndarray;
