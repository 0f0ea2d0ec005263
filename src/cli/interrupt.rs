//! Ctrl-C, and SIGTERM of a scheduler: the first asks to stop, the second ends the process.

use brasa::training::StopHandle;
use brasa::{Error, Result};

/// The exit code of an interrupted run.
pub const INTERRUPTED: u8 = 130;

/// Installs the handler for Ctrl-C and SIGTERM. The first asks the handle to stop, a second ends the process at once.
///
/// # Errors
/// [`Error::Io`] if the handler cannot be installed.
pub fn listen() -> Result<StopHandle> {
    let handle = StopHandle::new();
    let pressed = handle.clone();
    let handler = move || {
        if pressed.stop() {
            clear_line();
            std::process::exit(i32::from(INTERRUPTED));
        }
    };
    let listening = ctrlc::set_handler(handler.clone());
    listening.map_err(|error| Error::io("listen for", "Ctrl-C")(std::io::Error::other(error)))?;
    on_termination(handler).map_err(Error::io("listen for", "SIGTERM"))?;
    Ok(handle)
}

/// Calls the handler at each SIGTERM, on a thread of its own. (The `ctrlc` crate's `termination` feature would also
/// handle SIGHUP, which `nohup` ignores.)
#[cfg(unix)]
fn on_termination(handler: impl Fn() + Send + 'static) -> std::io::Result<()> {
    use std::io::Read;
    let (mut received, sender) = std::os::unix::net::UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, sender)?;
    let listen = move || {
        let mut signal = [0];
        while received.read_exact(&mut signal).is_ok() {
            handler();
        }
    };
    std::thread::Builder::new().name("brasa-signals".to_owned()).spawn(listen).map(|_| ())
}

#[cfg(not(unix))]
fn on_termination(_: impl Fn() + Send + 'static) -> std::io::Result<()> {
    Ok(())
}

/// Exits at the first Ctrl-C and clears the progress bar: for commands that have nothing to save.
///
/// # Errors
/// [`Error::Io`] if the handler cannot be installed.
pub fn end_quietly() -> Result<()> {
    let handler = || {
        clear_line();
        std::process::exit(i32::from(INTERRUPTED));
    };
    let listening = ctrlc::set_handler(handler);
    listening.map_err(|error| Error::io("listen for", "Ctrl-C")(std::io::Error::other(error)))
}

/// Clears the progress bar.
fn clear_line() {
    use std::io::Write;
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        // There is nobody to be answered if it fails.
        let _ = std::io::stderr().write_all(b"\r\x1b[2K");
    }
}
