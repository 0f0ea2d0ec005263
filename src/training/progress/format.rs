//! Formatting of results and times: pure functions.

use crate::text::printable;

/// Results in Keras's format: sorted by name, validation after training, the learning rate last.
///
/// ```
/// # use brasa::training::progress::format_logs;
/// let logs = [("val_loss", 0.25), ("loss", 0.28714), ("accuracy", 0.9123), ("learning_rate", 0.001)];
/// let text = "accuracy: 0.9123 - loss: 0.2871 - val_loss: 0.2500 - learning_rate: 1.0000e-03";
/// assert_eq!(format_logs(&logs), text);
/// ```
pub fn format_logs<S: AsRef<str>>(logs: &[(S, f64)]) -> String {
    let mut logs: Vec<(&str, f64)> = logs.iter().map(|(name, value)| (name.as_ref(), *value)).collect();
    logs.sort_by_key(|(name, _)| (*name == "learning_rate", name.starts_with("val_"), *name));
    let texts: Vec<String> =
        logs.iter().map(|(name, value)| format!("{}: {}", printable(name), format_value(*value))).collect();
    texts.join(" - ")
}

/// A result with four decimals, or in scientific notation up to 0.001.
///
/// ```
/// # use brasa::training::progress::format_value;
/// assert_eq!(format_value(0.28714), "0.2871");
/// assert_eq!(format_value(-0.0005), "-5.0000e-04");
/// ```
pub fn format_value(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.abs() > 1e-3 {
        return format!("{value:.4}");
    }
    let text = format!("{value:.4e}");
    match text.split_once('e') {
        // The exponent as in C: a sign and at least two digits.
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => text,
    }
}

/// Seconds as `3s`, `1:05` or `2:00:01`.
///
/// ```
/// # use brasa::training::progress::format_duration;
/// assert_eq!([3.2, 65.0, 7201.0].map(format_duration), ["3s", "1:05", "2:00:01"]);
/// ```
pub fn format_duration(seconds: f64) -> String {
    let seconds = seconds.round_ties_even() as u64;
    let (hours, minutes) = (seconds / 3600, seconds / 60);
    match seconds {
        0..=60 => format!("{seconds}s"),
        61..=3600 => format!("{minutes}:{:02}", seconds % 60),
        _ => format!("{hours}:{:02}:{:02}", minutes % 60, seconds % 60),
    }
}

/// The time per step, as `626us/step`, `7ms/step` or `1s/step`.
///
/// ```
/// # use brasa::training::progress::format_time_per_step;
/// assert_eq!([0.000626, 0.0071, 1.2].map(format_time_per_step), ["626us/step", "7ms/step", "1s/step"]);
/// ```
pub fn format_time_per_step(seconds: f64) -> String {
    if seconds >= 1.0 || seconds == 0.0 {
        format!("{seconds:.0}s/step")
    } else if seconds >= 1e-3 {
        format!("{:.0}ms/step", seconds * 1e3)
    } else {
        format!("{:.0}us/step", seconds * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_formatted_as_in_keras() {
        let values = [0.28714, 12.0, 1e-3, 0.0, -2e-12, 1.5e-100, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let texts =
            ["0.2871", "12.0000", "1.0000e-03", "0.0000e+00", "-2.0000e-12", "1.5000e-100", "nan", "inf", "-inf"];
        assert_eq!(values.map(format_value), texts);
    }

    #[test]
    fn times_are_formatted_as_in_keras() {
        assert_eq!([0.0, 59.6, 61.0, 3600.0, 3661.4].map(format_duration), ["0s", "60s", "1:01", "60:00", "1:01:01"]);
        let per_step = [0.0, 1e-3, 0.9, 1.0, 12.4, 0.000_000_4].map(format_time_per_step);
        assert_eq!(per_step, ["0s/step", "1ms/step", "900ms/step", "1s/step", "12s/step", "0us/step"]);
    }
}
