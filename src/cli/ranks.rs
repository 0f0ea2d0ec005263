//! Processes that work together: the arguments of every command that can be started by `mpirun`.

use std::sync::Arc;

use brasa::burn::tensor::Device;
use brasa::distributed::Communicator;
use clap::Args;

use super::compute::Compute;

/// The connection to the processes that work together.
pub type Peers = Option<Arc<dyn Communicator>>;

/// The arguments for several processes.
#[derive(Args, Debug)]
pub struct Ranks {
    /// Work together with the other processes that mpirun has started, each with a part of the samples.
    #[cfg(feature = "mpi")]
    #[arg(long, help_heading = super::help::RUN)]
    pub distributed: bool,

    /// With --distributed: how long a process waits for the others in one step before all end with an error (default:
    /// 300).
    #[cfg(feature = "mpi")]
    #[arg(long, value_name = "SECONDS", requires = "distributed", value_parser = super::seconds::positive_seconds, help_heading = super::help::RUN)]
    distributed_timeout: Option<f64>,
}

impl Ranks {
    /// Joins the other processes. All but the first are silent from here on, but for the error that ends them.
    ///
    /// # Errors
    /// `Error::State` if MPI cannot be used.
    #[cfg(feature = "mpi")]
    pub fn join(&self) -> brasa::Result<Peers> {
        use brasa::distributed::Mpi;
        if !self.distributed {
            return Ok(None);
        }
        let mpi = Mpi::new()?;
        let mpi = match self.distributed_timeout {
            Some(seconds) => mpi.limit(std::time::Duration::from_secs_f64(seconds)),
            None => mpi,
        };
        if mpi.rank() > 0 {
            super::output::mute();
        }
        Ok(Some(Arc::new(mpi)))
    }

    /// Without the feature `mpi` this process is alone.
    ///
    /// # Errors
    /// None here.
    #[cfg(not(feature = "mpi"))]
    pub fn join(&self) -> brasa::Result<Peers> {
        Ok(None)
    }

    /// The compute settings of this process; processes on one machine share its processors.
    #[cfg(feature = "mpi")]
    pub fn share(&self, compute: Compute) -> Compute {
        if !self.distributed {
            return compute;
        }
        // Set by Open MPI, and by MPICH.
        let here = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"].iter().find_map(|name| std::env::var(name).ok());
        compute.shared_by(here.and_then(|here| here.parse().ok()).unwrap_or(1))
    }

    /// The compute settings of this process.
    #[cfg(not(feature = "mpi"))]
    pub fn share(&self, compute: Compute) -> Compute {
        compute
    }

    /// Opens the device. Must be called once, before any computation.
    ///
    /// # Errors
    /// Those of [`Compute::device`].
    pub fn device(&self, compute: &Compute) -> brasa::Result<Device> {
        self.share(compute.clone()).device()
    }
}

/// Whether this process is the one that shows and writes.
pub fn is_first(peers: &Peers) -> bool {
    peers.as_ref().is_none_or(|peers| peers.rank() == 0)
}
