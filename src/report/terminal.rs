//! A chart in characters.

use textplots::{Chart as Canvas, ColorPlot, LabelBuilder, LabelFormat, Plot, Shape};

use super::chart::Chart;
use super::tidy;

/// The height of a chart in rows of characters.
const ROWS: u32 = 14;

/// Columns at the right for the numbers of the axis.
const LABELS: usize = 10;

/// The chart in `width` characters, at least 30. Without colours the lines would be indistinguishable, so each then has
/// a chart of its own, on the same axes.
pub(super) fn draw(chart: &Chart, width: usize, colours: bool) -> String {
    let mut text = String::new();
    if colours {
        let names = chart.lines.iter().map(|line| {
            let (red, green, blue) = line.colour();
            format!("\u{1b}[38;2;{red};{green};{blue}m━━\u{1b}[0m {}", line.label)
        });
        text += &format!("{}  {}\n", chart.title, names.collect::<Vec<_>>().join("  "));
        text += &canvas(chart, None, width, true);
    } else {
        for (index, line) in chart.lines.iter().enumerate() {
            text += &format!("{}: {}\n{}", chart.title, line.label, canvas(chart, Some(index), width, false));
        }
    }
    text
}

/// Red, green and blue.
type Rgb = (u8, u8, u8);

fn canvas(chart: &Chart, only: Option<usize>, width: usize, colours: bool) -> String {
    let ((mut left, mut right), (bottom, top)) = chart.ranges();
    let xs = || chart.lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x).filter(|x| x.is_finite());
    let (first, last) = (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max));
    // The numbers at the ends are those of the first and the last point.
    if first < last {
        (left, right) = (first, last);
    }
    let dots = (width.saturating_sub(LABELS).clamp(20, 120) * 2) as u32;
    let lines = chart.lines.iter().enumerate().filter(|(index, _)| only.is_none_or(|only| only == *index));
    let lines: Vec<(Vec<(f32, f32)>, Rgb)> = lines
        .map(|(_, line)| {
            let finite = line.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
            let mut points: Vec<(f32, f32)> = finite.map(|(x, y)| (*x as f32, *y as f32)).collect();
            // A single point becomes a line to itself.
            if let [only] = points[..] {
                points.push(only);
            }
            (points, line.colour())
        })
        .collect();
    let shapes: Vec<(Shape<'_>, Rgb)> = lines.iter().map(|(points, colour)| (Shape::Lines(points), *colour)).collect();
    let (powers_of, ends) = (chart.powers_of, (left as f32, right as f32));
    let mut canvas = Canvas::new_with_y_range(dots, ROWS * 4, ends.0, ends.1, bottom as f32, top as f32);
    let canvas = canvas
        .x_label_format(LabelFormat::Custom(Box::new(move |x| {
            tidy(powers_of.map_or(f64::from(x).round(), |base| f64::from(base).powf(f64::from(x))))
        })))
        .y_label_format(LabelFormat::Custom(Box::new(|y| tidy(f64::from(y)))));
    let canvas = shapes.iter().fold(canvas, |canvas, (shape, colour)| {
        if colours { canvas.linecolorplot(shape, (*colour).into()) } else { canvas.lineplot(shape) }
    });
    canvas.borders();
    canvas.figures();
    format!("{canvas}\n")
}

#[cfg(test)]
mod tests {
    use super::super::chart::Line;
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Chart {
        let line = |label: &str, colour| Line {
            label: label.into(),
            points: points.to_vec(),
            colour,
            faint: false,
            dots: false,
        };
        Chart::over_epochs("loss", vec![line("a", 0), line("b", 1)])
    }

    #[test]
    fn charts_of_any_numbers_and_any_width() {
        let cases: [&[(f64, f64)]; 4] =
            [&[], &[(1.0, 0.5)], &[(1.0, f64::NAN), (2.0, 1.0)], &[(1.0, 1.0), (2.0, 0.5), (3.0, 0.4)]];
        for points in cases {
            for width in [0, 30, 80, 400] {
                let text = draw(&chart(points), width, false);
                assert_eq!(text.matches("loss: ").count(), 2, "a chart for each line");
                assert!(!text.contains('\u{1b}'), "{text}");
                let text = draw(&chart(points), width, true);
                assert_eq!(text.matches("loss  ").count(), 1, "one for all");
            }
        }
        let text = draw(&chart(&[(1.0, 1.0), (2.0, 0.25)]), 80, true);
        assert!(text.contains("38;2;59;130;196") && text.contains("1.045"), "{text}");
        assert!(text.lines().all(|line| console::measure_text_width(line) <= 80), "{text}");
    }
}
