//! Drawing styles.

use plotters::prelude::*;

/// The target of a drawing: units per pixel, and the colour of text.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrawingStyle {
    pub scale: u32,
    pub ink: RGBColor,
}

impl DrawingStyle {
    /// Converts pixels to units.
    pub fn px(&self, pixels: f64) -> i32 {
        (pixels * f64::from(self.scale)).round() as i32
    }

    /// Text of this height in pixels.
    pub fn text(&self, pixels: f64, opacity: f64) -> TextStyle<'static> {
        // The library uses the line height as the font size.
        let size = pixels * 1.24 * f64::from(self.scale);
        ("sans-serif", size).into_font().color(&self.ink.mix(opacity))
    }
}
