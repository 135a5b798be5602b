//! What can be wrong with bytes from the other side.

/// The result of decoding.
pub type Result<T, E = WireError> = std::result::Result<T, E>;

/// Why bytes could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field runs past the end of its packet, or holds a value the protocol does not know.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// A packet, over all its parts, is larger than the receiver allows.
    #[error("packet of {size} bytes is larger than max_allowed_packet ({max} bytes)")]
    TooLarge {
        /// Bytes announced so far.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A part does not carry the sequence number that follows the one before.
    #[error("packets out of order: expected sequence number {expected}, found {found}")]
    OutOfOrder {
        /// The number that had to come.
        expected: u8,
        /// The number that came.
        found: u8,
    },
}
