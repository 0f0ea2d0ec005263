//! Layers and models together: the contract of layers, errors, and the notebook's summaries.

mod augmentation;
mod behaviour;
mod contract;
mod errors;
mod notebook;
mod own_layers;
mod reference;
mod several;
mod spectrogram;
mod text;
mod zero_axes;
