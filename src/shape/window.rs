//! Windows along one spatial dimension, and padding.

use serde::Deserialize;

use crate::config::words;
use crate::error::{Error, Result};

/// The treatment of an image's border, as in Keras: `Padding::Same`, or the word `"same"`.
///
/// ```
/// use brasa::prelude::*;
/// let mut model = Sequential::new();
/// model.add(Conv2D::new(8, 3).padding("same").input_shape((28, 28, 1)))?;
/// assert_eq!(model.output_shape()?.to_string(), "(None, 28, 28, 8)");
/// let error = model.add(Conv2D::new(8, 3).padding("sam")).unwrap_err();
/// assert!(error.to_string().contains("did you mean `same`?"), "{error}");
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Padding {
    /// No padding: windows stay inside.
    #[default]
    Valid,
    /// Zeros around the image such that with stride 1 the output is as large as the input.
    Same,
    /// Zeros before the input only, so that no output sees what comes after it (`Conv1D`).
    Causal,
    /// An unknown word. It is kept until the layer is added, whose error names the layer and lists the valid words, so
    /// that `.padding("same")` needs no `?`.
    Unknown(&'static str),
}

words! { Padding: "padding" { Valid = "valid", Same = "same", Causal = "causal" } }

impl<'de> Deserialize<'de> for Padding {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let names = [("valid", Self::Valid), ("same", Self::Same), ("causal", Self::Causal)];
        crate::config::one_of("padding", &value, &names)
    }
}

impl Padding {
    /// Rejects `causal`, which only makes sense along time.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub(crate) fn refuse_causal(self) -> Result<()> {
        match self {
            Self::Causal => Err(Error::argument("padding", "`valid` or `same`", "`causal`")),
            _ => Ok(()),
        }
    }
}

/// One spatial dimension of a convolution or pooling: a window of `size` cells, `dilation` apart, moved by `stride`.
///
/// Formulas: Keras's `compute_conv_output_shape`; `Same` follows TensorFlow's rule, the odd cell goes to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// The number of cells of the window.
    pub size: usize,
    /// The step from one window to the next.
    pub stride: usize,
    /// The distance between the cells of a window.
    pub dilation: usize,
}

impl SlidingWindow {
    /// The extent of a window in the input: `(size − 1) · dilation + 1`.
    ///
    /// ```
    /// # use brasa::shape::SlidingWindow;
    /// assert_eq!(SlidingWindow { size: 3, stride: 1, dilation: 2 }.span(), 5);
    /// ```
    pub fn span(&self) -> usize {
        self.size.saturating_sub(1).saturating_mul(self.dilation).saturating_add(1)
    }

    /// Rejects a window whose span would overflow in sums of sizes and padding.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the dimension.
    pub(crate) fn check_span(&self, what: &str) -> Result<()> {
        if self.span() <= MOST_CELLS {
            return Ok(());
        }
        Err(Error::shape(format!("windows of at most {MOST_CELLS} {what}"), self.span()))
    }

    /// The number of windows along an input of `length`; `None` if none fits.
    ///
    /// ```
    /// # use brasa::shape::{Padding, SlidingWindow};
    /// let window = SlidingWindow { size: 5, stride: 1, dilation: 1 };
    /// assert_eq!(window.count(28, Padding::Valid), Some(24));
    /// assert_eq!(window.count(28, Padding::Same), Some(28));
    /// assert_eq!(window.count(4, Padding::Valid), None);
    /// ```
    pub fn count(&self, length: usize, padding: Padding) -> Option<usize> {
        let count = match padding {
            Padding::Valid => length.checked_sub(self.span())?.checked_div(self.stride)? + 1,
            Padding::Same | Padding::Causal => {
                length.checked_add(self.stride.checked_sub(1)?)?.checked_div(self.stride)?
            }
            Padding::Unknown(_) => return None,
        };
        (count > 0).then_some(count)
    }

    /// Cells to add before and after an input of `length`.
    ///
    /// ```
    /// # use brasa::shape::{Padding, SlidingWindow};
    /// let window = SlidingWindow { size: 2, stride: 1, dilation: 1 };
    /// assert_eq!(window.pads(6, Padding::Same), (0, 1)); // the odd cell goes to the end
    /// assert_eq!(window.pads(6, Padding::Valid), (0, 0));
    /// ```
    pub fn pads(&self, length: usize, padding: Padding) -> (usize, usize) {
        match padding {
            Padding::Valid | Padding::Unknown(_) => (0, 0),
            Padding::Causal => (self.span() - 1, 0),
            Padding::Same => {
                let count = self.count(length, padding).unwrap_or(0);
                let covered = count.saturating_sub(1).saturating_mul(self.stride).saturating_add(self.span());
                let total = covered.saturating_sub(length);
                (total / 2, total - total / 2)
            }
        }
    }
}

/// The most cells of a dimension, so that sums of sizes and padding do not overflow.
const MOST_CELLS: usize = 1 << 30;

/// The number of windows along an input dimension, with an error that says why there is none.
///
/// # Errors
/// [`Error::Shape`] naming the dimension, the window and the input's length.
pub(crate) fn count_windows(
    what: &str,
    length: Option<usize>,
    window: SlidingWindow,
    padding: Padding,
) -> Result<Option<usize>> {
    let Some(length) = length else { return Ok(None) };
    if window.span() > MOST_CELLS || length > MOST_CELLS {
        return Err(Error::shape(
            format!("windows and inputs of at most {MOST_CELLS} {what}"),
            window.span().max(length),
        ));
    }
    window.count(length, padding).map(Some).ok_or_else(|| {
        Error::shape(format!("an input of at least {} {what} for a window of {}", window.span(), window.span()), length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_follows_dilation() {
        let window = SlidingWindow { size: 3, stride: 1, dilation: 2 };
        assert_eq!(window.count(6, Padding::Same), Some(6));
        assert_eq!(window.pads(6, Padding::Same), (2, 2));
    }

    #[test]
    fn same_padding_with_stride() {
        let window = SlidingWindow { size: 3, stride: 2, dilation: 1 };
        assert_eq!(window.count(7, Padding::Same), Some(4));
        assert_eq!(window.pads(7, Padding::Same), (1, 1));
        assert_eq!(window.pads(8, Padding::Same), (0, 1));
    }

    #[test]
    fn a_zero_stride_counts_nothing() {
        let window = SlidingWindow { size: 2, stride: 0, dilation: 1 };
        assert_eq!(window.count(8, Padding::Same), None);
        assert_eq!(window.count(8, Padding::Valid), None);
    }
}
