//! CDR (XCDR version 1, "plain CDR") as ROS 2 puts it on the wire: an encapsulation header of four bytes, then the fields in
//! order, each aligned to its own size counted from behind that header.
//!
//! Writing appends to a buffer of the caller, little-endian, and does not allocate once the buffer has grown to the size of the
//! messages. Reading takes either byte order, is total, and never makes room on the word of a length field: a sequence is refused
//! when its smallest form does not fit into the bytes that are left. OMG DDSI-RTPS 10.2, DDS-XTypes 7.4.1.

/// Bytes before the first field.
pub const HEADER_BYTES: usize = 4;

/// Little-endian plain CDR.
const LITTLE_ENDIAN: [u8; HEADER_BYTES] = [0, 1, 0, 0];

/// Bytes after the last field that are taken for padding: DDS rounds a payload up to whole words.
const MAX_PADDING: usize = 3;

/// Why bytes are not the message that they should be. Offsets count from the first byte of the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CdrError {
    /// The payload ends too early, or a length claims more than there is.
    #[error("byte {at}: expected at least {expected} more bytes, found {found}")]
    Short {
        /// Where.
        at: usize,
        /// Bytes needed.
        expected: u64,
        /// Bytes that are left.
        found: usize,
    },
    /// Not plain CDR.
    #[error(
        "encapsulation {found:#06x}: expected 0x0000 or 0x0001 (plain CDR) (hint: the publisher uses another encoding of \
         its messages; set it to XCDR1)"
    )]
    Encapsulation {
        /// The kind that is there.
        found: u16,
    },
    /// A flag that is neither 0 nor 1.
    #[error("byte {at}: expected a flag, 0 or 1, found {found}")]
    Flag {
        /// Where.
        at: usize,
        /// What is there.
        found: u8,
    },
    /// A text without its closing zero.
    #[error("byte {at}: expected the zero that ends a text, found {found}")]
    Unterminated {
        /// Where.
        at: usize,
        /// What is there.
        found: u8,
    },
    /// A text that is not UTF-8.
    #[error("byte {at}: expected UTF-8 text, found bytes that are none")]
    NotText {
        /// Where the text begins.
        at: usize,
    },
    /// More bytes than the message has.
    #[error(
        "byte {at}: expected the end of the message, found {found} more bytes (hint: the publisher uses another version of \
         the message definition)"
    )]
    Trailing {
        /// Where the message ends.
        at: usize,
        /// Bytes behind it.
        found: usize,
    },
}

/// Writes one message into a buffer.
#[derive(Debug)]
pub struct CdrWriter<'b> {
    out: &'b mut Vec<u8>,
}

macro_rules! write_number {
    ($($name:ident: $t:ty),*) => {$(
        #[doc = concat!("Appends a `", stringify!($t), "`.")]
        pub fn $name(&mut self, value: $t) {
            self.align(size_of::<$t>());
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    )*};
}

impl<'b> CdrWriter<'b> {
    /// Empties the buffer (its room stays) and writes the encapsulation header.
    pub fn new(out: &'b mut Vec<u8>) -> Self {
        out.clear();
        out.extend_from_slice(&LITTLE_ENDIAN);
        Self { out }
    }

    fn align(&mut self, width: usize) {
        let padding = self.out.len().wrapping_sub(HEADER_BYTES).wrapping_neg() % width;
        self.out.resize(self.out.len() + padding, 0);
    }

    write_number!(u8: u8, i8: i8, u16: u16, i16: i16, u32: u32, i32: i32, u64: u64, i64: i64, f32: f32, f64: f64);

    /// Appends a flag.
    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// Appends the length of a sequence and gives back how many elements may follow: all, but where there are more than a length
    /// field can say.
    pub fn length(&mut self, elements: usize) -> usize {
        let written = u32::try_from(elements).unwrap_or(u32::MAX);
        self.u32(written);
        written as usize
    }

    /// Appends a text with its closing zero.
    pub fn text(&mut self, text: &str) {
        let bytes = text.as_bytes().get(..u32::MAX as usize - 1).unwrap_or(text.as_bytes());
        self.length(bytes.len() + 1);
        self.out.extend_from_slice(bytes);
        self.out.push(0);
    }
}

/// Reads one message out of a payload.
#[derive(Clone, Debug)]
pub struct CdrReader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

macro_rules! read_number {
    ($($name:ident: $t:ty),*) => {$(
        #[doc = concat!("The next `", stringify!($t), "`.")]
        ///
        /// # Errors
        /// When the payload ends before.
        pub fn $name(&mut self) -> Result<$t, CdrError> {
            let bytes = self.number()?;
            Ok(if self.big_endian { <$t>::from_be_bytes(bytes) } else { <$t>::from_le_bytes(bytes) })
        }
    )*};
}

impl<'a> CdrReader<'a> {
    /// Reads the encapsulation header.
    ///
    /// # Errors
    /// When the payload is shorter than that, or is not plain CDR.
    pub fn new(bytes: &'a [u8]) -> Result<Self, CdrError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(CdrError::Short { at: 0, expected: HEADER_BYTES as u64, found: bytes.len() });
        };
        let big_endian = match u16::from_be_bytes([header[0], header[1]]) {
            0 => true,
            1 => false,
            found => return Err(CdrError::Encapsulation { found }),
        };
        Ok(Self { bytes, at: HEADER_BYTES, big_endian })
    }

    /// Where the next byte to be read stands, counted from the first byte of the payload.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }

    const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    const fn short(&self, expected: u64) -> CdrError {
        CdrError::Short { at: self.at, expected, found: self.left() }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], CdrError> {
        let Some(taken) = self.bytes.get(self.at..).and_then(|rest| rest.get(..n)) else {
            return Err(self.short(n as u64));
        };
        self.at += n;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], CdrError> {
        let padding = (self.at - HEADER_BYTES).wrapping_neg() % N;
        self.take(padding)?;
        let Some(bytes) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) else {
            return Err(self.short(N as u64));
        };
        self.at += N;
        Ok(*bytes)
    }

    read_number!(u8: u8, i8: i8, u16: u16, i16: i16, u32: u32, i32: i32, u64: u64, i64: i64, f32: f32, f64: f64);

    /// The next flag.
    ///
    /// # Errors
    /// When the payload ends before, or what is there is neither 0 nor 1.
    pub fn bool(&mut self) -> Result<bool, CdrError> {
        let at = self.at;
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(CdrError::Flag { at, found }),
        }
    }

    /// The length of a sequence whose elements have `least` bytes each at least (padding left out).
    ///
    /// # Errors
    /// When so many elements cannot be in the bytes that are left.
    pub fn length(&mut self, least: usize) -> Result<usize, CdrError> {
        let elements = self.u32()?;
        let expected = u64::from(elements).saturating_mul(least.max(1) as u64);
        if expected > self.left() as u64 {
            return Err(self.short(expected));
        }
        // Not more than there are bytes, which is a usize.
        Ok(elements as usize)
    }

    /// The next text, borrowed.
    ///
    /// # Errors
    /// When the payload ends before its end, its closing zero is not there, or it is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, CdrError> {
        let length = self.length(1)?;
        let at = self.at;
        match self.take(length)?.split_last() {
            // Some writers leave out the zero of an empty text.
            None => Ok(""),
            Some((0, text)) => core::str::from_utf8(text).map_err(|_| CdrError::NotText { at }),
            Some((found, text)) => Err(CdrError::Unterminated { at: at + text.len(), found: *found }),
        }
    }

    /// Checks that nothing but padding is left.
    ///
    /// # Errors
    /// When there is more.
    pub fn finish(self) -> Result<(), CdrError> {
        match self.left() {
            0..=MAX_PADDING => Ok(()),
            found => Err(CdrError::Trailing { at: self.at, found }),
        }
    }
}

/// What can stand in a message.
pub trait Cdr {
    /// Bytes of the shortest one, padding left out.
    const LEAST_BYTES: usize;
    /// Appends it.
    fn write(&self, writer: &mut CdrWriter<'_>);
    /// Reads it in place, into the room that it has.
    ///
    /// # Errors
    /// When the bytes are not such a value; `self` is then partly what it was.
    fn read(&mut self, reader: &mut CdrReader<'_>) -> Result<(), CdrError>;
}

macro_rules! numbers {
    ($($t:ident),*) => {$(
        impl Cdr for $t {
            const LEAST_BYTES: usize = size_of::<$t>();
            fn write(&self, writer: &mut CdrWriter<'_>) {
                writer.$t(*self);
            }
            fn read(&mut self, reader: &mut CdrReader<'_>) -> Result<(), CdrError> {
                *self = reader.$t()?;
                Ok(())
            }
        }
    )*};
}
numbers!(bool, u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

impl Cdr for String {
    const LEAST_BYTES: usize = size_of::<u32>();
    fn write(&self, writer: &mut CdrWriter<'_>) {
        writer.text(self);
    }
    fn read(&mut self, reader: &mut CdrReader<'_>) -> Result<(), CdrError> {
        let text = reader.text()?;
        self.clear();
        self.push_str(text);
        Ok(())
    }
}

impl<T: Cdr + Default> Cdr for Vec<T> {
    const LEAST_BYTES: usize = size_of::<u32>();
    fn write(&self, writer: &mut CdrWriter<'_>) {
        let n = writer.length(self.len());
        for item in self.iter().take(n) {
            item.write(writer);
        }
    }
    fn read(&mut self, reader: &mut CdrReader<'_>) -> Result<(), CdrError> {
        let n = reader.length(T::LEAST_BYTES)?;
        self.truncate(n);
        for item in self.iter_mut() {
            item.read(reader)?;
        }
        while self.len() < n {
            let mut item = T::default();
            item.read(reader)?;
            self.push(item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut CdrWriter<'_>)) -> Vec<u8> {
        let mut out = vec![9; 3];
        write(&mut CdrWriter::new(&mut out));
        out
    }

    #[test]
    fn alignment_counts_from_behind_the_header() {
        let bytes = written(|w| {
            w.u8(1);
            w.u16(0x0302);
            w.f64(1.0);
            w.u8(4);
            w.text("ab");
            w.bool(true);
        });
        let expected = [
            0, 1, 0, 0, 1, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 4, 0, 0, 0, 3, 0, 0, 0, b'a',
            b'b', 0, 1,
        ];
        assert_eq!(bytes, expected);
        let mut r = CdrReader::new(&bytes).unwrap();
        assert_eq!((r.u8(), r.u16(), r.f64(), r.u8()), (Ok(1), Ok(0x0302), Ok(1.0), Ok(4)));
        assert_eq!((r.text(), r.bool()), (Ok("ab"), Ok(true)));
        assert_eq!(r.finish(), Ok(()));
    }

    #[test]
    fn big_endian_is_read() {
        let bytes = [0, 0, 0, 0, 0, 0, 0, 2, b'a', 0, 0, 0, 0x3f, 0x80, 0, 0];
        let mut r = CdrReader::new(&bytes).unwrap();
        assert_eq!((r.text(), r.f32()), (Ok("a"), Ok(1.0)));
    }

    #[test]
    fn what_is_wrong_says_where_what_was_expected_and_what_was_found() {
        assert_eq!(CdrReader::new(&[0, 1]).unwrap_err(), CdrError::Short { at: 0, expected: 4, found: 2 });
        assert_eq!(CdrReader::new(&[0, 7, 0, 0]).unwrap_err(), CdrError::Encapsulation { found: 7 });
        let text = |bytes: &[u8]| CdrReader::new(bytes).unwrap().text().map(str::to_owned).unwrap_err();
        assert_eq!(text(&[0, 1, 0, 0, 9, 0, 0, 0, 65, 0]), CdrError::Short { at: 8, expected: 9, found: 2 });
        assert_eq!(text(&[0, 1, 0, 0, 2, 0, 0, 0, 65, 66]), CdrError::Unterminated { at: 9, found: 66 });
        assert_eq!(text(&[0, 1, 0, 0, 2, 0, 0, 0, 255, 0]), CdrError::NotText { at: 8 });
        let mut flag = CdrReader::new(&[0, 1, 0, 0, 2]).unwrap();
        assert_eq!(flag.bool(), Err(CdrError::Flag { at: 4, found: 2 }));
        let rest = CdrReader::new(&[0, 1, 0, 0, 1, 2, 3, 4]).unwrap();
        assert_eq!(rest.finish(), Err(CdrError::Trailing { at: 4, found: 4 }));
        let mut numbers: Vec<f64> = Vec::new();
        let claims = [0, 1, 0, 0, 255, 255, 255, 255, 0, 0];
        let error = numbers.read(&mut CdrReader::new(&claims).unwrap());
        assert_eq!(error, Err(CdrError::Short { at: 8, expected: u64::from(u32::MAX) * 8, found: 2 }));
        assert_eq!(numbers.capacity(), 0);
    }
}
