//! Ctrl-C during training: the step that is being computed is finished, and the model saved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brasa::datasets::Source;
use brasa::{Error, Result};

/// The exit code of a run that was interrupted.
pub const INTERRUPTED: u8 = 130;

/// Whether Ctrl-C was pressed.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from here on. A second Ctrl-C ends the process at once.
    ///
    /// # Errors
    /// [`Error::Io`] if the system does not let it.
    pub fn listen() -> Result<Self> {
        let interrupt = Self::default();
        let pressed = interrupt.clone();
        let handler = move || {
            if pressed.0.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(INTERRUPTED));
            }
        };
        let listening = ctrlc::set_handler(handler);
        listening.map_err(|error| Error::io("listen for", "Ctrl-C")(std::io::Error::other(error)))?;
        Ok(interrupt)
    }

    /// Whether it was pressed.
    pub fn is_pressed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A source that ends, with an error, when Ctrl-C is pressed.
pub struct Interruptible<'a> {
    pub source: &'a dyn Source,
    pub interrupt: Interrupt,
}

impl Source for Interruptible<'_> {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn x_shape(&self) -> &[usize] {
        self.source.x_shape()
    }

    fn y_shape(&self) -> &[usize] {
        self.source.y_shape()
    }

    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        if self.interrupt.is_pressed() {
            return Err(Error::io("read", "the data")(std::io::ErrorKind::Interrupted.into()));
        }
        self.source.read(indices, x, y)
    }
}
