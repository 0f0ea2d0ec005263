//! The machine and the versions of a run.

use crate::model::Model;

/// The version of Burn in use; a test compares it with the lock file.
const BURN: &str = "0.22.1";

/// The versions and the machine.
pub(super) fn facts(model: &Model) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Versions", format!("Brasa {} on Burn {BURN}", env!("CARGO_PKG_VERSION"))),
        ("Device", device(model)),
        ("System", format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH)),
    ];
    let threads = std::thread::available_parallelism().map_or_else(|_| String::new(), |n| format!("{n} threads"));
    let processor: Vec<String> = processor().into_iter().chain([threads]).filter(|text| !text.is_empty()).collect();
    facts.push(("Processor", processor.join(", ")));
    facts
}

/// The name of the device, without Burn's wrapper.
fn device(model: &Model) -> String {
    let text = format!("{:?}", model.device());
    text.strip_prefix("Device<").and_then(|text| text.strip_suffix('>')).unwrap_or(&text).to_owned()
}

/// The name of the processor, if the system reports it.
fn processor() -> Option<String> {
    let table = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = table.lines().find(|line| line.starts_with("model name"))?;
    let (_, name) = line.split_once(':')?;
    Some(name.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::BURN;

    #[test]
    fn the_version_of_burn_is_that_of_the_lock_file() {
        let lock = std::fs::read_to_string("Cargo.lock").unwrap();
        assert!(lock.contains(&format!("name = \"burn\"\nversion = \"{BURN}\"\n")), "change BURN");
    }
}
