//! Message definitions: the text of `.msg` files as bags carry it, the message itself first and what it is made of after lines of
//! `=` and `MSG: package/Type`.

use std::collections::BTreeMap;

use super::Scalar;

/// Which ROS a definition is of: some words mean other things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// ROS 1: `time` and `duration` are built in, `byte` is signed, an empty message has no bytes.
    Ros1,
    /// ROS 2.
    Ros2,
}

/// Why a definition cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// A line is no field.
    #[error("line {line:?} of {message} is not a field")]
    Line {
        /// The message type.
        message: String,
        /// The line.
        line: String,
    },
    /// A type is used and not defined.
    #[error("{message} uses {used}, which the file does not define")]
    Undefined {
        /// The message type.
        message: String,
        /// What it uses.
        used: String,
    },
    /// Types that contain themselves, or stand in each other too deeply.
    #[error("{message} is nested deeper than {MAX_DEPTH} types")]
    Depth {
        /// The message type.
        message: String,
    },
    /// A type that is not decoded.
    #[error("{message} has a {found}, which is not decoded")]
    Unsupported {
        /// The message type.
        message: String,
        /// The type.
        found: &'static str,
    },
    /// More fields than any message has.
    #[error("more than {MAX_FIELDS} fields")]
    TooLarge,
}

const MAX_DEPTH: usize = 32;
const MAX_FIELDS: usize = 10_000;

/// What a field, or each element of an array, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// A number or a flag.
    Scalar(Scalar),
    /// A text of at most so many bytes; 0 where there is no bound.
    Text(u64),
    /// ROS 1 `time` (unsigned) and `duration` (signed): two words.
    Time(Scalar),
    /// Index into [`Definition::structs`].
    Struct(usize),
}

/// How many elements a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// It is no array.
    One,
    /// Always so many.
    Fixed(u64),
    /// Any number.
    Sequence,
    /// At most so many.
    Bounded(u64),
}

/// A field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDefinition {
    /// Its name.
    pub name: String,
    /// What it is, or what its elements are.
    pub element: Element,
    /// How many there are.
    pub count: Count,
}

/// A message, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StructDefinition {
    /// Its name, `package/Type`.
    pub name: String,
    /// Its fields, in order.
    pub fields: Vec<FieldDefinition>,
    /// Fewest bytes one can have, padding left out. 0 only where it never has any.
    pub min_bytes: u64,
}

/// A message type with everything it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    structs: Vec<StructDefinition>,
    root: usize,
    dialect: Dialect,
}

/// `pkg/msg/Type` and `pkg/Type` are one.
fn short(name: &str) -> String {
    name.trim().replace("/msg/", "/")
}

impl Definition {
    /// Parses the definition of the message type `name`.
    ///
    /// # Errors
    /// When a line is no field, a type is missing, or types contain themselves.
    pub fn parse(name: &str, text: &str, dialect: Dialect) -> Result<Self, DefinitionError> {
        let root = short(name);
        let mut sections: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let mut current = root.clone();
        sections.entry(current.clone()).or_default();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let line = line.trim();
            let separator = line.len() >= 3 && line.bytes().all(|b| b == b'=');
            let heading = if separator { lines.next().map_or("", str::trim) } else { line };
            if let Some(defined) = heading.strip_prefix("MSG:") {
                current = short(defined);
                sections.entry(current.clone()).or_default();
            } else if !separator {
                sections.entry(current.clone()).or_default().push(line);
            }
        }
        let mut builder =
            Builder { sections, dialect, done: BTreeMap::new(), structs: Vec::new(), fields: 0 };
        let root = builder.resolve(&root, 0)?;
        Ok(Self { structs: builder.structs, root, dialect })
    }

    /// The message and all that it is made of, each once.
    #[must_use]
    pub fn structs(&self) -> &[StructDefinition] {
        &self.structs
    }

    /// Which of [`structs`](Self::structs) the message itself is.
    #[must_use]
    pub const fn root(&self) -> usize {
        self.root
    }

    /// Which ROS it is of.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether a message begins with a `std_msgs/Header`.
    #[must_use]
    pub fn has_header(&self) -> bool {
        let first = self.structs.get(self.root).and_then(|s| s.fields.first());
        let Some(FieldDefinition { name, element: Element::Struct(header), count: Count::One }) = first
        else {
            return false;
        };
        let stamped = self.structs.get(*header).is_some_and(|h| h.fields.iter().any(|f| f.name == "stamp"));
        name == "header" && stamped
    }
}

struct Builder<'t> {
    sections: BTreeMap<String, Vec<&'t str>>,
    dialect: Dialect,
    done: BTreeMap<String, usize>,
    structs: Vec<StructDefinition>,
    fields: usize,
}

impl Builder<'_> {
    fn resolve(&mut self, name: &str, depth: usize) -> Result<usize, DefinitionError> {
        if let Some(done) = self.done.get(name) {
            return Ok(*done);
        }
        if depth >= MAX_DEPTH {
            return Err(DefinitionError::Depth { message: name.to_owned() });
        }
        let lines = self.sections.get(name).cloned().unwrap_or_default();
        let mut fields = Vec::new();
        for line in lines {
            if let Some(field) = self.field(name, line, depth)? {
                fields.push(field);
                self.fields += 1;
                if self.fields > MAX_FIELDS {
                    return Err(DefinitionError::TooLarge);
                }
            }
        }
        if fields.is_empty() && self.dialect == Dialect::Ros2 {
            // An empty structure has one byte in DDS.
            fields.push(FieldDefinition {
                name: "structure_needs_at_least_one_member".into(),
                element: Element::Scalar(Scalar::U8),
                count: Count::One,
            });
        }
        let mut min_bytes = 0_u64;
        for f in &fields {
            let one = match f.element {
                Element::Scalar(s) => s.bytes() as u64,
                Element::Text(_) => 4,
                Element::Time(_) => 8,
                Element::Struct(s) => self.structs.get(s).map_or(0, |s| s.min_bytes),
            };
            min_bytes = min_bytes.saturating_add(match f.count {
                Count::One => one,
                Count::Fixed(n) => one.saturating_mul(n),
                Count::Sequence | Count::Bounded(_) => 4,
            });
        }
        self.structs.push(StructDefinition { name: name.to_owned(), fields, min_bytes });
        let index = self.structs.len() - 1;
        self.done.insert(name.to_owned(), index);
        Ok(index)
    }

    fn field(
        &mut self,
        message: &str,
        line: &str,
        depth: usize,
    ) -> Result<Option<FieldDefinition>, DefinitionError> {
        let wrong = || DefinitionError::Line { message: message.to_owned(), line: line.to_owned() };
        // `string` constants and defaults may hold a `#`; neither is kept.
        let code = line.split('#').next().unwrap_or_default().trim();
        if code.is_empty() {
            return Ok(None);
        }
        let (kind, rest) = code.split_once(char::is_whitespace).ok_or_else(wrong)?;
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return Err(wrong());
        }
        if after.trim_start().starts_with('=') {
            return Ok(None); // A constant takes no bytes.
        }
        let (base, count) = match kind.split_once('[') {
            None => (kind, Count::One),
            Some((base, size)) => {
                let size = size.strip_suffix(']').ok_or_else(wrong)?;
                let number = |digits: &str| digits.parse().map_err(|_| wrong());
                let count = match size.strip_prefix("<=") {
                    _ if size.is_empty() => Count::Sequence,
                    Some(most) => Count::Bounded(number(most)?),
                    None => Count::Fixed(number(size)?),
                };
                (base, count)
            }
        };
        let (base, longest) = match base.split_once("<=") {
            Some((base, longest)) => (base, longest.parse().map_err(|_| wrong())?),
            None => (base, 0),
        };
        let element = match (base, self.dialect) {
            ("bool", _) => Element::Scalar(Scalar::Bool),
            ("int8", _) | ("byte", Dialect::Ros1) => Element::Scalar(Scalar::I8),
            ("uint8" | "char", _) => Element::Scalar(Scalar::U8),
            ("byte", Dialect::Ros2) => Element::Scalar(Scalar::Octet),
            ("int16", _) => Element::Scalar(Scalar::I16),
            ("uint16", _) => Element::Scalar(Scalar::U16),
            ("int32", _) => Element::Scalar(Scalar::I32),
            ("uint32", _) => Element::Scalar(Scalar::U32),
            ("int64", _) => Element::Scalar(Scalar::I64),
            ("uint64", _) => Element::Scalar(Scalar::U64),
            ("float32", _) => Element::Scalar(Scalar::F32),
            ("float64", _) => Element::Scalar(Scalar::F64),
            ("string", _) => Element::Text(longest),
            ("time", Dialect::Ros1) => Element::Time(Scalar::U32),
            ("duration", Dialect::Ros1) => Element::Time(Scalar::I32),
            ("wstring", _) => {
                return Err(DefinitionError::Unsupported { message: message.to_owned(), found: "wstring" });
            }
            (other, _) => Element::Struct(self.nested(message, other, depth)?),
        };
        Ok(Some(FieldDefinition { name: name.to_owned(), element, count }))
    }

    fn nested(&mut self, message: &str, used: &str, depth: usize) -> Result<usize, DefinitionError> {
        let full = short(used);
        let mut candidates = vec![full.clone()];
        if !full.contains('/') {
            if let Some((package, _)) = message.split_once('/') {
                candidates.push(format!("{package}/{full}"));
            }
            if full == "Header" {
                candidates.push("std_msgs/Header".into());
            }
        }
        for candidate in candidates {
            if self.sections.contains_key(&candidate) {
                return self.resolve(&candidate, depth + 1);
            }
            if matches!(candidate.as_str(), "builtin_interfaces/Time" | "builtin_interfaces/Duration") {
                // Some writers leave these two out.
                self.sections.insert(candidate.clone(), vec!["int32 sec", "uint32 nanosec"]);
                return self.resolve(&candidate, depth + 1);
            }
        }
        Err(DefinitionError::Undefined { message: message.to_owned(), used: used.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment\nHeader header\nuint8 OK=0\nstring NAME=a # b\nfloat64[<=3] q  # values\n\
                        string<=4[] names\nint32[2] pair\nfloat64 gain 1.5\nOther[] others\n\
                        ================================================================================\n\
                        MSG: pkg/Other\nbool flag\n\
                        ================================================================================\n\
                        MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n";

    #[test]
    fn fields_constants_bounds_defaults_and_nested_types_are_understood() {
        let d = Definition::parse("pkg/msg/Thing", TEXT, Dialect::Ros2).unwrap();
        let names: Vec<&str> = d.structs[d.root].fields.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["header", "q", "names", "pair", "gain", "others"]);
        let field = |i: usize| (d.structs[d.root].fields[i].element, d.structs[d.root].fields[i].count);
        assert_eq!(field(1), (Element::Scalar(Scalar::F64), Count::Bounded(3)));
        assert_eq!(field(2), (Element::Text(4), Count::Sequence));
        assert_eq!(field(3), (Element::Scalar(Scalar::I32), Count::Fixed(2)));
        assert!(d.has_header());
    }

    #[test]
    fn cycles_gaps_and_nonsense_are_errors() {
        let parse = |text: &str| Definition::parse("p/A", text, Dialect::Ros2).unwrap_err().to_string();
        assert!(parse("A[] again\n").contains("nested deeper"));
        assert!(parse("q/B b\n").contains("uses q/B"));
        assert!(parse("float64\n").contains("is not a field"));
        assert!(parse("float64[x] a\n").contains("is not a field"));
        assert!(parse("wstring a\n").contains("wstring"));
        assert!(parse(&"bool a\n".repeat(20_000)).contains("fields"));
    }
}
