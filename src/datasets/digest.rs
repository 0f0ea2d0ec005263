//! The digests that files from the network must have.

/// The SHA-256 of a published file.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "download"), expect(dead_code, reason = "compared only after a download"))]
pub(super) enum Digest {
    /// Of the file as it is published.
    Packed(&'static str),
    /// Of the file once it is unpacked: mirrors pack it differently.
    Unpacked(&'static str),
}
