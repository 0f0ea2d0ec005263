//! The layers that show which frequencies a sound has, and when.

mod mel_spectrogram;
mod stft_spectrogram;

pub use mel_spectrogram::MelSpectrogram;
pub use stft_spectrogram::{STFTSpectrogram, SpectrogramMode};
