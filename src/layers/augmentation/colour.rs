//! Colour spaces: luminance, and hue, saturation and value.

/// The luminance of a colour.
pub(super) fn grey([red, green, blue]: [f32; 3]) -> f32 {
    0.2989 * red + 0.587 * green + 0.114 * blue
}

/// RGB to HSV: hue on the colour circle from 0 to 1 (red at 0, green at a third), saturation, and value.
pub(super) fn to_hsv(colour: [f32; 3]) -> [f32; 3] {
    let [red, green, blue] = colour.map(|part| if part.abs() < f32::EPSILON { 0.0 } else { part });
    let value = red.max(green).max(blue);
    let range = value - red.min(green).min(blue);
    let saturation = if value > 0.0 { range / value } else { 0.0 };
    if range <= 0.0 {
        return [0.0, saturation, value];
    }
    let sixth = 1.0 / (6.0 * range);
    let hue = if value == red {
        sixth * (green - blue)
    } else if value == green {
        sixth * (blue - red) + 2.0 / 6.0
    } else {
        sixth * (red - green) + 4.0 / 6.0
    };
    [if hue < 0.0 { hue + 1.0 } else { hue }, saturation, value]
}

/// HSV to RGB; linear in saturation, which can be outside of 0 to 1.
pub(super) fn from_hsv([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let sixths = hue * 6.0;
    let pure = [(sixths - 3.0).abs() - 1.0, 2.0 - (sixths - 2.0).abs(), 2.0 - (sixths - 4.0).abs()];
    pure.map(|part| value * (1.0 - saturation + saturation * part.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_survive_a_round_trip() {
        assert_eq!(to_hsv([1.0, 0.0, 0.0]), [0.0, 1.0, 1.0]);
        assert_eq!(to_hsv([0.0, 0.5, 0.0]), [1.0 / 3.0, 1.0, 0.5]);
        assert_eq!(to_hsv([0.25, 0.25, 0.25]), [0.0, 0.0, 0.25]);
        assert_eq!(to_hsv([0.0, 0.0, 0.0]), [0.0, 0.0, 0.0]);
        for colour in [[0.2, 0.9, 0.4], [0.9, 0.1, 0.3], [0.3, 0.2, 0.7], [0.5, 0.5, 0.1], [1.0, 1.0, 1.0]] {
            let back = from_hsv(to_hsv(colour));
            assert!(
                colour.iter().zip(back).all(|(before, after)| (before - after).abs() < 1e-6),
                "{colour:?} {back:?}"
            );
        }
    }
}
