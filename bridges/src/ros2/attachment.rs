//! What rmw_zenoh attaches to every sample: a sequence number, the time of the source, and which publisher it is. Its subscribers
//! drop samples without it.

use twox_hash::XxHash3_128;

use super::Token;

/// Bytes of an attachment.
pub const BYTES: usize = 33;

const GID_BYTES: u8 = 16;

/// The identity of a publisher: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gid(pub [u8; GID_BYTES as usize]);

impl Gid {
    /// The identity that rmw_zenoh gives the endpoint of a liveliness token: its XXH3-128, low half first.
    #[must_use]
    pub fn of(token: &Token) -> Self {
        Self(XxHash3_128::oneshot(token.to_string().as_bytes()).to_le_bytes())
    }
}

/// What stands in an attachment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Counts the samples of a publisher.
    pub seq: i64,
    /// When the sample was made by the publisher's clock, ns since the epoch.
    pub source_nanos: i64,
    /// Which publisher.
    pub gid: Gid,
}

/// Why bytes are no attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachmentError {
    /// Too short or too long.
    #[error(
        "attachment: expected {BYTES} bytes, found {found} (hint: the publisher is older than rmw_zenoh_cpp 0.1)"
    )]
    Length {
        /// How many there are.
        found: usize,
    },
    /// The identity is of another length.
    #[error("attachment: expected a publisher identity of {GID_BYTES} bytes, found {found}")]
    Gid {
        /// Its length.
        found: u8,
    },
}

impl Attachment {
    /// Its bytes: two little-endian 64-bit numbers, the length of the identity, and the identity.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        let parts = self.seq.to_le_bytes().into_iter().chain(self.source_nanos.to_le_bytes());
        for (to, from) in out.iter_mut().zip(parts.chain([GID_BYTES]).chain(self.gid.0)) {
            *to = from;
        }
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AttachmentError> {
        let length = AttachmentError::Length { found: bytes.len() };
        let (seq, rest) = bytes.split_first_chunk::<8>().ok_or(length)?;
        let (source, rest) = rest.split_first_chunk::<8>().ok_or(length)?;
        let (gid_bytes, gid) = rest.split_first().ok_or(length)?;
        if *gid_bytes != GID_BYTES {
            return Err(AttachmentError::Gid { found: *gid_bytes });
        }
        let gid = Gid(gid.try_into().map_err(|_| length)?);
        Ok(Self { seq: i64::from_le_bytes(*seq), source_nanos: i64::from_le_bytes(*source), gid })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Attachment and token of one publisher, captured from rmw_zenoh_cpp 0.1.8 on ROS 2 Humble.
    const CAPTURED: &str = "d80000000000000034dae10162f8c41810f07168d3856ce9f689254cbed6252151";
    const TOKEN: &str = "@ros2_lv/0/9ca0f8facf84ffb1e6bfa4f2500889f0/0/3/MP/%/%/_ros2cli_712/%chatter/\
                         std_msgs::msg::dds_::String_/TypeHashNotSupported/:1:,1:,:,:,,";

    fn captured() -> Vec<u8> {
        (0..CAPTURED.len()).step_by(2).map(|i| u8::from_str_radix(&CAPTURED[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn a_captured_attachment_is_read_and_written() {
        let attachment = Attachment::from_bytes(&captured()).unwrap();
        assert_eq!((attachment.seq, attachment.source_nanos), (216, 0x18c4_f862_01e1_da34));
        assert_eq!(attachment.to_bytes().as_slice(), captured());
    }

    #[test]
    fn the_identity_of_a_publisher_comes_from_its_token() {
        let gid = Gid::of(&TOKEN.parse().unwrap());
        assert_eq!(Attachment::from_bytes(&captured()).unwrap().gid, gid);
    }

    #[test]
    fn other_lengths_are_refused() {
        let mut bytes = captured();
        for length in 0..bytes.len() {
            let error = Attachment::from_bytes(&bytes[..length]);
            assert_eq!(error, Err(AttachmentError::Length { found: length }));
        }
        bytes.push(0);
        assert_eq!(Attachment::from_bytes(&bytes), Err(AttachmentError::Length { found: 34 }));
        bytes[16] = 17;
        assert_eq!(Attachment::from_bytes(&bytes), Err(AttachmentError::Gid { found: 17 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_attachment_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(length) = bytes.get_mut(16) {
                *length = 16;
            }
            match Attachment::from_bytes(&bytes) {
                Ok(attachment) => prop_assert_eq!(attachment.to_bytes().to_vec(), bytes),
                Err(_) => prop_assert_ne!(bytes.len(), BYTES),
            }
        }
    }
}
