//! Message bytes to values: CDR (XCDR version 1, either byte order) as ROS 2 writes it, and ROS 1's own serialisation.
//!
//! Total: any bytes give a value or an error. Nothing is allocated on the word of a length field: every element of a sequence is
//! at least a byte, so a length beyond the bytes that are left is an error before anything is made, and a message of more than
//! [`MAX_VALUES`] parts (arrays of numbers count as one) is refused.

use surefoot_core::ros::{Count, Definition, Dialect, Element, Scalar};

use crate::streams::{Numbers, Value};

/// Parts of a message at most.
const MAX_VALUES: usize = 1 << 18;

/// Bytes after the last field that are taken for padding.
const MAX_PADDING: usize = 7;

/// Why bytes are not the message they are said to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early, or a length claims more than there is.
    #[error("{field} at byte {at}: expected {expected} more bytes, found {found}")]
    Short {
        /// Name of the field.
        field: String,
        /// Where.
        at: usize,
        /// Bytes it needs.
        expected: u64,
        /// Bytes that are left.
        found: usize,
    },
    /// Bytes are left over.
    #[error(
        "{found} bytes are left after the last field: the definition is of another version of the message"
    )]
    Long {
        /// How many.
        found: usize,
    },
    /// Not plain CDR.
    #[error("encapsulation {found:#06x}: expected 0x0000 or 0x0001 (plain CDR)")]
    Encapsulation {
        /// The kind that is there.
        found: u16,
    },
    /// More parts than any message of numbers has.
    #[error("more than {MAX_VALUES} parts")]
    TooMany,
}

/// How messages are serialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// ROS 2: an encapsulation header, then CDR.
    Cdr,
    /// ROS 1: little-endian without padding.
    Ros1,
}

/// Decodes one message.
///
/// # Errors
/// When the bytes are not such a message.
pub fn decode<'a>(definition: &'a Definition, bytes: &'a [u8]) -> Result<Value<'a>, DecodeError> {
    let wire = match definition.dialect() {
        Dialect::Ros1 => Wire::Ros1,
        Dialect::Ros2 => Wire::Cdr,
    };
    let (big_endian, body) = match wire {
        Wire::Ros1 => (false, bytes),
        Wire::Cdr => {
            let Some((header, body)) = bytes.split_first_chunk::<4>() else {
                let (field, found) = ("encapsulation header".into(), bytes.len());
                return Err(DecodeError::Short { field, at: 0, expected: 4, found });
            };
            match u16::from_be_bytes([header[0], header[1]]) {
                0 => (true, body),
                1 => (false, body),
                found => return Err(DecodeError::Encapsulation { found }),
            }
        }
    };
    let mut reader = Reader { definition, wire, big_endian, bytes: body, at: 0, values: 0 };
    let value = reader.structure(definition.root())?;
    let found = body.len() - reader.at;
    if found > MAX_PADDING || (wire == Wire::Ros1 && found > 0) {
        return Err(DecodeError::Long { found });
    }
    Ok(value)
}

struct Reader<'a> {
    definition: &'a Definition,
    wire: Wire,
    big_endian: bool,
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn short(&self, field: &str, expected: u64) -> DecodeError {
        DecodeError::Short { field: field.to_owned(), at: self.at, expected, found: self.left() }
    }

    /// The next `n` bytes.
    fn take(&mut self, field: &str, n: u64) -> Result<&'a [u8], DecodeError> {
        let end = usize::try_from(n).ok().and_then(|n| self.at.checked_add(n));
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(self.short(field, n));
        };
        self.at += taken.len();
        Ok(taken)
    }

    /// Skips to a multiple of `width`, counted from behind the encapsulation header.
    fn align(&mut self, field: &str, width: usize) -> Result<(), DecodeError> {
        if self.wire == Wire::Cdr {
            let padding = self.at.wrapping_neg() % width;
            self.take(field, padding as u64)?;
        }
        Ok(())
    }

    fn scalar(&mut self, field: &str, scalar: Scalar) -> Result<f64, DecodeError> {
        self.align(field, scalar.bytes())?;
        let bytes = self.take(field, scalar.bytes() as u64)?;
        Ok(scalar.read(bytes, self.big_endian))
    }

    fn length(&mut self, field: &str) -> Result<u64, DecodeError> {
        // A word is exact in f64.
        Ok(self.scalar(field, Scalar::U32)? as u64)
    }

    fn count(&mut self, parts: u64) -> Result<(), DecodeError> {
        self.values = self.values.saturating_add(usize::try_from(parts).unwrap_or(usize::MAX));
        if self.values > MAX_VALUES { Err(DecodeError::TooMany) } else { Ok(()) }
    }

    fn text(&mut self, field: &str) -> Result<&'a [u8], DecodeError> {
        let length = self.length(field)?;
        let bytes = self.take(field, length)?;
        Ok(match (self.wire, bytes.split_last()) {
            (Wire::Cdr, Some((0, text))) => text,
            _ => bytes,
        })
    }

    fn structure(&mut self, index: usize) -> Result<Value<'a>, DecodeError> {
        let Some(definition) = self.definition.structs().get(index) else {
            return Ok(Value::Missing);
        };
        if definition.min_bytes == 0 {
            // Nothing in it has a byte, however deep: an empty message of ROS 1.
            return Ok(Value::Struct(Vec::new()));
        }
        if (self.left() as u64) < definition.min_bytes {
            let field = definition.fields.first().map_or("", |f| f.name.as_str());
            return Err(self.short(field, definition.min_bytes));
        }
        self.count(definition.fields.len() as u64)?;
        let mut parts = Vec::with_capacity(definition.fields.len());
        for field in &definition.fields {
            let name = field.name.as_str();
            let value = match field.count {
                Count::One => self.element(name, field.element)?,
                Count::Fixed(n) => self.array(name, field.element, n)?,
                Count::Sequence | Count::Bounded(_) => {
                    let n = self.length(name)?;
                    self.array(name, field.element, n)?
                }
            };
            parts.push((name, value));
        }
        Ok(Value::Struct(parts))
    }

    fn element(&mut self, name: &str, element: Element) -> Result<Value<'a>, DecodeError> {
        Ok(match element {
            Element::Scalar(scalar) => Value::Number(self.scalar(name, scalar)?),
            Element::Text(_) => Value::Text(self.text(name)?),
            Element::Struct(index) => self.structure(index)?,
            Element::Time(seconds) => {
                let sec = self.scalar(name, seconds)?;
                let nanosec = self.scalar(name, seconds)?;
                Value::Struct(vec![("sec", Value::Number(sec)), ("nanosec", Value::Number(nanosec))])
            }
        })
    }

    fn array(&mut self, name: &str, element: Element, n: u64) -> Result<Value<'a>, DecodeError> {
        let least = match element {
            Element::Scalar(scalar) => {
                if n > 0 {
                    self.align(name, scalar.bytes())?;
                }
                let bytes = self.take(name, n.saturating_mul(scalar.bytes() as u64))?;
                return Ok(Value::Numbers(Numbers::Raw { scalar, bytes, big_endian: self.big_endian }));
            }
            Element::Text(_) => 4,
            Element::Time(_) => 8,
            Element::Struct(index) => self.definition.structs().get(index).map_or(0, |s| s.min_bytes),
        };
        if least == 0 {
            return Ok(Value::List(Vec::new()));
        }
        let needed = n.saturating_mul(least);
        if needed > self.left() as u64 {
            return Err(self.short(name, needed));
        }
        self.count(n)?;
        if matches!(element, Element::Text(_)) {
            return Ok(Value::Texts((0..n).map(|_| self.text(name)).collect::<Result<_, _>>()?));
        }
        Ok(Value::List((0..n).map(|_| self.element(name, element)).collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOINT_STATE: &str = "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\n\
        float64[] effort\n===\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n===\n\
        MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n";

    const NESTED: &str =
        "A[] a\nA[3] b\nstring[] s\n===\nMSG: p/A\nbool f\nB[2] b\n===\nMSG: p/B\nfloat64 x\nint8[] y\n";

    /// Every tree of empty messages costs nothing to hold.
    const EMPTY: &str = "A[4000000000] a\nA[] b\n===\nMSG: p/A\nB b\nB c\n===\nMSG: p/B\n";

    #[test]
    fn both_byte_orders_and_padding_are_read() {
        let definition =
            Definition::parse("p/T", "bool f\nfloat64 x\nstring s\nint16[] i\n", Dialect::Ros2).unwrap();
        let mut little = vec![0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        little.extend(2.5_f64.to_le_bytes());
        little.extend([3, 0, 0, 0, b'h', b'i', 0, 0, 1, 0, 0, 0, 0xfe, 0xff]);
        let mut big = vec![0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        big.extend(2.5_f64.to_be_bytes());
        big.extend([0, 0, 0, 3, b'h', b'i', 0, 0, 0, 0, 0, 1, 0xff, 0xfe]);
        for bytes in [little, big] {
            let value = decode(&definition, &bytes).unwrap();
            assert_eq!(value.part("x"), Some(&Value::Number(2.5)));
            assert_eq!(value.part("s"), Some(&Value::Text(b"hi")));
            let Some(Value::Numbers(i)) = value.part("i") else { panic!("{value:?}") };
            assert_eq!(i.get(0), Some(-2.0));
        }
    }

    #[test]
    fn what_is_not_a_message_says_where() {
        let definition = Definition::parse("p/T", "float32[] x\n", Dialect::Ros2).unwrap();
        let error = |bytes: &[u8]| decode(&definition, bytes).unwrap_err().to_string();
        assert!(error(&[]).contains("encapsulation header"));
        assert!(error(&[0, 7, 0, 0, 0, 0, 0, 0]).contains("0x0007"));
        assert!(error(&[0, 1, 0, 0, 255, 255, 255, 255]).contains("17179869180 more bytes, found 0"));
        assert!(error(&[[0, 1, 0, 0].as_slice(), &[0; 12]].concat()).contains("8 bytes are left"));
    }

    #[test]
    fn a_message_of_nothing_takes_no_memory_and_no_time() {
        let definition = Definition::parse("p/T", EMPTY, Dialect::Ros1).unwrap();
        let value = decode(&definition, &[255, 255, 255, 255]).unwrap();
        assert_eq!(value.part("b"), Some(&Value::List(Vec::new())), "four billion of nothing are nothing");
        let many = Definition::parse("p/T", "A[] a\n===\nMSG: p/A\nuint8 x\n", Dialect::Ros1).unwrap();
        let mut bytes = 3_000_000_u32.to_le_bytes().to_vec();
        bytes.resize(3_000_004, 0);
        assert_eq!(decode(&many, &bytes), Err(DecodeError::TooMany));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_bytes_never_crash(
            mut bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0_u8..4], 0..200),
            which in 0_usize..3,
            ros1 in any::<bool>(),
        ) {
            let dialect = if ros1 { Dialect::Ros1 } else { Dialect::Ros2 };
            let text = [JOINT_STATE, NESTED, EMPTY][which];
            let definition = Definition::parse("p/T", text, dialect).unwrap();
            if !ros1 && bytes.len() > 1 {
                bytes[0] = 0;
                bytes[1] &= 1;
            }
            if let Ok(value) = decode(&definition, &bytes) {
                let mut leaves = 0;
                value.leaves(&mut |_, _| leaves += 1);
                prop_assert!(leaves <= bytes.len() + 8);
            }
        }

        #[test]
        fn arbitrary_definitions_never_crash(text in "([a-zA-Z0-9_/\\[\\]<=# .:]{0,24}\n){0,12}") {
            let _ = Definition::parse("p/T", &text, Dialect::Ros2);
        }
    }
}
