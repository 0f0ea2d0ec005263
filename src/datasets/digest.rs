//! Expected digests of downloaded files.

/// The SHA-256 of a published file.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "download"), expect(dead_code, reason = "compared only after a download"))]
pub(super) enum Digest {
    /// Of the published, compressed file.
    Packed(&'static str),
    /// Of the decompressed file: mirrors compress it differently.
    Unpacked(&'static str),
}
