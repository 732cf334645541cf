//! Picking one number out of a message by a path: `position.shoulder`, `points[-1].positions[0]`, `data[3]`, `twist.linear.x`.
//!
//! After an array of numbers, what is left of the path is a *name* (a joint's, dots and slashes included), looked up in the array
//! of texts beside it: `name`, `names` or `joint_names` of the same message or of one it is a part of. That is how `JointState`,
//! `JointTrajectory` and `JointCommand` say which number is whose, and their order may change from message to message.

use super::value::Value;

/// Arrays of texts that name the numbers of their neighbours.
const NAMES: [&str; 3] = ["name", "names", "joint_names"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Part(String),
    /// From the end where negative.
    Index(i64),
}

/// A compiled path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
    /// Each key, and the path from it on.
    keys: Vec<(Key, String)>,
    /// Where the name was found last time: it mostly stays there.
    hint: usize,
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// It is not a path.
    #[error("{path:?} is not a path: {reason}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The message has no such part.
    #[error("no {path}: expected {expected}, found {found}")]
    Absent {
        /// The path.
        path: String,
        /// What was looked for.
        expected: String,
        /// What is there.
        found: String,
    },
}

impl Selector {
    /// Compiles a path.
    ///
    /// # Errors
    /// When it is empty, a bracket is not closed, or an index is no number.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let wrong = |reason| SelectError::Path { path: text.to_owned(), reason };
        let mut keys = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let Some((index, after)) = inside.split_once(']') else {
                    return Err(wrong("a bracket is not closed"));
                };
                let index = index.parse().map_err(|_| wrong("an index is not a whole number"))?;
                keys.push((Key::Index(index), rest.to_owned()));
                rest = after.strip_prefix('.').unwrap_or(after);
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (part, after) = rest.split_at(end);
                if part.is_empty() {
                    return Err(wrong("a part has no name"));
                }
                keys.push((Key::Part(part.to_owned()), rest.to_owned()));
                rest = after.strip_prefix('.').unwrap_or(after);
            }
        }
        if keys.is_empty() || text.ends_with('.') {
            return Err(wrong("it ends where a name is expected"));
        }
        Ok(Self { text: text.to_owned(), keys, hint: 0 })
    }

    /// The path as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The number it leads to.
    ///
    /// # Errors
    /// When the message has no such part, and when the part is not one number.
    pub fn number(&mut self, message: &Value<'_>) -> Result<f64, SelectError> {
        match self.find(message)? {
            Found::Number(x) => Ok(x),
            Found::Text(_) => Err(self.absent("a number", "text")),
        }
    }

    /// Whether it leads to this text.
    ///
    /// # Errors
    /// As [`number`](Self::number), with text.
    pub fn text_is(&mut self, message: &Value<'_>, expected: &str) -> Result<bool, SelectError> {
        match self.find(message)? {
            Found::Text(text) => Ok(text == expected.as_bytes()),
            Found::Number(_) => Err(self.absent("text", "a number")),
        }
    }

    fn absent(&self, expected: impl Into<String>, found: impl Into<String>) -> SelectError {
        SelectError::Absent { path: self.text.clone(), expected: expected.into(), found: found.into() }
    }

    fn find<'v>(&mut self, message: &'v Value<'_>) -> Result<Found<'v>, SelectError> {
        let mut at = message;
        let mut names: Option<&Vec<&[u8]>> = None;
        let mut i = 0;
        while let Some((key, tail)) = self.keys.get(i) {
            match (at, key) {
                (Value::Struct(parts), Key::Part(name)) => {
                    for (n, part) in parts {
                        if let Value::Texts(texts) = part
                            && NAMES.contains(n)
                        {
                            names = Some(texts);
                        }
                    }
                    // Columns of a table may have dots and brackets in their names.
                    if let Some((_, part)) = parts.iter().find(|(n, _)| *n == tail.as_str()) {
                        at = part;
                        break;
                    }
                    if let Some((_, part)) = parts.iter().find(|(n, _)| *n == name.as_str()) {
                        at = part;
                        i += 1;
                        continue;
                    }
                    let dotted = parts
                        .iter()
                        .filter(|(n, _)| tail.strip_prefix(n).is_some_and(|t| t.starts_with(['.', '['])))
                        .max_by_key(|(n, _)| n.len());
                    let Some((column, part)) = dotted else {
                        let known: Vec<&str> = parts.iter().take(12).map(|(n, _)| *n).collect();
                        return Err(self.absent(name.clone(), known.join(", ")));
                    };
                    let left = tail.len() - column.len();
                    i += self.keys.iter().skip(i).take_while(|(_, t)| t.len() > left).count();
                    at = part;
                }
                (Value::List(items), Key::Index(index)) => match resolve(*index, items.len()) {
                    Some(item) => {
                        at = &items[item];
                        i += 1;
                    }
                    None => return Err(self.out_of(*index, items.len())),
                },
                (Value::Texts(items), Key::Index(index)) if i + 1 == self.keys.len() => {
                    return match resolve(*index, items.len()) {
                        Some(item) => Ok(Found::Text(items[item])),
                        None => Err(self.out_of(*index, items.len())),
                    };
                }
                (Value::Numbers(numbers), Key::Index(index)) if i + 1 == self.keys.len() => {
                    let found = resolve(*index, numbers.len()).and_then(|index| numbers.get(index));
                    return found.map(Found::Number).ok_or_else(|| self.out_of(*index, numbers.len()));
                }
                (Value::Numbers(numbers), Key::Part(_)) => {
                    let Some(names) = names else {
                        return Err(self.absent("names beside the numbers", "none; use an index"));
                    };
                    let name = tail.as_bytes();
                    let place = if names.get(self.hint).is_some_and(|n| *n == name) {
                        Some(self.hint)
                    } else {
                        names.iter().position(|n| *n == name)
                    };
                    let Some(place) = place else {
                        let known = names.iter().take(12).map(|n| String::from_utf8_lossy(n));
                        return Err(self.absent(tail.clone(), known.collect::<Vec<_>>().join(", ")));
                    };
                    let count = numbers.len();
                    self.hint = place;
                    return numbers.get(place).map(Found::Number).ok_or_else(|| {
                        self.absent(format!("a number for each of {} names", names.len()), count.to_string())
                    });
                }
                (other, _) => return Err(self.absent(tail.clone(), describe(other))),
            }
        }
        match at {
            Value::Number(x) => Ok(Found::Number(*x)),
            Value::Text(text) => Ok(Found::Text(text)),
            other => Err(self.absent("one number", describe(other))),
        }
    }

    fn out_of(&self, index: i64, len: usize) -> SelectError {
        self.absent(format!("item {index}"), format!("an array of {len}"))
    }
}

enum Found<'v> {
    Number(f64),
    Text(&'v [u8]),
}

fn resolve(index: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    let index = if index < 0 { len.checked_add(index)? } else { index };
    (0..len).contains(&index).then_some(index as usize)
}

fn describe(value: &Value<'_>) -> String {
    match value {
        Value::Number(_) => "a number".into(),
        Value::Text(_) => "text".into(),
        Value::Numbers(n) => format!("an array of {} numbers", n.len()),
        Value::Texts(t) => format!("an array of {} texts", t.len()),
        Value::List(l) => format!("an array of {}", l.len()),
        Value::Struct(parts) => format!("a message of {} parts", parts.len()),
        Value::Missing => "nothing".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Numbers;
    use super::*;

    fn numbers(x: &[f64]) -> Value<'static> {
        Value::Numbers(Numbers::Parsed(x.to_vec()))
    }

    fn trajectory() -> Value<'static> {
        let point = |x: f64| Value::Struct(vec![("positions", numbers(&[x, x + 0.5]))]);
        Value::Struct(vec![
            ("joint_names", Value::Texts(vec![b"left/elbow.1", b"wrist"])),
            ("points", Value::List(vec![point(1.0), point(2.0)])),
            ("frame", Value::Text(b"base")),
        ])
    }

    #[test]
    fn paths_lead_through_parts_indices_and_names() {
        let message = trajectory();
        for (path, expected) in [
            ("points[0].positions[1]", 1.5),
            ("points[-1].positions[-1]", 2.5),
            ("points[-1].positions.wrist", 2.5),
            ("points[1].positions.left/elbow.1", 2.0),
        ] {
            assert_eq!(Selector::parse(path).unwrap().number(&message), Ok(expected), "{path}");
        }
        assert_eq!(Selector::parse("frame").unwrap().text_is(&message, "base"), Ok(true));
        assert_eq!(Selector::parse("joint_names[1]").unwrap().text_is(&message, "wrist"), Ok(true));
    }

    #[test]
    fn names_are_followed_when_their_order_changes() {
        let message = |names: [&'static [u8]; 2], x: [f64; 2]| {
            Value::Struct(vec![("name", Value::Texts(names.to_vec())), ("position", numbers(&x))])
        };
        let mut selector = Selector::parse("position.b").unwrap();
        assert_eq!(selector.number(&message([b"a", b"b"], [1.0, 2.0])), Ok(2.0));
        assert_eq!(selector.number(&message([b"b", b"a"], [1.0, 2.0])), Ok(1.0));
        assert_eq!(selector.number(&message([b"a", b"b"], [1.0, 2.0])), Ok(2.0));
    }

    #[test]
    fn columns_with_dots_and_brackets_are_found() {
        let row = Value::Struct(vec![
            ("observation.state", numbers(&[1.0, 2.0])),
            ("q[0]", Value::Number(3.0)),
            ("a.b", Value::Number(4.0)),
        ]);
        for (path, expected) in [("observation.state[1]", 2.0), ("q[0]", 3.0), ("a.b", 4.0)] {
            assert_eq!(Selector::parse(path).unwrap().number(&row), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        let message = trajectory();
        for (path, expected) in [
            ("point[0]", "expected point, found joint_names, points, frame"),
            ("points[2].positions[0]", "item 2, found an array of 2"),
            ("points[-9223372036854775808].positions[0]", "found an array of 2"),
            ("points[0].positions", "one number, found an array of 2 numbers"),
            ("points[0].positions.hip", "expected hip, found left/elbow.1, wrist"),
            ("frame", "expected a number, found text"),
        ] {
            let error = Selector::parse(path).unwrap().number(&message).unwrap_err().to_string();
            assert!(error.contains(expected), "{path}: {error}");
        }
        for path in ["", "a..b", "a[", "a[x]", ".a", "a."] {
            assert!(Selector::parse(path).is_err(), "{path}");
        }
    }
}
