//! `brasa devices`: the available backends and devices.

use brasa::Result;
use brasa::backend::devices;
use clap::Args;

use super::help::examples;
use super::output;

/// List the backends of this program and the devices that each finds.
#[derive(Args, Debug)]
#[command(after_help = examples!("brasa devices"))]
pub struct Devices {}

impl Devices {
    pub fn run(self) -> Result<()> {
        for (kind, found) in devices() {
            if found.is_empty() {
                output::line(format!("{:<12} no device", kind.name()))?;
            }
            for device in found {
                output::line(format!("{:<12} {}", format!("{}:{}", kind.name(), device.index), device.name))?;
            }
        }
        Ok(())
    }
}
