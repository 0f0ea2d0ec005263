//! The size of the processor's second-level cache, for which blocks of work are cut.

use std::sync::OnceLock;

/// Bytes of a core's second-level cache where the system does not report it.
const USUAL: usize = 1 << 20;

/// Bytes of the second-level cache of a core, read once.
pub fn second_level() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| read().unwrap_or(USUAL).clamp(256 << 10, 4 << 20))
}

/// The size that Linux reports for the first processor.
fn read() -> Option<usize> {
    let caches = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    caches.flatten().find_map(|cache| {
        let read = |name: &str| std::fs::read_to_string(cache.path().join(name)).ok();
        (read("level")?.trim() == "2").then(|| bytes(read("size")?.trim())).flatten()
    })
}

/// A size such as `2048K`.
fn bytes(text: &str) -> Option<usize> {
    let (number, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(
            ["2048K", "1M", "512", "", "K", "x"].map(bytes),
            [Some(2 << 20), Some(1 << 20), Some(512), None, None, None]
        );
        assert!((256 << 10..=4 << 20).contains(&second_level()));
    }
}
