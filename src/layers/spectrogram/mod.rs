//! The spectrogram layers.

mod mel_spectrogram;
mod stft_spectrogram;

pub use mel_spectrogram::MelSpectrogram;
pub use stft_spectrogram::{STFTSpectrogram, SpectrogramMode};
