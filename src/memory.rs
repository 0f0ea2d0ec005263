//! Memory limits.
//!
//! A model of a few hundred bytes can ask for terabytes: sizes of layers are numbers in a file. Before a model creates
//! its weights, and before it computes on a batch of a new size, it computes the memory needed from the shapes alone
//! and compares it with the limit, so that a model that does not fit is an [`Error::Memory`](crate::Error) that names
//! the layer, and does not kill the process.
//!
//! The limit is the first that is set of: the limit of the model
//! ([`Model::set_memory_limit`](crate::Model::set_memory_limit), [`Limits::memory_bytes`] of the call that loaded it),
//! the limit of the process ([`set_limit`], the command line's `--memory-limit`), and the memory that is [`available`].
//!
//! ```
//! use brasa::prelude::*;
//! let mut model = Sequential::new();
//! model.add(RepeatVector::new(1 << 40).input_shape(3))?;
//! let error = model.predict(&ndarray::array![[1.0f32, 2.0, 3.0]]).unwrap_err();
//! assert!(error.to_string().contains("repeat_vector"), "{error}");
//! # Ok::<(), brasa::Error>(())
//! ```
//!
//! [`Limits::memory_bytes`]: crate::formats::Limits::memory_bytes

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// The limit of the process; `u64::MAX` is no limit.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Limits the memory, in bytes, of every model of this process that has no limit of its own; `None` removes the limit.
pub fn set_limit(bytes: Option<u64>) {
    LIMIT.store(bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// The limit of [`set_limit`], in bytes.
pub fn limit() -> Option<u64> {
    Some(LIMIT.load(Ordering::Relaxed)).filter(|bytes| *bytes != u64::MAX)
}

/// Bytes that this process can still allocate safely: the least of the machine's available memory, the rest of its
/// control groups' limits (versions 1 and 2, as containers and job schedulers set them), and the rest of its limits of
/// address space and data (`ulimit -v`, `ulimit -d`), less a reserve of an eighth. `None` if the system does not report
/// it (implemented for Linux only).
pub fn available() -> Option<u64> {
    #[cfg(target_os = "linux")]
    let left = linux::left();
    #[cfg(not(target_os = "linux"))]
    let left: Option<u64> = None;
    left.map(|bytes| bytes - bytes / 8)
}

/// Refuses `what`, which is about to allocate `values` values of 32 bits, if they exceed the limit of the process or
/// the memory that is [`available`]. Up to 64 MiB are always allowed.
///
/// ```
/// use brasa::memory::check_room;
/// assert!(check_room("a table", 1000).is_ok());
/// # brasa::memory::set_limit(Some(1 << 40));
/// assert!(check_room("a table", usize::MAX).unwrap_err().to_string().contains("memory for a table: "));
/// ```
///
/// # Errors
/// [`Error::Memory`] with `what`, the bytes needed and the bytes available.
pub fn check_room(what: &str, values: usize) -> Result<()> {
    const ALWAYS: u64 = 64 << 20;
    let bytes = (values as u64).saturating_mul(size_of::<f32>() as u64);
    if bytes <= ALWAYS {
        return Ok(());
    }
    let (most, bound) = match limit() {
        Some(most) => (most, "the memory limit"),
        None => (available().unwrap_or(u64::MAX), "the available memory"),
    };
    if bytes <= most {
        return Ok(());
    }
    Err(Error::Memory { needs: what.to_owned(), bytes, most, what: bound })
}

/// Parses a number of bytes with an optional unit: `1073741824`, `512MB` (10⁶), `512MiB` (2²⁰), `1.5GB`, `2G`.
///
/// ```
/// use brasa::memory::parse_bytes;
/// assert_eq!(parse_bytes("512MB")?, 512_000_000);
/// assert_eq!(parse_bytes("1.5 GiB")?, 1_610_612_736);
/// assert!(parse_bytes("much").is_err());
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] for anything else, and for 0.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let wrong = || Error::argument("memory limit", "a number of bytes such as 512MB, 2GiB or 1000000000", quoted(text));
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = text[digits..].trim().to_ascii_lowercase();
    let (letter, rest) = unit.split_at(unit.chars().next().map_or(0, char::len_utf8));
    let power = match letter {
        "" | "b" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    let base: f64 = match (power, rest) {
        (0, "") => 1.0,
        (1.., "" | "b") => 1000.0,
        (1.., "i" | "ib") => 1024.0,
        _ => return Err(wrong()),
    };
    let bytes = (number * base.powi(power)).round();
    if bytes >= 1.0 && bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(wrong()) }
}

fn quoted(text: &str) -> String {
    format!("`{}`", text.chars().take(100).collect::<String>())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// The least of all limits of this process.
    pub(super) fn left() -> Option<u64> {
        let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_of(&text));
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let own =
            [("Max address space", "VmSize:"), ("Max data size", "VmData:")].into_iter().filter_map(|(name, used)| {
                let most = soft_limit(&limits, name)?;
                Some(most.saturating_sub(kilobytes(&status, used).unwrap_or(0)))
            });
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        machine.into_iter().chain(own).chain(left_to_groups(&groups, Path::new("/sys/fs/cgroup"))).min()
    }

    /// `MemAvailable` of `/proc/meminfo`, with the free swap space.
    pub(super) fn available_of(meminfo: &str) -> Option<u64> {
        let memory = kilobytes(meminfo, "MemAvailable:")?;
        Some(memory.saturating_add(kilobytes(meminfo, "SwapFree:").unwrap_or(0)))
    }

    /// The number of kilobytes after a key at the start of a line, in bytes.
    fn kilobytes(text: &str, key: &str) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    }

    /// A soft limit of `/proc/self/limits`; `None` if unlimited.
    pub(super) fn soft_limit(limits: &str, name: &str) -> Option<u64> {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// The memory left to the control groups in `/proc/self/cgroup`, and to their ancestors.
    pub(super) fn left_to_groups(own: &str, root: &Path) -> Option<u64> {
        let mut least: Option<u64> = None;
        for line in own.lines() {
            // hierarchy:controllers:path; the hierarchy of version 2 names no controllers.
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let (root, files) = if controllers.is_empty() {
                (root.to_owned(), ["memory.max", "memory.current", ""])
            } else if controllers.split(',').any(|name| name == "memory") {
                (root.join("memory"), ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_"])
            } else {
                continue;
            };
            // In a container this can be a path of the host, which does not exist here.
            let path = path.trim_start_matches('/');
            let groups = Path::new(path).ancestors().map(|path| root.join(path)).collect::<Vec<PathBuf>>();
            for group in groups {
                least = least.into_iter().chain(left_to(&group, files)).min();
            }
        }
        least
    }

    fn left_to(group: &Path, [most, used, prefix]: [&str; 3]) -> Option<u64> {
        let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
        let (most, used) = (number(most)?, number(used)?);
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        // The page cache is counted as used, but reclaimed under pressure.
        let reclaimable = |line: &str| -> Option<u64> {
            let (name, bytes) = line.strip_prefix(prefix)?.split_once(' ')?;
            ["active_file", "inactive_file", "slab_reclaimable"].contains(&name).then(|| bytes.trim().parse().ok())?
        };
        let given_up = stat.lines().filter_map(reclaimable).fold(0, u64::saturating_add);
        Some(most.saturating_sub(used.saturating_sub(given_up)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_with_units() {
        let read = |text| parse_bytes(text).ok();
        assert_eq!([read("1"), read("10b"), read("2k"), read("2KiB")], [Some(1), Some(10), Some(2000), Some(2048)]);
        assert_eq!([read("3 MB"), read("3Mi"), read("0.5g")], [Some(3_000_000), Some(3 << 20), Some(500_000_000)]);
        for wrong in ["", "0", "GB", "1XB", "-1", "1e9", "1ib", "1bb", "nan", "inf", "99999999999999999999T", "1 ü"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn files_of_proc_and_cgroups_are_parsed() {
        use super::linux::{available_of, left_to_groups, soft_limit};
        let meminfo = "MemTotal:  100 kB\nMemFree:  20 kB\nMemAvailable:     50 kB\nSwapFree:   8 kB\n";
        assert_eq!(available_of(meminfo), Some(58 << 10));
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max address space         4096                 unlimited            bytes\n\
                      Max data size             unlimited            unlimited            bytes\n";
        assert_eq!((soft_limit(limits, "Max address space"), soft_limit(limits, "Max data size")), (Some(4096), None));

        let root = tempfile::tempdir().unwrap();
        let write = |group: &str, files: &[(&str, &str)]| {
            let group = root.path().join(group);
            std::fs::create_dir_all(&group).unwrap();
            files.iter().for_each(|(name, text)| std::fs::write(group.join(name), text).unwrap());
        };
        write("", &[("memory.max", "max\n"), ("memory.current", "7\n")]);
        write(
            "a",
            &[
                ("memory.max", "1000\n"),
                ("memory.current", "600\n"),
                ("memory.stat", "anon 9\ninactive_file 60\nactive_file 40\n"),
            ],
        );
        write("a/b", &[("memory.max", "max\n"), ("memory.current", "5\n")]);
        // The limit is set in the parent group.
        assert_eq!(left_to_groups("0::/a/b\n", root.path()), Some(500));
        assert_eq!(left_to_groups("0::/elsewhere\n", root.path()), None);
        write("memory/c", &[("memory.limit_in_bytes", "90\n"), ("memory.usage_in_bytes", "100\n")]);
        assert_eq!(left_to_groups("5:cpu,cpuacct:/a\n4:memory:/c\n", root.path()), Some(0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn available_memory_is_known_on_linux() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
