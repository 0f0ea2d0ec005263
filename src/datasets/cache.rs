//! Where downloaded data sets are kept.

use std::path::PathBuf;

/// The folder in which downloaded data sets are kept: `brasa` in `$XDG_CACHE_HOME`, in `~/.cache`, or where the system
/// keeps such things. `None` if there is no home directory.
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
