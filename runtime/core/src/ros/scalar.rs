/// How a number of a message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scalar {
    Bool,
    /// ROS 2's `byte`: eight bits that are read as a number, though DDS calls them an octet.
    Octet,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Scalar {
    /// Bytes of one.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::Octet | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// The number that the first bytes hold; NaN where there are too few.
    #[must_use]
    pub fn read(self, bytes: &[u8], big_endian: bool) -> f64 {
        macro_rules! take {
            ($t:ty) => {
                bytes.first_chunk().map_or(f64::NAN, |b| {
                    (if big_endian { <$t>::from_be_bytes(*b) } else { <$t>::from_le_bytes(*b) }) as f64
                })
            };
        }
        match self {
            Self::Bool => bytes.first().map_or(f64::NAN, |b| f64::from(u8::from(*b != 0))),
            Self::I8 => take!(i8),
            Self::U8 | Self::Octet => take!(u8),
            Self::I16 => take!(i16),
            Self::U16 => take!(u16),
            Self::I32 => take!(i32),
            Self::U32 => take!(u32),
            Self::I64 => take!(i64),
            Self::U64 => take!(u64),
            Self::F32 => take!(f32),
            Self::F64 => take!(f64),
        }
    }
}
