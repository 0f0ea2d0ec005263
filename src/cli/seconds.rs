//! Numbers of seconds as arguments.

use std::time::Duration;

/// The longest time, a day.
const MOST: f64 = 86_400.0;

/// Parses a number of seconds from 0 to a day.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a number of seconds such as 30 or 0.5, received `{text}`");
    number(text).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(wrong)
}

/// Parses a number of seconds above 0, up to a day.
pub fn positive_seconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected a number of seconds above 0, up to a day, received `{text}`");
    number(text).filter(|seconds| *seconds > 0.0).ok_or_else(wrong)
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|seconds| (0.0..=MOST).contains(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_numbers_up_to_a_day() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!((positive_seconds("0.5"), positive_seconds("86400")), (Ok(0.5), Ok(MOST)));
        for wrong in ["-1", "nan", "inf", "1s", "86401", "1e300", ""] {
            assert!(seconds(wrong).is_err() && positive_seconds(wrong).is_err(), "{wrong}");
        }
        assert!(positive_seconds("0").is_err() && positive_seconds("-0").is_err());
    }
}
