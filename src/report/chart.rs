//! Line charts over epochs, learning rates or batch sizes.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::style::DrawingStyle;
use super::tidy;
use crate::text::printable;
use crate::training::LearningRates;

/// Higher values are not drawn: an axis needs room above and below.
const HIGHEST: f64 = 1e300;

/// Width of a chart in pixels.
pub(super) const WIDTH: u32 = 460;

/// Height of the part with the axes, in pixels.
const PLOT_HEIGHT: u32 = 240;

/// Heights of the title and of a row of the legend.
const TITLE_HEIGHT: u32 = 30;
const LEGEND_ROW: u32 = 18;

/// Colours that are distinguishable, and legible on white and on black.
const COLOURS: [RGBColor; 8] = [
    RGBColor(59, 130, 196),
    RGBColor(208, 112, 4),
    RGBColor(47, 158, 110),
    RGBColor(190, 90, 190),
    RGBColor(214, 72, 72),
    RGBColor(20, 150, 170),
    RGBColor(143, 138, 30),
    RGBColor(128, 138, 151),
];

type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// Lines over one axis.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub title: String,
    /// The label of the horizontal axis.
    pub x: String,
    /// Whether that axis has whole numbers only.
    pub whole: bool,
    /// The base of a logarithmic axis; the points are then exponents.
    pub powers_of: Option<u32>,
    pub lines: Vec<Line>,
    /// Named positions on the horizontal axis.
    pub marks: Vec<(f64, String)>,
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub label: String,
    pub points: Vec<(f64, f64)>,
    /// The index of the colour.
    pub colour: usize,
    /// Thin and pale, behind the others.
    pub faint: bool,
    /// Points without a line through them.
    pub dots: bool,
}

impl Line {
    pub fn colour(&self) -> (u8, u8, u8) {
        let RGBColor(red, green, blue) = COLOURS[self.colour % COLOURS.len()];
        (red, green, blue)
    }
}

impl Chart {
    /// A chart over epochs. Title and labels can come from files.
    pub fn over_epochs(title: impl AsRef<str>, mut lines: Vec<Line>) -> Self {
        lines.iter_mut().for_each(|line| line.label = printable(&line.label));
        Self {
            title: printable(title.as_ref()),
            x: "epoch".into(),
            whole: true,
            powers_of: None,
            lines,
            marks: Vec::new(),
        }
    }

    /// A chart over numbers of any size.
    pub fn over(title: impl AsRef<str>, x: &str, lines: Vec<Line>) -> Self {
        Self { x: x.into(), whole: false, ..Self::over_epochs(title, lines) }
    }

    /// The loss over the learning rates of a range test.
    pub fn of_learning_rates(rates: &LearningRates) -> Self {
        let over = |losses: &[f64]| -> Vec<(f64, f64)> {
            rates.learning_rates.iter().map(|rate| f64::from(*rate).log10()).zip(losses.iter().copied()).collect()
        };
        // A loss that explodes at the end would flatten everything else.
        let top = rates.smoothed.iter().copied().fold(0.0, f64::max);
        let raw = over(&rates.losses).into_iter().filter(|(_, loss)| *loss <= top).collect();
        let line = |label: &str, points, faint| Line { label: label.into(), points, colour: 0, faint, dots: false };
        let mark = |rate: f32, name: &str| (f64::from(rate).log10(), format!("{name} {rate:.1e}"));
        let mut marks = Vec::new();
        marks.extend(rates.steepest().map(|rate| mark(rate, "steepest")));
        marks.extend(rates.minimum_over_ten().map(|rate| mark(rate, "minimum / 10")));
        Self {
            title: "loss by learning rate".into(),
            x: "learning rate".into(),
            whole: true,
            powers_of: Some(10),
            lines: vec![line("each batch", raw, true), line("smoothed", over(&rates.smoothed), false)],
            marks,
        }
    }

    /// Throughput over batch sizes, a line for each measurement.
    pub fn of_throughput(title: &str, measured: &[(String, Vec<(usize, f64)>)]) -> Self {
        let lines = measured.iter().enumerate().map(|(colour, (label, rates))| Line {
            label: printable(label),
            points: rates.iter().map(|(batch_size, rate)| ((*batch_size as f64).log2(), *rate)).collect(),
            colour,
            faint: false,
            dots: false,
        });
        Self {
            title: printable(title),
            x: "batch size".into(),
            whole: true,
            powers_of: Some(2),
            lines: lines.collect(),
            marks: Vec::new(),
        }
    }

    /// An alternative text for the chart.
    pub fn described(&self) -> String {
        let lines = self.lines.iter().filter(|line| !(line.faint && self.lines.iter().any(|line| line.dots)));
        let lines = lines.map(|line| match (line.points.first(), line.points.last()) {
            (Some(_), Some(_)) if line.dots => format!("{} of {} samples", line.label, line.points.len()),
            (Some(first), Some(last)) => format!("{} from {} to {}", line.label, tidy(first.1), tidy(last.1)),
            _ => format!("{} without numbers", line.label),
        });
        format!("{} over {}: {}", self.title, self.x, lines.collect::<Vec<_>>().join(", "))
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        TITLE_HEIGHT + LEGEND_ROW * self.legend().len() as u32 + PLOT_HEIGHT
    }

    /// The legend in rows that fit, each entry with its left edge.
    fn legend(&self) -> Vec<Vec<(f64, &Line)>> {
        let mut rows: Vec<Vec<(f64, &Line)>> = Vec::new();
        let mut end = f64::INFINITY;
        for line in &self.lines {
            // Wide enough for any usual font.
            let width = 30.0 + 6.6 * line.label.chars().count() as f64 + 14.0;
            if end + width > f64::from(WIDTH) - 12.0 {
                rows.push(Vec::new());
                end = 14.0;
            }
            if let Some(row) = rows.last_mut() {
                row.push((end, line));
            }
            end += width;
        }
        rows
    }

    /// The chart without its faint lines.
    pub fn without_faint(mut self) -> Self {
        self.lines.retain(|line| !line.faint);
        self
    }

    /// The ranges of both axes, with margins around the points.
    pub fn ranges(&self) -> ((f64, f64), (f64, f64)) {
        let points =
            self.lines.iter().flat_map(|line| &line.points).filter(|(x, y)| x.is_finite() && y.abs() < HIGHEST);
        let (mut x, mut y) = ((f64::INFINITY, f64::NEG_INFINITY), (f64::INFINITY, f64::NEG_INFINITY));
        for (a, b) in points {
            x = (x.0.min(*a), x.1.max(*a));
            y = (y.0.min(*b), y.1.max(*b));
        }
        if x.0 > x.1 {
            return ((0.0, 1.0), (0.0, 1.0));
        }
        let wide = |(low, high): (f64, f64), share: f64, least: f64| {
            let room = if high > low { (high - low) * share } else { least };
            (low - room, high + room)
        };
        let same = (y.0.abs() * 0.1).max(1e-6);
        let (low, high) = wide(y, 0.06, same);
        // A loss is never below 0, so neither is its axis.
        (wide(x, 0.02, 0.5), (if y.0 >= 0.0 { low.max(0.0) } else { low }, high))
    }

    fn x_label(&self, x: f64) -> String {
        let whole = x.round();
        if self.whole && (x - whole).abs() > 1e-6 {
            String::new()
        } else {
            match self.powers_of {
                Some(10) => format!("1e{whole}"),
                Some(base) => tidy(f64::from(base).powf(whole)),
                None => tidy(x),
            }
        }
    }

    /// Draws the chart on an area of its size.
    pub fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, style: DrawingStyle) -> Drawn<DB> {
        let px = |pixels: f64| style.px(pixels);
        let title = style.text(14.0, 1.0).pos(Pos::new(HPos::Left, VPos::Top));
        area.draw(&Text::new(self.title.as_str(), (px(14.0), px(9.0)), title))?;
        for (row, entries) in self.legend().into_iter().enumerate() {
            let y = px(f64::from(TITLE_HEIGHT + LEGEND_ROW * row as u32 + LEGEND_ROW / 2));
            for (x, line) in entries {
                area.draw(&PathElement::new(vec![(px(x), y), (px(x + 20.0), y)], stroke(line, style)))?;
                let text = style.text(12.0, 0.85).pos(Pos::new(HPos::Left, VPos::Center));
                area.draw(&Text::new(line.label.as_str(), (px(x + 26.0), y), text))?;
            }
        }

        let (_, plot) = area.split_vertically(px(f64::from(self.height() - PLOT_HEIGHT)));
        let ((left, right), (bottom, top)) = self.ranges();
        let mut chart = ChartBuilder::on(&plot)
            .margin_top(px(8.0))
            .margin_right(px(16.0))
            .margin_bottom(px(4.0))
            .x_label_area_size(px(40.0))
            .y_label_area_size(px(58.0))
            .build_cartesian_2d(left..right, bottom..top)?;
        let labels = style.text(12.0, 0.85);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(style.ink.mix(0.13).stroke_width((style.scale / 2).max(1)))
            .axis_style(style.ink.mix(0.45).stroke_width(style.scale))
            .set_all_tick_mark_size(px(4.0))
            .label_style(labels.clone())
            .axis_desc_style(labels.clone())
            .x_desc(self.x.as_str())
            // Numbers of any size are longer than those of epochs.
            .x_labels(if self.whole { 10 } else { 6 })
            .y_labels(6)
            .x_label_formatter(&|x| self.x_label(*x))
            .y_label_formatter(&|y| tidy(*y))
            .draw()?;

        for (row, (x, name)) in self.marks.iter().enumerate() {
            let dotted = vec![(*x, bottom), (*x, top)];
            chart
                .draw_series(std::iter::once(PathElement::new(dotted, style.ink.mix(0.4).stroke_width(style.scale))))?;
            let right_half = *x > (left + right) / 2.0;
            let text = labels.pos(Pos::new(if right_half { HPos::Right } else { HPos::Left }, VPos::Top));
            let y = top - (top - bottom) * (0.02 + 0.08 * row as f64);
            let apart = if right_half { -5.0 } else { 5.0 };
            let label = EmptyElement::at((*x, y)) + Text::new(name.clone(), (px(apart), 0), text);
            chart.draw_series(std::iter::once(label))?;
        }
        let (faint, plain): (Vec<_>, Vec<_>) = self.lines.iter().partition(|line| line.faint);
        for line in faint.into_iter().chain(plain) {
            let points: Vec<(f64, f64)> =
                line.points.iter().copied().filter(|(x, y)| x.is_finite() && y.abs() < HIGHEST).collect();
            // A few points can be told apart, and a single one is no line.
            if points.len() <= 30 || line.dots {
                // Where many lie on each other it is darker.
                let opacity = if line.dots { 0.5 } else { 1.0 };
                let colour = stroke(line, style).color.mix(opacity);
                let dot = |point: &(f64, f64)| Circle::new(*point, px(2.5), colour.filled());
                chart.draw_series(points.iter().map(dot))?;
            }
            if line.dots {
                continue;
            }
            chart.draw_series(LineSeries::new(points, stroke(line, style)))?;
        }
        Ok(())
    }
}

fn stroke(line: &Line, style: DrawingStyle) -> ShapeStyle {
    let colour = COLOURS[line.colour % COLOURS.len()];
    let (opacity, width) = if line.faint { (0.45, 1.5) } else { (1.0, 2.0) };
    colour.mix(opacity).stroke_width(style.px(width).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, points: &[(f64, f64)]) -> Line {
        Line { label: label.into(), points: points.to_vec(), colour: 0, faint: false, dots: false }
    }

    #[test]
    fn axes_have_margins_for_any_points() {
        let ranges = |points: &[(f64, f64)]| Chart::over_epochs("t", vec![line("a", points)]).ranges();
        assert_eq!(ranges(&[]), ((0.0, 1.0), (0.0, 1.0)));
        let ((left, right), (bottom, top)) = ranges(&[(1.0, 0.5)]);
        assert!(left < 1.0 && right > 1.0 && bottom < 0.5 && top > 0.5);
        let (_, (bottom, top)) = ranges(&[(1.0, f64::INFINITY), (2.0, 0.01), (3.0, 2.0)]);
        assert!(bottom >= 0.0 && top > 2.0 && top < 3.0, "{bottom} {top}");
        assert!(ranges(&[(1.0, -1.0), (2.0, 1.0)]).1.0 < -1.0);
    }

    #[test]
    fn lines_stand_out_on_white_and_on_black() {
        let luminance = |RGBColor(red, green, blue): RGBColor| {
            let share = |byte: u8| {
                let share = f64::from(byte) / 255.0;
                if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * share(red) + 0.7152 * share(green) + 0.0722 * share(blue)
        };
        for ground in [RGBColor(255, 255, 255), RGBColor(246, 247, 249), RGBColor(29, 33, 38)] {
            for colour in COLOURS {
                let (a, b) = (luminance(ground), luminance(colour));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                // The minimum contrast of WCAG 2.1 for graphics.
                assert!(contrast >= 3.0, "{colour:?} on {ground:?}: {contrast}");
            }
        }
    }

    #[test]
    fn a_long_legend_takes_more_rows() {
        let chart = |lines: usize| Chart::over_epochs("t", vec![line("a run with a long name", &[]); lines]);
        assert_eq!(chart(1).height(), TITLE_HEIGHT + LEGEND_ROW + PLOT_HEIGHT);
        assert!(chart(8).legend().len() > 2);
        assert!(chart(8).legend().iter().flatten().all(|(x, _)| *x < f64::from(WIDTH)));
    }
}
