//! The files of shards: found by patterns, on this machine or in an object store.

use std::io::Read;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, glob_with};

use super::pattern::{check_count, expanded, has_wildcards};
#[cfg(feature = "object-store")]
use super::remote::Remote;
use crate::error::{Error, Result};
use crate::formats::regular::open_file;

/// A file.
#[derive(Clone, Debug)]
pub(super) enum Location {
    /// On this machine, with its length in bytes.
    Local(PathBuf, u64),
    #[cfg(feature = "object-store")]
    Remote(Remote),
}

/// A file on this machine, and the temporary file that it is, if it is one.
pub(super) struct OnDisk {
    pub path: PathBuf,
    #[cfg(feature = "object-store")]
    pub temporary: Option<tempfile::NamedTempFile>,
}

impl Location {
    /// The files that a pattern stands for, in alphabetical order.
    pub fn matching(pattern: &str) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for pattern in expanded(pattern)? {
            if pattern.contains("://") {
                found.extend(remote(&pattern)?);
                continue;
            }
            if !has_wildcards(&pattern) {
                found.push(Self::local(PathBuf::from(pattern))?);
                continue;
            }
            let options = MatchOptions {
                case_sensitive: true,
                require_literal_separator: true,
                require_literal_leading_dot: true,
            };
            let paths = glob_with(&pattern, options)
                .map_err(|error| Error::argument("path", "a pattern of file names", format!("{pattern}: {error}")))?;
            for path in paths {
                let path = path.map_err(|error| {
                    let path = error.path().to_owned();
                    Error::io("read", path)(error.into())
                })?;
                if path.is_file() {
                    found.push(Self::local(path)?);
                }
                check_count(found.len())?;
            }
        }
        match found.is_empty() {
            true => Err(Error::data(format!("the files `{pattern}`"), "at least one", "none")),
            false => Ok(found),
        }
    }

    /// A file on this machine.
    pub fn local(path: PathBuf) -> Result<Self> {
        let length = open_file(&path)?.1;
        Ok(Self::Local(path, length))
    }

    /// Its path or address.
    pub fn name(&self) -> String {
        match self {
            Self::Local(path, _) => path.display().to_string(),
            #[cfg(feature = "object-store")]
            Self::Remote(remote) => remote.name(),
        }
    }

    /// Its name without its folder.
    pub fn file_name(&self) -> String {
        let name = self.name();
        Path::new(&name).file_name().map_or(name.clone(), |name| name.to_string_lossy().into_owned())
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Local(_, length) => *length,
            #[cfg(feature = "object-store")]
            Self::Remote(remote) => remote.length(),
        }
    }

    /// Its content, and the length of that in bytes.
    pub fn open(&self) -> Result<(Box<dyn Read>, u64)> {
        match self {
            Self::Local(path, _) => {
                let (file, length) = open_file(path)?;
                Ok((Box::new(std::io::BufReader::with_capacity(1 << 17, file)), length))
            }
            #[cfg(feature = "object-store")]
            Self::Remote(remote) => Ok((Box::new(remote.open()), remote.length())),
        }
    }

    /// The file on this machine: one of an object store is copied first.
    pub fn on_disk(&self) -> Result<OnDisk> {
        match self {
            Self::Local(path, _) => Ok(OnDisk {
                path: path.clone(),
                #[cfg(feature = "object-store")]
                temporary: None,
            }),
            #[cfg(feature = "object-store")]
            Self::Remote(remote) => {
                let temporary = remote.copied()?;
                Ok(OnDisk { path: temporary.path().to_owned(), temporary: Some(temporary) })
            }
        }
    }
}

#[cfg(feature = "object-store")]
fn remote(pattern: &str) -> Result<Vec<Location>> {
    Ok(Remote::matching(pattern)?.into_iter().map(Location::Remote).collect())
}

#[cfg(not(feature = "object-store"))]
fn remote(pattern: &str) -> Result<Vec<Location>> {
    let what = format!("`{pattern}`: this build cannot read object stores (cargo feature `object-store`)");
    Err(Error::unsupported(what, "files of this machine"))
}
