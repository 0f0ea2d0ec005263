//! The device a command computes on.

use std::num::NonZeroUsize;

use brasa::Result;
use brasa::backend::{Backend, BackendKind, use_pool, use_threads};
use brasa::burn::tensor::Device;
use brasa::memory;
use clap::Args;

use super::help::{BACKENDS, COMPUTING, offering};

/// The arguments of every command that computes.
#[derive(Args, Clone, Debug)]
pub struct Compute {
    /// Where to compute, perhaps with an index (wgpu:1). Without it what BRASA_BACKEND names, else cpu.
    #[arg(long, value_name = "NAME[:INDEX]", value_parser = offering::<Backend>(BACKENDS), help_heading = COMPUTING)]
    backend: Option<Backend>,

    /// How many threads the CPU backends use (default: one for each processor).
    #[arg(long, value_name = "N", help_heading = COMPUTING)]
    threads: Option<NonZeroUsize>,

    /// The most memory that a model may use when it computes, such as 512MB or 4GiB (default: what is available).
    #[arg(long, value_name = "BYTES", value_parser = memory::parse_bytes, help_heading = COMPUTING)]
    memory_limit: Option<u64>,
}

impl Compute {
    /// From the arguments `--backend` and `--threads`.
    pub fn on(backend: Option<Backend>, threads: Option<NonZeroUsize>) -> Self {
        Self { backend, threads, memory_limit: None }
    }

    /// The backend given on the command line.
    pub fn backend_argument(&self) -> Option<Backend> {
        self.backend
    }

    /// One of `processes` on this machine that compute together, and share the threads.
    #[cfg(feature = "mpi")]
    pub fn shared_by(&self, processes: usize) -> Self {
        let all = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let own = NonZeroUsize::new(all / processes.max(1)).unwrap_or(NonZeroUsize::MIN);
        Self { threads: self.threads.or(Some(own)), ..*self }
    }

    /// Opens the device. Must be called once, before any computation, as it creates the threads.
    ///
    /// # Errors
    /// `Error::Device` if there is no such device; `Error::UnknownName` if `BRASA_BACKEND` holds an unknown name;
    /// `Error::Argument` if the threads cannot be started.
    pub fn device(&self) -> Result<Device> {
        self.open().map(|(_, device)| device)
    }

    /// As [`device`](Self::device), for computing on other threads than the calling one.
    ///
    /// # Errors
    /// As [`device`](Self::device).
    pub fn device_for_others(&self) -> Result<Device> {
        use_pool(self.threads)?;
        self.opened().map(|(_, device)| device)
    }

    /// The device and its backend.
    ///
    /// # Errors
    /// As [`device`](Self::device).
    pub fn open(&self) -> Result<(Backend, Device)> {
        use_threads(self.threads)?;
        self.opened()
    }

    fn opened(&self) -> Result<(Backend, Device)> {
        memory::set_limit(self.memory_limit);
        let requested = match self.backend {
            Some(backend) => backend,
            None => Backend::from_environment()?,
        };
        let (backend, device) = requested.resolve()?;
        if requested.kind() == BackendKind::Auto {
            super::output::note(&format!("auto: computing on {backend}"));
        }
        tracing::info!("computing on {backend} ({device:?})");
        Ok((backend, device))
    }
}
