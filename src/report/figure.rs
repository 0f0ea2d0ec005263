//! Charts or the diagram of a network, as SVG or PNG.

use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::OnceLock;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::cannot_draw;
use super::chart::{self, Chart};
use super::network::Network;
use super::style::DrawingStyle;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomically;
use crate::text::{extension, printable_lines};

/// SVG units per pixel: the plotting library knows only integers.
const SVG_SCALE: u32 = 4;

/// PNG pixels per pixel of the page, for sharp text.
const PNG_SCALE: u32 = 2;

/// The most pixels of a PNG.
const MOST_PIXELS: u64 = 100_000_000;

/// A placeholder in an SVG for the colour of the surrounding text.
const SVG_INK: RGBColor = RGBColor(1, 2, 3);

/// The colour of lines, text and axes in a PNG, on white.
const PNG_INK: RGBColor = RGBColor(31, 35, 40);

/// Charts, or the diagram of a network, that can be rendered as SVG and as PNG.
///
/// An SVG has no background and takes the colours of a dark or a light page; a PNG is dark on white.
#[derive(Clone, Debug)]
pub struct Figure(Drawing);

#[derive(Clone, Debug)]
enum Drawing {
    Charts(Vec<Chart>),
    Network(Network),
}

impl Figure {
    pub(super) fn charts(charts: Vec<Chart>) -> Self {
        Self(Drawing::Charts(charts))
    }

    pub(super) fn network(network: Network) -> Self {
        Self(Drawing::Network(network))
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        match &self.0 {
            Drawing::Charts(charts) => (chart::WIDTH, charts.iter().map(Chart::height).sum::<u32>().max(1)),
            Drawing::Network(network) => network.size(),
        }
    }

    /// An alternative text for the charts or the diagram.
    pub fn title(&self) -> String {
        match &self.0 {
            Drawing::Charts(charts) => charts.iter().map(Chart::described).collect::<Vec<_>>().join("; "),
            Drawing::Network(network) => network.described(),
        }
    }

    /// A standalone file, with a light or dark background as the viewer prefers.
    ///
    /// # Errors
    /// [`Error::Io`] if the plotting library cannot draw it.
    pub fn svg(&self) -> Result<String> {
        let style = "<style>svg{color:#1f2328;background:#fff}\
                     @media(prefers-color-scheme:dark){svg{color:#e6e8eb;background:#15181c}}</style>\n";
        self.svg_with(" xmlns=\"http://www.w3.org/2000/svg\"", style)
    }

    /// A fragment for an HTML page, which takes the colour of the surrounding text.
    pub(super) fn inline_svg(&self) -> Result<String> {
        self.svg_with("", "")
    }

    fn svg_with(&self, attributes: &str, style: &str) -> Result<String> {
        let (width, height) = self.size();
        let mut drawn = String::new();
        {
            let backend = SVGBackend::with_string(&mut drawn, (width * SVG_SCALE, height * SVG_SCALE));
            self.draw(&backend.into_drawing_area(), DrawingStyle { scale: SVG_SCALE, ink: SVG_INK })?;
        }
        let ink = format!("=\"#{:02X}{:02X}{:02X}\"", SVG_INK.0, SVG_INK.1, SVG_INK.2);
        let drawn = drawn.replace(&ink, "=\"currentColor\"");
        let inside = drawn.split_once('>').map_or("", |(_, inside)| inside);
        let view = format!("0 0 {} {}", width * SVG_SCALE, height * SVG_SCALE);
        let title = maud::html! { title { (self.title()) } }.into_string();
        Ok(printable_lines(&format!(
            "<svg{attributes} viewBox=\"{view}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n{title}\n{style}{}",
            inside.trim_start()
        )))
    }

    /// A PNG at twice the size in pixels, dark on white.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a chart or diagram too large for one, [`Error::Io`] if it cannot be drawn.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = (self.size().0 * PNG_SCALE, self.size().1 * PNG_SCALE);
        if u64::from(width) * u64::from(height) > MOST_PIXELS {
            let what = format!("a PNG of {width} × {height} pixels");
            return Err(Error::unsupported(what, format!("{MOST_PIXELS} pixels, or SVG, which has no limit")));
        }
        let mut pixels = vec![255; (width * height * 3) as usize];
        {
            let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
            self.draw(&backend.into_drawing_area(), DrawingStyle { scale: PNG_SCALE, ink: PNG_INK })?;
        }
        let image = ::image::RgbImage::from_raw(width, height, pixels)
            .ok_or_else(|| cannot_draw("the pixels are not as many as they should be"))?;
        let mut png = Cursor::new(Vec::new());
        image.write_to(&mut png, ::image::ImageFormat::Png).map_err(cannot_draw)?;
        Ok(png.into_inner())
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, style: DrawingStyle) -> Result<()> {
        font()?;
        match &self.0 {
            Drawing::Charts(charts) => {
                let mut rest = area.clone();
                for chart in charts {
                    let (own, below) = rest.split_vertically(style.px(f64::from(chart.height())));
                    chart.draw(&own, style).map_err(cannot_draw)?;
                    rest = below;
                }
            }
            Drawing::Network(network) => network.draw(area, style).map_err(cannot_draw)?,
        }
        area.present().map_err(cannot_draw)
    }

    /// Writes a file, atomically, in the format of its extension: `.svg` or `.png`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another extension; [`Error::Io`] if it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = match extension(path).as_str() {
            "svg" => self.svg()?.into_bytes(),
            "png" => self.png()?,
            _ => return Err(Error::unsupported(format!("a drawing as `{}`", path.display()), "`.svg`, `.png`")),
        };
        write_atomically(path, |file| file.write_all(&bytes).map_err(Error::io("write", path)))
    }
}

/// Registers the font with which the plotting library measures and draws text, once.
fn font() -> Result<()> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let register = || register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok();
    if *DONE.get_or_init(register) { Ok(()) } else { Err(cannot_draw("the font is broken")) }
}
