//! Ctrl-C: the first asks to stop, the second ends the process.

use brasa::training::StopHandle;
use brasa::{Error, Result};

/// The exit code of an interrupted run.
pub const INTERRUPTED: u8 = 130;

/// Installs the handler for Ctrl-C. The first asks the handle to stop, a second ends the process at once.
///
/// # Errors
/// [`Error::Io`] if the handler cannot be installed.
pub fn listen() -> Result<StopHandle> {
    let handle = StopHandle::new();
    let pressed = handle.clone();
    let handler = move || {
        if pressed.stop() {
            std::process::exit(i32::from(INTERRUPTED));
        }
    };
    let listening = ctrlc::set_handler(handler);
    listening.map_err(|error| Error::io("listen for", "Ctrl-C")(std::io::Error::other(error)))?;
    Ok(handle)
}
