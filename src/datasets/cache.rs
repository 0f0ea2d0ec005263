//! The cache folder of downloaded data sets.

use std::path::PathBuf;

use etcetera::BaseStrategy;

/// The cache folder of downloaded data sets: `brasa` in `$XDG_CACHE_HOME`, in `~/.cache`, or in the system's cache
/// folder. `None` without a home directory.
pub fn cache_dir() -> Option<PathBuf> {
    Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("brasa"))
}
