//! The cache folder of downloaded data sets.

use std::path::PathBuf;

/// The cache folder of downloaded data sets: `brasa` in `$XDG_CACHE_HOME`, in `~/.cache`, or in the system's cache
/// folder. `None` without a home directory.
///
/// Without the feature `download` it is that of `$XDG_CACHE_HOME` or `~/.cache` alone.
pub fn cache_dir() -> Option<PathBuf> {
    #[cfg(feature = "download")]
    let cache = etcetera::BaseStrategy::cache_dir(&etcetera::choose_base_strategy().ok()?);
    #[cfg(not(feature = "download"))]
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    Some(cache.join("brasa"))
}
