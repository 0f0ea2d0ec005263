//! How things are drawn.

use plotters::prelude::*;

/// What is drawn on: how many units a pixel has, and the colour of text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub scale: u32,
    pub ink: RGBColor,
}

impl Style {
    /// So many pixels, in units.
    pub fn px(&self, pixels: f64) -> i32 {
        (pixels * f64::from(self.scale)).round() as i32
    }

    /// Text of this height in pixels.
    pub fn text(&self, pixels: f64, opacity: f64) -> TextStyle<'static> {
        // The library takes the height of a line for the size of a font.
        let size = pixels * 1.24 * f64::from(self.scale);
        ("sans-serif", size).into_font().color(&self.ink.mix(opacity))
    }
}
