//! Where downloaded data sets are kept.

use std::path::PathBuf;

use etcetera::BaseStrategy;

/// The folder in which downloaded data sets are kept: `brasa` in `$XDG_CACHE_HOME`, in `~/.cache`, or where the system
/// keeps such things. `None` if there is no home directory.
pub fn cache_dir() -> Option<PathBuf> {
    Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("brasa"))
}
