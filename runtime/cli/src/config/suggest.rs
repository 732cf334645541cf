//! "Did you mean": the nearest expected name under an unknown one.

/// Adds a hint to a serde message of the form ``unknown field `x`, expected one of `a`, `b` ``.
pub fn with_suggestion(message: &str) -> String {
    let Some(found) = ["unknown field `", "unknown variant `"]
        .iter()
        .find_map(|start| message.split_once(start))
        .and_then(|(_, rest)| rest.split_once('`'))
    else {
        return message.to_owned();
    };
    let (unknown, rest) = found;
    let expected = rest.split('`').skip(1).step_by(2);
    match nearest(unknown, expected) {
        Some(name) => format!("{}\n\nhint: did you mean `{name}`?", message.trim_end()),
        None => message.to_owned(),
    }
}

/// The candidate that is most like `given`, if any is like it at all.
pub fn nearest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|c| (strsim::jaro_winkler(given, c), c))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_expected_name_is_suggested() {
        let message = "unknown field `temprature`, expected one of `temperature`, `discount`";
        assert!(with_suggestion(message).ends_with("did you mean `temperature`?"));
        let message = "unknown field `xyz`, expected `temperature` or `discount`";
        assert_eq!(with_suggestion(message), message);
    }
}
